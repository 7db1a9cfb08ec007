import tempfile
from pathlib import Path

import pytest
from crews import Echo, build, send
from flwr.app import Message, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbridge.client.disk import Resident
from fedbridge.config import Engine
from fedbridge.core.errors import UserError
from fedbridge.federation.flower.records import to_record, to_request
from fedbridge.federation.flower.transport import FlowerTransport
from fedbridge.federation.local import LocalTransport
from fedbridge.federation.workers import WorkerPool
from fedbridge.methods.files import parse_config
from fedbridge.runs import flower_app
from fedbridge.runs.run import Run
from fedbridge.wire import Answer, Evaluation, Upload, decode, encode
from grids import RAISED, UNAVAILABLE, Clock, FakeGrid, Fate, misfortunes

NAMES = ("a", "b", "c")


class World:
    """A run's server, its transport and its clients, all in this process."""

    def __init__(self, folder, names=NAMES, fate=None, **engine):
        self.folder, self.names, self.clock = folder, names, Clock()
        self.run = Run.create(folder / "run", parse_config({}, "test"))
        self.residents = {}
        for name in names:
            self.restart(name)
        app = flower_app.client_app_of(
            lambda context: flower_app.Place(str(context.node_config["client"]), folder, ""),
            lambda place: self.residents[place.client],
        )
        self.grid = FakeGrid(app, names, self.clock, restarted=self.restart)
        if fate:
            self.grid.fate = fate
        self.settings = Engine(**engine)
        self.hosts = WorkerPool(build, names, 0, 1)
        self.transport = self.connect()

    def connect(self):
        return FlowerTransport(self.grid, self.run, self.settings, self.hosts, self.clock)

    def restart(self, name):
        folder = self.folder / "state" / name
        self.residents[name] = Resident(name, lambda: Echo(name), folder, 3)

    def kinds(self):
        return [(e["kind"], e["client"]) for e in self.run.events()]


@pytest.fixture
def world(tmp_path):
    """Return what makes a world."""
    worlds = []

    def make(**changes):
        worlds.append(World(tmp_path / f"world-{len(worlds)}", **changes))
        return worlds[-1]

    return make


def sums(uploads):
    return [(u.client, float(u.state["x"][0])) for u in uploads]


def measured(transport):
    return sorted((e.client, e.after_task, e.rows[0][3]) for e in transport.take_evaluations())


def test_clients_elsewhere_show_no_embeddings(world):
    assert world().transport.sample(3) == {}


def plans():
    """Steps of a little run: what is sent to whom, and after which ones is measured."""
    yield send(1, 1, a=1.0, b=2.0, c=3.0), False
    yield send(1, 2, a=4.0, c=5.0), True
    yield send(2, 1, b=6.0, c=7.0), False
    yield send(2, 2, c=8.0, a=9.0, b=1.0), True


def follow(transport):
    """Carry out the plan and return all uploads and evaluations."""
    uploads, found = [], []
    transport.evaluate(send(0, 2, a=0.0, b=0.0, c=0.0))
    steps = list(plans())
    for number, (broadcasts, ends) in enumerate(steps, start=1):
        uploads.append(sums(transport.exchange(broadcasts)))
        if ends:
            transport.evaluate(broadcasts, last=number == len(steps))
        found += measured(transport)
    return uploads, sorted(found)


def locally():
    with LocalTransport(build, NAMES, 0, 1) as transport:
        return follow(transport)


def test_nothing_goes_wrong_and_all_is_as_locally(world):
    here = world()
    with here.transport as transport:
        assert follow(transport) == locally()
    assert here.run.events() == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 2))
def test_whatever_is_lost_doubled_or_delayed_all_is_as_locally(seed, most):
    with tempfile.TemporaryDirectory() as folder:
        here = World(Path(folder), fate=misfortunes(seed, most))
        with here.transport as transport:
            assert follow(transport) == locally()


def test_one_message_per_client_and_round_that_measures_and_learns(world):
    here = world()
    with here.transport as transport:
        transport.evaluate(send(0, 1, a=1.0, b=2.0, c=3.0))
        list(transport.exchange(send(1, 1, a=1.0, b=5.0)))
    assert [name for name, _ in here.grid.sent] == ["a", "b", "c"]
    requests = {name: to_request(m.content) for name, m in here.grid.sent}
    learn = {n: decode(r.learn, "Broadcast").state for n, r in requests.items() if r.learn}
    # what was sent to measure with is not sent again to learn from
    assert learn["a"] == {} and float(learn["b"]["x"][0]) == 5.0 and "c" not in learn
    assert all(r.measure for r in requests.values())


