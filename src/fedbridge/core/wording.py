"""How numbers and names are written, the same in the terminal and on every page."""

import math
from typing import Any

from fedbridge.core.legible import legible

UNKNOWN = "–"
ORDINARY = ("round", "taught", "accepted", "data", "joined")
"""Kinds of events that are no fault."""


def percent(value: float | None, signed: bool = False) -> str:
    """Return a fraction as a percentage with one decimal, ``signed`` with its sign."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    text = f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"
    if float(text) == 0.0:
        return "0.0"  # neither "-0.0" nor "+0.0"
    return text.replace("-", "−")


def size(count: float | None) -> str:
    """Return a number of bytes in the largest unit that keeps it at least 1."""
    if count is None:
        return UNKNOWN
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def duration(seconds: float | None) -> str:
    """Return seconds as people say them: ``4.2 s``, ``3 min 20 s``, ``1 h 5 min``."""
    if seconds is None:
        return UNKNOWN
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def fault(event: dict[str, Any]) -> str | None:
    """Return in words what an event says went wrong, None if it is none of that kind."""
    kind = str(event.get("kind", "event"))
    if kind in ORDINARY:
        return None
    known = {"task", "round"} <= event.keys()
    place = [f"task {event['task']}, round {event['round']}"] if known else []
    who = [str(event["client"])] if "client" in event else []
    reason = str(event.get("reason") or event.get("message") or "no reason given")
    return f"{', '.join([*who, *place, kind])}: {reason}"


def elided(text: str, length: int) -> str:
    """Return a text of at most ``length`` signs, its middle left out where it is longer.

    It is fit for a terminal, whoever has written it, see ``legible``.
    """
    text = legible(text)
    if len(text) <= length:
        return text
    end = (length - 1) * 2 // 3  # names differ at their ends more often than at their beginnings
    return f"{text[: length - 1 - end]}…{text[len(text) - end :]}"


def short(name: str, length: int = 16) -> str:
    """Return a name fit for a label: printable, and cut where it is longer than ``length``."""
    clean = "".join(sign if sign.isprintable() else " " for sign in name)
    return clean if len(clean) <= length else clean[: length - 1] + "…"
