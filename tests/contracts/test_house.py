"""The house: few rooms, few arrows, and every import points down."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import fedbridge

ROOT = Path(fedbridge.__file__).parent
FILES = {"__init__", "api"}
MOST_ROOMS, MOST_FLOORS, MOST_ARROWS = 16, 10, 100


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    return {name_of(path): path for path in ROOT.rglob("*.py")}


def imported(path: Path) -> Iterator[str]:
    """Yield the modules of the package that a file imports, wherever in it, later or for types."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "fedbridge":
            base = (node.module or "").partition(".")[2]
            for alias in node.names:
                inner = f"{base}.{alias.name}".strip(".")
                yield inner if inner in modules() else base
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "fedbridge":
                    yield alias.name.partition(".")[2]


@cache
def graph() -> dict[str, frozenset[str]]:
    """By module the modules that it imports; the package itself only hands names on."""
    return {
        name: frozenset(set(imported(path)) - {name, ""})
        for name, path in modules().items()
        if name
    }


def arrows() -> set[tuple[str, str]]:
    """The rooms that import each other; a room is a folder or a file of the package."""
    pairs = {
        (one.partition(".")[0], other.partition(".")[0])
        for one, others in graph().items()
        for other in others
    }
    return {(one, other) for one, other in pairs if one != other}


def floors() -> dict[str, int]:
    """The floor of each room: above all that it imports; raises RecursionError for a circle."""
    below: dict[str, set[str]] = {name.partition(".")[0]: set() for name in graph()}
    for one, other in arrows():
        below[one].add(other)

    @cache
    def floor(room: str) -> int:
        return 1 + max((floor(other) for other in below[room]), default=0)

    return {room: floor(room) for room in below}


def test_a_newcomer_can_name_the_rooms():
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "_"}
    files = {path.stem for path in ROOT.glob("*.py")}
    assert len(folders) <= MOST_ROOMS, folders
    assert files == FILES


def test_floors_and_arrows_are_few_and_none_points_up():
    assert max(floors().values()) <= MOST_FLOORS, floors()
    assert len(arrows()) <= MOST_ARROWS, len(arrows())


@pytest.mark.parametrize("name", sorted(modules()))
def test_no_module_imports_itself_by_way_of_others(name: str):
    seen: set[str] = set()
    todo = list(graph().get(name, ()))
    while todo:
        other = todo.pop()
        if other not in seen:
            seen.add(other)
            todo += graph().get(other, ())
    assert name not in seen
