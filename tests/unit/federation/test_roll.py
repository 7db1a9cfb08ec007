import importlib
import sys

import pytest
from flwr.app import Error, Message, RecordDict
from flwr.clientapp import ClientApp

from fedbridge.federation.flower.roster import AGAIN, LOST, RAISED, Roster, introduction
from fedbridge.methods.files import dump_config, parse_config
from fedbridge.runs import flower_app
from fedbridge.server.admission import Refused
from grids import UNAVAILABLE, Clock, FakeGrid

NAMES = ("a", "b")
AGREED, OTHER = b"agreed", b"another public set"


class Door:
    """A roll over nodes that introduce themselves as they are told to."""

    def __init__(self, app: ClientApp | None = None) -> None:
        self.said: dict[str, RecordDict | Error] = {n: introduction(n, AGREED) for n in NAMES}
        self.refused: list[Refused] = []
        self.asked: list[str] = []
        self.clock = Clock()
        self.grid = FakeGrid(app or self._introduce, NAMES, self.clock)
        self.roll = Roster(self.grid, NAMES, self.refused.append, self._doubts, self.clock)

    def here(self, seconds: float = 1.0) -> list[str]:
        """Return who is there when all who were asked have had time to say who they are."""
        self.roll.call()
        self.clock.now += seconds
        return list(self.roll.call())

    def _introduce(self, message: Message, context: object) -> Message:
        name = self.grid.nodes[message.metadata.dst_node_id]
        self.asked.append(name)
        return Message(self.said[name], reply_to=message)

    @staticmethod
    def _doubts(node: int, name: str, presented: bytes) -> list[str]:
        return [] if presented == AGREED else ["the public set differs", "the classes differ"]


def test_who_agrees_is_there_and_is_asked_once():
    door = Door()
    assert door.here() == door.here(10 * AGAIN) == ["a", "b"]
    assert door.asked == ["a", "b"]
    assert door.refused == []


def test_of_two_nodes_of_one_name_the_first_is_the_client_as_long_as_it_is_there():
    door = Door()
    door.here()
    first, second = door.roll.call()["b"], door.grid.join("b")
    door.here()
    assert door.roll.call()["b"] == first
    del door.grid.nodes[first]
    assert door.roll.call()["b"] == second


@pytest.mark.parametrize(
    "said, reason",
    [
        (introduction("b", OTHER), "the public set differs; the classes differ"),
        (introduction("b"), "the public set differs; the classes differ"),
        (introduction("b", AGREED, "large.model: no file"), "large.model: no file"),
    ],
)
def test_who_differs_is_refused_with_every_reason_and_is_not_there(said, reason):
    door = Door()
    door.said["b"] = said
    assert door.here() == ["a"]
    assert door.refused == [Refused("b", reason)]


def test_a_name_that_the_run_does_not_know_is_the_first_reason():
    door = Door()
    door.said["b"] = introduction("c", OTHER)
    assert door.here() == ["a"]
    assert door.refused == [Refused("c", "no client of this run has this name")]


@pytest.mark.parametrize("said", [RecordDict(), introduction("", OTHER)])
def test_who_says_no_name_is_refused(said):
    door = Door()
    door.said["b"] = said
    assert door.here() == ["a"]
    assert door.refused == [Refused("", "no client of this run has this name")]


def test_who_was_refused_is_asked_again_and_comes_in_when_all_is_well():
    door = Door()
    door.said["b"] = introduction("b", OTHER)
    assert door.here() == ["a"]
    assert door.here(AGAIN) == ["a"]
    assert door.here() == ["a"]
    assert len(door.refused) == 1  # told once, since the reason is the same
    door.said["b"] = introduction("b", AGREED)
    assert door.here(AGAIN) == ["a"]
    assert door.here() == ["a", "b"]


def test_who_was_away_says_anew_who_it_is_and_at_once():
    door = Door()
    (b,) = (node for node, name in door.grid.nodes.items() if name == "b")
    door.said["b"] = introduction("b", OTHER)
    assert door.here() == ["a"]
    for said, names in ((AGREED, ["a", "b"]), (OTHER, ["a"])):
        del door.grid.nodes[b]
        assert door.here() == ["a"]
        door.said["b"] = introduction("b", said)
        door.grid.nodes[b] = "b"
        assert door.here() == names
    assert door.asked == ["a", "b", "b", "b"]


def test_who_was_killed_over_the_question_is_asked_again():
    door, answered = Door(), []
    door.grid.reply = lambda reply, delay: answered.append(reply)  # and the answer gets lost
    assert door.here() == []
    del door.grid.reply
    assert door.here(LOST) == []
    assert door.here() == ["a", "b"]
    assert door.asked == ["a", "b"] * 2 and len(answered) == 2


