"""The documents as the tests read them: snippets with their language, links, names and paths."""

import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ("docs/results.md",)  # written by a command, of free form
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"# ([\w./-]+\.(?:py|toml))\n")


@dataclass(frozen=True)
class Snippet:
    """A fenced block; ``name`` is the file its first line says it is, or empty."""

    document: str
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        named = NAMED.match(self.text)
        return named.group(1) if named else ""

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def documents() -> list[str]:
    """Return every document but the generated ones, relative to the root."""
    top = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
    paths = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "reference").glob("*.md")]
    found = sorted(path.relative_to(ROOT).as_posix() for path in paths)
    return [*top, *(name for name in found if name not in GENERATED)]


def records() -> list[str]:
    """Return the pages of the log, whose names of code are those of their day."""
    return sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "log").iterdir())


def headings(document: str) -> set[str]:
    """Return the anchors of a document's headings, in the repository as on the site."""
    titles = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@cache
def script(name: str) -> ModuleType:
    """Return a script of the repository as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def snippets(language: str, document: str | None = None) -> list[Snippet]:
    """Return the snippets of one language, of one document or of all."""
    return [
        Snippet(name, read(name)[: match.start()].count("\n") + 1, *match.groups())
        for name in ([document] if document else documents())
        for match in FENCE.finditer(read(name))
        if match.group(1) == language
    ]


def prose(document: str) -> str:
    """Return a document without its fenced blocks."""
    return FENCE.sub("", read(document))
