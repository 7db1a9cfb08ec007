"""Notebooks run, and lie in the repository without results."""

import json

import nbformat
import pytest
from documents import ROOT, script

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_lies_without_results(path):
    nbformat.validate(nbformat.read(path, as_version=4))
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path):
    cells = script("notebooks").executed(path).cells
    written = [o for cell in cells for o in cell.get("outputs", ())]
    assert len(written) >= 3 and all(o.get("name") != "stderr" for o in written)
    assert any({"image/svg+xml", "text/markdown"} & set(o.get("data", ())) for o in written)


def test_there_are_two():
    assert [path.stem for path in NOTEBOOKS] == ["first-experiment", "own-model-and-data"]
