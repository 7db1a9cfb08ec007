"""Weights by hand on a public set of three items; lessons on blocks of light."""

import dataclasses
import math

import pytest
import torch

from fedbridge.core.losses import divergence
from fedbridge.methods import obod
from fedbridge.methods.context import SharedContext
from fedbridge.methods.digest import batches
from fedbridge.methods.obod import OBOD, DistillJob, choose_teachers, signal
from fedbridge.methods.obod_ablation import Ablation, TeacherSignal, timetable
from fedbridge.methods.rounds import PublicPredictions, Student, TeachingRecord
from fedbridge.models.small.space import as_input, embed
from fedbridge.wire import State
from worlds import OBOD as EXPLICIT
from worlds import World, bare_context, make_world, same_state, tiny_config

CLASSES = 4
NO_GATES = {"confidence": False, "mass": False, "only_if_more_confident": False}
LN = math.log


def arranged(changes: dict[str, object]) -> dict[str, object]:
    """Return settings with those of an ablation where they belong."""
    switched = {key: changes[key] for key in changes.keys() & Ablation.model_fields.keys()}
    rest = {key: value for key, value in changes.items() if key not in switched}
    return {**EXPLICIT, **rest, "ablation": {**EXPLICIT["ablation"], **switched}}


def options(**changes: object) -> OBOD:
    return OBOD(**arranged(changes))


def job(student: Student, teachers: list[TeacherSignal], seed: int) -> DistillJob:
    return DistillJob(student, teachers, seed, options())


def distil(shared: SharedContext, todo: DistillJob) -> State:
    """Distil under the settings of these context."""
    chosen = shared.config.fusion
    assert isinstance(chosen, OBOD)
    return obod.distil(shared, dataclasses.replace(todo, options=chosen))


def teaching(
    student: PublicPredictions, teacher: PublicPredictions, shared: SharedContext, chosen: OBOD
) -> TeacherSignal | None:
    return signal(student, teacher, shared, chosen.ablation)


def three_items() -> SharedContext:
    """Return one with axes as anchors and tau = 1, so that embeddings are logits."""
    config = tiny_config(small={"temperature": 1.0, "dimension": CLASSES})
    return bare_context(config, CLASSES, torch.zeros(3, 1, 16, 16), torch.zeros(3, 2))


def model(name: str, **of_class: list[float]) -> PublicPredictions:
    """Return a model by the probability of each class it knows, ``c0=[...]`` over the items."""
    classes = tuple(int(key[1:]) for key in of_class)
    embedding = torch.full((3, CLASSES), 5.0)  # what it says of classes it does not know
    for key, p in of_class.items():
        embedding[:, int(key[1:])] = torch.tensor(p).clamp(min=1e-12).log()
    return PublicPredictions(name, classes, embedding)


def entropy(*p: float) -> float:
    return -sum(x * LN(x) for x in p if x)


# the teacher knows 0, 1, 2 and the student 0, 1, 3: they share 0 and 1
TEACHER = model("t", c0=[0.90, 0.10, 0.30], c1=[0.05, 0.10, 0.60], c2=[0.05, 0.80, 0.10])
STUDENT = model("s", c0=[0.60, 0.60, 0.98], c1=[0.30, 0.30, 0.01], c3=[0.10, 0.10, 0.01])
SURE = [1 - entropy(0.9, 0.05, 0.05) / LN(3), 1 - entropy(0.1, 0.1, 0.8) / LN(3)]
SURE += [1 - entropy(0.3, 0.6, 0.1) / LN(3)]
MASS = [0.95, 0.2, 0.9]
SURER = [1, 1, 0]  # the student has an entropy of 0.90, 0.90 and 0.11


def weights(**changes: object) -> list[float]:
    found = teaching(STUDENT, TEACHER, three_items(), options(**changes))
    assert found is not None and found.common.tolist() == [0, 1]
    return found.weight.tolist()


