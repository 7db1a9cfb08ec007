import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fedbridge.core.errors import UserError
from fedbridge.core.tokens import tokenize
from fedbridge.data.catalog.emoji import halve
from fedbridge.data.readers.cells import Cells
from fedbridge.data.readers.pixels import draw_picture
from fedbridge.data.readers.reading import Reading
from fedbridge.data.shapes import dead_leaves

SHAPES = dead_leaves((3, 64, 64), 20, np.random.default_rng(0))
GREY = dead_leaves((1, 16, 16), 6, np.random.default_rng(0))
READING = Reading("image", (1, 16, 16), (1, 16, 16))


def coded(array, form="PNG"):
    file = io.BytesIO()
    Image.fromarray(array).save(file, form)
    return file.getvalue()


def test_the_way_of_drawing_is_found_from_the_data():
    halved = Reading.of(SHAPES, halve(SHAPES))
    assert (halved.known, halved.box, halved.inverted) == (True, True, False)
    pictures = [Image.fromarray(one.transpose(1, 2, 0)) for one in SHAPES]
    drawn = Reading.of(SHAPES, np.stack([draw_picture(one, 32) for one in pictures]))
    assert (drawn.known, drawn.box, drawn.inverted) == (True, False, False)
    inverted = Reading.of(255 - GREY, GREY)
    assert (inverted.known, inverted.inverted) == (True, True)
    assert not Reading.of(SHAPES, np.roll(halve(SHAPES), 1, 0)).known
    assert not Reading.of(SHAPES[:, :, :32], halve(SHAPES)).known


def test_the_way_of_cutting_texts_is_found_from_the_data():
    texts = ("one two", "three")
    assert Reading.of(texts, np.stack([tokenize(text) for text in texts])).known
    cells = [Cells((("a", 1.5),)), Cells((("a", 2.5),))]
    assert not Reading.of(tuple(c.text for c in cells), np.stack([c.tokens for c in cells])).known


def test_stored_pictures_are_read_as_they_are():
    inputs, items = Reading.of(GREY, GREY)(GREY)
    np.testing.assert_array_equal(inputs, GREY)
    np.testing.assert_array_equal(items, GREY)
    inputs, items = Reading.of(255 - GREY, GREY)(255 - GREY)
    np.testing.assert_array_equal(inputs, GREY)
    np.testing.assert_array_equal(items, 255 - GREY)


def test_a_picture_is_the_same_however_it_comes(tmp_path):
    array = GREY[0, 0]
    path = tmp_path / "a.png"
    path.write_bytes(coded(array))
    forms = [array, array[:, :, None], Image.fromarray(array), coded(array), path, str(path)]
    inputs, items = READING(forms)
    np.testing.assert_array_equal(inputs, np.stack([GREY[0]] * len(forms)))
    np.testing.assert_array_equal(items, inputs)


def test_pictures_of_any_size_and_colour_are_drawn():
    reading = Reading("image", (3, 32, 32), (3, 64, 64))
    inputs, items = reading([np.zeros((10, 70, 3), np.uint8), np.zeros((70, 10, 4), np.uint8)])
    assert inputs.shape == (2, 3, 32, 32) and items.shape == (2, 3, 64, 64)
    assert (inputs[0] == 0).all()
    assert (inputs[1] == 255).all()  # transparent: white paper


def test_texts_are_cut_as_the_data_sets_are():
    inputs, items = Reading("text", (96,))(["One two", "three"])
    np.testing.assert_array_equal(inputs, np.stack([tokenize("One two"), tokenize("three")]))
    assert items == ("One two", "three")


@pytest.mark.parametrize(
    "raw, told",
    [
        ([], "x: must have at least one image"),
        ("a.png", "x: must be a list or an array"),
        (b"abc", "x: must be a list or an array"),
        (7, "x: must be a list or an array"),
        ([b"abc"], r"x\[0\]: cannot be read as a picture: must be a picture of PNG"),
        (["nowhere.png"], "nowhere.png: cannot be read as a picture: No such file"),
        ([GREY[0, 0], 7], r"x\[1\]: must be a path"),
        (
            np.full((2, 16, 16), 0.5) * 9,
            r"x\[0\]: cannot be read as a picture: float64 from 4.5 to",
        ),
        (np.full((2, 16, 16), 1j), r"x\[0\]: cannot be read as a picture: must be numbers, found"),
        (np.zeros((2, 5, 16, 16), np.uint8), r"found uint8 \(5, 16, 16\)"),
        ([coded(GREY[0, 0])[:60]], r"x\[0\]: cannot be read"),
    ],
)
def test_what_is_no_picture_is_refused(raw, told):
    with pytest.raises(UserError, match=told):
        READING(raw)


@pytest.mark.parametrize("raw, told", [(["a", 3], r"x\[1\]"), ([" "], r"x\[0\]"), ("a", "x:")])
def test_what_is_no_text_is_refused(raw, told):
    with pytest.raises(UserError, match=told):
        Reading("text", (96,))(raw)


def test_a_picture_that_unfolds_is_refused_before_it_does():
    bomb = coded(np.zeros((3000, 3000), np.uint8))
    assert len(bomb) < 20_000
    with pytest.raises(UserError, match="at most 1,000,000 pixels, found 3000 x 3000"):
        READING([bomb], most=1_000_000)


def test_what_cannot_be_made_of_an_item_is_not_guessed():
    with pytest.raises(UserError, match="x: cannot be read"):
        Reading("image", (1, 16, 16), (1, 16, 16), known=False)(GREY)


# -- more than 8 bits


def scan(form="TIFF", kind=np.float32):
    """Return values from -1000 to 3000 as an array and as a file, and as they are shown."""
    bytes_ = np.arange(256, dtype=np.uint8).reshape(16, 16)
    values = (bytes_ / 255 * 4000 - 1000).astype(kind)
    return values, coded(values, form), bytes_


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_new_pictures_are_scaled_as_those_that_were_learnt(kind):
    values, data, wanted = scan(kind=kind)
    reading = replace(READING, levels=(-1000, 3000))
    inputs, items = reading([values, data, Image.fromarray(values), wanted])
    np.testing.assert_array_equal(inputs, np.stack([wanted[None]] * 4))
    np.testing.assert_array_equal(items, inputs)


def test_without_levels_what_cannot_be_known_is_refused_with_the_way_out():
    values, data, _ = scan()
    for one in (values, data, Image.fromarray(values)):
        with pytest.raises(
            UserError, match=r"x\[0\]: cannot be read as a picture: .* from -1000 to"
        ):
            READING([one])
        with pytest.raises(UserError, match="bring it to 8 bits, 0 for black and 255 for white, f"):
            READING([one])


def test_depths_that_are_known_need_no_levels():
    wanted = GREY[0, 0]
    forms = [wanted.astype(int), wanted / 255.0, wanted.astype(np.uint16) * np.uint16(257)]
    inputs, _ = READING([*forms, coded(forms[2])])
    np.testing.assert_array_equal(inputs, np.stack([GREY[0]] * 4))


def test_levels_that_are_none_are_refused():
    with pytest.raises(ValueError, match="levels: must be black and a larger white"):
        Reading("image", (1, 16, 16), (1, 16, 16), levels=(3, 3))
