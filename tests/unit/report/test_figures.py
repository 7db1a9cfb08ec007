import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fedbridge.core.errors import UserError
from fedbridge.report.run.bars import accuracy_by_client, time_by_phase, traffic
from fedbridge.report.run.figures import accuracy_over_tasks, axis_limits, spread, write_picture
from fedbridge.report.run.folder import Round
from fedbridge.report.run.svg import drawing, inline_svg

MakeRun = Callable[..., Path]
CURVES = {"small": [(1, 0.8), (2, 0.6)], "together": [(1, 0.9), (2, 0.85)]}


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [element.text or "" for element in root.iter() if element.tag.endswith("text")]


def test_curves_are_labelled_with_their_last_value() -> None:
    svg = accuracy_over_tasks("f", CURVES, (0.5, 1.0))
    assert {"small 60.0", "together 85.0", "after task"} <= set(texts(svg))
    label = ElementTree.fromstring(svg).attrib["aria-label"]
    assert "small: 80.0 % after task 1, 60.0 % after task 2" in label


def test_a_figure_is_themed_responsive_and_silent_about_time() -> None:
    svg = accuracy_over_tasks("f", CURVES, (0.5, 1.0))
    root = ElementTree.fromstring(svg)
    assert "viewBox" in root.attrib
    assert "width" not in root.attrib
    assert root.attrib["role"] == "img"
    assert "currentColor" in svg
    assert "var(--small, #d55e00)" in svg
    assert "metadata" not in svg
    assert svg == accuracy_over_tasks("f", CURVES, (0.5, 1.0))


def test_ids_are_unique_and_references_lead_to_them() -> None:
    page = accuracy_over_tasks("one", CURVES, (0.5, 1.0)) + time_by_phase("two", {"learn": 1.0})
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    wanted = set(re.findall(r'href="#([^"]*)"', page)) | set(re.findall(r"url\(#([^)]*)\)", page))
    assert wanted
    assert wanted <= set(ids)


def test_bars_carry_their_values() -> None:
    svg = accuracy_by_client("f", {"a": {"small": 0.5, "large": 0.25}, "b": {"small": 1.0}})
    assert {"50.0 small", "25.0 large", "100.0 small", "a", "b"} <= set(texts(svg))


def test_phases_stand_by_length() -> None:
    names = [t for t in texts(time_by_phase("f", {"fuse": 4.2, "learn": 200.0})) if t.isalpha()]
    assert names == ["learn", "fuse"]


def test_traffic_names_both_ways_and_their_sums() -> None:
    rounds = [Round(task=t, round=r, bytes_up=1024, bytes_down=512) for t in (1, 2) for r in (1, 2)]
    svg = traffic("f", rounds)
    assert {"up", "down", "1.0 KiB", "1", "2"} <= set(texts(svg))
    assert "4.0 KiB up and 2.0 KiB down" in svg


@pytest.mark.filterwarnings("error")  # of an axis without any length
def test_nothing_sent_is_drawn_too() -> None:
    assert "0 B up" in traffic("f", [Round(task=1, round=1, bytes_up=0, bytes_down=0)])


def test_names_are_neither_markup_nor_formulas() -> None:
    svg = accuracy_by_client("f", {'$\\bad$ <b id="x">': {"small": 0.5}})
    assert '$\\bad$ <b id="x…' in texts(svg)
    assert "<b" not in svg


def test_limits_enclose_the_curves_in_tenths() -> None:
    assert axis_limits(list(CURVES.values())) == (pytest.approx(0.5), pytest.approx(1.0))
    assert axis_limits([[(1, 0.0), (2, 1.0)]]) == (0.0, 1.0)
    assert axis_limits([]) == (0.0, 1.0)


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=3),
    st.floats(0.1, 10),
)
def test_labels_lie_apart_in_the_order_of_their_values(values: list[float], gap: float) -> None:
    places = spread(values, gap)
    ordered = [places[i] for i in np.argsort(values, kind="stable")]
    assert all(b - a >= gap - 1e-9 for a, b in pairwise(ordered))
    assert np.mean(places) == pytest.approx(np.mean(values), abs=1e-9)


def test_labels_with_room_stay_where_they_are() -> None:
    assert spread([50.0, 10.0, 90.0], 5.0) == [50.0, 10.0, 90.0]
    assert spread([50.0, 10.0, 50.0], 4.0) == [48.0, 10.0, 52.0]


def test_drawing_leaves_no_settings_behind() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    with drawing(100, 100) as (figure, _):
        inline_svg(figure, "f", "nothing")
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_picture_stands_on_its_own(make_run: MakeRun, tmp_path: Path, ending: str) -> None:
    path = write_picture(make_run(), tmp_path / f"picture.{ending}")
    again = write_picture(tmp_path / "run", tmp_path / f"again.{ending}")
    assert path.read_bytes() == again.read_bytes()
    if ending == "png":
        with Image.open(path) as picture:
            assert picture.width > picture.height > 300
            assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    else:
        # a: (4 + 6 + 8) / 30 after the last task; b holds one item in ten less
        assert "small 55.0" in path.read_text(encoding="utf-8")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"again.{ending}",
        f"picture.{ending}",
        "run",
    ]


def test_a_picture_that_cannot_be(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run()
    with pytest.raises(UserError, match=r"\.png or \.svg, found '\.gif'"):
        write_picture(folder, tmp_path / "picture.gif")
    with pytest.raises(UserError, match="cannot be written: No such file"):
        write_picture(folder, tmp_path / "nowhere" / "picture.png")
    (folder / "accuracy.csv").unlink()
    with pytest.raises(UserError, match="found none yet"):
        write_picture(folder, tmp_path / "picture.png")
