import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from fedbridge.methods.rounds import Student
from fedbridge.methods.sums import SummedUp
from fedbridge.models.small.space import embed
from fedbridge.models.statistics import unpacked
from fedbridge.server.server import Server
from fedbridge.wire import Broadcast, Step, Upload, encode
from worlds import Direct, Played, World, make_world, play, same_state, tiny_config

STEPS = [Step(1, 1), Step(1, 2), Step(2, 1), Step(2, 2)]


@pytest.fixture(scope="module")
def sharing() -> World:
    """Return a world in which both clients meet the same classes, so that all may teach."""
    return make_world(tiny_config(scenario={"order": "same"}, large={"student_weight": 0.5}))


def alike(one: dict[str, Broadcast], other: dict[str, Broadcast]) -> bool:
    return {k: encode(v) for k, v in one.items()} == {k: encode(v) for k, v in other.items()}


def uploads_of(played: Played, step: Step) -> list[Upload]:
    return [u for u in played.transport.uploads if (u.task, u.round) == step]


def test_the_first_broadcast_leaves_every_client_the_model_it_has(fresh: Played):
    sent = fresh.server.broadcast(Step(1, 1))
    assert list(sent) == ["client-1", "client-2"]
    for broadcast in sent.values():
        assert (broadcast.task, broadcast.round, broadcast.state) == (1, 1, {})
        assert broadcast.adapter == broadcast.shared == {}


def test_every_client_gets_its_own_model_and_the_same_sums(sharing: World):
    one, other = play(sharing, STEPS[:3]).server.broadcast(Step(2, 2)).values()
    assert not same_state(one.state, other.state)
    assert set(one.adapter) == {"gram", "cross", "counts"}
    assert same_state(one.adapter, other.adapter)


def test_sums_are_sent_in_the_round_after_they_came_and_not_again(world: World):
    played = play(world, [])
    for step, sent in zip(STEPS, (False, True, False, True), strict=True):
        broadcasts = played.server.broadcast(step).values()
        assert [bool(b.adapter) for b in broadcasts] == [sent, sent]
        play_on(played, step)
    # what was sent for a measurement alone counts as not sent
    played = play(world, STEPS[:1])
    for name, client in played.clients.items():
        client.evaluate(played.broadcasts(1, 1)[name])
    assert all(b.adapter for b in played.server.broadcast(STEPS[1]).values())


def test_only_those_who_take_part_are_sent_anything(world: World):
    absent = {("client-1", Step(1, 2)), ("client-1", Step(2, 1)), ("client-2", Step(2, 1))}
    server = Server(
        world.shared, world.models, world.map_jobs, lambda name, step: (name, step) not in absent
    )
    played = Played(world, server, Direct(world.clients()))
    assert list(server.broadcast(STEPS[1])) == ["client-2"]
    play_on(played, STEPS[0])
    before = server.states["client-1"]
    play_on(played, STEPS[1])
    assert same_state(server.states["client-1"], before)  # nobody spoke for it
    assert server.snapshots["client-1"] == () and len(server.snapshots["client-2"]) == 1
    kept = server.broadcast(Step(9, 9))
    play_on(played, STEPS[2])  # nobody is there
    assert server.taught == []
    again = server.broadcast(Step(9, 9))
    assert alike(again, kept)
    # the sums of the first round are still to come for the one, and not for the other
    sent = server.broadcast(STEPS[3])
    assert sent["client-1"].adapter and not sent["client-2"].adapter
    assert same_state(sent["client-1"].state, before)


def test_without_fusion_the_broadcast_is_the_upload(world: World):
    played = play(world.with_config(fusion={"name": "none"}), STEPS[:3])
    sent = played.server.broadcast(Step(2, 2))
    for upload in uploads_of(played, Step(2, 1)):
        assert same_state(sent[upload.client].state, upload.state)
    assert played.server.taught == []


def test_fusion_changes_models_and_is_recorded(sharing: World):
    played = play(sharing, STEPS[:3])
    record = played.server.taught
    sent = played.server.broadcast(Step(2, 2))
    changed = {
        upload.client
        for upload in uploads_of(played, Step(2, 1))
        if not same_state(sent[upload.client].state, upload.state)
    }
    assert changed == {taught.student for taught in record} != set()
    for taught in record:
        assert taught.teacher != taught.student
        assert 0 < taught.weight <= 1 and 0 <= taught.agreement <= 1 + 1e-6


