"""A run's events: whatever a crash has made of the file, what can be read is read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbridge.core.events import append_event, read_events

ONE, TWO = {"time": 1.5, "kind": "a"}, {"time": 2, "kind": "b", "message": "x\u2028y"}
WHOLE = json.dumps(ONE).encode() + b"\n"
DAMAGED = [
    b"",
    b"{broken",
    b"[1]",
    b'"text"',
    b"\xff\xfe",
    b"\0\0\0\0",
    b'{"kind": "a"}',
    b'{"time": 1}',
    b'{"time": 1, "kind": 3}',
    b'{"time": "x", "kind": "a"}',
    b'{"time": true, "kind": "a"}',
    b'{"time": -1, "kind": "a"}',
    b'{"time": NaN, "kind": "a"}',
    b'{"time": 1e999, "kind": "a"}',
    b'{"time": 1' + b"0" * 400 + b', "kind": "a"}',
    b'{"time": 1' + b"0" * 5000 + b', "kind": "a"}',
    b'{"time": 1, "kind": ' + 10_000 * b"[" + 10_000 * b"]" + b"}",
]


@pytest.mark.parametrize("line", DAMAGED, ids=range(len(DAMAGED)))
def test_a_line_that_is_no_event_is_counted_and_hides_no_other(tmp_path, line):
    path = tmp_path / "events.jsonl"
    path.write_bytes(WHOLE + line + b"\n" + WHOLE)
    assert read_events(path) == ([ONE, ONE], 1)
    append_event(path, TWO)
    assert read_events(path) == ([ONE, ONE, TWO], 1)


def test_zeros_that_a_power_cut_left_stay_counted(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(WHOLE + 4096 * b"\0")
    assert read_events(path) == ([ONE], 1)
    append_event(path, TWO)
    assert read_events(path) == ([ONE, TWO], 1)


def test_an_event_behind_zeros_is_read(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(64 * b"\0" + WHOLE)
    assert read_events(path) == ([ONE], 0)


def test_the_beginning_of_a_line_is_no_damage(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(WHOLE + WHOLE[:9])
    assert read_events(path) == ([ONE], 0)
    path.write_bytes(WHOLE[:9])
    assert read_events(path) == ([], 0)


def test_no_file_holds_no_events(tmp_path):
    assert read_events(tmp_path / "events.jsonl") == ([], 0)


@given(st.binary(max_size=200))
def test_whatever_stands_in_the_file_the_next_event_is_read(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("events") / "events.jsonl"
    path.write_bytes(WHOLE + content)
    append_event(path, TWO)
    known = read_events(path).known
    assert (known[0], known[-1]) == (ONE, TWO)
