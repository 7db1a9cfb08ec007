"""Data sets of strangers, named MODULE:NAME: loaded once, checked, refused in one line."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from fedbridge.config import Data, FreeOptions
from fedbridge.core.errors import UnavailableError, UserError
from fedbridge.core.store import Part
from fedbridge.data import check_data, load_data, load_dataset, to_download
from fedbridge.data.contracts import check_dataset
from fedbridge.data.fitting import require_fitting
from fedbridge.data.public import check_public
from fedbridge.federation.setup import plan
from fedbridge.methods.files import parse_config
from strangers import at_home

COUNTED = '''
import numpy as np
from pathlib import Path
from fedbridge.config import Section
from fedbridge.data import DataSource, Items
from fedbridge.core.store import Part

class Size(Section):
    """How large."""
    count: int = 8
    """Texts."""

def texts(options, workspace):
    with open("calls", "a") as calls:
        calls.write("x")
    assert not list(workspace.iterdir())
    names = [f"text {n}" for n in range(options.count)]
    labels = ["a", "b"] * (options.count // 2)
    return Items(names, labels, domains=["here"] * (options.count - 2) + ["there"] * 2,
                 tasks=["1", "2"] * (options.count // 2))

def drawn(domains, workspace):
    for domain in domains:
        pictures = np.zeros((4, 1, 16, 16), np.uint8)
        yield Part(domain, pictures, pictures, np.arange(4) % 2, np.arange(4), ("a", "b"), (), ())

def tiny(domains, workspace):
    pictures = np.zeros((4, 1, 5, 5), np.uint8)
    yield Part("x", pictures, pictures, np.arange(4) % 2, np.arange(4), ("a", "b"), (), ())

TEXTS = DataSource("texts", texts, options=Size, modality="text", licences=("free",))
LARGE = DataSource("texts", texts, options=Size, modality="text", licences=("free",), download=7.0)
DRAWN = DataSource("pictures", parts=drawn, domains=("x", "y"), licences=("free",))
TINY = DataSource("pictures", parts=tiny, domains=("x",))
RAISES = DataSource("raises", lambda options, workspace: {}["no such key"])
WRONG = DataSource("wrong", lambda options, workspace: [1, 2])
UNEVEN = DataSource("uneven", lambda options, workspace: Items(["a", "b"], ["x"]), modality="text")
ONE = DataSource("one class", lambda options, workspace: Items(["a"], ["x"]), modality="text")
LIES = DataSource("lies", lambda options, workspace: Items(["a", "b"], ["x", "y"]))
NUMBER = 3
'''
FICKLE = """
import itertools
from fedbridge.data import DataSource, Items
N = itertools.count()

def load(options, workspace):
    return Items([f"{next(N)}", "b"], ["x", "y"])

FICKLE = DataSource("never the same", load, modality="text", licences=("mine",))
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch) -> str:
    return at_home(tmp_path, monkeypatch, "counted_data", COUNTED)


def test_items_are_as_the_module_says(tmp_path):
    found = load_dataset("counted_data:TEXTS", cache=tmp_path)
    assert found.name == "counted_data:TEXTS" and found.modality == "text"
    assert found.domain_names == ("here", "there")
    assert sorted(found.items) == [f"text {n}" for n in range(8)]
    labels = dict(zip(found.items, found.labels.tolist(), strict=True))
    assert (found.classes[labels["text 3"]], found.classes[labels["text 6"]]) == ("b", "a")
    assert found.task_names == ("1", "2") and found.tasks.tolist() == [0, 1] * 4
    assert found.licences == ("free",)


def test_it_is_asked_once_for_each_way_to_set_it_and_anew_when_its_module_changes(
    tmp_path, monkeypatch
):
    name = "counted_data:TEXTS"
    first = load_dataset(name, cache=tmp_path)
    assert load_dataset(name, cache=tmp_path).fingerprint == first.fingerprint
    assert Path("calls").read_text() == "x"
    assert len(load_dataset(name, cache=tmp_path, options=FreeOptions(count=4))) == 4
    assert Path("calls").read_text() == "xx"
    text = COUNTED.replace("text {n}", "words {n}")
    other = at_home(tmp_path, monkeypatch, "counted_again", text)
    assert load_dataset(f"{other}:TEXTS", cache=tmp_path).items[0] == "words 0"
    assert Path("calls").read_text() == "xxx"


def test_a_domain_may_be_chosen(tmp_path):
    found = load_dataset("counted_data:TEXTS", ("there",), tmp_path)
    assert found.items == ("text 6", "text 7")
    assert load_dataset("counted_data:DRAWN", ("y",), tmp_path).domain_names == ("y",)
    with pytest.raises(UserError, match=r"data.domains: .*'z'"):
        load_dataset("counted_data:DRAWN", ("z",), tmp_path)


def test_nothing_is_downloaded_unasked(tmp_path):
    assert to_download(Data(name="counted_data:TEXTS"), tmp_path) == ()
    assert to_download(Data(name="counted_data:LARGE"), tmp_path) == ("all",)
    load_dataset("counted_data:LARGE", cache=tmp_path)
    assert to_download(Data(name="counted_data:LARGE"), tmp_path) == ()


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("no_such_module:DATA", "there is no module 'no_such_module'"),
        ("counted_data:TEXT", r"has no DataSource 'TEXT' \(did you mean 'TEXTS'\?\)"),
        ("counted_data:NUMBER", "must be a DataSource, found int"),
        ("counted_data:Size", "must be a DataSource, found the class Size"),
        ("counted_dat", "must be one of digits, .*MODULE:NAME, found 'counted_dat'"),
    ],
)
def test_a_name_that_is_none_is_refused_in_one_line(name, rule):
    with pytest.raises(UserError, match=f"^data.name: .*{rule}") as caught:
        plan(parse_config({"data": {"name": name}}, "x"))
    assert "\n" not in str(caught.value)
    if ":" in name:
        with pytest.raises(UserError, match=f"^data.public: .*{rule}"):
            check_public(Data(public=name))


