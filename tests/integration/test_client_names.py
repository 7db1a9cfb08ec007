"""Clients whose names are no file names: their run ends, resumes, predicts and is exported."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_runs import conduct

from fedbridge.cli.models import export
from fedbridge.inference.restore import predictor_of_run
from fedbridge.methods.config import Config
from fedbridge.methods.files import parse_config
from fedbridge.runs.run import read_accuracy

NAMES = ("St. Mary's / North", "..", "CON", "con", "server", "x" * 200)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Write pictures with a table, as Windows writes paths, and return settings that read it."""
    folder = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    lines = ["file,label,shop"]
    for label in ("cat", "dog"):
        (folder / "img" / label).mkdir(parents=True)
        for number in range(60):
            shown = rng.integers(0, 80, (16, 16, 3)).astype(np.uint8)
            shown[8 * (label == "dog") :][:8] += 150
            Image.fromarray(shown).save(folder / "img" / label / f"{number}.png")
            lines.append(f'img\\{label}\\{number}.png,{label},"{NAMES[number % len(NAMES)]}"')
    (folder / "t.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tree = {
        "data": {"name": f"csv:{folder / 't.csv'}", "own": {"image": "file", "domain": "shop"}},
        "scenario": {
            "clients": len(NAMES),
            "clients_are": "domains",
            "tasks": 1,
            "classes_per_task": 2,
        },
        "large": {"model": "patches", "size": 16, "head": "probe", "scope": "client"},
        "small": {"models": ["mlp"], "dimension": 32, "warm_epochs": 1},
        "training": {"rounds": 2, "epochs": 1, "batch": 8},
        "fusion": {"name": "fedavg"},
        "learner": {"name": "finetune"},
        "engine": {"workers": 0, "device": "cpu"},
    }
    return parse_config(tree, "names")


def test_a_run_resumes_and_predicts_whatever_its_clients_are_called(
    settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = conduct(tmp_path / "whole", settings)
    conduct(tmp_path / "stopped", settings, until=1)
    kept = tmp_path / "stopped" / "checkpoints" / "step-0001"
    assert all(path.parent == kept for path in kept.rglob("*"))  # no name leads elsewhere
    assert conduct(tmp_path / "stopped") == whole
    assert {row.client for row in read_accuracy(tmp_path / "whole")} == set(NAMES)

    picture = settings.data.name.removeprefix("csv:").replace("t.csv", "img/dog/1.png")
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        assert predictor_of_run(tmp_path / "whole", name).predict([Path(picture)]) in (
            ["cat"],
            ["dog"],
        )
    export(tmp_path / "whole", client="..", form="safetensors")
    (made,) = (tmp_path / "exports").iterdir()
    assert made.name.startswith("whole-name~") and (made / "model.safetensors").is_file()
