import dataclasses
from collections.abc import Callable
from typing import Any

from fedbridge.core.rng import seed_for
from fedbridge.methods.alone import Alone, keep_own
from fedbridge.methods.context import SharedContext
from fedbridge.methods.obod import OBOD, DistillJob, distil, one_by_one
from fedbridge.methods.rounds import PublicPredictions, RoundUploads, Student
from fedbridge.models.small.space import embed
from fedbridge.wire import Step
from worlds import World, make_world, same_state, tiny_config


def students(world: World, classes: tuple[int, ...] = (0, 1, 2)) -> list[Student]:
    found = []
    for name in ("client-1", "client-2", "client-3"):
        model = world.shared.small_model("mlp", name)
        known = PublicPredictions(name, classes, embed(model, world.shared.public_inputs))
        found.append(Student(name, "mlp", model.state_dict(), known, ()))
    return found


def gathered(world: World, **changes: Any) -> RoundUploads:
    made = RoundUploads(Step(2, 1), students(world))
    return dataclasses.replace(made, **changes)


def never(
    function: Callable[[SharedContext, DistillJob], Any], jobs: list[DistillJob]
) -> list[Any]:
    raise AssertionError("there was nothing to do")


def loose(world: World) -> OBOD:
    """Return settings under which everybody teaches everybody."""
    assert isinstance(world.shared.config.fusion, OBOD)
    gates = {"confidence": False, "mass": False, "only_if_more_confident": False}
    options = world.shared.config.fusion
    ablation = options.ablation.model_copy(update=gates)
    return options.model_copy(update={"ablation": ablation})


def test_without_fusion_every_client_gets_back_what_it_uploaded(world: World):
    round_ = gathered(world)
    fused = keep_own(round_, world.shared, Alone(), never)
    assert fused.taught == []
    assert list(fused.states) == ["client-1", "client-2", "client-3"]
    for student in round_.students:
        assert same_state(fused.states[student.name], student.state)


def test_every_student_gets_its_own_result_by_name(world: World):
    round_, options = gathered(world), loose(world)
    jobs: list[DistillJob] = []

    def map_jobs(
        function: Callable[[SharedContext, DistillJob], Any], pupils: list[DistillJob]
    ) -> list[Any]:
        jobs.extend(pupils)
        return [function(world.shared, pupil) for pupil in pupils]

    fused = one_by_one(round_, world.shared, options, map_jobs)

    assert [pupil.student.name for pupil in jobs] == ["client-1", "client-2", "client-3"]
    for pupil in jobs:
        assert same_state(fused.states[pupil.student.name], distil(world.shared, pupil))
        assert pupil.seed == seed_for(0, "fuse", pupil.student.name, 2, 1)
    assert not same_state(fused.states["client-1"], fused.states["client-2"])


def test_the_record_names_every_pair(world: World):
    fused = one_by_one(gathered(world), world.shared, loose(world), world.map_jobs)
    names = ["client-1", "client-2", "client-3"]
    pairs = {(record.student, record.teacher) for record in fused.taught}
    assert pairs == {(s, t) for s in names for t in names if s != t}


def test_the_step_is_part_of_the_seed(world: World):
    one, other = (
        one_by_one(gathered(world, step=step), world.shared, loose(world), world.map_jobs)
        for step in (Step(2, 1), Step(2, 2))
    )
    assert not same_state(one.states["client-1"], other.states["client-1"])


def test_models_may_be_fused_in_the_last_round_of_a_task_only(world: World):
    options = loose(world).model_copy(update={"rounds": "last"})
    early = one_by_one(gathered(world), world.shared, options, never)
    late = one_by_one(gathered(world, step=Step(2, 2)), world.shared, options, world.map_jobs)
    own = students(world)[0].state
    assert early.taught == [] and same_state(early.states["client-1"], own)
    assert late.taught and not same_state(late.states["client-1"], own)


def test_a_single_client_has_nobody_to_learn_from(world: World):
    alone = gathered(world, students=students(world)[:1])
    fused = one_by_one(alone, world.shared, loose(world), world.map_jobs)
    assert fused.taught == []
    assert same_state(fused.states["client-1"], alone.students[0].state)


def test_architectures_may_differ():
    world = make_world(tiny_config(small={"models": ["mlp", "cnn"]}))
    mixed = []
    for student, name in zip(students(world)[:2], ("mlp", "cnn"), strict=True):
        model = world.shared.small_model(name, student.name)
        known = PublicPredictions(student.name, (0, 1, 2), embed(model, world.shared.public_inputs))
        mixed.append(Student(student.name, name, model.state_dict(), known, ()))

    fused = one_by_one(gathered(world, students=mixed), world.shared, loose(world), world.map_jobs)

    for student in mixed:
        state = fused.states[student.name]
        assert state.keys() == student.state.keys()
        assert not same_state(state, student.state)
