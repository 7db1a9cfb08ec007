"""Matplotlib figures as SVG for a page: themed, responsive, with its own ids."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from fedbridge.core.legible import on_page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart with every kind of colour blindness
COLOURS = {"small": "#d55e00", "large": "#0072b2", "together": "#009e73"}
INK = "#24292f"
WIDTH = 340  # points, about that of a phone, where a figure is shown at its own size
SVG = "http://www.w3.org/2000/svg"
LINK = "{http://www.w3.org/1999/xlink}href"
# the page decides on ink and colours, so that they suit light, dark and paper
THEME = {INK: "currentColor"} | {c: f"var(--{name}, {c})" for name, c in COLOURS.items()}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fedbridge",
    "text.parse_math": False,  # a client may be called "$a$"
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.grid.axis": "y",
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.6,
    "axes.linewidth": 0.6,
}


@contextmanager
def drawing(width: float, height: float) -> Iterator[tuple["Figure", "Axes"]]:
    """Yield a figure of ``width`` by ``height`` points and its axes in the report's style."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        yield figure, figure.subplots()


def inline_svg(figure: "Figure", name: str, label: str) -> str:
    """Return a figure as an ``<svg>`` element read aloud as ``label``; ids begin with ``name``."""
    text = StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(text.getvalue())
    for child in list(root):
        if child.tag == f"{{{SVG}}}metadata":
            root.remove(child)
    for element in root.iter():
        _own_ids(element, name)
        if "style" in element.attrib:
            element.set("style", _theme(element.attrib["style"]))
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.set("role", "img")
    root.set("aria-label", on_page(label))
    ElementTree.register_namespace("", SVG)
    return ElementTree.tostring(root, encoding="unicode")


def _own_ids(element: ElementTree.Element, name: str) -> None:
    """Put ``name`` before an element's id and the ids it refers to: a page holds many figures."""
    if "id" in element.attrib:
        element.set("id", f"{name}-{element.attrib['id']}")
    if LINK in element.attrib:
        element.set("href", element.attrib.pop(LINK).replace("#", f"#{name}-"))
    for key, value in element.attrib.items():
        if "url(#" in value and key != "aria-label":
            element.set(key, value.replace("url(#", f"url(#{name}-"))


def _theme(style: str) -> str:
    """Leave colours and the font family of a style to the page."""
    for colour, themed in THEME.items():
        style = style.replace(colour, themed)
    return re.sub(r"(font: [^;]*?\d(?:\.\d+)?px)[^;]*", r"\1 var(--font, sans-serif)", style)
