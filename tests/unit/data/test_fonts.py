from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageFont

from fedbridge.data.catalog import fonts
from fedbridge.data.catalog.fonts import (
    CHARACTERS,
    MARGIN,
    SIDE,
    domain_of,
    draw_font,
    draw_glyph,
    fit,
    has_lower_case,
    is_font,
    prepare,
)

# real fonts that come with matplotlib, which is installed anyway
FOLDER = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
SANS, MONO, SERIF, BOLD = (
    FOLDER / f"DejaVu{name}.ttf" for name in ("Sans", "SansMono", "Serif", "Sans-Bold")
)


@pytest.fixture(scope="module")
def sans():
    return ImageFont.truetype(SANS, fonts.POINTS, layout_engine=ImageFont.Layout.BASIC)


def test_a_font_draws_its_characters_once_each():
    glyphs = draw_font(SANS)
    assert glyphs.domain == "sans"
    assert len(glyphs.pictures) == len(glyphs.places) == len(set(glyphs.places))
    assert glyphs.pictures.shape[1:] == (SIDE, SIDE) and glyphs.pictures.dtype == np.uint8
    assert len({picture.tobytes() for picture in glyphs.pictures}) == len(glyphs.pictures)
    assert len(glyphs.places) >= 60


def test_every_glyph_fills_one_direction_between_the_margins(sans):
    for character in "AgiM7-":
        glyph = draw_glyph(sans, character)
        inner = glyph[MARGIN:-MARGIN, MARGIN:-MARGIN]
        assert glyph.sum() == inner.sum()
        upright = inner[0].any() and inner[-1].any()
        assert upright or (inner[:, 0].any() and inner[:, -1].any())


def test_blank_characters_give_no_picture(sans):
    assert draw_glyph(sans, " ") is None
    assert draw_glyph(sans, "\u200b") is None


def test_a_missing_character_is_drawn_as_the_box_that_is_dropped(sans):
    box = draw_glyph(sans, fonts.NONCHARACTER)
    assert box is not None
    np.testing.assert_array_equal(box, draw_glyph(sans, "\U0010fffd"))
    assert not any((box == picture).all() for picture in draw_font(SANS).pictures)


def test_pictures_of_different_letters_differ(sans):
    distance = np.abs(draw_glyph(sans, "A").astype(int) - draw_glyph(sans, "B")).mean()
    assert distance > 20


def test_a_bar_is_centred_and_keeps_its_proportions():
    drawing = np.zeros((60, 90), np.uint8)
    drawing[10:50, 20:30] = 255  # 40 high, 10 wide
    glyph = fit(drawing)
    rows, columns = np.flatnonzero(glyph.any(axis=1)), np.flatnonzero(glyph.any(axis=0))
    assert (rows[0], rows[-1]) == (3, 28)
    assert columns[0] + columns[-1] == 31
    assert 6 <= len(columns) <= 8  # 26 / 4, and a blurred edge on each side
    assert glyph[16, 16] == 255


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 99))
def test_fitting_does_not_depend_on_where_the_ink_lies(top, left, seed):
    ink = np.random.default_rng(seed).integers(0, 256, (12, 7), np.uint8)
    ink[0, 0] = ink[-1, -1] = 255
    moved = np.zeros((30, 30), np.uint8)
    moved[top : top + 12, left : left + 7] = ink
    np.testing.assert_array_equal(fit(moved), fit(ink))


def test_faint_drawings_are_blank():
    assert fit(np.full((20, 20), fonts.INK, np.uint8)) is None
    assert fit(np.pad(np.full((1, fonts.LEAST_INK - 1), 255, np.uint8), 3)) is None
    assert fit(np.pad(np.full((1, fonts.LEAST_INK), 255, np.uint8), 3)) is not None


def test_a_font_that_repeats_its_capitals_has_no_lower_case(sans):
    drawn = [draw_glyph(sans, character) for character in CHARACTERS]
    assert has_lower_case(drawn)
    capitals = [draw_glyph(sans, character.upper()) for character in CHARACTERS]
    assert not has_lower_case(capitals)
    assert not has_lower_case([None] * len(CHARACTERS))


