"""Who taught whom as a graph: clients on a circle, an arrow for every pair that met."""

from collections.abc import Mapping, Sequence
from math import cos, hypot, pi, sin
from typing import NamedTuple

from fedbridge.core.wording import UNKNOWN, percent, short
from fedbridge.report.run.lessons import StudentOutcome, ordered

SIZE = 340.0  # the width in units of the drawing
RADIUS = 104.0
LARGEST, LABELLED = 17.0, 16
"""Radius of a node where there is room, and most nodes that have a label."""
THICKEST = 7.0
Place = tuple[float, float]
Pair = tuple[str, str]


class Arrow(NamedTuple):
    """One teacher's lessons for one student as a curve, and in words."""

    path: str
    head: str
    width: float
    title: str


class Node(NamedTuple):
    """One client: where it stands, what is written there, and which way it went."""

    x: float
    y: float
    name: str
    label: Place
    gain: str
    """Change of its accuracy on validation items in points, or nothing."""
    sign: str
    """``up``, ``down`` or ``level``."""
    title: str


class ArrowGraph(NamedTuple):
    """Nodes of one radius and arrows, thin ones first, around (0, 0)."""

    nodes: list[Node]
    arrows: list[Arrow]
    radius: float
    labelled: bool

    @property
    def box(self) -> str:
        """Return the viewBox: as wide as the other figures, no higher than need be."""
        places = [node.y for node in self.nodes]
        room = 2 * self.radius + 14
        top, bottom = min(places) - room, max(places) + room
        return f"{-SIZE / 2:g} {top:.0f} {SIZE:g} {bottom - top:.0f}"

    @property
    def words(self) -> str:
        """Return the graph as a sentence for those who do not see it."""
        return "; ".join(arrow.title for arrow in reversed(self.arrows))


def graph(
    weights: Mapping[Pair, float], clients: Sequence[str], outcomes: Sequence[StudentOutcome]
) -> ArrowGraph:
    """Return clients on a circle and an arrow for every (student, teacher), as thick as its weight.

    A loop is a client taught by its own earlier models.
    """
    names = ordered({name for pair in weights for name in pair}, clients)
    radius = min(LARGEST, 0.75 * pi * RADIUS / max(1, len(names)))
    circle = Circle({n: 2 * pi * k / len(names) - pi / 2 for k, n in enumerate(names)}, radius)
    gains = {outcome.student: outcome.gain for outcome in outcomes}
    nodes = [_node(circle, name, gains.get(name)) for name in names]
    arrows = [circle.arrow(*pair, w) for pair, w in sorted(weights.items(), key=lambda i: i[1])]
    return ArrowGraph(nodes, arrows, round(radius, 1), len(names) <= LABELLED)


class Circle(NamedTuple):
    """Where clients stand: angles in radians, clockwise from the right; ``node`` is a radius."""

    angles: dict[str, float]
    node: float

    def arrow(self, student: str, teacher: str, weight: float) -> Arrow:
        """Return the way from a teacher to a student; ``weight`` in [0, 1]."""
        width = round(1 + (THICKEST - 1) * min(1.0, max(0.0, weight)), 2)
        if student == teacher:
            title = f"own earlier models of {student}: {percent(weight)} %"
            return Arrow(*self._loop(self.angles[student], width), width, title)
        begin, end = at(self.angles[teacher], RADIUS), at(self.angles[student], RADIUS)
        bend = _beside(begin, end)
        first, tip = towards(begin, bend, self.node + 1), towards(end, bend, self.node + 2)
        last = towards(tip, bend, _length(width) - 1)
        path = f"M{_pair(first)}Q{_pair(bend)} {_pair(last)}"
        return Arrow(
            path, _head(bend, tip, width), width, f"{teacher} to {student}: {percent(weight)} %"
        )

    def _loop(self, angle: float, width: float) -> tuple[str, str]:
        """Return line and head from a client to itself, on the side away from the centre."""
        centre, wide = at(angle, RADIUS), 2.3 * self.node
        out = at(angle - 0.22, RADIUS + wide), at(angle + 0.22, RADIUS + wide)
        first, tip = towards(centre, out[0], self.node + 1), towards(centre, out[1], self.node + 2)
        last = towards(tip, out[1], _length(width) - 1)
        return f"M{_pair(first)}C{_pair(out[0])} {_pair(out[1])} {_pair(last)}", _head(
            out[1], tip, width
        )


def at(angle: float, radius: float) -> Place:
    """Return the place at an angle, clockwise from the right."""
    return radius * cos(angle), radius * sin(angle)


def towards(start: Place, end: Place, distance: float) -> Place:
    """Return the place so far from ``start`` on the way to ``end``."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    share = distance / (hypot(dx, dy) or 1.0)
    return start[0] + share * dx, start[1] + share * dy


def _node(circle: Circle, name: str, gain: float | None) -> Node:
    angle = circle.angles[name]
    x, y = at(angle, RADIUS)
    text = percent(gain, signed=True)
    known = gain is not None and text != UNKNOWN
    sign = "level" if not known or text == "0.0" else "down" if text.startswith("−") else "up"
    title = f"{name}: {text} points on its validation items" if known else name
    place = round(x, 1), round(y, 1)
    # beyond the loop, but where that is at the side; away from the arrows in any case
    away = 2 * circle.node if abs(sin(angle)) > 0.3 else circle.node + 5
    label = place[0], round(y + away + 9 if sin(angle) > 0 else y - away, 1)
    return Node(*place, short(name, 12), label, text if known else "", sign, title)


def _beside(begin: Place, end: Place) -> Place:
    """Return what a curve is bent towards: one side of the way, so that two ways differ."""
    dx, dy = end[0] - begin[0], end[1] - begin[1]
    return (begin[0] + end[0]) / 2 - 0.16 * dy, (begin[1] + end[1]) / 2 + 0.16 * dx


def _length(width: float) -> float:
    return 4 + 1.6 * width


def _head(origin: Place, tip: Place, width: float) -> str:
    """Return the arrow head at ``tip`` of a line that comes from ``origin``."""
    back = towards(tip, origin, _length(width))
    dx, dy = 0.5 * (tip[0] - back[0]), 0.5 * (tip[1] - back[1])
    wings = (back[0] - dy, back[1] + dx), (back[0] + dy, back[1] - dx)
    return f"M{_pair(tip)}L{_pair(wings[0])} {_pair(wings[1])}Z"


def _pair(place: Place) -> str:
    return f"{place[0]:.1f} {place[1]:.1f}"
