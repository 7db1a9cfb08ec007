"""Print what pip is told of package indexes, by its files and the environment, as options of uv.

.venv/bin/python scripts/indexes.py
"""

import ast
import subprocess
import sys
from collections.abc import Iterable

OPTIONS = {
    "index-url": "default-index",
    "extra-index-url": "index",
    "find-links": "find-links",
    "trusted-host": "allow-insecure-host",
    "constraint": "constraints",
}
SCOPES = ("global", "install", ":env:")  # the later one has the last word


def main() -> None:
    """Print an option a line."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    print("\n".join(as_options(listed.splitlines())))


def as_options(listed: Iterable[str]) -> list[str]:
    """Return uv's options of lines such as ``global.index-url='...'``."""
    told: dict[tuple[str, str], list[str]] = {}
    for line in listed:
        key, _, value = line.partition("=")
        scope, _, name = key.rpartition(".")
        if scope in SCOPES and name in OPTIONS:
            told[scope, name] = ast.literal_eval(value).split()
    found = []
    for name, option in OPTIONS.items():
        newest = [told[scope, name] for scope in SCOPES if (scope, name) in told][-1:]
        found += [f"--{option}={word}" for words in newest for word in words]
    return found


if __name__ == "__main__":
    main()
