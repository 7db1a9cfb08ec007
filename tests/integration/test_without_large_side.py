"""Baselines go without a large side from the first command to the last."""

import json
from pathlib import Path

import pytest
from tiny_runs import TREE, conduct, tiny

from fedbridge.core.metrics import AccuracyRow
from fedbridge.methods.config import Config
from fedbridge.report.run import write_page
from fedbridge.report.run.folder import read_run
from fedbridge.report.run.tables import compare_markdown
from fedbridge.runs.estimate import estimate
from fedbridge.runs.run import read_accuracy

ALONE = {"learner": {"name": "replay", "memory": 4, "memory_batch": 8}, "fusion": {"name": "none"}}


def small_rows(folder: Path) -> list[AccuracyRow]:
    return [row for row in read_accuracy(folder) if row.predictor == "small"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a run without a large side, and the same with one that nobody listens to."""
    root = tmp_path_factory.mktemp("runs")
    without, with_it = root / "without", root / "with"
    conduct(without, config("none"))
    conduct(with_it, config("analytic"))
    return without, with_it


def config(head: str) -> Config:
    settings = tiny(large={"head": head}, small={**TREE["small"], "warm_epochs": 0}).model_dump(
        exclude={"learner", "fusion"}
    )
    return Config.model_validate({**settings, **ALONE, "name": f"replay, {head}"})


def test_only_small_models_are_measured_and_as_well_as_ever(runs: tuple[Path, Path]):
    without, with_it = runs
    assert {row.predictor for row in read_accuracy(without)} == {"small"}
    assert small_rows(without) == small_rows(with_it)


def test_nothing_of_a_large_side_travels(runs: tuple[Path, Path]):
    up, down = ({}, {})
    for folder in runs:
        summary = json.loads((folder / "summary.json").read_text())
        up[folder.name], down[folder.name] = summary["bytes_up"], summary["bytes_down"]
    assert up["without"] < up["with"] and down["without"] < down["with"]


def test_an_interrupted_run_goes_on_to_the_same_end(runs: tuple[Path, Path], tmp_path: Path):
    folder = tmp_path / "again"
    conduct(folder, config("none"), until=3)
    assert conduct(folder) == (runs[0] / "accuracy.csv").read_bytes()


def test_page_and_comparison_say_that_there_is_none(runs: tuple[Path, Path]):
    page = write_page(runs[0]).read_text(encoding="utf-8")
    assert "<dt>large model</dt>\n      <dd>none</dd>" in page
    assert "<dd>patches</dd>" in write_page(runs[1]).read_text(encoding="utf-8")
    run = read_run(runs[0])
    assert run.measures("large", "task-aware").final_accuracy is None
    assert run.predictors == ("small",) and "not part of this run" in page
    rows = compare_markdown(list(runs)).splitlines()
    cells = [row.split("|")[3:6] for row in rows if row.startswith("| replay")]
    assert cells[0][0] == cells[1][0]
    assert [cell.strip() for cell in cells[0][1:]] == ["–", "–"]
    assert "–" not in "".join(cells[1])


def test_the_cost_is_told_beforehand(runs: tuple[Path, Path]):
    found = estimate(config("none"))
    summary = json.loads((runs[0] / "summary.json").read_text())
    assert found.to_encode == 0
    assert found.bytes_up == pytest.approx(summary["bytes_up"], rel=0.001)
    assert found.bytes_down == pytest.approx(summary["bytes_down"], rel=0.001)