def test_an_own_model_becomes_a_snapshot_when_its_task_ends(sharing: World):
    played = play(sharing, [])
    for step, names in zip(STEPS, ([], [1], [1], [1, 2]), strict=True):
        play_on(played, step)
        for client, kept in played.server.snapshots.items():
            assert [k.name for k in kept] == [f"{client}@task-{task}" for task in names]

    server, tasks = played.server, sharing.streams.clients[0].tasks
    last = server.snapshots["client-1"][-1]
    assert last.classes == tuple(sorted(c for task in tasks for c in task.classes))
    model = sharing.shared.small_model("mlp", "client-1")
    upload = next(u for u in uploads_of(played, STEPS[3]) if u.client == "client-1")
    model.load_state_dict(upload.state)  # as it was uploaded
    assert not same_state(upload.state, server.states["client-1"])
    torch.testing.assert_close(last.embedding, embed(model, sharing.shared.public_inputs))


def play_on(played: Played, step: Step) -> None:
    for upload in played.transport.exchange(played.server.broadcast(step)):
        played.server.absorb(upload)
    played.server.finish_round(step)


@pytest.mark.parametrize("done", [1, 2, 3, 4])
@pytest.mark.parametrize("scope", ["federation", "client"])
def test_after_save_and_load_every_later_broadcast_is_the_same_bit_for_bit(
    done: int, scope: str, sharing: World, tmp_path: Path
):
    world = make_world(
        tiny_config(scenario={"order": "same"}, large={"student_weight": 0.5, "scope": scope})
    )
    played = play(world, STEPS[:done])
    played.server.save(tmp_path)
    again = world.server()
    again.load(tmp_path)

    later = STEPS[done:]
    assert alike(again.broadcast(Step(9, 9)), played.server.broadcast(Step(9, 9)))
    for step in later:
        again.broadcast(step)
        for upload in played.transport.exchange(played.server.broadcast(step)):
            played.server.absorb(upload)
            again.absorb(upload)
        played.server.finish_round(step)
        again.finish_round(step)
        assert alike(again.broadcast(step), played.server.broadcast(step))
        assert again.taught == played.server.taught


def test_a_server_that_saved_nothing_yet_loads_it(world: World, tmp_path: Path):
    world.server().save(tmp_path)
    again = world.server()
    again.load(tmp_path)
    assert alike(again.broadcast(Step(1, 1)), world.server().broadcast(Step(1, 1)))


def absorbed(world: World, uploads: list[Upload]) -> Server:
    server = world.server()
    server.broadcast(Step(1, 1))
    for upload in uploads:
        server.absorb(upload)
    server.finish_round(Step(1, 1))
    assert not server.refused
    return server


def test_the_order_of_uploads_changes_no_head_and_no_model(sharing: World):
    uploads = uploads_of(play(sharing, STEPS[:1]), Step(1, 1))
    one, other = absorbed(sharing, uploads), absorbed(sharing, uploads[::-1])
    heads = [unpacked(server.large.adapter("client-1")).ridge(0.1) for server in (one, other)]
    np.testing.assert_allclose(*heads, atol=1e-5)
    for name, state in one.states.items():
        assert same_state(state, other.states[name])


def test_absorbing_keeps_no_more_than_one_rounds_models(sharing: World):
    uploads = uploads_of(play(sharing, STEPS[:1]), Step(1, 1))
    server = absorbed(sharing, uploads)
    assert server._students == []
    sizes = [sum(v.nbytes for v in state.values()) for state in server.states.values()]
    assert len(sizes) == 2


def test_absorbing_an_upload_leaves_it_as_it_was(sharing: World):
    uploads = uploads_of(play(sharing, STEPS[:1]), Step(1, 1))
    before = [encode(upload) for upload in uploads]
    absorbed(sharing, uploads)
    assert [encode(upload) for upload in uploads] == before


def test_before_any_data_nothing_is_sent_and_nothing_breaks(world: World):
    model = world.shared.small_model("mlp", "client-1")
    server = world.server()
    server.broadcast(Step(1, 1))
    server.absorb(Upload("client-1", 1, 1, model.state_dict(), (0, 1)))
    assert not server.refused
    server.finish_round(Step(1, 1))
    assert server.large.adapter("client-1") == {}
    assert all(value.isfinite().all() for value in server.states["client-1"].values())


