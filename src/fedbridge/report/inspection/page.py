"""An inspection as one page that needs nothing else."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from fedbridge.core.files import write_text
from fedbridge.core.legible import on_page
from fedbridge.core.wording import short
from fedbridge.report.inspection.result import Findings
from fedbridge.report.inspection.tables import (
    SHOWN,
    absent_classes,
    class_header,
    class_lines,
    findings,
    remark,
    task_lines,
)
from fedbridge.report.run.svg import INK, WIDTH, drawing, inline_svg

SHADES = {"train": 0.8, "validation": 0.5, "test": 0.25}


@dataclass(frozen=True, eq=False)
class Inspection(Findings):
    """All that was found, which can be written as a page."""

    def write(self, path: str | Path) -> Path:
        """Write it as one page that needs nothing else, and return the page's path."""
        write_inspection(self, Path(path))
        return Path(path)


def write_inspection(found: Findings, path: Path) -> None:
    """Write the page; raise UserError if it cannot be written."""
    text = render(found)
    write_text(path, text)


def render(found: Findings) -> str:
    """Return the page as HTML, everything that users named escaped."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    pages = Environment(
        autoescape=True,
        finalize=on_page,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    source = files("fedbridge.report.inspection").joinpath("page.html").read_text(encoding="utf-8")
    return pages.from_string(source).render(
        found=found,
        tasks=task_lines(found),
        header=class_header(found),
        classes=class_lines(found),
        remark=remark(found),
        absent=absent_classes(found),
        findings=findings(found),
        most=SHOWN,
        figure=Markup(split_bars(found)) if found.tasks else "",
    )


def split_bars(found: Findings) -> str:
    """Return the items of each task as bars: training, validation and test."""
    with drawing(WIDTH, 40 + 22 * len(found.tasks)) as (figure, axes):
        names = [short(f"{task.client}, {task.name}", 28) for task in found.tasks]
        starts = [0] * len(names)
        for place, (side, shade) in enumerate(SHADES.items()):
            sizes = [int(task.counts[:, place].sum()) for task in found.tasks]
            axes.barh(range(len(names)), sizes, left=starts, color=INK, alpha=shade, label=side)
            starts = [start + size for start, size in zip(starts, sizes, strict=True)]
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.grid(axis="x")
        axes.set_xlabel("items")
        axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
        words = "; ".join(f"{name} {size}" for name, size in zip(names, starts, strict=True))
        return inline_svg(figure, "split", f"Items of each task: {words}.")