def test_the_whole_weight_by_hand():
    # sure, with its mass on what the student knows, and surer: only the first item is taught
    assert weights() == pytest.approx([SURE[0] * 0.95, 0, 0], abs=1e-6)


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        ("confidence", SURE),
        ("mass", [0.95, 0, 0.9]),  # below one half it is dropped
        ("only_if_more_confident", SURER),
        (None, [1, 1, 1]),
    ],
)
def test_every_gate_alone_by_hand(gate: str | None, expected: list[float]):
    chosen = NO_GATES | ({gate: True} if gate else {})
    assert weights(**chosen) == pytest.approx(expected, abs=1e-6)


def test_a_lesson_about_all_that_the_teacher_has_met_by_hand():
    # all of its mass is on classes the lesson is about, so confidence and being surer remain
    found = teaching(STUDENT, TEACHER, three_items(), options(classes="teacher"))
    assert found is not None and found.common.tolist() == [0, 1, 2]
    assert found.weight.tolist() == pytest.approx([SURE[0], SURE[1], 0], abs=1e-6)
    # over classes 0, 1 and 2 the teacher says 0, 2, 1; of 2 the student says most, see ``model``
    assert found.agreement == pytest.approx(SURE[1] / (SURE[0] + SURE[1]), abs=1e-6)


@pytest.mark.parametrize("about", ["teacher", "shared"])
def test_what_the_student_alone_has_met_is_never_taught(about: str):
    found = teaching(STUDENT, TEACHER, three_items(), options(classes=about, **NO_GATES))
    assert found is not None and 3 not in found.common.tolist()


def test_classes_that_the_student_has_not_met_can_be_taught():
    stranger = model("t", c1=[0.02] * 3, c2=[0.98] * 3)
    assert teaching(STUDENT, stranger, three_items(), options()) is None  # one in common
    found = teaching(STUDENT, stranger, three_items(), options(classes="teacher"))
    assert found is not None and found.common.tolist() == [1, 2]
    sure = 1 - entropy(0.02, 0.98) / LN(2)
    assert found.weight.tolist() == pytest.approx([sure, sure, 0], abs=1e-6)
    assert chosen([stranger], classes="teacher") == ["t"] and chosen([stranger]) == []
    single = model("t", c2=[1.0] * 3)
    assert teaching(STUDENT, single, three_items(), options(classes="teacher")) is None


def test_relevance_is_the_mean_weight_over_the_public_set():
    found = teaching(STUDENT, TEACHER, three_items(), options())
    assert found is not None and found.relevance == pytest.approx(SURE[0] * 0.95 / 3, abs=1e-6)
    assert found.teacher == "t" and torch.equal(found.embedding, TEACHER.embedding)


def test_agreement_is_the_weighted_fraction_of_equal_answers_over_common_classes():
    # over classes 0 and 1 the teacher says 0, tie, 1 and the student says 0, 0, 0
    chosen = options(**NO_GATES | {"mass": True})
    found = teaching(STUDENT, TEACHER, three_items(), chosen)
    assert found is not None
    assert found.agreement == pytest.approx(0.95 / (0.95 + 0.9))


@pytest.mark.parametrize("classes", [{"c2": [1.0] * 3}, {"c0": [0.5] * 3, "c2": [0.5] * 3}])
def test_a_teacher_of_less_than_two_common_classes_has_nothing_to_say(
    classes: dict[str, list[float]],
):
    other = model("t", **classes)
    assert teaching(STUDENT, other, three_items(), options()) is None
    assert chosen([other]) == []


# who teaches, and in which order


def sure_model(name: str, p: float) -> PublicPredictions:
    """Return a model that gives the same answer on all items: relevance grows with ``p``."""
    return model(name, c0=[p] * 3, c1=[1 - p] * 3)


FOUR = [sure_model(name, p) for name, p in (("a", 0.8), ("b", 0.99), ("c", 0.7), ("d", 0.9))]
UNSURE = model("s", c0=[0.5] * 3, c1=[0.5] * 3)


