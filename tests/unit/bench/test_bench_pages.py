"""What is written about a suite: tables, summary and figures, by hand from runs that look done."""

import csv
import re
import shutil
from xml.etree import ElementTree

import pytest
from suites import SUITE, climbing, finish, method

from fedbridge.bench.pages import write_results
from fedbridge.core.errors import UserError
from strangers import with_metric

METHODS = (
    method("bridge", "ours")
    + method("plain|b <i>", "baseline", 'set = ["learner.name=finetune"]')
    + method("head", "baseline", 'reads = ["large"]')
    + method("joint", "bound", 'set = ["scenario.history=own"]')
)
TEXT = SUITE[: SUITE.index("[[method]]")] + METHODS
OURS = climbing(small=[58, 60], large=[68, 70], together=[78, 80])
PLAIN = climbing(small=[38, 42], large=[68, 70], together=[68, 69])
HEAD = climbing(small=[10, 12], large=[68, 71])
JOINT = climbing(small=[70, 72], large=[81, 82], together=[81, 82])


@pytest.fixture
def made(bench):
    grid = bench(TEXT)
    brought = {"bridge": OURS, "plain|b <i>": PLAIN, "head": HEAD, "joint": JOINT}
    for name, finals in brought.items():
        grid.finish(name, *finals)
    return grid


def page(made):
    return write_results(made.results, made.jobs()).read_text(encoding="utf-8")


def rows(text):
    """Return the cells of every row of every table."""
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    split = [re.split(r"(?<!\\)\|", line.strip("|\n")) for t in tables for line in t.splitlines()]
    return [[cell.strip() for cell in cells] for cells in split]


def row(text, first, table=0):
    """Return what stands behind a method's name in one of the tables that begin with it."""
    return [cells[1:] for cells in rows(text) if cells[0] == first][table]


def test_accuracies_and_significance(made):
    text = page(made)
    # seeds are a point asunder: a deviation of 1; the means over clients are 59, 69, 79 and so on
    assert row(text, "bridge") == [
        "ours", "**60.0 ± 1.0**", "70.0 ± 1.0", "**80.0 ± 1.0**", "", "",
    ]  # fmt: skip
    # every pair is better: 2/64, times the 2 methods whose small and together count
    assert row(text, r"plain\|b &lt;i>") == [
        "baseline", "41.0 ± 1.0", "70.0 ± 1.0", "69.5 ± 1.0", "0.062 (6)", "0.062 (6)",
    ]  # fmt: skip
    # what does not speak for a method is in brackets, and never best; a bound is never best
    assert row(text, "head") == [
        "baseline", "(12.0 ± 1.0)", "**70.5 ± 1.0**", "(12.0 ± 1.0)", "", "",
    ]  # fmt: skip
    assert row(text, "joint")[:4] == ["bound", "72.0 ± 1.0", "82.5 ± 1.0", "82.5 ± 1.0"]


def test_keeping_and_costs(made):
    text = page(made)
    # seed 1: KR_t is the mean of 58/68 and 60/70, 85.50 %; 85.71 and 85.91 in the others
    assert row(text, "bridge", 1) == [
        "**10.0 ± 0.0**", "**10.0 ± 0.0**", "**−10.0 ± 0.0**", "**+5.0 ± 0.0**",
        "**85.7 ± 0.2**", "116.7 ± 0.3",
    ]  # fmt: skip
    # five more items are right with the task given; 3 and 1.5 million bytes, 20 and 10 seconds
    assert row(text, "bridge", 2) == [
        "**65.0 ± 1.0**", "75.0 ± 1.0", "**85.0 ± 1.0**", "**3.0**", "**1.5**", "**30.0**",
    ]  # fmt: skip


def test_bars_stand_first_with_what_is_met(made):
    text = page(made)
    # p is 2 * 2/64, forgetting is no less than elsewhere, joint has 82.5 large and together
    assert "### Bars: 4 of 8 met" in text
    assert text.index("### Bars") < text.index("### first")
    (line,) = [cells for cells in rows(text) if cells[1].startswith("together reaches joint, to")]
    assert line == [
        "first", "together reaches joint, together", "≥ 0.0 points",
        "−2.5 to joint (together 82.5)", "**no**",
    ]  # fmt: skip


