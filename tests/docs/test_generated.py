"""What scripts write into docs/ is what they would write now."""

import re

import pytest
from documents import ROOT, read, script

REFERENCE = script("reference").pages()
FIGURES = script("concept_figures").figures()
OKABE_ITO = {"#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442"}


@pytest.mark.parametrize("document", REFERENCE)
def test_reference_is_not_stale(document):
    assert read(document) == REFERENCE[document], "make reference"


def test_reference_names_every_setting_with_its_default():
    settings = read("docs/reference/config.md")
    for row in (
        "| `training.epochs` | integer at least 1 | `2` |",
        '| `large.tuning` | `"none"`, `"lora"` | `"none"` |',  # of prototypes
        '| `large.tuning` | `"none"`, `"pool"` | `"none"` |',  # of tail anchors
        "| `data.path` | text | required |",
        "| `data.hub.side` | integer at least 32 | `96` |",
    ):
        assert row in settings


def test_reference_says_of_every_setting_what_it_is():
    rows = [line for line in read("docs/reference/config.md").splitlines() if "`" in line[:4]]
    bare = [row for row in rows if row.endswith("|  |")]
    named = re.compile(r"\| `(learner\.name|fusion\.name|large\.head|data\.kind)` ")
    assert len(rows) > 100 and all(named.match(row) for row in bare)


def test_reference_says_of_every_parameter_what_it_is():
    rows = [line for line in read("docs/reference/cli.md").splitlines() if line.startswith("| `")]
    assert len(rows) > 30
    assert [row for row in rows if re.match(r"\| `[^`]+` \|  \|", row)] == []


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_not_stale(name):
    assert read(f"docs/figures/{name}") == FIGURES[name], "make reference"


@pytest.mark.parametrize("name", FIGURES)
def test_figure_can_be_read_by_all(name):
    text = FIGURES[name]
    assert "<title>" in text and "prefers-color-scheme: dark" in text
    coloured = set(re.findall(r'<rect[^>]* fill="([^"]+)"', text))
    assert {colour.lower() for colour in coloured} <= OKABE_ITO


def test_every_figure_is_shown():
    shown = "".join(read(f"docs/{page}.md") for page in ("index", "concepts"))
    drawn = {path.name for path in (ROOT / "docs" / "figures").iterdir()}
    assert drawn == set(FIGURES) == set(re.findall(r"figures/([\w-]+\.svg)", shown))
