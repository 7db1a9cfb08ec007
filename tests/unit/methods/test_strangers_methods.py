"""A learner and a fusion in one file outside the package, by name in a config."""

import textwrap
from pathlib import Path

import pytest

from fedbridge.core.errors import CommonConfigError, UserError
from fedbridge.federation.site import require_allowed
from fedbridge.methods.files import dump_config, foreign_methods, load_config, parse_config
from fedbridge.methods.registry import fusion_of, learner_of
from fedbridge.models.trust import require_trusted
from fedbridge.runs.contracts import check_fusion, check_learner

MODULE = '''
import torch

from fedbridge.config.section import Count, Options, Scale
from fedbridge.methods import replay
from fedbridge.methods.rounds import FusionResult
from fedbridge.methods.spec import Exemplars, Extra, Fusion, Learner


class Kept(Options):
    """Replay of a few."""

    memory: Count = 3
    """Exemplars per class."""
    memory_batch: Count = 8
    """Exemplars per step."""


class Counted(Options):
    """Everybody goes on alone, and says how many items it has."""

    factor: Scale = 1.0
    """What counts are multiplied by."""


def own(round_, shared, options, map_jobs):
    counts = [s.extra["counts"] * options.factor for s in round_.students]
    states = {s.name: s.state for s in round_.students}
    return FusionResult(states, [], {"counts": torch.stack(counts).sum(0)})


def faults(upload, shared, options):
    if upload.extra["counts"].sum() != upload.num_examples:
        yield f"counts: must add up to {upload.num_examples}"


LEARNER = Learner(
    options=Kept, learn=replay.replay, exemplars=lambda options: Exemplars(options.memory)
)
FUSION = Fusion(
    options=Counted,
    fuse=own,
    extra=Extra(
        shapes=lambda shared, options: {"counts": (len(shared.classes),)},
        make=lambda own, options: {
            "counts": own.labels.bincount(minlength=len(own.shared.classes)).float()
        },
        check=faults,
    ),
)
SILENT = Fusion(
    options=Counted,
    fuse=own,
    extra=Extra(
        shapes=lambda shared, options: {"counts": (len(shared.classes),)},
        make=lambda own, options: {"counts": torch.zeros(2)},
    ),
)
'''


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "strangers_own.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "strangers_bad.py").write_text("raise OSError('no such device')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def refusal(part: str, **section: object) -> str:
    with pytest.raises(UserError) as error:
        parse_config({part: section}, "mine.toml")
    return str(error.value)


def test_options_are_read_from_a_file_and_written_out(here: Path):
    text = """
        [learner]
        name = "strangers_own:LEARNER"
        memory = 5

        [fusion]
        name = "strangers_own:FUSION"
    """
    (here / "mine.toml").write_text(textwrap.dedent(text), encoding="utf-8")
    config = load_config(here / "mine.toml", ["fusion.factor=2.5"])
    assert learner_of(config).exemplars(config.learner).per_class == 5
    assert config.fusion.model_dump() == {"name": "strangers_own:FUSION", "factor": 2.5}
    (here / "again.toml").write_text(dump_config(config), encoding="utf-8")
    assert load_config(here / "again.toml") == config
    assert fusion_of(config).extra is not None


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"name": "nowhere:X"}, "learner.name: nowhere:X cannot be used: there is no module"),
        ({"name": "strangers_own:LERNER"}, "(did you mean 'LEARNER'?)"),
        ({"name": "strangers_bad:X"}, "strangers_bad:X cannot be used: OSError: no such device"),
        ({"name": "strangers_own:FUSION"}, "must be a Learner, found Fusion"),
        ({"name": "strangers_own:Kept"}, "must be a Learner, found the class Kept"),
        (
            {"name": "strangers_own:LEARNER", "memry": 1},
            "learner.memry: unknown key (did you mean 'memory'?)",
        ),
        ({"name": "strangers_own:LEARNER", "memory": -1}, "learner.memory: Input should be"),
        ({"name": "not a name"}, "must be one of finetune, ewc"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_before_any_work(section: dict[str, object], said: str):
    found = refusal("learner", **section)
    assert found.startswith("mine.toml: learner.") and said in found and "\n" not in found


def test_they_keep_to_what_all_methods_must():
    check_learner("strangers_own:LEARNER", memory=4)
    check_fusion("strangers_own:FUSION")


def test_what_is_uploaded_is_what_was_declared():
    with pytest.raises(UserError, match=r"extra: 'counts' must have shape \(8,\), found \(2,\)"):
        check_fusion("strangers_own:SILENT")


def test_a_check_tells_what_is_not_kept_to(here: Path):
    bad = MODULE.replace('    """What counts are multiplied by."""\n', "")
    (here / "strangers_mute.py").write_text(bad, encoding="utf-8")
    with pytest.raises(AssertionError, match="the option 'factor' must say"):
        check_fusion("strangers_mute:FUSION")


def test_only_strangers_methods_are_foreign():
    tree = {"learner": {"name": "a:B"}, "fusion": {"name": "obod"}, "name": "x"}
    assert list(foreign_methods(tree)) == [("learner", "a:B")]
    assert list(foreign_methods({"learner": 3})) == []


def test_a_site_imports_no_module_that_it_has_not_allowed(here: Path):
    tree = {"learner": {"name": "strangers_bad:X"}}
    site = here / "site.toml"
    site.write_text('client = "a"\n', encoding="utf-8")
    for place in (site, None):
        with pytest.raises(CommonConfigError, match=r"methods = \['strangers_bad:X'\]"):
            require_allowed(tree, place)
    site.write_text('client = "a"\nmethods = ["strangers_bad:X"]\n', encoding="utf-8")
    require_allowed(tree, site)
    require_allowed({"learner": {"name": "ewc"}}, None)


def test_who_loads_what_somebody_saved_trusts_its_methods_by_name(here: Path):
    with pytest.raises(UserError, match=r"trust=\['a:B'\]"):
        require_trusted(here, (), None, (), ["a:B"])
    require_trusted(here, (), None, ["a:B"], ["a:B"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("order", "ablation.order"),
        ("sureness", "ablation.confidence"),
        ("surer", "ablation.only_if_more_confident"),
    ],
)
def test_keys_of_earlier_releases_are_refused_with_their_new_name(old: str, new: str):
    found = refusal("fusion", **{old: True})
    assert found == f"mine.toml: fusion.{old}: is now called fusion.{new}"


def test_a_strangers_key_of_an_old_name_is_a_key(here: Path):
    renamed = MODULE.replace("factor", "order")
    (here / "strangers_order.py").write_text(renamed, encoding="utf-8")
    fusion = {"name": "strangers_order:FUSION", "order": 2.0}
    config = parse_config({"fusion": fusion}, "mine.toml")
    assert config.fusion.model_dump()["order"] == 2.0