def chosen(
    everyone: list[PublicPredictions], early: tuple[PublicPredictions, ...] = (), **changes: object
) -> list[str]:
    student = Student("s", "mlp", {}, UNSURE, early)
    found = choose_teachers(student, everyone, three_items(), options(**changes))
    return [t.teacher for t in found]


@pytest.mark.parametrize(
    ("order", "expected"),
    [("in-turn", "cadb"), ("best-first", "bdac"), ("best-last", "cadb"), ("declared", "abcd")],
)
def test_teachers_come_in_the_order_asked_for(order: str, expected: str):
    assert "".join(chosen(FOUR, order=order)) == expected


@pytest.mark.parametrize(
    ("order", "expected"), [("best-first", "bd"), ("best-last", "db"), ("declared", "bd")]
)
def test_the_most_relevant_ones_stay_when_there_are_too_many(order: str, expected: str):
    assert "".join(chosen(FOUR, order=order, teachers=2)) == expected


def test_nobody_is_his_own_teacher_but_an_earlier_self_may_be():
    own, early = sure_model("s", 0.95), sure_model("s@task-1", 0.99)
    assert chosen([own, FOUR[0]]) == ["a"]
    assert chosen([own, FOUR[0]], (early,)) == ["a", "s@task-1"]
    assert chosen([own, FOUR[0]], (early,), snapshots=0) == ["a"]
    assert chosen([own, FOUR[0]], (early,), others=False) == ["s@task-1"]
    assert chosen([own, FOUR[0]], (early,), others=False, snapshots=0) == []


def test_of_the_snapshots_the_latest_teach():
    early = tuple(sure_model(f"s@task-{task}", 0.99 - task / 100) for task in (1, 2, 3))
    assert sorted(chosen([], early, snapshots=2)) == ["s@task-2", "s@task-3"]
    assert sorted(chosen([], early, snapshots=9)) == [k.name for k in early]


def test_a_teacher_without_a_lesson_is_left_out():
    assert chosen([sure_model("e", 0.5), *FOUR[:1]]) == ["a"]  # not more confident than the student


@pytest.mark.parametrize(
    ("order", "expected"), [("in-turn", "abababab"), ("best-last", "aaaabbbb")]
)
def test_teachers_take_turns_or_have_all_their_passes_at_a_time(order: str, expected: str):
    config = tiny_config()
    shared = bare_context(config, CLASSES, torch.zeros(5, 1, 16, 16), torch.zeros(5, 2))
    teachers = [
        TeacherSignal(name, torch.zeros(5, 2), torch.arange(2), torch.ones(5), 1.0) for name in "ab"
    ]
    generator = torch.Generator().manual_seed(0)
    courses = [batches(shared, 2, 2, generator) for _ in teachers]
    steps = list(timetable(teachers, courses, order))
    # five items in batches of two, of which the single one is dropped: two steps a pass
    assert "".join(t.teacher for t, _ in steps) == expected
    for name in "ab":
        met = torch.cat([u for teacher, u in steps if teacher.teacher == name])
        assert len(met) == 8 and met.bincount(minlength=5).max() <= 2


# distillation


@pytest.fixture(scope="module")
def school() -> World:
    """Return blocks of four classes that both clients know, with 24 public items or more."""
    return make_world(tiny_config(scenario={"order": "same"}))


@pytest.fixture(scope="module")
def master(school: World) -> State:
    """Return a model that knows the four classes, trained on items of both clients."""
    return trained(school, "master", range(4))


def known_classes(school: World) -> tuple[int, ...]:
    return tuple(sorted(c for task in school.streams.clients[0].tasks for c in task.classes))


def trained(school: World, name: str, places: range, steps: int = 60) -> State:
    """Train a model on the classes at these places among the known ones."""
    ids = torch.tensor([known_classes(school)[place] for place in places])
    labels = torch.from_numpy(school.dataset.labels)
    rows = torch.from_numpy(school.items("train"))
    rows = rows[torch.isin(labels[rows], ids)]
    inputs = torch.from_numpy(school.dataset.inputs)[rows]
    columns = torch.searchsorted(ids, labels[rows])
    small = school.shared.small_model("mlp", name)
    optimiser = torch.optim.Adam(small.parameters(), lr=0.005)
    for _ in range(steps):
        logits = school.shared.logits(small(as_input(inputs)), ids)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(logits, columns).backward()
        optimiser.step()
    return {key: value.detach().clone() for key, value in small.state_dict().items()}


