import json
from dataclasses import replace

import numpy as np
import pytest

from fedbridge.core.tokens import LENGTH, tokenize
from fedbridge.data.catalog import annotations, unicode
from fedbridge.data.catalog.annotations import LANGUAGES, prepare, read_texts

FACES = [chr(0x1F600 + n) for n in range(8)]
APES = [chr(0x1F412 + n) for n in range(8)]
FLAGS = [chr(0x1F6A9)] + [chr(0x1F38C + n) for n in range(7)]


def annotated(names: dict[str, str]) -> bytes:
    rows = {symbol: {"default": [f"{name} one", "two"], "tts": [name]}
            for symbol, name in names.items()}  # fmt: skip
    return json.dumps({"annotations": {"annotations": rows}}).encode()


@pytest.fixture
def cldr(registry, monkeypatch):
    """Offer English without one flag, and German without most faces but with every flag."""
    groups = {"face": FACES, "ape": APES, "flag": FLAGS}
    listed = [{"char": c, "subgroup": name} for name, members in groups.items() for c in members]
    rows = json.dumps(listed).encode()
    registry.add_npm("emoji.json", "16.0.0", {"package/emoji.json": rows})
    english = {c: f"en {ord(c)}" for c in [*FACES, *APES, *FLAGS[1:]]} | {"$": "dollar"}
    german = {c: f"de {ord(c)}" for c in [*FLAGS, *APES, FACES[7]]} | {"👋🏽": "de"}
    files = {"en": annotated(english), "de": annotated(german)}
    registry.add_npm(
        "cldr-annotations-full", "48.2.0",
        {f"package/annotations/{lang}/annotations.json": files[lang] for lang in files},
    )  # fmt: skip
    monkeypatch.setattr(unicode, "METADATA", replace(unicode.METADATA, sha256=""))
    monkeypatch.setattr(annotations, "PACKAGE", replace(annotations.PACKAGE, sha256=""))
    return registry


def test_texts_labels_and_groups_follow_the_list_of_emoji(cldr, workspace):
    english, german = prepare(("en", "de"), workspace)
    assert english.classes == german.classes == ("ape", "face")
    assert english.labels.tolist() == [1] * 8 + [0] * 8
    assert english.groups.tolist() == list(range(16))
    assert german.labels.tolist() == [1] + [0] * 8
    assert german.groups.tolist() == list(range(7, 16))
    assert english.items[0] == f"en {ord(FACES[0])}: en {ord(FACES[0])} one, two"
    assert german.items[0] == f"de {ord(FACES[7])}: de {ord(FACES[7])} one, two"


def test_classes_are_counted_in_english_whatever_is_asked_for(cldr, workspace):
    # German has 8 flags, but English, which decides, has 7
    (german,) = prepare(("de",), workspace)
    assert german.classes == ("ape", "face")


def test_inputs_are_the_tokens_of_the_texts(cldr, workspace):
    (english,) = prepare(("en",), workspace)
    assert english.inputs.shape == (16, LENGTH) and english.inputs.dtype == np.uint16
    for text, ids in zip(english.items, english.inputs, strict=True):
        np.testing.assert_array_equal(ids, tokenize(text))


def test_one_download_serves_all_languages(cldr, workspace):
    list(prepare(("en", "de"), workspace))
    assert cldr.log() == ["npm emoji.json@16.0.0", "npm cldr-annotations-full@48.2.0"]


def test_rows_without_a_name_or_with_a_skin_tone_are_left_out(tmp_path):
    path = tmp_path / "annotations.json"
    rows = {
        "😀": {"default": ["face", "grin"], "tts": ["grinning face"]},
        "☺️": {"tts": ["smile"]},
        "😁": {"default": ["unnamed"]},
        "👋🏽": {"default": ["hand"], "tts": ["waving"]},
    }
    path.write_text(json.dumps({"annotations": {"annotations": rows}}), encoding="utf-8")
    assert read_texts(path) == {"😀": "grinning face: face, grin", "☺": "smile: "}


def test_there_are_sixteen_languages_and_english_leads():
    assert len(set(LANGUAGES)) == 16
    assert LANGUAGES[0] == "en"
