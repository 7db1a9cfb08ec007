"""Notebooks lie in the repository without results, and what they show is looked at."""

import json

import nbformat
import pytest
from documents import ROOT, script
from nbformat.v4 import new_code_cell, new_notebook, new_output

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_lies_without_results(path):
    nbformat.validate(nbformat.read(path, as_version=4))
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None


def test_results_must_be_shown_and_nothing_complained_of():
    """``make docs`` executes the notebooks and looks at what they show."""
    faults = script("notebooks").faults
    table = new_output("display_data", data={"text/markdown": "| a |"})
    line, complaint = (new_output("stream", name=name, text="x") for name in ("stdout", "stderr"))
    for outputs, wrong in (
        ([table, line, line], []),
        ([line, line, line], ["must show a picture or a table, found none"]),
        ([table, line], ["must show 3 results, found 2"]),
        ([table, line, complaint], ["must not complain, found 'x'"]),
    ):
        assert faults(new_notebook(cells=[new_code_cell(outputs=outputs)])) == wrong


def test_there_are_two():
    assert [path.stem for path in NOTEBOOKS] == ["first-experiment", "own-model-and-data"]
