import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbridge.data.catalog import unicode
from fedbridge.data.catalog.unicode import (
    Emoji,
    common_subgroups,
    emoji_key,
    fetch_emoji,
    key_of_name,
)


def test_presentation_selectors_do_not_matter():
    assert emoji_key("☺️") == emoji_key("☺") == "☺"


def test_skin_tones_have_no_key():
    assert emoji_key("👋🏽") is None
    assert emoji_key("🏽") is None
    assert emoji_key("👋") == "👋"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("1f600.png", "😀"),
        ("package/assets/263a-fe0f.webp", "☺"),
        ("263A.svg", "☺"),
        ("0023-fe0f-20e3.png", "#⃣"),
        ("1F468-200D-2695-FE0F.svg", "👨‍⚕"),
        ("1f44b-1f3fd.png", None),
        ("sprite-sheet.png", None),
        ("", None),
        ("ffffffff.png", None),
    ],
)
def test_file_names_are_code_points(name, key):
    assert key_of_name(name) == key


@given(st.lists(st.sampled_from("😀👨‍⚕☺🏴🇩🇪"), min_size=1, max_size=5).map("".join))
def test_a_name_made_of_code_points_leads_back(text):
    name = "-".join(f"{ord(character):04X}" for character in text)
    assert key_of_name(f"{name}.svg") == emoji_key(text)


def test_subgroups_of_at_least_eight_become_classes():
    emoji = [Emoji(n, "z") for n in range(8)] + [Emoji(n, "few") for n in range(7)]
    emoji += [Emoji(n, "a") for n in range(20)]
    assert common_subgroups(emoji) == ("a", "z")


def test_the_list_names_each_emoji_once_in_its_order(registry, workspace, monkeypatch):
    rows = [("☺️", "smile"), ("☺", "smile"), ("👋🏽", "hand"), ("👋", "hand"), ("🐵", "ape")]
    listed = json.dumps([{"char": text, "subgroup": name, "name": "x"} for text, name in rows])
    registry.add_npm("emoji.json", "16.0.0", {"package/emoji.json": listed.encode()})
    monkeypatch.setattr(unicode, "METADATA", replace(unicode.METADATA, sha256=""))
    table, fetched = fetch_emoji(workspace)
    assert table == {"☺": Emoji(0, "smile"), "👋": Emoji(1, "hand"), "🐵": Emoji(2, "ape")}
    assert list(table) == ["☺", "👋", "🐵"]
    assert fetched.source.startswith("npm emoji.json@16.0.0 (")