def test_uploads_are_handed_over_while_others_are_awaited(world):
    here = world(fate=lambda name, message: Fate((30.0 if name == "b" else 1.0,)))
    with here.transport as transport:
        uploads = transport.exchange(send(1, 1, a=1.0, b=2.0, c=3.0))
        assert next(uploads).client == "a"
        assert here.clock.now < 10.0
        assert [u.client for u in uploads] == ["b", "c"]


def test_who_does_not_answer_is_left_out_where_the_quorum_holds(world):
    here = world(fate=lambda name, message: Fate(() if name == "b" else (1.0,)), quorum=2)
    with here.transport as transport:
        uploads = sums(transport.exchange(send(1, 1, a=1.0, b=2.0, c=3.0)))
    assert uploads == [("a", 1.0), ("c", 3.0)]
    assert here.kinds()[-1] == ("absent", "b")
    assert here.run.events()[-1]["reason"] == "no answer within 3600 s"
    asked = [name for name, _ in here.grid.sent]
    assert asked.count("b") < 60 and asked.count("a") == 1


def test_what_a_node_has_lost_it_is_asked_again_soon(world):
    fates = iter([Fate((), works=False)])
    here = world(fate=lambda name, message: next(fates, Fate()))
    with here.transport as transport:
        assert sums(transport.exchange(send(1, 1, a=1.0, b=2.0))) == [("a", 1.0), ("b", 2.0)]
    assert here.kinds() == [("lost", "a")]
    assert here.clock.now < 90.0


def test_a_node_that_is_busy_is_not_asked_again(world):
    here = world(fate=lambda name, message: Fate((1000.0,) if name == "a" else (0.1,)))
    with here.transport as transport:
        assert sums(transport.exchange(send(1, 1, a=1.0, b=2.0))) == [("a", 1.0), ("b", 2.0)]
        assert sums(transport.exchange(send(1, 2, b=1.0))) == [("b", 3.0)]
    assert [name for name, _ in here.grid.sent] == ["a", "b", "b"]
    assert here.kinds() == []


def test_fewer_than_the_quorum_is_an_error_that_says_how_to_go_on(world):
    here = world(fate=lambda name, message: Fate(() if name == "b" else (1.0,)))
    with (
        here.transport as transport,
        pytest.raises(UserError, match=r"3 of 3 clients .* missing: b; .* fedbridge resume .*run"),
    ):
        list(transport.exchange(send(1, 1, a=1.0, b=2.0, c=3.0)))


def test_who_is_not_there_is_not_waited_for_where_the_others_are_enough(world):
    here = world(quorum=2)
    with here.transport as transport:
        here.grid.leave("b")
        here.clock.now += 10.0
        uploads = sums(transport.exchange(send(1, 1, a=1.0, b=2.0, c=3.0)))
        assert uploads == [("a", 1.0), ("c", 3.0)]
        assert here.kinds() == [("left", "b"), ("absent", "b")]
        assert here.run.events()[-1]["reason"] == "it is not there"
        assert here.clock.now < 20.0
        here.grid.join("b")
        here.clock.now += 10.0
        list(transport.exchange(send(1, 2, a=1.0, c=3.0)))  # in which it says who it is
        here.clock.now += 10.0
        assert len(sums(transport.exchange(send(1, 3, a=1.0, b=2.0, c=3.0)))) == 3
        assert here.kinds()[2:] == [("joined", "b")]


def test_a_run_opens_as_soon_as_a_quorum_is_there(world):
    here = world(quorum=2)
    here.grid.leave("b")
    with here.transport as transport:
        assert here.clock.now < 10.0
        assert len(list(transport.exchange(send(1, 1, a=1.0, b=1.0, c=1.0)))) == 2


def test_who_never_comes_is_named(world):
    here = world(deadline=100.0)
    here.grid.leave("c")
    with pytest.raises(UserError, match="missing: c"), here.transport:
        pass
    assert here.clock.now >= 100.0