def test_table_has_a_row_for_every_predictor_and_protocol(made):
    page(made)
    with (made.results / "table.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 4 * 3 * 3 * 2
    (line,) = [
        line
        for line in lines
        if (line["method"], line["seed"], line["predictor"]) == ("plain|b <i>", "2", "large")
        and line["protocol"] == "task-aware"
    ]
    # 69 and 71 of 100 in the second seed, and 5 more with the task given
    assert float(line["final_accuracy"]) == pytest.approx(0.75)
    assert float(line["average_incremental_accuracy"]) == pytest.approx(0.80)
    assert float(line["forgetting"]) == pytest.approx(0.10)
    # small, too, has five more: 74/44 and 76/48
    assert float(line["spatial_retention"]) == pytest.approx((74 / 44 + 76 / 48) / 2)
    costs = [line[name] for name in ("bytes_up", "bytes_down", "seconds", "peak_memory_mib")]
    assert costs == ["3000000", "1500000", "30.0", "100.5"]
    (small,) = {line["spatial_retention"] for line in lines if line["predictor"] == "small"}
    assert small == ""


def test_clients_are_what_pairs_are_made_of(made):
    page(made)
    with (made.results / "clients.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 4 * 3 * 2 * 3 * 2
    finals = {
        (line["seed"], line["client"]): float(line["final_accuracy"])
        for line in lines
        if (line["method"], line["predictor"]) == ("bridge", "together")
        and line["protocol"] == "class-incremental"
    }
    assert finals == {
        ("1", "a"): 0.78, ("1", "b"): 0.80, ("2", "a"): 0.79,
        ("2", "b"): 0.81, ("3", "a"): 0.80, ("3", "b"): 0.82,
    }  # fmt: skip


def test_the_same_runs_give_the_same_files(made):
    page(made)
    before = {path.name: path.read_bytes() for path in made.results.iterdir() if path.is_file()}
    assert sorted(before) == [
        "clients.csv", "first-accuracy.svg", "first-forgetting.svg", "first-tasks.svg",
        "summary.md", "table.csv",
    ]  # fmt: skip
    page(made)
    assert before == {p.name: p.read_bytes() for p in made.results.iterdir() if p.is_file()}


def test_tables_are_whole_and_figures_are_there(made):
    text = page(made)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table
        assert re.fullmatch(r"\|(---:?\|)+", table.splitlines()[1])
    images = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(images) == 3
    for name in images:
        svg = ElementTree.parse(made.results / name).getroot()
        assert svg.tag.endswith("svg")
        assert "bridge" in "".join(svg.itertext())
    assert "\n\n\n" not in text and text.endswith("\n")
    assert not list(made.results.glob(".*.part"))


def test_there_is_a_panel_for_every_method_and_no_other(made):
    page(made)
    four = (made.results / "first-tasks.svg").read_text()
    assert len(re.findall(r'<g id="axes_\d+">', four)) == 4 and "joint" in four
    for job in made.jobs()[-3:]:
        (job.folder / "summary.json").unlink()
    page(made)
    three = (made.results / "first-tasks.svg").read_text()
    assert len(re.findall(r'<g id="axes_\d+">', three)) == 3 and "joint" not in three


def test_runs_that_are_missing_are_named(bench):
    grid = bench(TEXT)
    grid.finish("bridge", *OURS[:1])
    text = page(grid)
    assert "1 of 12 runs are finished; methods that lack some are marked" in text
    # of one seed there is no deviation, and nobody to be compared with
    assert row(text, "bridge (1 of 3)") == [
        "ours", "**59.0**", "**69.0**", "**79.0**", "", "",
    ]  # fmt: skip
    assert "### Bars" not in text


def test_a_run_of_other_settings_is_not_reported(made, bench):
    other = bench(TEXT.replace('reads = ["large"]', 'set = ["learner.memory=1"]'))
    text = page(other)
    assert "| head" not in text
    assert "| joint |" in text


def test_a_method_that_does_not_run_everywhere(bench, tmp_path):
    more = '[[scenario]]\nname = "second"\nconfig = "base.toml"\nset = ["data.name=digits"]\n'
    grid = bench(TEXT + more + method("extra", "part", 'only = ["second"]'))
    grid.finish("bridge", *OURS)
    page(grid)
    shutil.rmtree(grid.results / "runs")
    grid.finish("extra", *OURS, scenario="second")
    grid.finish("bridge", *OURS, scenario="second")
    text = page(grid)
    assert "### second" in text and "### first" not in text
    assert not list(grid.results.glob("first-*")) and len(list(grid.results.glob("second-*"))) == 3
    assert "| second | extra costs small | ≥ 1.0 points | 0.0 | **no** |" in text


def test_a_method_without_an_fm_has_no_other_predictors(bench):
    grid = bench(TEXT)
    grid.finish("bridge", *OURS)
    grid.finish("plain|b <i>", *PLAIN)
    for job in grid.jobs():
        if job.method.name.startswith("plain"):
            table = job.folder / "accuracy.csv"
            lines = table.read_text().splitlines(keepends=True)
            table.write_text("".join([lines[0], *(line for line in lines if ",small," in line)]))
    text = page(grid)
    name = r"plain\|b &lt;i>"
    assert row(text, name) == ["baseline", "41.0 ± 1.0", "–", "–", "0.031 (6)", ""]
    # KR_t of seed 1: the mean of 38/48 and 42/52, 79.97 %; 80.36 and 80.74 in the others
    assert row(text, name, 1)[-2:] == ["80.4 ± 0.4", "–"]
    assert "+39.0 over plain" in text  # together against its small: 80 - 41


def test_nothing_to_report(bench):
    grid = bench(TEXT)
    with pytest.raises(UserError, match="no run of this suite is finished"):
        page(grid)
    assert not grid.results.exists()


def test_a_damaged_run_is_named(made):
    job = made.jobs()[0]
    (job.folder / "accuracy.csv").write_text("nonsense\n")
    with pytest.raises(UserError, match=r"first--bridge--1/accuracy\.csv"):
        page(made)


def test_an_undefined_metric_is_empty(bench):
    grid = bench(TEXT)
    # with nothing right in the first task there is no ratio to what was right then
    finish(grid.jobs()[0], {"small": [0, 0], "lost": [0, 0]})
    text = page(grid)
    with (grid.results / "table.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    undefined = {line["temporal_retention"] for line in lines if "class-" in line["protocol"]}
    assert undefined == {""}
    assert row(text, "bridge (1 of 3)", 1)[-2:] == ["–", "–"]


def test_a_metric_of_ones_own_is_a_column_whose_better_end_is_bold(made):
    for job in made.jobs():
        value = 0.2 if job.method.name == "bridge" else 0.3
        with_metric(job.folder, "nowhere:OWN", value, better="lower")
    text = page(made)
    assert row(text, "bridge", table=1)[-1] == "**20.0 ± 0.0**"
    assert row(text, r"plain\|b &lt;i>", table=1)[-1] == "30.0 ± 0.0"
    assert row(text, "head", table=1)[-1] == "(30.0 ± 0.0)"  # it is no method of small models
    with (made.results / "table.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    main = {line["nowhere:OWN"] for line in lines if line["protocol"] == "class-incremental"}
    assert main == {"0.2", "0.3", ""}
