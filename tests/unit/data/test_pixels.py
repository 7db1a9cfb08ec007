"""Pixels of every depth and kind of picture: the right brightness, and digests that agree."""

import hashlib
import io
import re
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fedbridge.data.readers.pixels import (
    Encoded,
    Levels,
    as_bytes,
    decode_picture,
    draw_picture,
    pixels_digest,
    white_of,
)

OWN = Levels(None, "data.own.levels")
GRADIENT = np.linspace(0, 1, 48 * 48).reshape(48, 48)


def said(black: float, white: float) -> Levels:
    return Levels((black, white), "data.own.levels")


def encoded(picture: Image.Image, kind: str = "PNG", levels: Levels = OWN, **options) -> Encoded:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return Encoded(file.getvalue, levels)


def of_values(values: np.ndarray, kind: str = "TIFF", levels: Levels = OWN) -> Encoded:
    return encoded(Image.fromarray(values), kind, levels)


def colours16(values: np.ndarray, levels: Levels = OWN) -> Encoded:
    """Return a PNG of 16 bits of each colour, which no library here writes."""
    height, width = values.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    body = head + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return Encoded(lambda: b"\x89PNG\r\n\x1a\n" + body, levels)


def grey(white: float, kind: type = np.uint16) -> np.ndarray:
    return np.rint(GRADIENT * white).astype(kind)


DEEP = {
    "8 bits": of_values(grey(255, np.uint8), "PNG"),
    "16 bits": of_values(grey(65535), "PNG"),
    "16 bits, TIFF": of_values(grey(65535)),
    "16 bits, PGM": encoded(Image.fromarray(grey(65535, np.int32)), "PPM"),
    "12 of 16 bits": of_values(grey(4095), "PNG", said(0, 4095)),
    "32 bits": of_values(grey(1e6, np.int32), "TIFF", said(0, 1e6)),
    "Hounsfield": of_values(grey(4000, np.int32) - np.int32(1000), "TIFF", said(-1000, 3000)),
    "floats to 1": of_values(GRADIENT.astype(np.float32)),
    "floats to 255": of_values((GRADIENT * 255).astype(np.float32), "TIFF", said(0, 255)),
    "floats": of_values((GRADIENT * 7 - 3).astype(np.float32), "TIFF", said(-3, 4)),
    "palette": encoded(Image.fromarray(grey(255, np.uint8)).convert("P"), "GIF"),
    "LA": encoded(Image.fromarray(grey(255, np.uint8)).convert("LA")),
    "CMYK": encoded(Image.fromarray(grey(255, np.uint8)).convert("CMYK"), "TIFF"),
    "YCbCr": encoded(Image.fromarray(grey(255, np.uint8)), "JPEG", quality=95),
    "16 bits a colour": colours16(np.repeat(grey(65535)[..., None], 3, 2)),
}


@pytest.mark.parametrize("form", DEEP)
def test_a_gradient_is_the_same_at_every_depth(form):
    wanted = draw_picture(Image.fromarray(grey(255, np.uint8)), 32).astype(int)
    drawn = draw_picture(decode_picture(DEEP[form]), 32)
    assert np.abs(drawn.astype(int) - wanted).max() <= (6 if form == "YCbCr" else 2)
    assert abs(drawn.mean() - wanted.mean()) <= 0.6


@given(st.integers(0, 65535))
def test_16_bits_are_rounded_to_the_nearest_of_8(value):
    values = np.array([[value, 65535]], np.uint16)
    assert as_bytes(values, OWN, 65535)[0, 0] == round(value / 257)


def test_levels_cut_off_what_is_beyond_them():
    values = np.array([-2000, -1000, 1000, 3000, 9000], np.int32)
    assert as_bytes(values, said(-1000, 3000), None).tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (grey(4095), "mode I;16, values from 0 to 4095: which values are black and white cannot "),
        (grey(16000), "data.own.levels = [0, 16383], or what they are, says it"),
        (grey(1e6, np.int32), "mode I, values from 0 to 1e+06"),
        (grey(255, np.int32), "data.own.levels = [0, 255], or what they are, says it"),
        ((GRADIENT * 255).astype(np.float32), "mode F, values from 0 to 255"),
        (
            GRADIENT.astype(np.float32) - np.float32(1),
            "data.own.levels = [-1, 0], or what they are, says it",
        ),
        (GRADIENT.astype(np.float32) * np.nan, "must have a number in every pixel, found 2304"),
    ],
)
def test_a_depth_that_cannot_be_known_is_asked_for(values, expected):
    with pytest.raises(ValueError, match=re.escape(expected)):
        decode_picture(of_values(values))


def test_where_nobody_can_say_it_the_way_out_is_another():
    with pytest.raises(ValueError, match="known; bring it to 8 bits, 0 for black and 255 for whi"):
        decode_picture(of_values(grey(4095), "PNG", Levels()))


@pytest.mark.parametrize("levels", [OWN, said(0, 4095)])
def test_16_bits_of_each_colour_that_would_be_nearly_black_are_refused(levels):
    with pytest.raises(ValueError, match="the upper 8 are read, which have at most 15: save it"):
        decode_picture(colours16(np.repeat(grey(4095)[..., None], 3, 2), levels))