def commons_with(school: World, **changes: object) -> SharedContext:
    return school.with_config(scenario={"order": "same"}, fusion=arranged(changes)).shared


def predictions(
    school: World, name: str, state: State, classes: tuple[int, ...]
) -> PublicPredictions:
    small = school.shared.small_model("mlp", name)
    small.load_state_dict(state)
    return PublicPredictions(name, classes, embed(small, school.shared.public_inputs))


def blank(school: World, state: State | None = None) -> Student:
    """Return a student that was not trained."""
    state = state or school.shared.small_model("mlp", "client-1").state_dict()
    own = predictions(school, "client-1", state, known_classes(school))
    return Student("client-1", "mlp", state, own, ())


def pupil(
    school: World, student: Student, *teachers: PublicPredictions, **changes: object
) -> DistillJob:
    everyone = [
        teaching(student.predictions, t, school.shared, options(**changes)) for t in teachers
    ]
    return job(student, [t for t in everyone if t is not None], 3)


def right(school: World, state: State) -> float:
    """Return the accuracy on test items over the four classes."""
    small = school.shared.small_model("mlp", "anyone")
    small.load_state_dict(state)
    rows, ids = school.items("test"), torch.tensor(known_classes(school))
    e = embed(small, torch.from_numpy(school.dataset.inputs[rows]))
    best = ids[school.shared.logits(e, ids).argmax(1)]
    return float((best == torch.from_numpy(school.dataset.labels[rows])).float().mean())


FAST = {"epochs": 15, "lr": 0.005, "anchor": 0.0}


@pytest.mark.parametrize("form", ["one-by-one", "averaged", "separate"])
def test_a_better_teacher_makes_a_better_student(form: str, school: World, master: State):
    teacher = predictions(school, "master", master, known_classes(school))
    assert right(school, master) == 1.0
    student = blank(school)
    fast = {**FAST, "form": form, **NO_GATES}

    state = distil(commons_with(school, **fast), pupil(school, student, teacher, **fast))

    assert right(school, student.state) < 0.7
    assert right(school, state) > 0.9


def test_the_student_comes_nearer_to_the_teachers_distribution(school: World, master: State):
    teacher, student = predictions(school, "master", master, known_classes(school)), blank(school)
    ids = torch.tensor(known_classes(school))

    def gap(state: State) -> float:
        own = predictions(school, "client-1", state, known_classes(school))
        pair = (school.shared.logits(k.embedding, ids) for k in (teacher, own))
        return float(divergence(*pair).mean())

    slow = distil(commons_with(school, epochs=1, **NO_GATES), pupil(school, student, teacher))
    fast = distil(commons_with(school, **FAST), pupil(school, student, teacher, **NO_GATES))

    assert gap(fast) < gap(slow) < gap(student.state)


def test_comparing_embeddings_brings_the_embeddings_together(school: World, master: State):
    teacher, student = predictions(school, "master", master, known_classes(school)), blank(school)
    wanted = {**FAST, **NO_GATES, "compare": "embedding"}
    state = distil(commons_with(school, **wanted), pupil(school, student, teacher, **wanted))
    own = predictions(school, "client-1", state, known_classes(school)).embedding
    before = (student.predictions.embedding * teacher.embedding).sum(1).mean()
    assert (own * teacher.embedding).sum(1).mean() > max(0.8, float(before))


