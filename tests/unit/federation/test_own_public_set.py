"""A public set that each side has put into its own cache: the handshake tells whether it is one."""

from pathlib import Path

import datasets
import pytest

from fedbridge.core.errors import UserError
from fedbridge.data.public import public_set
from fedbridge.federation.agreement import agreement, doubts_about_client
from fedbridge.federation.setup import plan, prepare
from fedbridge.federation.site import site_client
from fedbridge.methods.files import parse_config
from fedbridge.wire import encode
from sites import common, rows, site_file, write_csv

CONFIG = common("text", data={"public": "set:street", "public_items": 24}, scenario={"tasks": 1})


def signs(count: int = 40, prefix: str = "sign") -> list[str]:
    return [f"{prefix} {n} says turn {'left' if n % 2 else 'right'}" for n in range(count)]


def place(cache: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to a machine that holds these texts as the public set ``street``."""
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(cache))
    agreement.cache_clear()
    if not (cache / "public").exists():
        table = {"text": texts, "label": ["none"] * len(texts)}
        datasets.Dataset.from_dict(table).save_to_disk(str(cache / "public" / "street"))


def test_all_who_hold_the_same_set_draw_the_same_items(tmp_path, monkeypatch):
    found = []
    for side in ("here", "there"):
        place(tmp_path / side, signs(), monkeypatch)
        public = public_set(CONFIG.data, *plan(CONFIG), CONFIG.seed)
        assert len(public.items) == 24 and set(public.items) <= set(signs())
        found.append((public.items, encode(agreement(CONFIG)[0])))
        assert doubts_about_client(CONFIG, found[0][1]) == []
    assert found[0] == found[1]


def test_a_side_whose_copy_differs_is_told_from_the_others(tmp_path, monkeypatch):
    place(tmp_path / "here", signs(), monkeypatch)
    said = encode(agreement(CONFIG)[0])
    place(tmp_path / "there", signs(prefix="another sign"), monkeypatch)
    (reason,) = doubts_about_client(CONFIG, said)
    assert reason.startswith("the public set differs: here 24 items, sha256 ")


def test_a_site_learns_with_it_and_none_of_its_own_items_may_be_in_it(tmp_path, monkeypatch):
    place(tmp_path / "cache", signs(), monkeypatch)
    write_csv(tmp_path / "t.csv", rows(80))
    path = site_file(tmp_path, "north", kind="csv", path="t.csv", text="text")
    assert len(prepare(CONFIG).shared.public_inputs) == 24
    assert site_client(CONFIG, "north", path).private.stream.tasks
    again = tmp_path / "again"
    table = [row | {"text": sign} for row, sign in zip(rows(40), signs(), strict=True)]
    write_csv(again / "t.csv", table)
    path = site_file(again, "north", kind="csv", path="t.csv", text="text")
    with pytest.raises(UserError, match=r"data.public: must hold no item of a client's, found 24"):
        site_client(CONFIG, "north", path)


def test_who_has_no_such_set_is_told_where_it_must_lie(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"'set:street' must be at .*public/street here"):
        plan(CONFIG)


@pytest.mark.parametrize("name", ["", "../up", "a/b", "/etc", "~", ".hidden", "a" * 65])
def test_a_common_config_can_name_no_path(name):
    data = {"public": f"set:{name}"}
    with pytest.raises(UserError, match="for it names no path"):
        plan(parse_config({"data": data}, "test"))