def test_fonts_without_lower_case_are_dropped(monkeypatch):
    whole = draw_glyph
    monkeypatch.setattr(fonts, "draw_glyph", lambda font, c: whole(font, c.upper()))
    assert draw_font(SANS) is None


def test_fonts_that_lack_characters_are_dropped(monkeypatch):
    whole = draw_glyph
    monkeypatch.setattr(fonts, "draw_glyph", lambda font, c: None if c in "xyz" else whole(font, c))
    assert draw_font(SANS) is None


def test_fonts_of_boxes_alone_are_dropped(monkeypatch):
    whole = draw_glyph
    monkeypatch.setattr(fonts, "draw_glyph", lambda font, c: whole(font, fonts.NONCHARACTER))
    assert draw_font(SANS) is None


def test_glyphs_beyond_all_measure_are_left_out(monkeypatch, sans):
    monkeypatch.setattr(fonts, "LARGEST", 10)
    assert draw_glyph(sans, "A") is None


def test_a_file_that_is_no_font_is_left_out(tmp_path):
    path = tmp_path / "broken.ttf"
    path.write_bytes(b"no font at all")
    assert draw_font(path) is None


@pytest.mark.parametrize(
    ("path", "family", "domain"),
    [
        ("fonts-aenigma/mono.ttf", "Sans Mono", "decorative"),
        ("Z003-MediumItalic.otf", "Z003", "decorative"),
        ("cmuntt.ttf", "CMU Typewriter Text", "mono"),
        ("DejaVuSansMono.ttf", "DejaVu Sans Mono", "mono"),
        ("NimbusSans.otf", "Nimbus Sans", "sans"),
        ("LinBiolinum_R.otf", "Linux Biolinum O", "sans"),
        ("P052-Roman.otf", "P052", "serif"),
    ],
)
def test_domains_follow_folder_and_family(path, family, domain):
    assert domain_of(Path(path), family) == domain


def test_symbol_fonts_are_no_letters(tmp_path):
    path = tmp_path / "SomeSymbols.ttf"
    path.write_bytes(SANS.read_bytes())
    assert draw_font(path) is None


def test_outline_fonts_are_told_by_their_suffix():
    assert is_font("a/B.TTF") and is_font("b.otf")
    assert not is_font("a.pfb") and not is_font("ttf/readme")


def test_all_packages_are_drawn_into_four_domains(registry, workspace, monkeypatch):
    files = {
        "aenigma": {"./fonts/aenigma/odd.ttf": BOLD, "./fonts/aenigma/zzz.ttf": SANS},
        "cmu": {"./fonts/DejaVuSans.ttf": SANS},
        "hack": {"./fonts/DejaVuSansMono.ttf": MONO, "./doc/notes.txt": MONO},
        "lato": {"./fonts/DejaVuSerif.ttf": SERIF},
    }
    for package in fonts.PACKAGES:
        chosen = files.get(package.name.removeprefix("fonts-"), {"./a.ttf": Path(__file__)})
        registry.add_apt(package.name, {name: path.read_bytes() for name, path in chosen.items()})
    parts = list(prepare(("sans",), workspace))
    assert [part.domain for part in parts] == ["decorative", "sans", "serif", "mono"]
    assert [sorted(set(part.groups.tolist())) for part in parts] == [[0, 1], [2], [4], [3]]
    for part in parts:
        assert part.classes == tuple(CHARACTERS)
        assert part.inputs.shape == (len(part.labels), 1, 32, 32)
        assert part.items.dtype == part.inputs.dtype == np.uint8
        np.testing.assert_array_equal(part.items, 255 - part.inputs)
        assert (part.inputs[:, :, 0, 0] == 0).all()  # no ink in the corner
        assert len(part.sources) == 16
    sans = parts[1]
    expected = draw_font(SANS)
    assert sans.labels.tolist() == list(expected.places)
    np.testing.assert_array_equal(sans.inputs[:, 0], expected.pictures)