def test_a_straggler_of_an_earlier_exchange_is_told_and_changes_nothing(world):
    slow = iter([Fate((5000.0,)), Fate((1.0,)), Fate((1.0,))] + [Fate((1.0,))] * 9)
    here = world(
        fate=lambda name, message: next(slow) if name == "b" else Fate((1.0,)),
        quorum=2,
        deadline=100.0,
    )
    with here.transport as transport:
        list(transport.exchange(send(1, 1, a=1.0, b=2.0, c=3.0)))
        here.clock.now += 5000.0
        assert len(list(transport.exchange(send(1, 2, a=1.0, b=2.0, c=3.0)))) == 3
    assert ("late", "b") in here.kinds() or ("doubled", "b") in here.kinds()


def test_an_error_of_the_clients_program_is_met_three_times(world):
    here = world(fate=lambda n, m: Fate((), error=RAISED) if n == "a" else Fate((1.0,)), quorum=1)
    with here.transport as transport:
        assert sums(transport.exchange(send(1, 1, a=1.0, b=2.0))) == [("b", 2.0)]
    assert here.kinds() == [("failed", "a")] * 3 + [("absent", "a")]
    assert here.clock.now < 60.0


def test_a_node_that_is_away_is_asked_until_the_deadline(world):
    here = world(fate=lambda n, m: Fate((), error=UNAVAILABLE), quorum=1, names=("a", "b"))
    with here.transport as transport, pytest.raises(UserError, match=r"engine\.quorum"):
        list(transport.exchange(send(1, 1, a=1.0)))
    assert here.clock.now >= 3600.0


def test_a_users_error_at_the_client_is_its_last_word(world):
    here = world()
    with (
        here.transport as transport,
        pytest.raises(UserError, match=r"engine\.quorum: 2 of 2 .* missing: a"),
    ):
        list(transport.exchange(send(12, 1, a=1.0) | send(1, 1, b=1.0)))
    assert here.kinds() == [("failed", "a"), ("absent", "a")]
    assert "no twelfth task" in here.run.events()[0]["reason"]
    assert here.clock.now < 60.0


def liar(change):
    """Return what answers as client a with something changed, as all others with the truth."""

    def answer(name, message):
        request = to_request(message.content)
        truth = Answer(name, request.number, upload=encode(Upload(name, 1, 1, {}, (0,))))
        content = to_record(truth) if name != "a" else change(truth)
        return Message(content, reply_to=message)

    return answer


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda t: RecordDict(), "not a readable Answer"),
        (lambda t: to_record(t._replace(client="b")), "answers as 'b'"),
        (lambda t: to_record(t._replace(client=9999 * "b")), "bbb...bbb"),
        (lambda t: to_record(t._replace(upload=b"rubbish")), "not a readable Upload"),
        (lambda t: to_record(t._replace(upload=b"")), "not a readable Upload"),
        (lambda t: to_record(t._replace(upload=bytes(2**20 + 1))), "at most 1 MiB, found 1 MiB"),
        (
            lambda t: to_record(t._replace(upload=encode(Upload("b", 1, 1, {}, (0,))))),
            "must be of 'a', found 'b'",
        ),
        (
            lambda t: to_record(t._replace(upload=encode(Evaluation("a", 1, ())))),
            "expected Upload, found Evaluation",
        ),
    ],
)
def test_what_is_no_answer_is_refused_and_holds_nobody_up(world, change, reason):
    here = world(largest=1)
    here.grid.answer = liar(change)
    with here.transport as transport:
        assert [u.client for u in transport.exchange(send(1, 1, a=1.0, b=1.0))] == ["b"]
        (refused,) = transport.take_refused()
        assert refused.client == "a" and reason in refused.reason
        assert transport.take_refused() == []
    assert here.clock.now < 10.0


@pytest.mark.parametrize(
    "evaluation, reason",
    [
        (b"rubbish", "not a readable Evaluation"),
        (encode(Evaluation("b", 1, ())), "must be of 'a', found 'b'"),
        (encode(Upload("a", 1, 1, {}, (0,))), "expected Evaluation, found Upload"),
    ],
)
def test_what_is_no_evaluation_is_refused_and_the_upload_beside_it_taken(world, evaluation, reason):
    here = world()
    here.grid.answer = liar(lambda truth: to_record(truth._replace(evaluation=evaluation)))
    with here.transport as transport:
        transport.evaluate(send(1, 1, a=1.0))
        assert [u.client for u in transport.exchange(send(2, 1, a=1.0))] == ["a"]
        assert transport.take_evaluations() == []
        (refused,) = transport.take_refused()
    assert refused.client == "a" and reason in refused.reason