def test_a_module_that_raises_says_what(tmp_path, monkeypatch):
    at_home(tmp_path, monkeypatch, "raising_data", "raise OSError('no such disk')")
    with pytest.raises(UserError, match=r"raising_data:X cannot be used: OSError: no such disk"):
        check_data(Data(name="raising_data:X"))


@pytest.mark.parametrize(
    ("number", "text", "rule"),
    [
        (1, "DataSource('x')", "must have either load or parts"),
        (2, "DataSource('x', parts=print)", "domains must be declared with parts"),
        (3, "DataSource('x', print, options=3)", "options must be a subclass of fedbridge.conf"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(tmp_path, monkeypatch, number, text, rule):
    module = f"from fedbridge.data import DataSource\nX = {text}\n"
    name = at_home(tmp_path, monkeypatch, f"odd_data_{number}", module)
    with pytest.raises(UserError, match=f"{name}:X cannot be used: ValueError: {rule}"):
        check_data(Data(name=f"{name}:X"))


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"cuont": 4}, r"data.options.cuont: unknown key \(did you mean 'count'\?\)"),
        ({"count": "many"}, "data.options.count: .*valid integer.*, found 'many'"),
    ],
)
def test_options_that_it_does_not_have_are_refused(given, rule):
    with pytest.raises(UserError, match=rule):
        check_data(Data(name="counted_data:TEXTS", options=given))
    with pytest.raises(UserError, match=rule.replace("data.options", "data.public_options")):
        check_public(Data(public="counted_data:TEXTS", public_options=given))


def test_options_of_what_takes_none_are_refused():
    with pytest.raises(UserError, match=r"data.options: counted_data:DRAWN takes no options, fou"):
        check_data(Data(name="counted_data:DRAWN", options={"a": 1}))
    with pytest.raises(UserError, match=r"data.options is only for data.name = 'MODULE:NAME'"):
        parse_config({"data": {"name": "digits", "options": {"a": 1}}}, "x")


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("RAISES", "data set: counted_data:RAISES cannot be used: KeyError: 'no such key'"),
        ("WRONG", "data set counted_data:WRONG: load must return Items, found list"),
        (
            "UNEVEN",
            "data set counted_data:UNEVEN: labels: must have a value for each",
        ),
        ("ONE", "data set counted_data:ONE: there must be at least two classes"),
        ("LIES", "data set counted_data:LIES, .*modality is 'image', found items of texts"),
        ("TINY", "data set counted_data:TINY, domain 'x': inputs must be uint8 .* S 16 or 32, f"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(tmp_path, name, rule):
    with pytest.raises(UnavailableError, match=rule):
        load_dataset(f"counted_data:{name}", cache=tmp_path)
    assert not list(tmp_path.rglob("manifest.json"))


def test_options_reach_the_items_and_settings_stay_comparable():
    data = Data(name="counted_data:TEXTS", options={"count": 6})
    assert len(load_data(data)) == 6
    same = Data(name="counted_data:TEXTS", options={"count": 6})
    assert data == same and hash(data) == hash(same)  # a bench groups its jobs by them
    assert data != Data(name="counted_data:TEXTS", options={"count": 4})


def test_the_contract_tells_what_is_not_kept(tmp_path, monkeypatch):
    ours = import_module("counted_data")
    check_dataset(ours.TEXTS, {"count": 6})
    check_dataset(ours.DRAWN)
    with pytest.raises(AssertionError, match="licences"):
        check_dataset(ours.TINY)
    at_home(tmp_path, monkeypatch, "fickle_data", FICKLE)
    with pytest.raises(AssertionError, match="the same items whenever"):
        check_dataset(import_module("fickle_data").FICKLE)


PICTURES = np.zeros((4, 1, 16, 16), np.uint8)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"labels": np.arange(4)}, "labels must be from 0 to 1, .* found 0 to 3"),
        ({"labels": np.zeros(4, np.int32)}, r"labels must be int64 \(4,\), found int32 \(4,\)"),
        ({"groups": np.arange(3)}, r"groups must be int64 \(4,\), found int64 \(3,\)"),
        ({"items": PICTURES[:2]}, "items must be as many as labels, 4, found 2"),
        ({"items": PICTURES / 2}, "items must be uint8 .*, found float64"),
        ({"classes": ("a", "a")}, "classes must name each once"),
        ({"split": np.array([0, 1, 2, 0], np.int8)}, "split must be 0 or 1"),
    ],
)
def test_arrays_that_do_not_fit_are_named(change, rule):
    labels, groups = np.arange(4) % 2, np.arange(4)
    good = Part("x", PICTURES, PICTURES, labels, groups, ("a", "b"), (), ())
    require_fitting("it", good, "image")
    with pytest.raises(UserError, match=f"data set it, domain 'x': {rule}"):
        require_fitting("it", replace(good, **change), "image")