def test_distil_is_pure(school: World, master: State):
    student = blank(school)
    teacher = predictions(school, "master", master, known_classes(school))
    one = pupil(school, student, teacher)
    before = {key: value.clone() for key, value in student.state.items()}
    embedding = student.predictions.embedding.clone()
    shared = commons_with(school, **FAST)

    torch.manual_seed(1)
    first = distil(shared, one)
    drawn = torch.rand(2)
    torch.manual_seed(2)
    second = distil(shared, one)
    torch.manual_seed(1)

    assert same_state(first, second)
    assert not same_state(first, before)
    assert same_state(student.state, before)
    assert torch.equal(student.predictions.embedding, embedding)
    assert torch.equal(torch.rand(2), drawn)  # the global generator was left alone
    assert all(first[key].data_ptr() != second[key].data_ptr() for key in first)
    assert not same_state(first, distil(shared, dataclasses.replace(one, seed=4)))


@pytest.mark.parametrize("form", ["one-by-one", "averaged", "separate"])
def test_without_teachers_a_student_stays_as_it_is(form: str, school: World):
    student = blank(school)
    found = distil(commons_with(school, form=form), pupil(school, student))
    assert same_state(found, student.state)
    assert all(a.data_ptr() != student.state[key].data_ptr() for key, a in found.items())


def lesson_of(school: World, weight: float = 1.0) -> TeacherSignal:
    ids = torch.tensor(known_classes(school))
    e = torch.nn.functional.normalize(school.shared.anchors[ids[:1]], dim=1)
    n = len(school.shared.public_inputs)
    return TeacherSignal("t", e.repeat(n, 1), ids, torch.full((n,), weight), 1.0)


def test_items_of_weight_zero_teach_nothing(school: World):
    wanted = {**FAST, "statistics": False, "epochs": 2}
    student = blank(school)
    idle = distil(commons_with(school, **wanted), job(student, [lesson_of(school, 0.0)], 0))
    busy = distil(commons_with(school, **wanted), job(student, [lesson_of(school, 1.0)], 0))
    assert same_state(idle, student.state)
    assert not same_state(busy, student.state)


def moved(school: World, master: State, **changes: object) -> float:
    """Return how far the sure student's embedding went, from 0 to 2, when taught otherwise."""
    student = blank(school, master)
    wanted = {**FAST, "epochs": 3, **changes}
    state = distil(commons_with(school, **wanted), job(student, [lesson_of(school)], 0))
    own = predictions(school, "client-1", state, known_classes(school)).embedding
    return float((1 - (own * student.predictions.embedding).sum(1)).mean())


def test_the_anchor_holds_a_student_where_it_is_sure(school: World, master: State):
    distances = [moved(school, master, anchor=a) for a in (0.0, 10.0, 1000.0)]
    assert distances[0] > 2 * distances[1] > 2 * distances[2]


@pytest.mark.parametrize("statistics", [True, False])
def test_running_statistics_adapt_only_if_asked_for(statistics: bool, school: World):
    student = blank(school)
    shared = commons_with(school, **FAST, statistics=statistics)
    found = distil(shared, job(student, [lesson_of(school)], 0))
    buffers = [key for key in found if "running" in key or "batches" in key]
    assert len(buffers) == 3
    for key in buffers:
        assert torch.equal(found[key], student.state[key]) != statistics
    assert not torch.equal(found["projector.weight"], student.state["projector.weight"])


def two_teachers(school: World) -> list[PublicPredictions]:
    ids = known_classes(school)
    return [
        predictions(school, "one", trained(school, "one", range(2)), ids[:2]),
        predictions(school, "other", trained(school, "other", range(2, 4)), ids[2:]),
    ]


def test_each_apart_then_the_mean_difference_is_added(school: World):
    student, wanted = blank(school), {**FAST, "form": "separate", "epochs": 2}
    signals = pupil(school, student, *two_teachers(school), **NO_GATES).teachers
    assert len(signals) == 2
    shared = commons_with(school, **wanted)
    alone = [distil(shared, job(student, [t], 3)) for t in signals]

    both = distil(shared, job(student, signals, 3))

    for key, start in student.state.items():
        if start.is_floating_point():
            mean = start + (alone[0][key] - start + alone[1][key] - start) / 2
            torch.testing.assert_close(both[key], mean)
        else:
            assert torch.equal(both[key], start)
    swapped = distil(shared, job(student, signals[::-1], 3))
    for key, value in both.items():
        torch.testing.assert_close(swapped[key], value)