def test_an_answer_for_another_exchange_is_told_and_asked_again(world):
    here, seen = world(), []

    def first_wrong(truth):
        seen.append(truth.number)
        return to_record(truth._replace(number=truth.number + (len(seen) == 1)))

    here.grid.answer = liar(first_wrong)
    with here.transport as transport:
        assert len(list(transport.exchange(send(1, 1, a=1.0)))) == 1
    assert here.kinds() == [("wrong-round", "a")] and len(seen) == 2


def test_strangers_are_turned_away_and_told_at_once(world):
    here = world(deadline=10.0, names=("a",))
    here.grid.nodes[1] = "stranger"
    with here.transport as transport:
        (event,) = here.run.events()
        assert (event["kind"], event["client"]) == ("turned-away", "stranger")
        assert event["reason"] == "no client of this run has this name"
        assert transport.take_refused() == []  # those are uploads
        assert sums(transport.exchange(send(1, 1, a=1.0))) == [("a", 1.0)]


def test_of_two_nodes_with_one_name_the_first_is_the_client(world):
    here = world(names=("a",))
    here.grid.nodes[2000] = "a"
    with here.transport as transport:
        assert sums(transport.exchange(send(1, 1, a=1.0))) == [("a", 1.0)]
    assert [m.metadata.dst_node_id for _, m in here.grid.sent] == [min(here.grid.nodes)]


def test_a_second_node_of_a_name_waits_until_the_first_is_gone(world):
    here, (first, *_) = world(), (100,)
    second = here.grid.join("a")
    with here.transport as transport:
        list(transport.exchange(send(1, 1, a=1.0)))
        assert here.grid.sent[-1][1].metadata.dst_node_id == first
        del here.grid.nodes[first]
        here.clock.now += 10.0
        assert sums(transport.exchange(send(1, 2, a=1.0))) == [("a", 2.0)]
        assert here.grid.sent[-1][1].metadata.dst_node_id == second
        assert transport.take_refused() == []


def test_a_client_that_is_started_anew_amid_an_exchange_is_asked_there(world):
    fates = iter([Fate((), works=False, restarts=True)])
    here = world(fate=lambda name, message: next(fates, Fate()))
    with here.transport as transport:
        assert sums(transport.exchange(send(1, 1, a=1.0))) == [("a", 1.0)]
    assert here.clock.now < 60.0


def test_what_is_still_to_be_measured_survives_the_server(world):
    here = world()
    with here.transport as transport:
        list(transport.exchange(send(1, 1, a=1.0, b=2.0, c=3.0)))
        transport.evaluate(send(1, 1, a=1.0, b=2.0, c=3.0))
        transport.save(here.folder)
    again = here.connect()
    again.load(here.folder)
    with again as transport:
        assert sums(transport.exchange(send(2, 1, a=1.0, b=1.0, c=1.0)))[0] == ("a", 2.0)
        assert measured(transport) == [("a", 1, 1), ("b", 1, 2), ("c", 1, 3)]


def test_a_server_that_died_amid_an_exchange_gets_the_same_answers(world):
    here = world()
    with here.transport as transport:
        transport.save(here.folder)
        before = next(transport.exchange(send(1, 1, a=1.0, b=2.0, c=3.0)))
    again = here.connect()
    again.load(here.folder)
    with again as transport:
        uploads = list(transport.exchange(send(1, 1, a=1.0, b=2.0, c=3.0)))
    assert sums(uploads) == [("a", 1.0), ("b", 2.0), ("c", 3.0)] and sums([before]) == [("a", 1.0)]


def test_bytes_are_counted_as_encoded_and_taken_once(world):
    here = world()
    with here.transport as transport:
        down = send(1, 1, a=1.0, b=2.0)
        uploads = list(transport.exchange(down))
        bytes_up, bytes_down, seconds = transport.take_traffic()
        assert bytes_down == sum(len(encode(b)) for b in down.values())
        assert bytes_up == sum(len(encode(u)) for u in uploads)
        assert seconds > 0.0
        assert transport.take_traffic() == (0, 0, 0.0)