def test_sums_are_added_as_they_were_sent(sharing: World):
    played = play(sharing, STEPS[:1])
    assert isinstance(played.server.large, SummedUp)
    total = played.server.large.sums
    uploads = uploads_of(played, Step(1, 1))
    sent = [unpacked({k: getattr(u, k) for k in ("gram", "cross", "counts")}) for u in uploads]
    np.testing.assert_array_equal(total.gram, sent[0].gram + sent[1].gram)
    np.testing.assert_array_equal(total.cross, sent[0].cross + sent[1].cross)
    assert total.counts.sum() == sum(
        len(client.tasks[0].train) for client in sharing.streams.clients
    )


def test_students_are_known_by_their_embeddings_of_the_public_set(sharing: World):
    server = sharing.server()
    uploads = uploads_of(play(sharing, STEPS[:1]), Step(1, 1))
    server.broadcast(Step(1, 1))
    for upload in uploads:
        server.absorb(upload)
    student: Student = server._students[0]
    assert student.model == "mlp" and student.snapshots == ()
    assert student.predictions.classes == uploads[0].seen
    assert student.predictions.embedding.shape == (len(sharing.shared.public_inputs), 32)


def test_an_upload_of_another_architecture_is_refused(sharing: World):
    uploads = uploads_of(play(sharing, STEPS[:1]), Step(1, 1))
    broken = dict(uploads[0].state)
    broken.pop("projector.weight")
    server = sharing.server()
    server.broadcast(Step(1, 1))
    server.absorb(dataclasses.replace(uploads[0], state=broken))
    [(name, reason)] = server.refused
    assert name == "client-1"
    assert reason.startswith("'client-1': state: 'projector.weight' must be there, found 9 arrays")
    server.absorb(uploads[0])  # a refused one does not count as the client's answer
    server.absorb(uploads[0])
    assert [r.reason.partition(": ")[2] for r in server.refused[1:]] == [
        "client: must send one upload in a step, found a second one"
    ]
    assert len(server._students) == 1
    server.broadcast(Step(1, 2))
    assert server.refused == []


def test_a_model_whose_answers_are_no_numbers_is_refused():
    world = make_world(tiny_config(small={"models": ["cnn"]}))
    state = world.shared.small_model("cnn", "client-1").state_dict()
    for name, tensor in state.items():  # each value is sound, but not what they make together
        if name.endswith("weight"):
            tensor.fill_(9e5)
        if name.endswith("running_var"):
            tensor.fill_(0.0)
    server = world.server()
    server.broadcast(Step(1, 1))
    server.absorb(Upload("client-1", 1, 1, state, (0, 1)))
    said = "'client-1': state: its answers on the public set must be finite, found others"
    assert server.refused == [("client-1", said)]
    assert server._students == []


def test_an_upload_without_a_model_leaves_its_client_as_it_is(sharing: World):
    played = play(sharing, STEPS[:1])
    before = played.server.states["client-1"]
    played.server.broadcast(Step(1, 2))
    played.server.absorb(Upload("client-1", 1, 2, {}, (), num_examples=0))
    played.server.finish_round(Step(1, 2))
    assert played.server.refused == []
    assert same_state(played.server.states["client-1"], before)


def test_sums_that_come_twice_count_once(sharing: World):
    (first, *_) = uploads_of(play(sharing, STEPS[:1]), Step(1, 1))
    once, twice = sharing.server(), sharing.server()
    for server, times in ((once, 1), (twice, 2)):
        for round_ in range(1, times + 1):
            server.broadcast(Step(1, round_))
            server.absorb(dataclasses.replace(first, round=round_))
            server.finish_round(Step(1, round_))
        assert server.refused == []
        assert server.broadcast(Step(1, 3))["client-1"].acknowledged == 1
        assert server.broadcast(Step(1, 3))["client-2"].acknowledged == 0
    assert isinstance(once.large, SummedUp) and isinstance(twice.large, SummedUp)
    np.testing.assert_array_equal(once.large.sums.gram, twice.large.sums.gram)
    np.testing.assert_array_equal(once.large.sums.counts, twice.large.sums.counts)


def test_what_sums_there_are_is_part_of_a_checkpoint(sharing: World, tmp_path: Path):
    server = absorbed(sharing, uploads_of(play(sharing, STEPS[:1]), Step(1, 1)))
    server.save(tmp_path)
    again = sharing.server()
    again.load(tmp_path)
    assert again.acknowledged == {"client-1": 1, "client-2": 1}
