import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fedbridge.core.errors import UserError
from fedbridge.report.run.folder import read_run
from fedbridge.runs.run import Run

MakeRun = Callable[..., Path]


def test_a_finished_run_is_read_whole(make_run: MakeRun) -> None:
    run = read_run(make_run())
    assert run.summary is not None
    assert run.clients == ("a", "b")
    assert run.measures("large", "task-aware").forgetting == 0.0
    assert run.measures("huge", "task-aware").final_accuracy is None
    assert run.environment["seed"] == 0
    assert [(r.task, r.bytes_up) for r in run.events.rounds] == [(1, 2048), (2, 2048), (3, 2048)]
    assert len(run.events.lessons) == 6
    assert "[scenario]" in run.config_text


def test_an_unfinished_run_has_no_summary_but_its_clients(make_run: MakeRun) -> None:
    run = read_run(make_run(finished=False))
    assert run.summary is None
    assert run.clients == ("a", "b")


def test_a_round_that_was_repeated_counts_as_it_last_was(make_run: MakeRun) -> None:
    folder = make_run()
    with (folder / "events.jsonl").open("a", encoding="utf-8") as file:
        again = {"time": 9, "kind": "round", "task": 2, "round": 1, "bytes_up": 7, "bytes_down": 8}
        file.write(json.dumps(again) + "\n")
    assert [r.bytes_up for r in read_run(folder).events.rounds] == [2048, 7, 2048]


def test_a_refusal_that_was_repeated_counts_once(make_run: MakeRun) -> None:
    folder = make_run()
    for number in (1, 2, 1):
        what = {"task": number, "round": 1, "client": "a", "reason": "a: gram: must ..."}
        Run.open(folder).event("refused", **what)
    assert [(r.task, r.client) for r in read_run(folder).events.refusals] == [(1, "a"), (2, "a")]


def test_lines_that_are_no_events_are_counted_in_an_alarm(make_run: MakeRun) -> None:
    folder = make_run()
    rounds = read_run(folder).events.rounds
    with (folder / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write('\0\0\n{"time": 1, "kind": "round"}\n')  # the second is of no task
    found = read_run(folder).events
    assert found.rounds == rounds
    assert [alarm.message for alarm in found.alarms][-1].startswith("events.jsonl: 2 lines are no")


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.toml"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("summary.json", "{", r"summary\.json: .*Invalid JSON"),
        ("summary.json", '{"method": "m"}', r"summary\.json: seed: Field required"),
        ("environment.json", "[1]", r"environment\.json: .*an object"),
        ("accuracy.csv", "client\n", r"accuracy\.csv: the first line"),
    ],
)
def test_damage_names_the_file_and_the_field(
    make_run: MakeRun, name: str, text: str, message: str
) -> None:
    folder = make_run()
    (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_run(folder)
