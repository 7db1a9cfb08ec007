"""Write requirements/constraints.txt: the versions installed here of all that fedbridge needs.

python scripts/pins.py
"""

import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fedbridge.core.files import write_text

ROOT = Path(__file__).resolve().parent.parent
HEAD = """\
# The exact versions that `make quickstart` and `make test` install: those of an environment in
# which the whole suite passes, restricted to what fedbridge and its extras need. Written by
# scripts/pins.py. torch must be named exactly: the newest build may bring gigabytes of CUDA.
"""
UNPINNED = ("timm",)  # needs torchvision, which is built for torch with CUDA alone


def main() -> None:
    """Follow every requirement of pyproject.toml to its end and write what was found."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    optional = project["optional-dependencies"].items()
    extras = [line for extra, lines in optional if extra not in UNPINNED for line in lines]
    versions = closure([Requirement(line) for line in [*project["dependencies"], *extras]])
    lines = [f"{name}=={version}\n" for name, version in sorted(versions.items())]
    path = ROOT / "requirements" / "constraints.txt"
    write_text(path, HEAD + "".join(lines))


def closure(todo: list[Requirement]) -> dict[str, str]:
    """Return the installed version of every requirement and of what those require in turn."""
    versions: dict[str, str] = {}
    met: set[tuple[str, frozenset[str]]] = set()
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        if (name, frozenset(wanted.extras)) in met:
            continue
        met.add((name, frozenset(wanted.extras)))
        found = metadata.distribution(name)
        versions[name] = found.version.split("+")[0]  # "+cpu" names a build, not a version
        todo += [
            needed
            for needed in map(Requirement, found.requires or ())
            if needed.marker is None
            or any(needed.marker.evaluate({"extra": e}) for e in ("", *wanted.extras))
        ]
    return versions


if __name__ == "__main__":
    main()