def test_one_by_one_the_later_teacher_starts_where_the_earlier_one_ended(school: World):
    student, shared = blank(school), commons_with(school, **FAST)
    one, other = pupil(school, student, *two_teachers(school), **NO_GATES).teachers

    def gap(state: State, signal: TeacherSignal) -> float:
        own = predictions(school, "client-1", state, known_classes(school))
        pair = (school.shared.logits(k.embedding, signal.common) for k in (signal, own))
        return float(divergence(*pair).mean())

    there, back = (distil(shared, job(student, t, 3)) for t in ([one, other], [other, one]))

    # the last word counts most, and the first one was heard
    assert gap(there, other) < gap(back, other) < gap(student.state, other)
    assert gap(back, one) < gap(there, one) < gap(student.state, one)


def test_a_single_teacher_is_the_same_in_all_forms(school: World, master: State):
    teacher, student = predictions(school, "master", master, known_classes(school)), blank(school)
    wanted = {**FAST, **NO_GATES, "epochs": 1}
    one, averaged, separate = (
        distil(
            commons_with(school, **wanted, form=form),
            pupil(school, student, teacher, **wanted),
        )
        for form in ("one-by-one", "averaged", "separate")
    )
    for key, value in one.items():
        if value.is_floating_point():
            torch.testing.assert_close(averaged[key], value, atol=2e-3, rtol=1e-3)
            torch.testing.assert_close(separate[key], value, atol=1e-5, rtol=1e-5)


def test_averaged_teachers_count_by_their_weights(school: World):
    """Two teachers point to different classes: the heavier one is followed."""
    ids, n = torch.tensor(known_classes(school)), len(school.shared.public_inputs)
    one, other = (
        TeacherSignal(f"t{place}", school.shared.anchors[ids[place]].repeat(n, 1), ids, weight, 1.0)
        for place, weight in ((0, torch.full((n,), 0.9)), (1, torch.full((n,), 0.1)))
    )
    wanted = {**FAST, "form": "averaged"}
    for signals in ([one, other], [other, one]):
        state = distil(commons_with(school, **wanted), job(blank(school), signals, 0))
        own = predictions(school, "client-1", state, known_classes(school)).embedding
        assert (school.shared.logits(own, ids).argmax(1) == 0).float().mean() > 0.9


@pytest.mark.parametrize("form", ["one-by-one", "averaged", "separate"])
def test_a_last_batch_of_one_public_item_is_no_trouble(form: str, school: World):
    shared = dataclasses.replace(
        commons_with(school, form=form),
        public_inputs=school.shared.public_inputs[:17],
        public_features=school.shared.public_features[:17],
    )
    small = dataclasses.replace(school, shared=shared)
    state = distil(shared, job(blank(small), [lesson_of(small)], 0))
    assert all(value.isfinite().all() for value in state.values())


def test_the_record_of_who_taught_whom():
    student = Student("s", "mlp", {}, UNSURE, ())
    signals = choose_teachers(student, FOUR[:2], three_items(), options())
    a, b = (1 - entropy(p, 1 - p) / LN(2) for p in (0.8, 0.99))
    assert job(student, signals, 0).taught() == [
        TeachingRecord("s", "a", pytest.approx(a, abs=1e-6), pytest.approx(1.0), 1.0),
        TeachingRecord("s", "b", pytest.approx(b, abs=1e-6), pytest.approx(1.0), 1.0),
    ]


def test_the_reach_is_the_fraction_of_the_public_set_that_is_taught():
    weight = torch.tensor([0.5, 0.0, 0.25, 0.0])
    assert TeacherSignal("t", torch.zeros(4, 2), torch.arange(2), weight, 1.0).coverage == 0.5
