"""The page of results holds what the suites have written; suites can be run as they are shipped."""

import re
from collections import Counter
from types import ModuleType

import pytest
from documents import ROOT, read, script

from fedbridge.bench import jobs_of, load_suite

SUITES = sorted((ROOT / "configs" / "suites").glob("*.toml"))


@pytest.fixture(name="script")
def results_script() -> ModuleType:
    return script("results")


@pytest.mark.parametrize(
    ("document", "files"),
    [
        (
            "docs/results.md",
            [f"results/{s}/summary.md" for s in ("small", "controls", "wider", "ocr", "full")],
        ),
        (
            "docs/performance.md",
            [f"docs/benchmarks/{name}.md" for name in ("estimates", "overhead", "engines")],
        ),
    ],
)
def test_a_page_holds_what_was_measured(script, document, files):
    page = read(document)
    assert script.renewed(page) == page, "make results-page"
    assert [found[2] for found in script.MARKED.finditer(page)] == files


def test_links_of_the_page_resolve():
    page = re.sub(r"^```.*?^```", "", read("docs/results.md"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", page):
        assert (ROOT / "docs" / target.partition("#")[0]).exists(), target


def test_a_summary_is_included_with_links_that_count_from_docs(script, tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    (tmp_path / "results" / "own").mkdir(parents=True)
    summary = tmp_path / "results" / "own" / "summary.md"
    summary.write_text("## Suite own\n\n![bars](a-b.svg) [paper](https://arxiv.org/abs/1) \\1\n")
    monkeypatch.setattr(script, "ROOT", tmp_path)
    monkeypatch.setattr(script, "DOCS", tmp_path / "docs")
    monkeypatch.setattr(script, "PAGES", ["results.md"])
    page = tmp_path / "docs" / "results.md"
    begin, end = (f"<!-- {word} results/own/summary.md -->" for word in ("begin", "end"))
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    script.main()
    text = page.read_text()
    links = "![bars](../results/own/a-b.svg) [paper](https://arxiv.org/abs/1) \\1"
    assert text == f"before\n{begin}\n\n## Suite own\n\n{links}\n\n{end}\nafter\n"
    assert script.renewed(text) == text
    summary.unlink()
    assert "has not been run yet" in script.renewed(text)


def test_the_overview_by_hand(script, monkeypatch):
    own, bound = ("fonts", "fedbridge"), ("fonts", script.OWN)
    finals = {(*own, "small"): 0.7, (*own, "large"): 0.6, (*own, "together"): 0.8}
    finals |= {("fonts", "without OBOD", "small"): 0.69, ("fonts", "replay", "small"): 0.65}
    finals |= {("fonts", "GLFC", "small"): 0.66, ("fonts", "GLFC", "large"): 0.99}
    finals |= {("fonts", "analytic head", "large"): 0.78, ("fonts", "analytic head", "small"): 0.9}
    bounds = {(*bound, "together"): 0.81, ("fonts", script.POOLED, "together"): 0.9}
    monkeypatch.setattr(script, "_finals", lambda suite: bounds if suite == "controls" else {})
    suite = load_suite(SUITES[0].parent / "small.toml")
    suite = suite.model_copy(update={"scenario": suite.scenario[:1]})
    # GLFC is no large side, and the analytic head no small model
    expected = ("fonts", "70.0", "+4.0", "60.0", "80.0", "+2.0", "−1.0", "88.9 %", "+1.0", "–")
    assert script._lines(suite, finals) == [expected]


def test_the_page_opens_with_an_overview_of_what_the_suites_say(script):
    page = read("docs/results.md")
    overview = script.OVERVIEW.search(page)
    assert page.index("## ") > overview.end()
    row = r"^\| ([\w-]+) \| ([\d.]+) \|.*?\| ([\d.]+) \| ([\d.]+) \|"
    rows = re.findall(row, overview[0], re.MULTILINE)
    assert len(rows) == 7
    for scenario, small, _, together in rows:
        ours = page.split(f"\n### {scenario}\n")[1].split("| fedbridge |")[1].splitlines()[0]
        means = re.findall(r"([\d.]+) ±", ours)
        assert (small, together) == (means[0], means[2])
    assert page.count(script.LEGEND) == 1


WANTED = {
    "small": {"ours", "part", "baseline"},
    "controls": {"ours", "part", "bound", "equal"},
}
"""What judges ours in a suite that leaves the rest to another."""


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_every_suite_can_be_run_as_it_is(path, tmp_path):
    suite = load_suite(path)
    jobs = jobs_of(path, suite, tmp_path)
    assert len({job.folder for job in jobs}) == len(jobs)
    assert path.read_text(encoding="utf-8").startswith("# ")
    roles = {method.role for method in suite.method}
    if path.stem == "tuning":  # chooses, and judges nobody
        assert roles == {None} and suite.seeds == (0,)
        assert {job.config.scenario.measure for job in jobs} == {"validation"}
        trials = Counter(method.name.partition(",")[0] for method in suite.method)
        assert set(trials.values()) == {5}
        return
    assert [method.role for method in suite.method].count("ours") == 1
    if path.stem == "parts":
        assert roles == {"ours", "part"}
    elif path.stem != "smoke":
        assert len(suite.seeds) >= 3
        assert WANTED.get(path.stem, {"ours", "part", "baseline", "bound"}) <= roles


def test_the_suite_that_decides_and_its_controls_share_scenarios_seeds_and_ours(tmp_path):
    folder = SUITES[0].parent
    small, controls = (load_suite(folder / f"{name}.toml") for name in ("small", "controls"))
    assert small.scenario == controls.scenario and small.seeds == controls.seeds
    assert small.method[0] == controls.method[0] and len(small.method) == 12


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_methods_of_a_suite_share_what_is_not_theirs(path, tmp_path):
    def split(job):
        return job.config.scenario.model_dump(exclude={"history"})

    jobs = jobs_of(path, load_suite(path), tmp_path)
    for scenario in {job.scenario.name for job in jobs}:
        alike = [job for job in jobs if job.scenario.name == scenario]
        assert all(split(job) == split(alike[0]) for job in alike)
        assert all(job.config.data.name == alike[0].config.data.name for job in alike)
        whole = [job for job in alike if job.method.role != "part"]  # what a part changes is its
        assert all(job.config.data == whole[0].config.data for job in whole)
        memories = {getattr(job.config.learner, "memory", None) for job in whole}
        assert len(memories - {None}) == 1  # all that rehearse keep equally many exemplars
