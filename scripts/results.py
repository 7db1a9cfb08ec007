"""Put the suites' summaries into docs/results.md, as ``fedbridge bench`` has written them.

python scripts/results.py
"""

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results.md"
MARKED = re.compile(r"(<!-- begin (results/[\w.-]+/summary\.md) -->\n).*?(<!-- end \2 -->)", re.S)
LINK = re.compile(r"\]\((?!https?://|#)([^)\s]+)\)")
ABSENT = "This suite has not been run yet.\n"


def main() -> None:
    """Renew what stands between the markers of the page."""
    text = renewed(PAGE.read_text(encoding="utf-8"))
    draft = PAGE.with_name(f"{PAGE.name}.partial")
    draft.write_text(text, encoding="utf-8", newline="\n")
    os.replace(draft, PAGE)


def renewed(page: str) -> str:
    """Return a page with the summary that each pair of markers names."""
    return MARKED.sub(lambda found: f"{found[1]}\n{included(found[2])}\n{found[3]}", page)


def included(name: str) -> str:
    """Return a summary as the page shows it, its links counted from docs/."""
    path = ROOT / name
    if not path.is_file():
        return ABSENT
    folder = os.path.relpath(path.parent, PAGE.parent)
    return LINK.sub(rf"]({folder}/\1)", path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