def test_unsigned_32_bits_are_not_taken_for_negative_ones():
    signed = encoded(Image.fromarray(np.array([[0, -1]], np.int32)), "TIFF").data()
    sample_format = struct.pack("<HHI", 339, 3, 1)  # the tag that says whether there is a sign
    at = signed.index(sample_format)
    data = signed[: at + 8] + struct.pack("<H", 1) + signed[at + 10 :]
    picture = decode_picture(Encoded(lambda: data, said(0, 2**32 - 1)))
    assert np.asarray(picture)[..., 0].tolist() == [[0, 255]]


def test_a_black_picture_of_any_depth_is_black():
    assert not draw_picture(decode_picture(of_values(np.zeros((9, 9), np.uint16))), 32).any()
    assert not draw_picture(decode_picture(of_values(np.zeros((9, 9), np.float32))), 32).any()


def test_what_is_transparent_is_paper_at_every_depth():
    deep = np.full((8, 8), 40000, np.uint16)
    deep[:4] = 100
    file = io.BytesIO()
    Image.fromarray(deep).save(file, "PNG", transparency=100)
    shown = np.asarray(decode_picture(Encoded(file.getvalue, OWN)))[..., 0]
    assert (shown[:4] == 255).all() and (shown[4:] == 156).all()


def test_deep_pictures_stand_upright_too():
    exif = Image.Exif()
    exif[0x0112] = 6  # as a camera that was held sideways writes
    deep = Image.fromarray(grey(65535)[:24])
    assert decode_picture(encoded(deep, "PNG", exif=exif)).size == (24, 48)
    assert decode_picture(encoded(deep, "TIFF", exif=exif)).size == (24, 48)
    assert decode_picture(encoded(Image.new("RGB", (4, 2)), "JPEG", exif=exif)).size == (2, 4)


# -- digests


@pytest.mark.parametrize(
    ("kind", "black", "white"),
    [(np.uint16, 0, 65535), (np.int32, -1000, 3000), (np.float32, -9, 9)],
)
def test_as_many_digests_as_scans(kind, black, white):
    rng = np.random.default_rng(0)
    scans = [rng.uniform(black, white, (9, 9)).astype(kind) for _ in range(80)]
    levels = OWN if kind == np.uint16 else said(black, white)
    marks = [pixels_digest(decode_picture(of_values(scan, "TIFF", levels))) for scan in scans]
    assert len(set(marks)) == 80
    assert pixels_digest(decode_picture(of_values(scans[3], "TIFF", levels))) == marks[3]


def test_equal_pixels_are_equal_whatever_the_file_format_and_depth():
    pixels = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)
    picture = Image.fromarray(pixels)
    marks = {pixels_digest(decode_picture(encoded(picture, kind))) for kind in ("PNG", "BMP")}
    marks.add(pixels_digest(decode_picture(colours16(pixels.astype(np.uint16) * 257))))
    assert len(marks) == 1
    pixels[0, 0, 0] ^= 1
    assert pixels_digest(Image.fromarray(pixels)) not in marks


def test_colours_that_nobody_sees_make_no_difference():
    clear = np.zeros((4, 4, 4), np.uint8)
    other = clear + np.array([9, 9, 9, 0], np.uint8)
    assert pixels_digest(Image.fromarray(clear)) == pixels_digest(Image.fromarray(other))


def test_the_digest_of_8_bits_is_as_ever():
    mark = pixels_digest(Image.new("RGB", (2, 1), (1, 2, 3)))
    assert mark == hashlib.sha256(b"(2, 1)" + bytes([1, 2, 3, 255] * 2)).hexdigest()


# -- arrays


@pytest.mark.parametrize(
    ("values", "white"),
    [
        (np.array([0, 255], np.int64), 255),
        (np.array([0.0, 255.0]), 255),
        (np.array([0, 7], np.uint16), 65535),
        (np.array([0.5, 255.0]), None),
    ],
)
def test_the_white_of_an_array(values, white):
    assert white_of(values) == white


# -- files


def test_a_picture_too_large_is_refused_before_it_unfolds():
    assert decode_picture(encoded(Image.new("RGB", (4, 6))), most=24).size == (4, 6)
    with pytest.raises(ValueError, match="must have at most 24 pixels, found 5 x 5"):
        decode_picture(encoded(Image.new("RGB", (5, 5))), most=24)


def test_a_real_bomb_is_refused():
    bomb = encoded(Image.new("1", (16_000, 16_000)))
    assert len(bomb.data()) < 100_000
    with pytest.raises(Exception, match=r"pixels|decompression bomb"):
        decode_picture(bomb)


def test_a_file_that_only_ends_like_a_picture_is_refused():
    with pytest.raises(ValueError, match="must be a picture of PNG, JPEG"):
        decode_picture(Encoded(lambda: b"%!PS-Adobe-3.0 EPSF-3.0"))


def test_a_stack_is_no_picture_but_a_thumbnail_beside_one_is_left_alone():
    page, file = Image.new("L", (40, 30), 9), io.BytesIO()
    page.save(file, "TIFF", save_all=True, append_images=[page, page])
    with pytest.raises(ValueError, match="must be one picture, found 3 pages; save each as a file"):
        decode_picture(Encoded(file.getvalue))
    other = io.BytesIO()
    page.save(other, "TIFF", save_all=True, append_images=[Image.new("L", (4, 3), 200)])
    shown = np.asarray(decode_picture(Encoded(other.getvalue)))
    assert shown.shape == (30, 40, 3) and (shown == 9).all()


def test_of_an_animation_the_first_picture_is_shown():
    first, second, file = Image.new("L", (4, 4), 10), Image.new("L", (4, 4), 200), io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=[second])
    assert (np.asarray(decode_picture(Encoded(file.getvalue))) == 10).all()
