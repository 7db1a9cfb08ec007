"""What of all runs a page shows: filtered, sorted, and some of them chosen to be compared."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from fedbridge.core.metrics import PREDICTORS
from fedbridge.report.dashboard.entry import STATES, Entry

MOST = 12  # runs that a picture can show and that can still be told apart
Key = Callable[[Entry], Any]


def _config(pick: Callable[[Any], Any]) -> Key:
    return lambda entry: pick(entry.run.config) if entry.run else None


def _accuracy(predictor: str) -> Key:
    return lambda entry: entry.accuracy[predictor]


FACETS: dict[str, Key] = {
    "state": lambda entry: entry.state,
    "method": _config(lambda config: config.name),
    "data": _config(lambda config: config.data.name),
    "seed": _config(lambda config: str(config.seed)),
}
"""By what runs can be filtered."""
KEYS: dict[str, Key] = {
    "changed": lambda entry: entry.changed,
    "run": lambda entry: entry.label,
    "method": FACETS["method"],
    "data": FACETS["data"],
    "seed": _config(lambda config: config.seed),
    "state": lambda entry: STATES.index(entry.state),
    "step": lambda entry: entry.done / entry.total if entry.total else None,
    **{predictor: _accuracy(predictor) for predictor in PREDICTORS},
    "forgetting": lambda entry: entry.forgetting,
    "bytes": lambda entry: sum(entry.traffic) if entry.run else None,
    "time": lambda entry: entry.seconds,
}
"""By what runs can be sorted."""
RISING = ("run", "method", "data", "seed", "state")
"""What is sorted from the smallest at first; the rest from the largest, or newest."""


@dataclass(frozen=True)
class View:
    """What a page's address asks for; whatever is unknown counts as not said."""

    words: str = ""
    facets: tuple[tuple[str, str], ...] = ()
    sort: str = "changed"
    rising: bool = False
    chosen: tuple[str, ...] = ()
    predictor: str = "together"

    @classmethod
    def of(cls, query: Sequence[tuple[str, str]]) -> "View":
        """Return the view that the parameters of an address ask for."""
        said = dict(query)
        sort = said.get("sort", "")
        sort = sort if sort in KEYS else "changed"
        predictor = said.get("predictor", "")
        return cls(
            words=said.get("words", ""),
            facets=tuple((name, said[name]) for name in FACETS if said.get(name)),
            sort=sort,
            rising=said["rising"] == "1" if "rising" in said else sort in RISING,
            chosen=tuple(dict.fromkeys(value for key, value in query if key == "chosen")),
            predictor=predictor if predictor in PREDICTORS else "together",
        )

    def address(self, path: str = "/", **changes: object) -> str:
        """Return the address of a page with this view, or with something of it changed."""
        parts: dict[str, object] = {"words": self.words, **dict(self.facets)}
        parts |= {"sort": self.sort, "rising": int(self.rising)}
        parts |= {"predictor": self.predictor, **changes}
        told = [(key, str(value)) for key, value in parts.items() if value not in ("", None)]
        return f"{path}?{urlencode([*told, *(('chosen', name) for name in self.chosen)])}"

    def sorted_by(self, key: str) -> str:
        """Return the address that sorts by a column, the other way round if it does already."""
        rising = not self.rising if key == self.sort else key in RISING
        return self.address(sort=key, rising=int(rising))

    def rows(self, entries: Iterable[Entry]) -> list[Entry]:
        """Return the runs to show, in order; those without the value sorted by stand last."""
        key = KEYS[self.sort]
        shown = sorted((e for e in entries if self._fits(e)), key=lambda entry: entry.label)
        known = [entry for entry in shown if key(entry) is not None]
        known.sort(key=key, reverse=not self.rising)
        return known + [entry for entry in shown if key(entry) is None]

    def _fits(self, entry: Entry) -> bool:
        wanted = self.words.casefold().split()
        text = _text(entry)
        return all(word in text for word in wanted) and all(
            FACETS[name](entry) == value for name, value in self.facets
        )


def choices(entries: Iterable[Entry]) -> dict[str, list[str]]:
    """Return the values that runs have, by what they can be filtered by."""
    found: dict[str, set[str]] = {name: set() for name in FACETS}
    for entry in entries:
        for name, values in found.items():
            values.update(filter(None, [FACETS[name](entry)]))
    return {name: sorted(values) for name, values in found.items()}


def _text(entry: Entry) -> str:
    """Return all words by which a run is found."""
    words = [entry.label, entry.state, entry.problem]
    if entry.run:
        config = entry.run.config
        words += [config.name, config.data.name, config.scenario.kind, config.large.model]
        words += [config.learner.name, config.fusion.name, f"seed {config.seed}"]
        words += config.small.models
    return " ".join(words).casefold()
