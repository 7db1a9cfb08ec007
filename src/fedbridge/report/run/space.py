"""The shared space on the page: items of each client and the anchors of classes, in a plane."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fedbridge.report.run.folder import Space

WIDTH, HEIGHT, EDGE = 340.0, 300.0, 12.0
KINDS = 8  # of colours and of shapes: the page defines them
FEW = 12
"""Most classes whose anchors are named in the drawing."""


class PointGroup(NamedTuple):
    """Points of one client or class, with the numbers of their colour and shape."""

    name: str
    colour: int
    shape: int
    points: list[tuple[float, float]]


class Map(NamedTuple):
    """One drawing: points by group, over the anchors ``(name, x, y)``."""

    groups: list[PointGroup]
    anchors: list[tuple[str, float, float]]
    named: bool
    """Whether anchors carry their names; where there are many, names only show on pointing."""


def maps(space: Space) -> tuple[Map, Map]:
    """Return the items coloured by client and by class."""
    scale = _Scale(space)
    by_client = {
        client: [scale(x, y) for _, x, y, _ in items] for client, items in space.clients.items()
    }
    by_class: dict[str, list[tuple[float, float]]] = {name: [] for name in space.classes}
    for items in space.clients.values():
        for label, x, y, _ in items:
            by_class[space.classes[label]].append(scale(x, y))
    anchors = [(n, *scale(*at)) for n, at in zip(space.classes, space.anchors, strict=True)]
    named = len(anchors) <= FEW
    return Map(_groups(by_client), anchors, named), Map(_groups(by_class), anchors, named)


def cosines(space: Space) -> list[tuple[str, list[float | None]]]:
    """Return for each class its items' mean cosine to its anchor, client by client."""
    return [
        (
            name,
            [_mean([c for k, _, _, c in items if k == label]) for items in space.clients.values()],
        )
        for label, name in enumerate(space.classes)
    ]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _groups(points: dict[str, list[tuple[float, float]]]) -> list[PointGroup]:
    """Give each group a colour, and another shape as well as soon as colours repeat."""
    return [
        PointGroup(name, k % KINDS, (k + k // KINDS) % KINDS, found)
        for k, (name, found) in enumerate(points.items())
    ]


class _Scale:
    """Brings places of the plane into the drawing; both axes have the same unit."""

    def __init__(self, space: Space) -> None:
        items = [item[1:3] for found in space.clients.values() for item in found]
        places = np.array([*space.anchors, *items], dtype=float).reshape(-1, 2)
        self._low, high = places.min(0), places.max(0)
        room = np.array([WIDTH, HEIGHT]) - 2 * EDGE
        self._unit = float((room / np.maximum(high - self._low, 1e-9)).min())
        self._rest = (room - self._unit * (high - self._low)) / 2 + EDGE

    def __call__(self, x: float, y: float) -> tuple[float, float]:
        right, up = (np.array([x, y]) - self._low) * self._unit + self._rest
        return round(float(right), 1), round(HEIGHT - float(up), 1)
