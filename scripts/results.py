"""Put what was measured into docs/results.md and docs/performance.md, as it was written.

python scripts/results.py
"""

import os
import re
from pathlib import Path

from fedbridge.files import write_text

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = ("results.md", "performance.md")
FILE = r"results/[\w.-]+/summary\.md|docs/benchmarks/[\w.-]+\.md"
MARKED = re.compile(rf"(<!-- begin ({FILE}) -->\n).*?(<!-- end \2 -->)", re.S)
LINK = re.compile(r"\]\((?!https?://|#)([^)\s]+)\)")
ABSENT = "This suite has not been run yet.\n"


def main() -> None:
    """Renew what stands between the markers of both pages."""
    for page in (DOCS / name for name in PAGES):
        text = renewed(page.read_text(encoding="utf-8"))
        write_text(page, text)


def renewed(page: str) -> str:
    """Return a page with the file that each pair of markers names."""
    return MARKED.sub(lambda found: f"{found[1]}\n{included(found[2])}\n{found[3]}", page)


def included(name: str) -> str:
    """Return a file as the page shows it, its links counted from docs/."""
    path = ROOT / name
    if not path.is_file():
        return ABSENT
    folder = os.path.relpath(path.parent, DOCS)
    return LINK.sub(rf"]({folder}/\1)", path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
