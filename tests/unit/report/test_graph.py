"""The graph: where clients stand, how arrows run, and what is said of it."""

import re
from itertools import pairwise
from math import dist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbridge.report.run.graph import LABELLED, RADIUS, SIZE, Arrow, graph, towards
from fedbridge.report.run.lessons import StudentOutcome

WEIGHTS = {("a", "b"): 0.5, ("b", "a"): 0.25, ("a", "a"): 1.0}


def numbers(path: str) -> list[tuple[float, float]]:
    values = [float(text) for text in re.findall(r"-?\d+\.\d", path)]
    return list(zip(values[::2], values[1::2], strict=True))


def arrow(weights: dict[tuple[str, str], float], title: str) -> Arrow:
    (found,) = [a for a in graph(weights, ["a", "b"], []).arrows if a.title.startswith(title)]
    return found


def test_arrows_lead_from_teacher_to_student() -> None:
    drawn = graph(WEIGHTS, ["a", "b"], [])
    a, b = drawn.nodes
    assert [(node.name, node.x, node.y) for node in drawn.nodes] == [("a", 0, -104), ("b", 0, 104)]
    found = arrow(WEIGHTS, "b to a")
    first, tip = numbers(found.path)[0], numbers(found.head)[0]
    assert dist(first, (b.x, b.y)) == pytest.approx(drawn.radius + 1, abs=0.2)
    assert dist(tip, (a.x, a.y)) == pytest.approx(drawn.radius + 2, abs=0.2)
    assert found.title == "b to a: 50.0 %"


def test_thickness_is_weight_and_thin_ones_come_first() -> None:
    arrows = graph(WEIGHTS, ["a", "b"], []).arrows
    assert [a.width for a in arrows] == [2.5, 4.0, 7.0]
    assert graph(WEIGHTS, ["a", "b"], []).words == (
        "own earlier models of a: 100.0 %; b to a: 50.0 %; a to b: 25.0 %"
    )


def test_two_ways_between_two_clients_do_not_meet() -> None:
    there, back = (numbers(arrow(WEIGHTS, t).path)[1] for t in ("b to a", "a to b"))
    assert there[0] == pytest.approx(-back[0])
    assert abs(there[0]) > 20


def test_a_loop_is_outside_of_the_circle() -> None:
    for place in numbers(arrow(WEIGHTS, "own").path):
        assert dist(place, (0, 0)) > RADIUS


@pytest.mark.parametrize(
    ("gain", "text", "sign"),
    [(0.031, "+3.1", "up"), (-0.02, "−2.0", "down"), (0.0001, "0.0", "level"), (None, "", "level")],
)
def test_a_node_says_what_it_gained(gain: float | None, text: str, sign: str) -> None:
    node = graph(WEIGHTS, ["a", "b"], [StudentOutcome("a", 3, 1, 0.5, gain)]).nodes[0]
    assert (node.gain, node.sign) == (text, sign)
    assert node.title == (f"a: {text} points on its validation items" if text else "a")


@given(st.integers(1, 60))
def test_everything_is_within_the_box_and_nodes_do_not_touch(count: int) -> None:
    names = [f"client-{k}" for k in range(count)]
    weights = {(one, other): 0.5 for one in names[:8] for other in names}
    drawn = graph(weights, names, [])
    left, top, width, height = map(float, drawn.box.split())
    assert width == SIZE
    places = [(node.x, node.y) for node in drawn.nodes]
    for x, y in [*places, *(p for a in drawn.arrows for p in numbers(a.head))]:
        assert left <= x <= left + width
        assert top <= y <= top + height
    assert all(dist(*pair) > 1.9 * drawn.radius for pair in pairwise(places))
    assert drawn.labelled == (count <= LABELLED)


def test_towards_stands_still_where_there_is_no_way() -> None:
    assert towards((1, 2), (1, 2), 5) == (1, 2)
    assert towards((0, 0), (6, 8), 5) == (3, 4)
