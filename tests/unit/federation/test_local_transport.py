import multiprocessing
import os

import pytest
import torch
from crews import build, build_nothing, join, send

from fedbridge.core.errors import UserError
from fedbridge.federation import local
from fedbridge.federation import workers as hosts
from fedbridge.federation.local import LocalTransport
from fedbridge.wire import Upload, encode

NAMES = ("a", "b", "c")


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def shared():
    """Two workers for all tests that leave them alive."""
    with LocalTransport(build, NAMES, 2, 1) as transport:
        yield transport


@pytest.fixture(params=[0, 2])
def transport(request, shared, tmp_path):
    """A transport whose clients remember nothing."""
    if request.param:
        for name in NAMES:
            (tmp_path / name).write_text("0 0")
        shared.load(tmp_path)
        shared.take_traffic()
        yield shared
    else:
        with LocalTransport(build, NAMES, 0, 1) as here:
            yield here


def sums(uploads):
    return [(u.client, float(u.state["x"][0])) for u in uploads]


def test_uploads_come_in_the_order_of_the_broadcasts(transport):
    uploads = transport.exchange(send(1, c=3.0, a=1.0, b=2.0))
    assert sums(uploads) == [("c", 3.0), ("a", 1.0), ("b", 2.0)]


def test_clients_remember_from_round_to_round(transport):
    list(transport.exchange(send(1, a=1.0, b=2.0)))
    assert sums(transport.exchange(send(1, 2, a=10.0, b=20.0))) == [("a", 11.0), ("b", 22.0)]


def test_bytes_are_counted_as_encoded_and_taken_once(transport):
    down = send(1, a=1.0, b=2.0)
    uploads = list(transport.exchange(down))
    bytes_up, bytes_down, seconds = transport.take_traffic()
    assert bytes_down == sum(len(encode(b)) for b in down.values())
    assert bytes_up == sum(len(encode(u)) for u in uploads)
    assert seconds > 0.0
    assert transport.take_traffic() == (0, 0, 0.0)


def test_measuring_is_no_traffic(transport):
    list(transport.exchange(send(1, a=1.0)))
    before = transport.bytes_down
    transport.evaluate(send(1, a=1.0, b=1.0))
    found = transport.take_evaluations()
    assert [(e.client, e.rows[0][3]) for e in found] == [("a", 1), ("b", 0)]
    assert transport.take_evaluations() == []
    assert transport.bytes_down == before


def test_every_client_shows_a_sample_without_traffic(transport):
    list(transport.exchange(send(1, b=2.0)))
    transport.take_traffic()
    found = transport.sample(3)
    assert {name: (ids.tolist(), points.tolist()) for name, (ids, points) in found.items()} == {
        "a": ([0, 1, 2], [[0, 0]] * 3),
        "b": ([0, 1, 2], [[2, 2]] * 3),
        "c": ([0, 1, 2], [[0, 0]] * 3),
    }
    assert transport.take_traffic() == (0, 0, 0.0)


def test_client_k_lives_in_worker_k_mod_workers(transport):
    transport.evaluate(send(1, a=0.0, b=0.0, c=0.0))
    a, b, c = (e.rows[0][4] for e in transport.take_evaluations())
    assert a == c
    here = os.getpid()
    assert (a == b == here) if transport.hosts.workers == set() else (len({a, b, here}) == 3)


def test_spread_jobs_keep_their_order(transport):
    assert transport.map_jobs(join, [3, 1, 2]) == ["commons 3", "commons 1", "commons 2"]
    assert transport.map_jobs(join, []) == []


def test_two_in_one_process_keep_their_clients_apart(tmp_path):
    with LocalTransport(build, NAMES, 0, 1) as one:
        list(one.exchange(send(1, a=1.0)))
        with LocalTransport(build, ("a",), 0, 1) as other:
            assert sums(other.exchange(send(1, a=10.0))) == [("a", 10.0)]
            assert sums(one.exchange(send(1, 2, a=1.0, b=5.0))) == [("a", 2.0), ("b", 5.0)]
            assert sums(other.exchange(send(1, 2, a=10.0))) == [("a", 20.0)]
            one.save(tmp_path)
        assert (tmp_path / "a").read_text() == "2.0 1.0"
        assert sums(one.exchange(send(1, 3, a=1.0))) == [("a", 3.0)]


def test_state_is_saved_and_taken_up(transport, tmp_path):
    list(transport.exchange(send(1, a=1.0, b=2.0)))
    transport.save(tmp_path)
    list(transport.exchange(send(1, a=5.0, b=5.0)))
    transport.load(tmp_path)
    assert sums(transport.exchange(send(1, a=1.0, b=1.0))) == [("a", 2.0), ("b", 3.0)]


def test_memory_is_counted(transport):
    processes = 1 + len(transport.hosts.workers)
    assert 50.0 * processes < transport.peak_memory_mib() < 20_000.0


def test_user_error_of_a_client_arrives(transport):
    with pytest.raises(UserError, match="b: no twelfth task, found 12"):
        list(transport.exchange(send(12, b=0.0)))


@pytest.mark.parametrize("workers", [0, 1])
def test_user_error_while_clients_are_built_arrives(workers):
    transport = LocalTransport(build_nothing, NAMES, workers, 1)
    with pytest.raises(UserError, match="data: nothing for a"), transport:
        pass
    assert not [p for p in transport.hosts.workers if p.is_alive()]


def test_worker_that_dies_is_told_from_then_on():
    others = set(multiprocessing.active_children())
    with LocalTransport(build, NAMES, 1, 1) as transport:
        with pytest.raises(UserError, match=r"engine.workers: .* fedbridge resume"):
            list(transport.exchange(send(13, a=0.0)))
        with pytest.raises(UserError, match="a worker process died"):
            transport.map_jobs(join, [1])
    assert set(multiprocessing.active_children()) <= others


def test_upload_that_is_no_upload_is_refused(monkeypatch):
    def spoilt(message):
        return b"not a message" if isinstance(message, Upload) else encode(message)

    monkeypatch.setattr(local, "encode", spoilt)
    with (
        LocalTransport(build, NAMES, 0, 1) as transport,
        pytest.raises(UserError, match="message: not a readable Upload"),
    ):
        list(transport.exchange(send(1, a=0.0)))


def test_interrupts_are_held_back_only_for_a_moment():
    import signal

    with hosts.interrupts_held_back():
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
