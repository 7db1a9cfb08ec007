"""Put what was measured into docs/results.md and docs/performance.md, as it was written.

python scripts/results.py
"""

import os
import re
from pathlib import Path

import pandas as pd

from fedbridge.bench.suite import Suite, load_suite
from fedbridge.bench.summary import LEGEND
from fedbridge.core.files import write_text
from fedbridge.core.wording import UNKNOWN, percent
from fedbridge.report.run.tables import markdown_row

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = ("results.md", "performance.md")
FILE = r"results/[\w.-]+/summary\.md|docs/benchmarks/[\w.-]+\.md"
MARKED = re.compile(rf"(<!-- begin ({FILE}) -->\n).*?(<!-- end \2 -->)", re.S)
OVERVIEW = re.compile(r"(<!-- begin overview -->\n).*?(<!-- end overview -->)", re.S)
LINK = re.compile(r"\]\((?!https?://|#)([^)\s]+)\)")
ABSENT = "This suite has not been run yet.\n"
JUDGING = ("small", "wider", "ocr")
"""The suites in which ours stands beside other methods."""
BOUNDS = ("controls", "wider", "ocr")
"""Those in which it stands beside joint training."""
OWN, POOLED = "joint, own data", "joint, pooled data"
COLUMNS = (
    *("scenario", "small", "over the best other way", "large", "together"),
    *("over the best baseline", "over joint training on own data", "of joint training on all data"),
    *("OBOD is worth to small", "to together"),
)
READ = "\nThis is how the tables further below are to be read.\n\n"
Finals = dict[tuple[str, str, str], float]
"""Mean final accuracies by scenario, method and predictor."""


def main() -> None:
    """Renew what stands between the markers of both pages."""
    for page in (DOCS / name for name in PAGES):
        write_text(page, renewed(page.read_text(encoding="utf-8")))


def renewed(page: str) -> str:
    """Return a page with the file that each pair of markers names, and with the overview."""
    page = MARKED.sub(lambda found: f"{found[1]}\n{included(found[2])}\n{found[3]}", page)
    return OVERVIEW.sub(lambda found: f"{found[1]}\n{overview()}\n{found[2]}", page)


def included(name: str) -> str:
    """Return a file as the page shows it, its links counted from docs/.

    What all summaries say of how to read them stands on the page once, with the overview.
    """
    path = ROOT / name
    if not path.is_file():
        return ABSENT
    folder = os.path.relpath(path.parent, DOCS)
    text = path.read_text(encoding="utf-8").replace(f"{LEGEND}\n", "")
    return LINK.sub(rf"]({folder}/\1)", text)


def overview() -> str:
    """Return one table over all scenarios, and how to read this and all others."""
    lines = [
        line
        for name in JUDGING
        for line in _lines(load_suite(ROOT / "configs" / "suites" / f"{name}.toml"), _finals(name))
    ]
    rule = "|---|" + "---:|" * (len(COLUMNS) - 1) + "\n"
    return "".join([markdown_row(COLUMNS), rule, *map(markdown_row, lines), READ, LEGEND])


def _finals(suite: str) -> Finals:
    """Return the mean over seeds of the final accuracies of a suite's table."""
    table = pd.read_csv(ROOT / "results" / suite / "table.csv")
    table = table[table["protocol"] == "class-incremental"]
    means = table.groupby(["scenario", "method", "predictor"])["final_accuracy"].mean()
    return dict(means.dropna())


def _lines(suite: Suite, finals: Finals) -> list[tuple[str, ...]]:
    """Return the row of each scenario of a suite."""
    bounds = {place: mean for name in BOUNDS for place, mean in _finals(name).items()}
    (ours,) = (method.name for method in suite.method if method.role == "ours")
    lines = []
    for scenario in (one.name for one in suite.scenario):
        small, large, together = (
            finals[scenario, ours, predictor] for predictor in ("small", "large", "together")
        )
        rivals = [
            (predictor, mean)
            for method in suite.method
            if method.role == "baseline"
            for predictor in method.reads
            if (mean := finals.get((scenario, method.name, predictor))) is not None
        ]
        own = bounds.get((scenario, OWN, "together"))
        pooled = bounds.get((scenario, POOLED, "together"))
        without = [finals.get((scenario, "without OBOD", p)) for p in ("small", "together")]
        lines.append(
            (
                scenario,
                percent(small),
                _ahead(small, max(mean for predictor, mean in rivals if predictor == "small")),
                percent(large),
                percent(together),
                _ahead(together, max(mean for _, mean in rivals)),
                _ahead(together, own),
                UNKNOWN if pooled is None else f"{percent(together / pooled)} %",
                _ahead(small, without[0]),
                _ahead(together, without[1]),
            )
        )
    return lines


def _ahead(ours: float, other: float | None) -> str:
    return UNKNOWN if other is None else percent(ours - other, signed=True)


if __name__ == "__main__":
    main()
