"""The page of a run as people see it: wide and narrow, light and dark, by mouse and by keyboard."""

from pathlib import Path
from typing import Any

import pytest
from seeing import faint, keep, overflow, unnamed
from visiting import Visit

from fedbridge.methods.files import parse_config
from fedbridge.report.run.page import write_page
from fedbridge.runs.run import Run
from fedbridge.runs.runner import Experiment
from run_folders import write_run

WINDOWS = [(1100, "light"), (1100, "dark"), (360, "light"), (360, "dark")]
LONG = "the-hospital-with-the-longest-name-of-all-in-the-whole-federation"
DIGITS: dict[str, Any] = {
    "name": "fedbridge",
    "data": {"name": "digits"},
    "scenario": {"clients": 3, "tasks": 3, "classes_per_task": 2, "train_per_class": 20},
    "large": {"model": "patches", "size": 16},
    "small": {"models": ["mlp"], "dimension": 32},
    "training": {"rounds": 1, "epochs": 3},
    "engine": {"workers": 0, "device": "cpu"},
}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Carry out a small run and return its page."""
    folder = tmp_path_factory.mktemp("real")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDBRIDGE_CACHE", str(folder / "cache"))
        run = Run.create(folder / "run", parse_config(DIGITS, "digits"))
        for _ in Experiment(run).run_steps():
            pass
    return write_page(run.folder)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of a run of many clients, tasks, long names and troubles."""
    names = (LONG, "b", *(f"client-{k}" for k in range(18)))
    folder = write_run(tmp_path_factory.mktemp("crowded") / LONG, clients=names, tasks=12)
    run = Run.open(folder)
    for name in names:
        run.event("late", client=name, exchange=3, reason=LONG * 5)
        run.event("taught", task=1, round=1, student=name, teacher="b", weight=0.5, agreement=0.5)
    points = [[k % 60, k * 0.37 % 1, k * 0.61 % 1, 0.5] for k in range(300)]
    run.write_embeddings(
        {
            "explained": [0.5, 0.25],
            "classes": [f"{LONG}-{k}" for k in range(60)],
            "anchors": [[k / 60, k / 60] for k in range(60)],
            "clients": {name: points for name in names[:9]},
        }
    )
    return write_page(folder)


@pytest.fixture(scope="module", params=["real", "crowded", "begun"])
def page_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of a real run, of a crowded one, and of one that has only begun."""
    if request.param == "begun":
        folder = write_run(tmp_path_factory.mktemp("begun") / "run", finished=False)
        return write_page(folder)
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
def test_nothing_is_too_wide_too_faint_or_without_a_name(
    page_file: Path, visit: Visit, width: int, scheme: str
) -> None:
    page = visit(page_file, width=width, scheme=scheme)
    keep(page, f"report-{page_file.parent.name[:8]}-{scheme}-{width}")
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert overflow(page) == []
    assert faint(page) == []
    assert unnamed(page) == []


def test_both_schemes_differ_and_follow_the_system(real: Path, visit: Visit) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    assert visit(real).evaluate(ground) == "rgb(245, 246, 248)"
    assert visit(real, scheme="dark").evaluate(ground) == "rgb(15, 19, 23)"


def test_every_part_is_reached_and_opened_by_keyboard(real: Path, visit: Visit) -> None:
    page = visit(real)
    wanted = page.locator("details").count()
    for _ in range(60):  # once around, past what is opened on the way
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('details:not([open]) > summary')"):
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            page.keyboard.press("Enter")
    assert page.locator("details[open]").count() == wanted == 9


def test_a_real_run_shows_all_that_it_has_to_show(real: Path, visit: Visit) -> None:
    page = visit(real)
    headings = page.locator("h2").all_inner_texts()
    assert [h for h in headings if h] == [
        "Results",
        "Accuracy over tasks",
        "Small, large and together",
        "Each client",
        "What is forgotten",
        "Who taught whom",
        "The shared space",
        "Bytes per round",
        "Time by phase",
        "Clients and models",
        "Knowledge retention",
        "What went wrong",
    ]
    assert page.locator("table.heat").count() == 3 * (1 + 3)
    assert page.locator("svg.space .dots use").count() > 2 * 20
    assert page.locator(".graph .node").count() == 3
    # every client chose how much of its fused model to take, and the page says what it brought
    assert page.locator(".graph .gain").count() == 3


def test_figures_say_in_words_what_they_show(real: Path, visit: Visit) -> None:
    page = visit(real)
    tree = page.locator("main").aria_snapshot()
    assert "Mean weight of the lessons: " in tree
    assert "Accuracy of small, mean over clients" in tree
    assert "Items in the shared space by client" in tree


def test_colours_are_never_alone(real: Path, visit: Visit) -> None:
    """What is told apart by colour differs in shape, dashes or words as well."""
    page = visit(real)
    shapes = page.locator(".legend").first.locator("use")
    names = [use.get_attribute("href") for use in shapes.all()]
    assert len(set(names)) == len(names) == 3
    dashes = page.evaluate(
        "[...document.querySelectorAll('svg[aria-label^=\"Accuracy after each task\"] path')]"
        ".filter(p => p.style.stroke.startsWith('var'))"
        ".map(p => getComputedStyle(p).strokeDasharray)"
    )
    assert len(set(dashes)) == 3
