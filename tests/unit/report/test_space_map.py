"""The shared space on the page: scale, groups, and cosines, by hand."""

from typing import Any

import pytest
from pydantic import ValidationError

from fedbridge.report.run.folder import Space
from fedbridge.report.run.space import FEW, HEIGHT, KINDS, WIDTH, cosines, maps

TREE: dict[str, Any] = {
    "explained": [0.5, 0.25],
    "classes": ["x", "y"],
    "anchors": [[0.0, 0.0], [4.0, 1.0]],
    "clients": {"a": [[0, 1.0, 0.5, 0.9], [1, 2.0, 0.0, 0.2]], "b": [[1, 3.0, 1.0, 0.4]]},
}


def test_the_plane_is_shown_to_scale_with_its_second_axis_upwards() -> None:
    by_client, by_class = maps(Space.model_validate(TREE))
    assert [(g.name, len(g.points)) for g in by_client.groups] == [("a", 2), ("b", 1)]
    assert [(g.name, len(g.points)) for g in by_class.groups] == [("x", 1), ("y", 2)]
    # four units across 316 points: 79 points a unit, and the height centred
    assert by_client.anchors == [("x", 12.0, 189.5), ("y", 328.0, 110.5)]
    assert by_client.groups[0].points == [(91.0, 150.0), (170.0, 189.5)]
    assert by_client.anchors == by_class.anchors
    assert by_client.named


def test_groups_differ_in_shape_where_colours_come_again() -> None:
    many = TREE | {
        "classes": [f"c{k}" for k in range(20)],
        "anchors": [[k, k] for k in range(20)],
    }
    _, by_class = maps(Space.model_validate(many))
    looks = [(g.colour, g.shape) for g in by_class.groups]
    assert len(set(looks)) == 20
    assert all(colour == shape for colour, shape in looks[:KINDS])
    assert not by_class.named and FEW < 20


def test_a_single_place_is_in_the_middle() -> None:
    one = TREE | {"classes": ["x"], "anchors": [[1.0, 1.0]], "clients": {"a": [[0, 1, 1, 1]]}}
    by_client, _ = maps(Space.model_validate(one))
    assert by_client.groups[0].points == [(WIDTH / 2, HEIGHT / 2)]


def test_cosines_are_means_by_class_and_client() -> None:
    assert cosines(Space.model_validate(TREE)) == [("x", [0.9, None]), ("y", [0.2, 0.4])]


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ["x"]},
        {"anchors": [[0.0, 0.0]]},
        {"clients": {"a": [[2, 0.0, 0.0, 0.0]]}},
        {"clients": {"a": [[-1, 0.0, 0.0, 0.0]]}},
        {"clients": {"a": [[0, float("nan"), 0.0, 0.0]]}},
    ],
)
def test_a_picture_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Space.model_validate(TREE | change)
