"""Whole runs in which one client sends rubbish: they go on, and say so."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_runs import conduct, table, tiny

from fedbridge.federation import local
from fedbridge.report.run import result_table, write_page
from fedbridge.runs.run import Run
from fedbridge.wire import Evaluation, Message, Upload, encode

Change = Callable[[Upload], Upload]
CHANGES: dict[str, tuple[Change, str]] = {
    "no numbers": (
        lambda u: replace(u, state={k: v * torch.nan for k, v in u.state.items()}),
        "must be",
    ),
    "nothing to learn from": (lambda u: replace(u, seen=()), "seen: must hold a class, found none"),
    "another task": (lambda u: replace(u, task=1), "task, round: must be (2, 1), found (1, 1)"),
}


def spoil(patch: pytest.MonkeyPatch, change: Change) -> None:
    """Let one client send something else in the first round of its second task."""

    def spoilt(message: Message) -> bytes:
        if isinstance(message, Upload) and message.client == "client-2":
            message = change(message) if (message.task, message.round) == (2, 1) else message
        return encode(message)

    patch.setattr(local, "encode", spoilt)


@pytest.mark.parametrize("case", CHANGES)
def test_it_is_logged_counted_and_shown(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, said = CHANGES[case]
    spoil(monkeypatch, change)
    folder = tmp_path / "run"
    conduct(folder, tiny(), until=4)  # the round in question is the third of six
    conduct(folder)
    (event,) = (e for e in Run.open(folder).events() if e["kind"] == "refused")
    assert (event["task"], event["round"], event["client"]) == (2, 1, "client-2")
    assert event["reason"].startswith("'client-2': ") and said in event["reason"]
    assert json.loads((folder / "summary.json").read_text())["refused"] == 1
    assert str(result_table(folder).title).endswith("seed 0, 1 message refused")
    assert "refused: 1." in write_page(folder).read_text()


def boastful(message: Message) -> bytes:
    """Let one client count more right items than there are, after its first task."""
    if isinstance(message, Evaluation) and (message.client, message.after_task) == ("client-2", 1):
        message = replace(message, rows=tuple((*row[:3], 99999, row[4]) for row in message.rows))
    return encode(message)


def test_measurements_that_cannot_be_are_left_out_and_all_else_stays(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "encode", boastful)
    folder = tmp_path / "run"
    found = conduct(folder, tiny()).splitlines()
    (event,) = (e for e in Run.open(folder).events() if e["kind"] == "refused")
    assert (event["task"], event["round"], event["client"]) == (1, 2, "client-2")
    assert "correct must be from 0 to" in event["reason"]
    assert json.loads((folder / "summary.json").read_text())["refused"] == 1
    others = [line for line in table(whole).splitlines() if not line.startswith(b"client-2,1,")]
    assert found == others and len(found) < len(table(whole).splitlines())
    assert "refused: 1." in write_page(folder).read_text()


def test_where_nothing_was_refused_nothing_is_said(whole: Path) -> None:
    assert json.loads((whole / "summary.json").read_text())["refused"] == 0
    assert str(result_table(whole).title).endswith("seed 0")
