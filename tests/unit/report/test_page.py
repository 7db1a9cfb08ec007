import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fedbridge.core.errors import UserError
from fedbridge.report.run.metric_words import METRICS
from fedbridge.report.run.page import write_page
from fedbridge.runs.run import Run, exclusive_lock, read_accuracy

MakeRun = Callable[..., Path]
VOID = {"meta", "br", "img", "hr", "input", "link"}
EVIL = "<script>alert('x')</script>"


class Reader(HTMLParser):
    """Check that tags are balanced and keep what a test asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.labels: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.labels += (
            [found["aria-label"] or ""] if tag == "svg" and "aria-hidden" not in found else []
        )
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href", "action")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag
        self.text += " "  # neighbouring cells are words apart

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data


def read(folder: Path) -> Reader:
    path = write_page(folder)
    assert path == folder / "report.html"
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader.open == []
    return reader


def words(reader: Reader) -> str:
    return " ".join(reader.text.split())


def test_the_page_is_whole_and_needs_nothing_else(make_run: MakeRun) -> None:
    folder = make_run()
    page = read(folder)
    source = (folder / "report.html").read_text(encoding="utf-8")
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert "img" not in page.tags
    assert page.links
    assert all(link.startswith("#") for link in page.links)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)
    addresses = re.findall(r'(\S+)="https?://', source)
    assert set(addresses) <= {"xmlns"}
    assert "@import" not in source
    assert "default-src 'none'" in source
    assert set(re.findall(r"url\((.)", source)) == {"#"}
    assert page.labels
    assert all(page.labels)


def test_the_page_has_the_right_numbers(make_run: MakeRun) -> None:
    text = words(read(make_run()))
    # final accuracies as in test_tables; together: a 7, 8, 9 and b 6, 7, 8 of ten
    assert "small 55.0 %" in text
    assert "large 55.0 %" in text
    assert "together 75.0 %" in text
    assert "20.0 points above the better one" in text
    assert "small 55.0 65.0 30.0 −30.0 0.0" in text
    assert "small 65.0 75.0 30.0 −30.0 0.0" in text
    assert "6.0 KiB and 3.0 KiB in all" in text
    assert "3 min 24 s in all, at most 12.5 MiB" in text
    assert "75.0 % over time what the small models still know of the first task" in text
    assert "– across clients how much the large side knows" in text
    assert "a holds few items (2 times)" in text
    assert "a cnn b cnn" in text
    assert "[scenario]" in text
    assert "not finished" not in text


def test_every_number_has_a_sentence_that_stands_on_the_page(make_run: MakeRun) -> None:
    text = words(read(make_run()))
    for header in METRICS.values():
        assert text.count(f"{header} ") > 1  # above the column, and where it is explained
    assert "forgetting how far a task lies at the end below its best before" in text
    assert "Below 0, tasks ended better than they had ever been" in text
    assert "mean over clients of A(T, 1) / A(1, 1), KR_t of arXiv 2312.16475" in text
    assert "above, the task got better after it had been learnt" in text


@pytest.mark.parametrize(
    ("together", "words_found"),
    [(0.7, "are level with the better one"), (0.65, "lie 5.0 points below the better one")],
)
def test_the_gain_is_put_into_words(make_run: MakeRun, together: float, words_found: str) -> None:
    finals = {"small": 0.6, "large": 0.7, "together": together}
    assert words_found in words(read(make_run(finals=finals)))


def test_the_figures_say_what_they_show(make_run: MakeRun) -> None:
    labels = " ".join(read(make_run()).labels)
    assert "small: 75.0 % after task 1, 65.0 % after task 2, 55.0 % after task 3" in labels
    assert "b: accuracy after each task. small: 70.0 % after task 1" in labels
    assert "own earlier models of a: 90.0 %" in labels
    assert "b to a: 20.0 %" in labels
    assert "6.0 KiB up and 3.0 KiB down" in labels
    assert "learn 3 min 20 s, fuse 4.2 s" in labels


def test_clients_with_fewer_tasks_stay_in_the_mean_with_their_last_value(make_run: MakeRun) -> None:
    folder = make_run(finished=False)
    rows = read_accuracy(folder)
    Run.open(folder).write_accuracy(
        [row for row in rows if row.client == "a" or max(row.after_task, row.on_task) <= 2]
    )
    labels = " ".join(read(folder).labels)
    # after their last tasks: a 4, 6 and 8 of ten, b 5 and 7
    assert "small: 75.0 % after task 1, 65.0 % after task 2, 60.0 % after task 3" in labels
    assert (
        "b: accuracy after each task. small: 70.0 % after task 1, 60.0 % after task 2; large"
        in labels
    )


def test_the_facts_say_what_kind_of_tasks_there_are(make_run: MakeRun) -> None:
    scenario = {"tasks": 3, "repeats": 1, "kind": "domain-incremental"}
    text = words(read(make_run(settings={"scenario": scenario})))
    assert "each 4 tasks of 2 classes, by domain, 1 of them repeated" in text


def test_tasks_are_told_as_the_data_have_them(make_run: MakeRun) -> None:
    folder = make_run(settings={"scenario": {"tasks": 3, "kind": "given"}})
    text = words(read(folder))
    assert "each up to 3 tasks, as the data have them large model" in text
    assert "2 classes" not in text  # the default is no fact
    tasks = {"a": {1: 4, 3: 1}, "b": {2: 3, 3: 3}}
    Run.open(folder).event("data", name="d", items=9, classes=7, fingerprint="f", tasks=tasks)
    text = words(read(folder))
    assert "each 2 tasks of 1 to 4 classes large model" in text
    assert "a cnn 2 tasks of 1 to 4 classes b cnn 2 tasks of 3 classes" in text


def test_the_same_run_gives_the_same_page(make_run: MakeRun) -> None:
    folder = make_run()
    assert write_page(folder).read_bytes() == write_page(folder).read_bytes()
    assert not list(folder.glob(".*"))


def test_names_from_users_are_text(make_run: MakeRun) -> None:
    page = read(make_run(clients=(EVIL, '" onload="x'), settings={"name": EVIL}))
    assert "script" not in page.tags
    assert EVIL in page.text
    assert any(label.startswith(EVIL) for label in page.labels)


def after_two_tasks(folder: Path) -> Path:
    """Take back what was measured after the third task."""
    rows = read_accuracy(folder)
    Run.open(folder).write_accuracy([row for row in rows if row.after_task <= 2])
    return folder


def test_an_unfinished_run_shows_what_is_known(make_run: MakeRun) -> None:
    text = words(read(after_two_tasks(make_run(finished=False))))
    assert "This run is not finished" in text
    assert "Accuracy after task 2 of 3, stopped at step 3 of 6, on the test items" in text
    assert "small 65.0 %" in text  # a 6, 8 and b 5, 7 of ten
    assert "small 65.0 70.0 20.0 −20.0 0.0" in text
    assert "small 75.0 80.0 20.0 −20.0 0.0" in text  # one more right with the task given
    # the first task: a 6 of 8, b 5 of 7; the newest: large 6 and 5, small 8 and 7
    assert "73.2 % over time" in text and "73.2 % across clients" in text
    assert "accuracy so far" in text and "final accuracy" not in text
    assert "Time by phase" not in text
    assert "Who taught whom" in text
    assert "Go on with it: fedbridge resume" in text


def test_a_run_that_is_at_work_or_has_failed_says_so(make_run: MakeRun) -> None:
    folder = make_run(finished=False)
    Run.open(folder).event("aborted", message="large.model: must be another")
    text = words(read(folder))
    assert "This run has ended by an error large.model: must be another Step 3 of 6 is done" in text
    with exclusive_lock(folder):
        text = words(read(folder))
    assert "This run is being carried out Step 3 of 6 is done" in text
    assert "Go on with it" not in text and "must be another Step" not in text


def test_a_run_that_has_only_begun(make_run: MakeRun) -> None:
    folder = make_run(finished=False)
    (folder / "accuracy.csv").unlink()
    (folder / "events.jsonl").unlink()
    page = read(folder)
    assert "no accuracy has been measured yet" in words(page)
    assert "svg" not in page.tags


def test_one_client_one_task_no_lessons(make_run: MakeRun) -> None:
    text = words(read(make_run(clients=("only",), tasks=1)))
    assert "small 80.0 80.0 – – –" in text
    assert "Who taught whom" not in text
    assert "Each client" not in text


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.toml"):
        write_page(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_importing_the_report_is_cheap() -> None:
    code = (
        "import sys; import fedbridge.report.run; "
        "print([m for m in ('matplotlib', 'jinja2', 'rich') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_refused_uploads_are_listed_with_their_reasons(make_run: MakeRun) -> None:
    folder = make_run()
    assert "What went wrong Nothing: no message was refused" in words(read(folder))
    Run.open(folder).event("refused", task=2, round=1, client=EVIL, reason=f"{EVIL}: seen: must")
    page = read(folder)
    assert "refused: 1." in words(page)
    assert f"{EVIL} refused task 2, round 1 {EVIL}: seen: must" in words(page)
    assert "script" not in page.tags


def test_heat_maps_are_tables_of_the_mean_and_of_each_client(make_run: MakeRun) -> None:
    text = words(read(make_run()))
    # the mean of a (8, 6, 4 of ten and so on) and b (7, 5, 3) after the first task and at the end
    assert "after 1 2 3 none 10 10 10 1 75 10 2 55 75 10 3 35 55 75 vs best −40 −20" in text
    assert "The same for each client a small after 1 2 3 none 10 10 10 1 80 10 2 60 80 10" in text


def test_what_fusion_brought_is_told_where_clients_said_so(make_run: MakeRun) -> None:
    folder = make_run()
    text = words(read(folder))
    assert "What it brought is not known" in text
    assert "a 2 – – – b 2 – – –" in text
    for task, percent, own, taken in ((2, 50, 12, 15), (3, 0, 10, 10)):
        counts = {"percent": percent, "own": own, "taken": taken, "n": 20}
        Run.open(folder).event("accepted", task=task, client="a", **counts)
    page = read(folder)
    text = words(page)
    assert "a 2 1 +7.5 25.0 % b 2 – – –" in text
    assert "a 2 1 b 20.0, a@task-1 90.0 60.0 75.0 50" in text
    assert "a: +7.5 points on its validation items" in text


def test_the_shared_space_is_drawn_where_a_run_has_kept_it(make_run: MakeRun) -> None:
    folder = make_run()
    assert "Not shown: embeddings of single items stay with the clients" in words(read(folder))
    Run.open(folder).write_embeddings(
        {
            "explained": [0.5, 0.25],
            "classes": [EVIL, "y"],
            "anchors": [[0, 0], [1, 1]],
            "clients": {"a": [[0, 0.5, 0.5, 0.75]], "b": [[0, 0, 0, 0.25], [1, 1, 0, 1]]},
        }
    )
    page = read(folder)
    assert "script" not in page.tags
    assert "75.0 % of the variance" in words(page)
    assert f"class a b {EVIL} 0.75 0.25 y – 1.00" in words(page)


def test_a_damaged_picture_of_the_shared_space_is_told(make_run: MakeRun) -> None:
    folder = make_run()
    (folder / "embeddings.json").write_text('{"explained": [0.5]}')
    with pytest.raises(UserError, match=r"embeddings\.json"):
        write_page(folder)


def test_every_figure_has_a_table_beside_it(make_run: MakeRun) -> None:
    text = words(read(make_run()))
    assert "after task small large together 1 75.0 55.0 85.0 2" in text
    assert "task round seconds up down 1 1 2.0 s 2.0 KiB 1.0 KiB" in text
    assert "phase seconds learn 200.0 fuse 4.2" in text
