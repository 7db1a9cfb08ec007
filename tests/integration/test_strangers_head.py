"""A head in one file outside the package, with options of its own."""

from pathlib import Path

import numpy as np
import pytest
from tiny_runs import conduct, tiny

from fedbridge.core.errors import UserError
from fedbridge.methods.files import dump_config, load_config, parse_config
from fedbridge.methods.registry import head_of
from fedbridge.runs.contracts import check_head

TEXT = '''"""Class means, whitened by the spread of all features."""

import numpy as np
from pydantic import Field

from fedbridge.methods.analytic import Candidates, RidgeHead
from fedbridge.methods.spec import Head
from fedbridge.methods.sums import FromSums, SummedUp, sum_faults


class Whitened(FromSums):
    """Class means, whitened by the spread of all features."""

    shrinkage: float = Field(0.5, gt=0)
    """What is added to each spread."""


def whitened(sums, shrinkage):
    spread = np.sqrt(np.diag(sums.gram) / max(sums.counts.sum(), 1.0)) + shrinkage
    return sums.nearest_mean() / spread[:, None]


HEAD = Head(
    options=Whitened,
    client=lambda shared, options: RidgeHead(
        shared, options.scope, Candidates((options.shrinkage,), (0.0,)), whitened
    ),
    server=lambda shared, clients, options: SummedUp(
        shared, clients, options, lambda sums: whitened(sums, options.shrinkage), gram=True
    ),
    sums=("gram", "cross", "counts"),
    upload_faults=sum_faults,
    solo=True,
)
NOT_A_HEAD = Whitened
'''


@pytest.fixture(name="module")
def strangers_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a module of a name of its own where the command is started."""
    name = f"strange_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(TEXT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_it_is_used_as_ours_are(module: str, tmp_path: Path):
    large = {"head": f"{module}:HEAD", "shrinkage": 0.25}
    config = tiny(large=large)
    assert config.large.shrinkage == 0.25 and head_of(config).sums == ("gram", "cross", "counts")
    resolved = tmp_path / "resolved.toml"
    resolved.write_text(dump_config(config), encoding="utf-8")
    assert load_config(resolved) == config
    here = conduct(tmp_path / "here", config)
    elsewhere = tiny(large=large, engine={"workers": 2})
    assert conduct(tmp_path / "elsewhere", elsewhere) == here  # in other processes, too
    assert conduct(tmp_path / "ours", tiny(large={"head": "nearest-mean"})) != here


def test_it_keeps_what_every_head_has_to_keep(module: str):
    check_head(f"{module}:HEAD", shrinkage=0.25)


def test_what_it_cannot_be_told_and_what_is_no_head(module: str):
    cases = {
        f"{module}:HEAD": (
            {"personal_weights": [1.0]},
            r"large\.personal_weights: belongs to large\.head = 'analytic'",
        ),
        f"{module}:HEED": ({}, r"large\.head: .* has no .*'HEED' \(did you mean 'HEAD'\?\)"),
        f"{module}:NOT_A_HEAD": ({}, "large.head: .* must be a Head, found the class Whitened"),
        f"{module}x:HEAD": ({}, "large.head: .* there is no module"),
        "analytc": ({}, "large.head: must be one of .* or MODULE:NAME, .* mean 'analytic'"),
    }
    for head, (more, said) in cases.items():
        with pytest.raises(UserError, match=f"^test: {said}"):
            parse_config({"large": {"head": head, **more}}, "test")
    with pytest.raises(UserError, match=r"large\.shrinkage: .* greater than 0, found -1"):
        parse_config({"large": {"head": f"{module}:HEAD", "shrinkage": -1}}, "test")


def test_what_only_the_base_could_be_told_is_left_aside(tmp_path: Path):
    base, laid = tmp_path / "base.toml", tmp_path / "laid.toml"
    base.write_text(
        '[large]\nmodel = "lite0"\npersonal_weights = [0.0]\nmost = 2.0\nmin_class_items = 3\n'
    )
    text = 'extends = "base.toml"\n[large]\nhead = '
    for head, kept in (("nearest-mean", {"most": 2.0}), ("none", {}), ("probe", {"pool": 10})):
        laid.write_text(f'{text}"{head}"\n')
        found = load_config(laid).large
        assert (found.head, found.model, found.min_class_items) == (head, "lite0", 3)
        assert kept.items() <= found.model_dump().items()
        assert "personal_weights" not in found.model_dump()
    laid.write_text(f'{text}"none"\npersonal_weights = [0.0]\n')
    with pytest.raises(
        UserError, match=r"large\.personal_weights: belongs to large\.head = 'analytic'$"
    ):
        load_config(laid)
    laid.write_text(f'{text}"analytic"\n')
    assert load_config(laid).large.model_dump()["personal_weights"] == (0.0,)
    assert np.isclose(
        load_config(laid, ["large.personal_weights=[2.0]"]).large.model_dump()["personal_weights"],
        2.0,
    )
