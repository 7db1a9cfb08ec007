"""A name is bound to a key: a node that takes another's name is turned away."""

from pathlib import Path

import pytest
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedbridge.core.errors import UserError
from fedbridge.federation.flower.node_keys import impostor, owner
from fedbridge.federation.flower.roster import Roster, introduction
from fedbridge.server.admission import Refused
from grids import Clock, FakeGrid


@pytest.fixture
def nodes(tmp_path: Path) -> Path:
    """Return a register as ``register.sh`` writes it: of a, node 100, and b, node 101."""
    folder = tmp_path / "nodes"
    folder.mkdir()
    for number, name in enumerate("ab", start=100):
        (folder / name).write_text(f"{number}\n")
    return folder


def test_each_node_is_the_client_whose_key_it_has(nodes: Path):
    assert [owner(nodes, node) for node in (100, 101, 102)] == ["a", "b", None]
    assert impostor(nodes, 100, "a") == impostor(nodes, 101, "b") == []


@pytest.mark.parametrize(
    "node, found", [(101, "that of 'b'"), (102, "not registered"), (0, "not registered")]
)
def test_who_has_another_key_is_an_impostor(nodes: Path, node: int, found: str):
    (reason,) = impostor(nodes, node, "a")
    assert reason.startswith("it must have the key of 'a', found that its key is ")
    assert reason.endswith(found)


def test_a_client_that_is_registered_later_is_known_from_then_on(nodes: Path):
    assert impostor(nodes, 102, "c")
    (nodes / "c").write_text("102")
    assert impostor(nodes, 102, "c") == []


def test_a_register_that_cannot_be_read_is_named(nodes: Path):
    (nodes / "b").write_text("no number")
    with pytest.raises(UserError, match=r"nodes/b: must hold a node's id"):
        owner(nodes, 7)
    with pytest.raises(UserError, match=r"must be the folder in which register\.sh keeps node ids"):
        owner(nodes / "gone", 7)


def test_a_name_that_another_took_is_free_for_the_one_whose_key_it_is(nodes: Path):
    app = ClientApp()

    @app.query()
    def everybody_says_a(message: Message, context: Context) -> Message:
        return Message(introduction("a"), reply_to=message)

    clock, turned_away = Clock(), list[Refused]()
    grid = FakeGrid(app, ("b", "a"), clock)
    grid.nodes = {101: "b", 102: "nobody", 100: "a"}  # the first to come has b's key

    def doubts(node: int, name: str, presented: bytes) -> list[str]:
        return impostor(nodes, node, name)

    roll = Roster(grid, ("a", "b"), turned_away.append, doubts, clock)
    roll.call()
    clock.now += 1.0
    assert roll.call() == {"a": 100}
    assert [(one.client, one.reason.rpartition("key is ")[2]) for one in turned_away] == [
        ("a", "that of 'b'"),
        ("a", "not registered"),
    ]
