"""Which tasks a run's clients have, in words: as its streams have them, not as defaults would."""

from collections.abc import Collection, Iterable, Mapping

from fedbridge.config import SITE, Settings

Tasks = Mapping[str, Mapping[int, int]]
"""By client and slot of time: the number of classes of the task that it has then."""


def tasks_in_words(tasks: Tasks, config: Settings) -> str:
    """Return how many tasks of how many classes clients have: ``2 to 3 tasks of 1 to 4 classes``.

    Where ``tasks`` is empty, nothing is known but the settings: only what they decide is said.
    """
    scenario = config.scenario
    by = ", by domain" if scenario.kind == "domain-incremental" else ""
    again = f", {scenario.repeats} of them repeated" if scenario.repeats else ""
    if tasks:
        known = [size for own in tasks.values() for size in own.values()]
        return f"{_of([len(own) for own in tasks.values()], known)}{by}{again}"
    if config.data.name == SITE or scenario.kind == "given":
        where = "sites" if config.data.name == SITE else "data"
        return f"up to {_tasks([scenario.slots])}, as the {where} have them"
    stays = scenario.leaves is None and set(scenario.joins) == {1}
    words = f"{_of([scenario.slots], [scenario.classes_per_task])}{by}{again}"
    return words if stays else f"up to {words}"


def own_tasks_in_words(own: Mapping[int, int]) -> str:
    """Return the same of one client: ``2 tasks of 1 to 4 classes``."""
    return _of([len(own)], list(own.values()))


def slot_of(tasks: Tasks, client: str, number: int) -> int:
    """Return the slot of a client's task, counted from 1; its number where that is not known."""
    slots = sorted(tasks.get(client, {}))
    return slots[number - 1] if 1 <= number <= len(slots) else number


def span(numbers: Iterable[int]) -> str:
    """Return numbers as ``3``, or ``2 to 5`` where they differ."""
    found = sorted(set(numbers))
    return f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _of(tasks: Collection[int], classes: Collection[int]) -> str:
    return f"{_tasks(tasks)} of {span(classes)} {'class' if set(classes) == {1} else 'classes'}"


def _tasks(counts: Collection[int]) -> str:
    return f"{span(counts)} {'task' if set(counts) == {1} else 'tasks'}"
