import platform
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from typing import Any

import pytest
import torch

from fedbridge.federation.handshake import binding_bytes, differences, hello
from fedbridge.methods.files import parse_config
from fedbridge.wire import PROTOCOL, Hello, decode, encode
from worlds import World

FM = "ab" * 32


@pytest.fixture
def mine(world: World) -> Hello:
    return hello("a", world.shared, FM)


def settled(**tree: Any) -> bytes:
    return binding_bytes(parse_config(tree, "test"))


def test_a_hello_says_what_is_installed_here(mine: Hello):
    assert (mine.client, mine.protocol) == ("a", PROTOCOL)
    assert mine.fedbridge == metadata.version("fedbridge")
    assert (mine.torch, mine.python) == (torch.__version__, platform.python_version())


def test_digests_say_how_much_there_is(mine: Hello, world: World):
    assert mine.classes.startswith("8 classes, sha256 ")
    assert mine.anchors.startswith("seed 0, dimension 32, sha256 ")
    assert mine.public.startswith(f"{len(world.shared.public_inputs)} items, sha256 ")


def test_a_hello_comes_back_as_it_was(mine: Hello):
    assert decode(encode(mine), "Hello") == mine


def test_two_sides_that_hold_the_same_may_begin(world: World):
    one, other = (hello(name, world.shared, FM) for name in ("a", "b"))
    assert differences(one, other) == []


def test_without_a_large_side_there_is_no_foundation_model(world: World):
    said = hello("a", world.shared, "")
    assert (said.foundation, said.fingerprint) == ("", "")
    assert differences(said, hello("b", world.shared, "")) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fedbridge": "9.9.9"}, "the version of fedbridge differs: here {fedbridge}; there 9.9.9"),
        ({"torch": "1.0.0"}, "the release of torch differs: here {torch}; there 1.0.0"),
        ({"python": "2.7.18"}, "the release of python differs: here {python}; there 2.7.18"),
        ({"classes": "7 classes, sha256 " + "0f" * 32}, "there 7 classes, sha256 0f0f0f0f0f0f"),
        ({"anchors": "seed 1, dimension 32, sha256 " + "0f" * 32}, "there seed 1, dimension 32"),
        ({"public": "5 items, sha256 " + "0f" * 32}, "the public set differs: here "),
        ({"config": "settings, sha256 " + "0f" * 32}, "the settings that bind all sides differ"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_every_field_that_differs_is_named(mine: Hello, change: dict[str, Any], words: str):
    (found,) = differences(mine, replace(mine, **change))
    assert words.format(**vars(mine)) in found


def test_another_protocol_is_all_that_is_said(mine: Hello):
    theirs = replace(mine, protocol=PROTOCOL + 1, torch="1.0.0", classes="none")
    assert differences(mine, theirs) == [
        f"the messages' protocol differs: here {PROTOCOL}; there {PROTOCOL + 1}"
    ]


def test_where_a_foundation_model_lies_is_not_told(world: World):
    large = {"model": "onnx:/secret/model.onnx"}
    said = hello("client-1", world.with_config(large=large).shared, FM)
    assert said.foundation == "onnx"


def test_the_foundation_model_is_compared_by_its_fingerprint(mine: Hello):
    assert differences(mine, replace(mine, foundation="onnx:/models/same.onnx")) == []
    other = replace(mine, fingerprint="cd" * 32)
    assert differences(mine, other) == [
        "the foundation model differs: here patches, sha256 abababababab; "
        "there patches, sha256 cdcdcdcdcdcd"
    ]
    (found,) = differences(mine, replace(mine, foundation="", fingerprint=""))
    assert found.endswith("there none")


def test_all_that_differs_is_said_at_once(mine: Hello):
    theirs = replace(mine, torch="1.0", public="", config="", fingerprint="")
    assert len(differences(mine, theirs)) == 4


def test_builds_and_patches_of_one_release_may_differ(mine: Hello):
    one = replace(mine, torch="2.13.0+cpu", python="3.11.7")
    assert differences(one, replace(one, torch="2.13.1+cu130", python="3.11.9")) == []


CHANGES: dict[str, tuple[Callable[[World], World], str]] = {
    "seed": (lambda world: world.with_config(seed=1), "the anchors differ"),
    "training": (lambda world: world.with_config(training={"rounds": 7}), "settings"),
}


@pytest.mark.parametrize(("changed", "words"), CHANGES.values(), ids=CHANGES)
def test_another_config_is_noticed(
    world: World, mine: Hello, changed: Callable[[World], World], words: str
):
    theirs = hello("b", changed(world).shared, FM)
    assert any(words in line for line in differences(mine, theirs))


def test_other_classes_in_another_order_are_noticed(world: World, mine: Hello):
    turned = replace(world.shared, classes=world.shared.classes[::-1])
    assert any("the classes differ" in d for d in differences(mine, hello("b", turned, FM)))


def test_one_other_public_pixel_is_noticed(world: World, mine: Hello):
    inputs = world.shared.public_inputs.clone()
    inputs[0, 0, 0, 0] ^= 1
    theirs = hello("b", replace(world.shared, public_inputs=inputs), FM)
    assert [line.split(":")[0] for line in differences(mine, theirs)] == ["the public set differs"]


def test_what_binds_all_sides_leaves_out_what_is_each_sides_own():
    assert settled() == settled(name="other", engine={"workers": 0}, large={"batch": 7})
    assert settled() == settled(large={"model": "onnx:/models/mine.onnx"})


@pytest.mark.parametrize(
    "tree",
    [
        {"seed": 1},
        {"data": {"name": "fonts"}},
        {"scenario": {"tasks": 2}},
        {"large": {"size": 64}},
        {"large": {"head": "nearest-mean"}},
        {"small": {"dimension": 8}},
        {"learner": {"name": "finetune"}},
        {"fusion": {"name": "none"}},
    ],
    ids=str,
)
def test_what_binds_all_sides_holds_everything_else(tree: dict[str, Any]):
    assert settled() != settled(**tree)