def test_a_late_answer_counts_though_the_question_was_asked_again():
    door, reply = Door(), FakeGrid.reply
    door.grid.reply = lambda message, delay: reply(door.grid, message, 1.5 * LOST)
    assert door.here(LOST) == door.here(LOST / 4) == []
    assert door.here(LOST / 4) == ["a", "b"]
    assert door.asked == ["a", "b"] * 2 and door.refused == []


@pytest.mark.parametrize("code", RAISED)
def test_whose_program_fails_is_told_with_its_node_and_asked_again_later(code):
    door = Door()
    (b,) = (node for node, name in door.grid.nodes.items() if name == "b")
    door.said["b"] = Error(code, "it cannot be loaded")
    assert door.here() == door.here(AGAIN / 2) == ["a"]
    assert door.refused == [Refused(f"node {b}", "its program fails: it cannot be loaded")]
    assert door.asked == ["a", "b"]
    door.said["b"] = introduction("b", AGREED)
    assert door.here(AGAIN) == ["a"]
    assert door.here() == ["a", "b"]


def test_a_node_that_flower_misses_is_asked_again_at_once_and_not_told():
    door = Door()
    door.said["b"] = Error(UNAVAILABLE, "not there")
    assert door.here() == ["a"]
    door.said["b"] = introduction("b", AGREED)
    assert door.here() == ["a", "b"]
    assert door.refused == []


def test_words_of_a_stranger_are_cut_and_do_nothing_to_a_terminal():
    door = Door()
    door.said["b"] = introduction("\x1b[31mb\n" + 5000 * "x", AGREED)
    door.said["a"] = introduction("a", AGREED, "\x07no\u202e" + 5000 * "y")
    assert door.here() == []
    (name, _), (_, reason) = sorted(door.refused)
    assert name == "?[31mb?" + 993 * "x" + "..."
    assert reason == "?no?" + 996 * "y" + "..."


def test_another_reason_is_told_again():
    door = Door()
    door.said["b"] = introduction("b", OTHER)
    door.here()
    door.said["b"] = introduction("b", refusal="large.model: no file")
    door.here(AGAIN)
    door.here()
    assert [one.reason[:12] for one in door.refused] == ["the public s", "large.model:"]


def deployed(tmp_path, **common):
    """Return a door before clients who all live at one place with a config of its own."""
    site = tmp_path / "site.toml"
    site.write_text('client = "b"\n[data]\nkind = "images"\npath = "pictures"\n')
    text = dump_config(parse_config(common, "test"))
    place = flower_app.Place("b", tmp_path / "state", text, site, deployed=True)
    return Door(flower_app.client_app_of(lambda context: place))


def test_what_is_wrong_at_a_site_is_said_there_alone(tmp_path, caplog):
    door = deployed(tmp_path, data={"name": "digits"})
    assert door.here() == []
    refused, _ = door.refused  # both nodes are at this place
    assert (refused.client, refused.reason) == ("b", flower_app.STAYS)
    assert f"b: {tmp_path / 'site.toml'}: data.kind: must be 'experiment' unless" in caplog.text


def test_what_is_wrong_with_the_common_config_is_told(tmp_path, caplog):
    given = {"clients": ["b"], "classes": ["x", "y"], "modality": "image", "public": "none"}
    common = {"data": {"name": "site", "public_items": 8, **given}, "scenario": {"clients": 1}}
    door = deployed(tmp_path, **common, large={"model": "callable:somewhere:encode"})
    assert door.here() == []
    reason = door.refused[0].reason
    assert reason.startswith("large.model: a common config must not name what lies at a site")
    assert str(tmp_path) not in reason and not caplog.records


def test_the_words_of_an_unexpected_error_stay_at_the_site(tmp_path, monkeypatch, caplog):
    def fails(*_):
        raise KeyError("a label in /srv/site/pictures")

    monkeypatch.setattr(flower_app, "site_of", fails)
    door = deployed(tmp_path, data={"name": "digits"})
    with pytest.raises(RuntimeError) as told:
        door.here()
    assert str(told.value) == flower_app.STAYS and told.value.__suppress_context__
    assert "a label in /srv/site/pictures" in caplog.text


def test_why_a_site_cannot_load_its_program_is_said_there_alone(monkeypatch, caplog):
    class Broken:
        def find_spec(self, name, *_):
            if name == "fedbridge.runs.flower_app":
                raise OSError("/srv/site/torch.so: cannot open shared object file")

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "fedbridge.runs.flower_app")
    monkeypatch.delitem(sys.modules, "fedbridge.deploy.site_app", raising=False)
    with pytest.raises(ImportError) as told:
        importlib.import_module("fedbridge.deploy.site_app")
    assert str(told.value) == "the reason stands in the log of its SuperNode"
    assert told.value.__suppress_context__ and "/srv/site/torch.so" in caplog.text


def test_what_a_supernode_loads_is_the_clients_app():
    assert importlib.import_module("fedbridge.deploy.site_app").client_app is flower_app.client_app
