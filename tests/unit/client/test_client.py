import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedbridge.client.client import FederatedClient
from fedbridge.client.measuring import mixture_of
from fedbridge.client.private import Private
from fedbridge.methods.context import TrainContext
from fedbridge.methods.registry import LEARNERS
from fedbridge.methods.sums import SummedUp
from fedbridge.models.calibration import fit_mixture
from fedbridge.models.small.space import embed
from fedbridge.models.statistics import SufficientStatistics, packed, unpacked
from fedbridge.wire import Broadcast, Evaluation, State, Step, encode
from worlds import Played, World, accuracy, make_world, play, same_state, tiny_config

Rows = NDArray[np.int64]
LOOSE = {
    "ablation": {
        "classes": "teacher",
        "confidence": False,
        "mass": False,
        "only_if_more_confident": False,
    }
}
"""Everybody teaches everybody."""
SOME_LEARNERS = pytest.mark.parametrize(
    "world_of",
    [lambda w: w, lambda w: w.with_config(learner={"name": "finetune"})],
    ids=["smcf", "finetune"],
)


@dataclass
class Asked:
    """Remembers which items a client read."""

    private: Private
    inputs: set[int] = field(default_factory=set)
    features: set[int] = field(default_factory=set)

    def watched(self) -> Private:
        def inputs_of(rows: Rows) -> Tensor:
            self.inputs |= set(rows.tolist())
            return self.private.inputs_of(rows)

        def features_of(rows: Rows) -> NDArray[np.float32]:
            self.features |= set(rows.tolist())
            return self.private.features_of(rows)

        return dataclasses.replace(self.private, inputs_of=inputs_of, features_of=features_of)


def copy(state: State) -> State:
    return {key: value.clone() for key, value in state.items()}


def first(played: Played) -> FederatedClient:
    return played.clients["client-1"]


def learn(client: FederatedClient, played: Played, steps: list[tuple[int, int]]) -> None:
    """Let one client take some steps with what the server has to say now."""
    for task, round_ in steps:
        client.learn(dataclasses.replace(played.broadcasts(task, round_)[client.name], state={}))


EVERY_STEP = [(1, 1), (1, 2), (2, 1), (2, 2)]


# whose items are read


@SOME_LEARNERS
def test_only_training_inputs_and_validation_features_are_read_to_learn(
    world_of: Callable[[World], World], fresh: Played
):
    world = world_of(fresh.world)
    asked = Asked(world.private())

    learn(world.client(private=asked.watched()), fresh, EVERY_STEP)

    train, validation = set(world.items("train")), set(world.items("validation"))
    assert asked.inputs == train
    assert asked.features == train | validation
    assert not set(world.items("test")) & (asked.inputs | asked.features)


def test_a_calibrated_guide_reads_validation_items_too_but_never_those_of_the_test(
    fresh: Played,
):
    world = fresh.world.with_config(learner={"guide": "together"})
    asked = Asked(world.private())

    learn(world.client(private=asked.watched()), fresh, EVERY_STEP)

    assert (
        asked.inputs == asked.features == set(world.items("train")) | set(world.items("validation"))
    )


def test_a_task_is_not_read_before_it_comes(fresh: Played):
    asked = Asked(fresh.world.private())
    learn(fresh.world.client(private=asked.watched()), fresh, [(1, 1), (1, 2)])
    task = fresh.world.streams.clients[0].tasks[0]
    assert asked.inputs == set(task.train)
    assert asked.features == set(task.train) | set(task.validation)


def test_validation_items_leave_no_trace_in_what_was_learnt(fresh: Played):
    world, private = fresh.world, fresh.world.private()
    held_back = world.items("validation")

    def garbled(rows: Rows) -> NDArray[np.float32]:
        return np.where(np.isin(rows, held_back)[:, None], 9, private.features_of(rows))

    garbler = dataclasses.replace(
        private,
        inputs_of=lambda rows: private.inputs_of(rows) * int(not np.isin(rows, held_back).any()),
        features_of=lambda rows: garbled(rows).astype(np.float32),
    )
    broadcast = fresh.broadcasts(1)["client-1"]

    one = world.client().learn(broadcast)
    other = world.client(private=garbler).learn(broadcast)

    assert same_state(one.state, other.state)
    assert torch.equal(one.gram, other.gram) and torch.equal(one.cross, other.cross)


