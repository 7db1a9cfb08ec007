"""A run's events on disk: a line of JSON each, of which a crash may leave some that are none."""

import json
import os
from io import BufferedRandom
from pathlib import Path
from typing import Any, NamedTuple

from fedbridge.core.files import writing

Event = dict[str, Any]
LONGEST = 1e9  # seconds, which are thirty years: a later event has no time but a damaged one


class EventFile(NamedTuple):
    """What a file of events holds."""

    known: list[Event]
    """In the order in which they were written, each with its ``time`` and ``kind``."""
    unread: int
    """Lines that can be read as no event."""


def read_events(path: Path) -> EventFile:
    """Return all events; a last line torn by a kill is left out, others that are none counted."""
    lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
    torn = b"\0" in lines.pop()  # a kill leaves the beginning of a line, a power cut anything
    found = [_event(line) for line in lines]
    known = [event for event in found if event is not None]
    return EventFile(known, len(found) - len(known) + torn)


def unread(count: int) -> str:
    """Return the warning about lines that are no events."""
    lines = "1 line is no event" if count == 1 else f"{count} lines are no events"
    return f"events.jsonl: {lines} and left out; was the machine switched off?"


def append_event(path: Path, event: Event) -> None:
    """Write an event at the end; raise UserError where the system refuses."""
    line = json.dumps(event, allow_nan=False) + "\n"
    with writing(path), path.open("a+b") as file:
        _end_torn_line(file)
        file.write(line.encode())


def _event(line: bytes) -> Event | None:
    try:
        event = json.loads(line.strip(b"\0"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("kind"), str):
        return None
    return event if _is_time(event.get("time")) else None


def _is_time(when: object) -> bool:
    if isinstance(when, bool) or not isinstance(when, int | float):
        return False
    return 0 <= when <= LONGEST  # which no NaN is


def _end_torn_line(file: BufferedRandom) -> None:
    """Start a line for the next event: cut what a kill has left, end what a power cut has."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 1))
    if file.read() in (b"", b"\n"):
        return
    file.seek(0)
    whole, _, torn = file.read().rpartition(b"\n")
    if b"\0" in torn:
        file.write(b"\n")
    else:
        file.truncate(len(whole) + 1 if whole else 0)
