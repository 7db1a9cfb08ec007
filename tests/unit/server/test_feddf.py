import torch
from rounds import gathered

from fedbridge.core.losses import divergence
from fedbridge.methods.averaging import group_means
from fedbridge.methods.digest import equal_weight_consensus
from fedbridge.methods.feddf import FedDF, average_and_distil
from fedbridge.methods.rounds import PublicPredictions, Student
from fedbridge.models.small.space import embed
from fedbridge.wire import State, Step
from worlds import World, make_world, same_state, tiny_config


def school(**options: object) -> World:
    chosen = {"name": "feddf", "epochs": 10, "lr": 0.003, "batch": 16, **options}
    return make_world(tiny_config(fusion=chosen, small={"models": ["mlp", "cnn"]}))


def received(world: World, name: str, model: str, classes: tuple[int, ...]) -> Student:
    small = world.shared.small_model(model, name)  # another start each: averages mean nothing
    known = PublicPredictions(name, classes, embed(small, world.shared.public_inputs))
    return Student(name, model, small.state_dict(), known, (), num_examples=10)


def gap(world: World, model: str, state: State, answers: torch.Tensor) -> float:
    small = world.shared.small_model(model, "any")
    small.load_state_dict(state)
    classes = torch.arange(answers.shape[1])
    now = world.shared.logits(embed(small, world.shared.public_inputs), classes)
    return float(divergence(answers, now).mean())


def test_averages_come_to_say_what_the_ensemble_says():
    world = school()
    kinds = {"a": "mlp", "b": "mlp", "c": "cnn"}
    models = [received(world, name, kind, (0, 1, 2)) for name, kind in kinds.items()]
    options = world.shared.config.fusion
    assert isinstance(options, FedDF)
    everybody = {**kinds, "away": "mlp", "unknown": "vit"}
    round_ = gathered(models, Step(1, 1), models=everybody)

    fused = average_and_distil(round_, world.shared, options, world.map_jobs)

    assert list(fused.states) == ["a", "b", "c", "away"]
    assert same_state(fused.states["a"], fused.states["away"])
    answers = equal_weight_consensus([m.predictions for m in models], world.shared)[:, :3]
    for name, kind in (("a", "mlp"), ("c", "cnn")):
        mean = group_means(models)[kind]
        after = gap(world, kind, fused.states[name], answers)
        assert after < 0.5 * gap(world, kind, mean, answers)


def test_an_average_is_taught_all_classes_anybody_has_seen():
    world = school()
    models = [received(world, "a", "mlp", (0, 1)), received(world, "b", "mlp", (2,))]
    options = world.shared.config.fusion
    assert isinstance(options, FedDF)
    jobs = []
    average_and_distil(
        gathered(models),
        world.shared,
        options,
        lambda function, courses: jobs.extend(courses) or [{}],
    )
    assert [job.model for job in jobs] == ["mlp"]
    assert jobs[0].classes.tolist() == [0, 1, 2]
    assert jobs[0].answers.shape == (len(world.shared.public_inputs), 3)