# memory


@pytest.mark.parametrize("size", [1, 5, 10_000])
def test_memory_holds_a_bounded_number_of_own_training_items_per_class(size: int, fresh: Played):
    world = fresh.world.with_config(learner={"memory": size})
    client, private = world.client(), world.private()
    learn(client, fresh, [(1, 1)])
    assert client.memory == {}  # the task is not over

    for number in range(1, len(private.stream.tasks) + 1):
        learn(client, fresh, [(number, 1), (number, 2)])
        # the classes met share what there is room for: ``size`` for each class of the stream
        met = private.stream.seen(number)
        train = np.concatenate([t.train for t in private.stream.tasks[:number]])
        for c in met:
            rows, of_class = client.memory[c], train[private.labels[train] == c]
            assert len(rows) == len(set(rows)) == min(4 * size // len(met), len(of_class))
            assert np.isin(rows, of_class).all()
    assert client.memory.keys() == {c for task in private.stream.tasks for c in task.classes}


@pytest.mark.parametrize("learner", [{"memory": 0}, {"name": "finetune"}])
def test_the_rehearsal_free_variants_remember_nothing(learner: dict[str, object], fresh: Played):
    world = fresh.world.with_config(learner=learner)
    asked = Asked(world.private())
    client = world.client(private=asked.watched())
    learn(client, fresh, [(1, 1), (1, 2)])
    asked.inputs.clear()

    learn(client, fresh, [(2, 1), (2, 2)])

    assert client.memory == {}
    assert asked.inputs == set(world.streams.clients[0].tasks[1].train)


def test_memory_is_a_function_of_seed_client_and_class(fresh: Played):
    kept = []
    for seed in (0, 0, 1):
        client = fresh.world.with_config(seed=seed).client()
        learn(client, fresh, [(1, 1), (1, 2)])
        kept.append({c: rows.tolist() for c, rows in client.memory.items()})
    assert kept[0] == kept[1] != kept[2]


def test_the_remembered_items_are_studied_again(after_one: Played):
    asked = Asked(after_one.world.private())
    client = after_one.world.client(private=asked.watched())
    client.memory, client.task = first(after_one).memory, 1

    learn(client, after_one, [(2, 1)])

    kept = {row for rows in client.memory.values() for row in rows.tolist()}
    assert asked.inputs == set(after_one.world.streams.clients[0].tasks[1].train) | kept


# lessons


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> list[TrainContext]:
    """Collect the lessons that clients take; nothing is learnt in them."""
    taken: list[TrainContext] = []

    def take(context: TrainContext, options: object) -> None:
        taken.append(context)

    monkeypatch.setitem(LEARNERS, "smcf", replace(LEARNERS["smcf"], learn=take))
    return taken


def test_a_lesson_tells_seen_new_old_and_taught_classes(
    after_one: Played, contexts: list[TrainContext]
):
    one, two = (sorted(task.classes) for task in after_one.world.streams.clients[0].tasks)
    others = [c for c in range(8) if c not in one + two]
    adapter = packed(everybodys(after_one))
    for c in (*others, two[0]):  # as if nobody had uploaded sums of these classes
        adapter["cross"][:, c] = 0
    adapter["cross"][:, two[1]] = 1
    broadcast = dataclasses.replace(after_one.broadcasts(2)["client-1"], adapter=adapter)

    first(after_one).learn(broadcast)

    (context,) = contexts
    assert context.seen.tolist() == sorted(one + two)
    assert (context.new.tolist(), context.old.tolist()) == (two, one)
    assert context.taught.tolist() == sorted([*one, two[1]])


@pytest.mark.parametrize("ahead", [True, False])
def test_the_large_side_may_teach_classes_that_the_client_has_not_met_yet(
    ahead: bool, after_one: Played, contexts: list[TrainContext]
):
    world = after_one.world.with_config(learner={"teach_unseen": ahead})
    own = [c for task in world.streams.clients[0].tasks for c in task.classes]
    other = next(c for c in range(8) if c not in own)
    adapter = packed(everybodys(after_one))
    adapter["cross"][:, other] = 1  # somebody has met it
    known = (adapter["cross"].abs().sum(0) > 0).nonzero()[:, 0].tolist()

    world.client().learn(Broadcast(1, 1, adapter=adapter))

    (context,) = contexts
    assert other in known and other not in context.seen
    assert context.taught.tolist() == [c for c in known if ahead or c in context.seen]


def everybodys(played: Played) -> SufficientStatistics:
    assert isinstance(played.server.large, SummedUp)
    return played.server.large.sums


def test_a_lesson_holds_what_is_known_of_every_item(
    after_one: Played, contexts: list[TrainContext]
):
    client, world = first(after_one), after_one.world
    broadcast = after_one.broadcasts(2)["client-1"]
    client.evaluate(after_one.broadcasts(1, 2)["client-1"])
    head = client.head.weights.numpy()  # before the new task's sums are added

    client.learn(broadcast)

    (context,) = contexts
    train = world.streams.clients[0].tasks[1].train
    kept = np.concatenate(list(client.memory.values()))
    earlier = world.shared.small_model("mlp", "client-1")
    earlier.load_state_dict(broadcast.state)
    for share, rows in ((context.task, train), (context.memory, kept)):
        assert share.labels.tolist() == world.dataset.labels[rows].tolist()
        assert torch.equal(share.inputs, world.private().inputs_of(rows))
        assert torch.equal(share.old_embeddings, embed(earlier, share.inputs))
        expected = 8.0 * world.private().features_of(rows) @ head
        np.testing.assert_allclose(share.teacher_logits, expected, atol=1e-4)
    assert torch.equal(context.public.inputs, world.shared.public_inputs)
    assert set(context.public.labels.tolist()) == {-1}  # labels of public items are never used
    assert torch.equal(context.public.old_embeddings, embed(earlier, context.public.inputs))


def test_in_the_first_task_there_is_no_earlier_self(fresh: Played, contexts: list[TrainContext]):
    learn(first(fresh), fresh, [(1, 1), (1, 2)])
    for context in contexts:
        assert context.task.old_embeddings is None and context.public.old_embeddings is None
        assert len(context.memory) == 0 and len(context.old) == 0


def test_a_calibrated_guide_is_the_mixture_with_the_model_as_the_round_began(
    after_one: Played, contexts: list[TrainContext]
):
    world = after_one.world.with_config(learner={"guide": "together"})
    client = world.client()
    adapter = packed(everybodys(after_one))
    broadcast = dataclasses.replace(after_one.broadcasts(2)["client-1"], adapter=adapter)
    began = world.shared.small_model("mlp", "client-1")
    began.load_state_dict(broadcast.state)
    private, labels = world.private(), torch.from_numpy(world.dataset.labels)

    def sides(rows: Rows, classes: list[int]) -> tuple[Tensor, Tensor]:
        e = embed(began, private.inputs_of(rows))
        large = torch.from_numpy(private.features_of(rows)) @ head
        return world.shared.logits(e, torch.tensor(classes)), large[:, classes]

    head = torch.from_numpy(unpacked(adapter).ridge(0.1)).float()  # nothing was settled yet
    for round_ in (1, 2):
        client.learn(dataclasses.replace(broadcast, round=round_))
        head = head if round_ == 1 else client.head.weights
        # the new task's own validation items count from its second round on
        tasks = world.streams.clients[0].tasks[:round_]
        seen = sorted(c for task in tasks for c in task.classes)
        held = np.concatenate([task.validation for task in tasks])
        columns = torch.searchsorted(torch.tensor(seen), labels[held])
        mixture = fit_mixture(*sides(held, seen), columns)
        rows = world.streams.clients[0].tasks[1].train
        expected = mixture(*sides(rows, list(range(8)))).float()
        torch.testing.assert_close(contexts[-1].task.teacher_logits, expected, rtol=1e-3, atol=1e-2)


# uploads


def test_sums_come_with_the_first_upload_of_a_task_and_are_those_of_its_training_items(
    finished: Played,
):
    world = finished.world
    own = [u for u in finished.transport.uploads if u.client == "client-1"]
    assert [(u.task, u.round) for u in own] == EVERY_STEP

    for upload in own:
        if upload.round > 1:
            assert not (len(upload.gram) or len(upload.cross) or len(upload.counts))
            continue
        rows = world.streams.clients[0].tasks[upload.task - 1].train
        z = world.private().features_of(rows).astype(np.float64)
        y = np.eye(8)[world.dataset.labels[rows]]
        sums = unpacked({"gram": upload.gram, "cross": upload.cross, "counts": upload.counts})
        np.testing.assert_allclose(sums.gram, z.T @ z, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(upload.cross, z.T @ y, rtol=1e-5, atol=1e-4)
        np.testing.assert_array_equal(upload.counts, y.sum(0))


def test_no_item_is_counted_twice_where_a_task_trains_on_earlier_ones_too():
    world = make_world(tiny_config(scenario={"history": "own"}))
    uploads = play(world).transport.uploads
    counted = sum(upload.counts.sum() for upload in uploads if upload.client == "client-1")
    assert counted == len(np.unique(world.items("train")))


def test_an_upload_names_the_classes_seen_so_far_and_holds_the_whole_model(finished: Played):
    tasks = finished.world.streams.clients[0].tasks
    for upload in finished.transport.uploads:
        if upload.client == "client-1":
            known = sorted(c for task in tasks[: upload.task] for c in task.classes)
            assert upload.seen == tuple(known)
            assert "backbone.layers.2.running_mean" in upload.state  # buffers too


def test_an_upload_is_a_copy(fresh: Played):
    client = first(fresh)
    upload = client.learn(fresh.broadcasts(1)["client-1"])
    before = copy(upload.state)
    learn(client, fresh, [(1, 2)])
    assert same_state(upload.state, before)


# who the client was when the task began


def test_the_earlier_self_is_what_the_client_had_when_the_task_began(after_one: Played):
    client, other = first(after_one), after_one.clients["client-2"]
    assert client.previous == {}  # there was none before the first task

    fused = after_one.world.shared.small_model("mlp", "fused").state_dict()
    client.learn(dataclasses.replace(after_one.broadcasts(2)["client-1"], state=fused))
    assert same_state(client.previous, fused)
    client.learn(after_one.broadcasts(2, 2)["client-1"])
    assert same_state(client.previous, fused)

    own = copy(other.model.state_dict())
    other.learn(dataclasses.replace(after_one.broadcasts(2)["client-2"], state={}))
    assert same_state(other.previous, own)


def test_the_broadcast_model_is_where_learning_starts(fresh: Played):
    other = fresh.world.shared.small_model("mlp", "somebody").state_dict()
    broadcast = fresh.broadcasts(1)["client-1"]
    assert broadcast.state == {}

    kept = first(fresh).learn(broadcast)
    moved = fresh.world.client().learn(dataclasses.replace(broadcast, state=other))

    def gap(state: State, start: State) -> float:
        key = "projector.weight"
        return float((state[key] - start[key]).norm())

    own = fresh.world.client().model.state_dict()
    assert gap(kept.state, own) < gap(kept.state, other)
    assert gap(moved.state, other) < gap(moved.state, own)


def test_learning_neither_reads_nor_moves_the_global_generators(fresh: Played):
    broadcast = fresh.broadcasts(1)["client-1"]
    uploads = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        uploads.append(fresh.world.client().learn(broadcast))
        drawn = torch.rand(2)
        torch.manual_seed(seed)
        assert torch.equal(torch.rand(2), drawn)
    assert encode(uploads[0]) == encode(uploads[1])


# save and load


@pytest.mark.parametrize(
    "changes",
    [
        {"learner": {"name": "finetune"}},
        {"learner": {"guide": "large", "teach_unseen": True}},
        {"learner": {"guide": "together", "on": "both"}},
        {"learner": {"memory": 0}},
        {"fusion": {"accept": True, **LOOSE}},
        {"large": {"scope": "client"}},
        {"large": {"head": "nearest-mean"}},
        {"large": {"student_weight": 0.5}},
    ],
    ids=str,
)
@pytest.mark.parametrize("done", [1, 2, 3])
def test_after_save_and_load_the_next_upload_is_the_same_bit_for_bit(
    done: int, changes: dict[str, object], world: World, tmp_path: Path
):
    todo = [Step(*step) for step in EVERY_STEP]
    played = play(world.with_config(**changes), todo[:done])
    next_ones = played.broadcasts(*todo[done])
    for client in played.clients.values():
        client.save(tmp_path)
    later = [client.learn(next_ones[name]) for name, client in played.clients.items()]

    for k, upload in enumerate(later):
        again = played.world.client(k)
        again.load(tmp_path)
        assert encode(again.learn(next_ones[upload.client])) == encode(upload)


def test_what_is_saved_of_memory_are_places_not_pictures(after_one: Played, tmp_path: Path):
    first(after_one).save(tmp_path)
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    client = first(after_one)
    states = client.model.state_dict(), client.offered, client.head.state()
    assert size < sum(v.nbytes for state in states for v in state.values()) + 8_000


def test_clients_save_side_by_side(after_one: Played, tmp_path: Path):
    for client in after_one.clients.values():
        client.save(tmp_path)
    other = after_one.world.client(1)
    other.load(tmp_path)
    assert same_state(other.model.state_dict(), after_one.clients["client-2"].model.state_dict())


# what is drawn of it


def test_a_sample_is_of_own_test_items_as_the_small_model_sees_them(after_one: Played):
    client, world = after_one.clients["client-2"], after_one.world
    rows = np.sort(world.items("test", 1))
    labels, points = client.sample(10**6)
    assert sorted(labels.tolist()) == sorted(world.dataset.labels[rows].tolist())
    every = embed(client.model, client.private.inputs_of(rows)).numpy()
    order = np.lexsort(every.T), np.lexsort(points.T)
    np.testing.assert_allclose(points[order[1]], every[order[0]], atol=1e-6)
    few, again = client.sample(3), client.sample(3)
    assert few[1].shape == (3, 32)
    assert np.array_equal(few[0], labels[:3]) and np.array_equal(few[0], again[0])


# evaluation


def evaluation(played: Played, after: int, k: int = 0) -> Evaluation:
    name = f"client-{k + 1}"
    return played.clients[name].evaluate(played.broadcasts(after, 2)[name])


PROTOCOLS = ("class-incremental", "task-aware")


@pytest.fixture(scope="module")
def three_tasks() -> World:
    return make_world(tiny_config(scenario={"tasks": 3}, training={"rounds": 1}))


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_there_is_a_row_for_every_past_task_and_the_next_one(after: int, three_tasks: World):
    played = play(three_tasks, [Step(task, 1) for task in range(1, after + 1)])

    found = evaluation(played, after)

    tasks = range(1, min(after + 1, 3) + 1) if after else range(1, 4)
    sides = [(p, q) for p in ("small", "large", "together") for q in PROTOCOLS]
    assert (found.client, found.after_task) == ("client-1", after)
    assert [row[:3] for row in found.rows] == [(on, *side) for on in tasks for side in sides]
    for on, _, _, correct, n in found.rows:
        assert n == len(three_tasks.streams.clients[0].tasks[on - 1].test)
        assert 0 <= correct <= n


def test_settings_can_be_chosen_on_what_is_held_back_for_validation():
    world = make_world(tiny_config(scenario={"measure": "validation"}))

    found = evaluation(play(world, [Step(1, 1), Step(1, 2)]), 1)

    held_back = [len(task.validation) for task in world.streams.clients[0].tasks]
    assert held_back != [len(task.test) for task in world.streams.clients[0].tasks]
    assert [(row[0], row[4]) for row in found.rows[::6]] == [(1, held_back[0]), (2, held_back[1])]


def evaluated(played: Played, after: int, scores: Callable[[Rows], Tensor]) -> Evaluation:
    """Evaluate with a large side that says anything we like: features are the scores."""
    world = played.world

    def features_of(rows: Rows) -> NDArray[np.float32]:
        return np.pad(scores(rows).numpy(), ((0, 0), (0, 8)))

    client = world.client(private=dataclasses.replace(world.private(), features_of=features_of))
    identity = SufficientStatistics(
        np.eye(16), np.eye(16, 8), np.ones(8)
    )  # solved, it is a multiple of one
    return client.evaluate(Broadcast(after, 2, adapter=packed(identity)))


def test_class_incremental_is_over_the_seen_classes_and_task_aware_over_the_tasks_own(
    fresh: Played,
):
    world = fresh.world
    labels = torch.from_numpy(world.dataset.labels)
    tasks = world.streams.clients[0].tasks
    one, two = (task.classes for task in tasks)
    unseen = next(c for c in range(8) if c not in one + two)

    def says(favourite: int) -> Callable[[Rows], Tensor]:
        def scores(rows: Rows) -> Tensor:
            table = torch.nn.functional.one_hot(labels[rows], 8).float()
            table[:, favourite] += 5
            return table

        return scores

    def found(favourite: int, after: int, on: int) -> list[float]:
        told = evaluated(fresh, after, says(favourite))
        return [accuracy(told, "large", protocol, [on]) for protocol in PROTOCOLS]

    share = float((labels[tasks[0].test] == one[0]).float().mean())
    assert found(unseen, 2, 1) == found(unseen, 2, 2) == [1, 1]  # no answer at all
    assert found(one[0], 2, 2) == [0, 1]  # an earlier class drowns the later task
    assert found(two[0], 2, 1) == [0, 1]
    assert found(one[0], 2, 1) == pytest.approx([share, share])
    assert found(two[0], 1, 1) == [1, 1]  # not seen yet
    assert found(one[0], 1, 2) == [0, 1]  # one task ahead: the classes it will have seen
    assert found(two[0], 0, 1) == [1, 1]  # before any training too


def test_a_trained_client_is_right_and_an_untrained_one_guesses(finished: Played, fresh: Played):
    for k in range(2):
        for predictor in ("small", "large", "together"):
            told = evaluation(finished, 2, k)
            assert accuracy(told, predictor, "class-incremental", [1, 2]) > 0.9
    blank = evaluation(fresh, 0)
    assert accuracy(blank, "small", "class-incremental", [1, 2]) < 0.8


def test_together_is_calibrated_on_validation_items_never_on_the_test(after_one: Played):
    asked = Asked(after_one.world.private())
    client = after_one.world.client(private=asked.watched())
    client.evaluate(after_one.broadcasts(1, 2)["client-1"])
    tasks = after_one.world.streams.clients[0].tasks
    tested = {row for task in tasks for row in task.test.tolist()}
    assert asked.inputs - tested == set(tasks[0].validation)  # the next task is not known yet

    labels = after_one.world.dataset.labels.copy()
    labels[sorted(tested)] = (labels[sorted(tested)] + 1) % 8  # as if all tests were mislabelled

    def mixture(private: Private) -> Tensor:
        client = after_one.world.client(private=private)
        client.evaluate(Broadcast(1, 2, adapter=packed(everybodys(after_one))))
        found = mixture_of(client, 1)
        return torch.tensor([found.small, found.large])

    private = after_one.world.private()
    assert torch.equal(mixture(private), mixture(dataclasses.replace(private, labels=labels)))


def test_measuring_changes_nothing_that_is_learnt_later(fresh: Played, world: World):
    measured = play(world, [Step(1, 1)])
    evaluation(measured, 1)
    assert evaluation(measured, 1) == evaluation(measured, 1)
    plain = play(world, [Step(1, 1)])
    uploads = [
        first(played).learn(played.broadcasts(1, 2)["client-1"]) for played in (measured, plain)
    ]
    assert encode(uploads[0]) == encode(uploads[1])
