import json
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from fedbridge.client.client import FederatedClient
from fedbridge.core.errors import UserError
from fedbridge.core.store import cache_folder
from fedbridge.data import DATASETS
from fedbridge.federation.setup import plan, prepare, used_items
from fedbridge.methods.files import parse_config
from fedbridge.methods.registry import FUSIONS, LEARNERS
from fedbridge.methods.rounds import FusionResult
from fedbridge.runs import estimate as module
from fedbridge.runs import sampling
from fedbridge.runs.estimate import Estimate, estimate
from fedbridge.runs.run import Run
from fedbridge.runs.runner import Experiment
from fedbridge.runs.sampling import Size, reduced, sampled_steps
from fedbridge.server.warm import distilled, warm_start
from fedbridge.wire import Step
from tiny_transformers import save_vit

TREE = {
    "data": {"name": "digits"},
    "scenario": {"clients": 3, "tasks": 3, "classes_per_task": 2, "train_per_class": 20},
    "large": {"model": "patches", "size": 16},
    "small": {"models": ["mlp", "cnn"], "dimension": 32},
    "training": {"rounds": 2, "epochs": 1, "batch": 16},
    "engine": {"workers": 0, "device": "cpu"},
}
UNEQUAL = {"joins": [1, 2, 1], "leaves": [3, 3, 2], "participation_rounds": [2, 2, 1]}


def settings(**changes):
    tree = dict(TREE)
    for key, value in changes.items():
        tree[key] = {**TREE.get(key, {}), **value}
    return parse_config(tree, "test")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDBRIDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


class Clock:
    """A clock that only those move who work."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def spend(self, seconds):
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 1e9)


ALONE = {"large": {"head": "none"}, "fusion": {"name": "none"}, "learner": {"name": "finetune"}}
"""Of which nothing takes time but what a test lets work."""


@pytest.fixture
def learner(monkeypatch, clock):
    """Put a learner into the place of finetune that takes as long as two functions say."""

    def put(learn, close=lambda lesson: 0.0):
        working = replace(
            LEARNERS["finetune"],
            learn=lambda lesson, options: clock.spend(learn(lesson)),
            end_task=lambda lesson, options: clock.spend(close(lesson)),
        )
        monkeypatch.setitem(LEARNERS, "finetune", working)

    return put


def batches_of(lesson):
    return sum(1 for _ in lesson.batches())


def all_batches(config):
    """Return how many batches all clients train on in a run."""
    tasks = [task for client in plan(config)[1].clients for task in client.tasks]
    one = sum(-(-len(task.train) // config.training.batch) for task in tasks)
    return one * config.training.rounds * config.training.epochs


@pytest.fixture
def run(tmp_path):
    """Run an experiment and return its summary."""

    def conducted(config):
        folder = tmp_path / "run"
        for _ in Experiment(Run.create(folder, config)).run_steps():
            pass
        return json.loads((folder / "summary.json").read_text())

    return conducted


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fusion": {"name": "none"}, "learner": {"name": "finetune"}},
        {"small": {"warm_epochs": 1}},
        {"large": {"projection": 64, "head": "nearest-mean"}},
        {"large": {"head": "probe"}},
        {"large": {"head": "none"}, "data": {"public": "none", "public_items": 30}},
        {"large": {"scope": "client"}, "scenario": {"clients": 11, "tasks": 2}},
        {"large": {"student_weight": 0.3}},
        {"scenario": {"tasks": 5}},
        {"training": {"rounds": 5}},
        {"scenario": UNEQUAL},
        {"scenario": UNEQUAL, "small": {"warm_epochs": 1}},
        {"scenario": UNEQUAL, "large": {"head": "probe"}},
        {"large": {"head": "prototypes"}},
        {"large": {"head": "tail-anchors"}},
        {
            "scenario": UNEQUAL,
            "learner": {"name": "fedweit"},
            "fusion": {"name": "fedweit", "groups": True},
        },
        {"scenario": UNEQUAL, "fusion": {"name": "fedavg", "groups": True}},
        {
            "scenario": {"participation_rounds": [1], "repeats": 1, "blur": 0.2},
            "fusion": {"name": "fedproto"},
        },
        {
            "learner": {"name": "target"},
            "fusion": {"name": "target", "groups": True, "items": 20, "synthesis": 10, "steps": 1},
        },
    ],
    ids=str,
)
def test_bytes_are_those_of_the_run(run, monkeypatch, changes):
    monkeypatch.setattr(sampling, "SIZES", sampling.SIZES[:1])  # the others tell of seconds alone
    config = settings(**changes)
    expected, summary = estimate(config), run(config)
    # of tasks that were not tried the classes seen are guessed, a few characters
    assert expected.bytes_up == pytest.approx(summary["bytes_up"], rel=1e-5)
    assert expected.bytes_down == pytest.approx(summary["bytes_down"], rel=1e-5)


def test_counts_are_those_of_the_plan():
    config = settings()
    found = estimate(config)
    dataset, streams = plan(config)
    used = used_items(streams)
    assert found.items == len(used) < len(dataset)
    assert (found.clients, found.rounds) == (3, 6)
    assert list(found.parameters) == ["mlp", "cnn"]
    # 16 x 16 pixels to 256, their norm, 128 features, 32 dimensions
    assert found.parameters["mlp"] == 256 * 256 + 2 * 256 + 257 * 128 + 129 * 32


def test_items_are_encoded_at_most_once_and_counted_as_long_as_they_are_not(monkeypatch, tmp_path):
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path))
    config = settings(large={"batch": 8})
    first, second = estimate(config), estimate(config)
    assert first.to_encode == first.items
    assert first.items - 9 <= second.to_encode <= first.items - 8
    assert first.seconds["encode"] > 0.0
    prepare(config)
    third = estimate(config)
    assert (third.to_encode, third.seconds["encode"]) == (0, 0.0)


def test_the_part_of_an_fm_that_is_tuned_travels(tmp_path):
    large = {"model": save_vit(tmp_path), "size": 16, "head": "probe"}
    frozen = estimate(settings(large=large))
    tuned = estimate(settings(large={**large, "tuning": "prompt", "tuning_size": 500}))
    part = 4 * 500 * 16
    assert tuned.bytes_up - frozen.bytes_up == pytest.approx(3 * 6 * part, rel=0.01)
    assert tuned.bytes_down - frozen.bytes_down == pytest.approx(3 * 5 * part, rel=0.01)
    # clients encode their own items, only those of the public set are encoded beforehand
    assert tuned.to_encode < frozen.to_encode


def test_another_public_set_is_encoded_too():
    config = settings(data={"public": "none", "public_items": 30})
    _, streams = plan(config)
    found = estimate(config)
    assert found.items == len(used_items(streams, public=False)) + 30


def test_no_large_side_encodes_nothing():
    found = estimate(settings(large={"head": "none", "model": "patches"}))
    assert (found.to_encode, found.seconds["encode"]) == (0, 0.0)


def test_a_public_set_is_not_downloaded_either():
    with pytest.raises(UserError, match=r"data.public: 'emoji' \(.*\) is not cached"):
        estimate(settings(data={"public": "emoji"}))


def test_threads_are_left_as_they_were():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    estimate(settings(engine={"threads": 1}))
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_random_numbers_of_others_are_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    estimate(settings())
    assert torch.equal(torch.rand(3), expected)


def test_data_that_are_not_cached_are_not_downloaded(monkeypatch):
    def download(*_):
        raise AssertionError("nothing may be downloaded")

    monkeypatch.setitem(
        DATASETS,
        "fonts",
        replace(DATASETS["fonts"], parts=download, domains=("a", "b")),
    )
    with pytest.raises(UserError, match=r"'fonts' \(a, b\) is not cached, .* at most 5\d MB"):
        estimate(settings(data={"name": "fonts"}))
    (cache_folder() / "data-v1" / "fonts" / "a").mkdir(parents=True)
    with pytest.raises(UserError, match=r"'fonts' \(b\) is not cached"):
        estimate(settings(data={"name": "fonts"}))
    with pytest.raises(AssertionError, match="nothing may be downloaded"):
        estimate(settings(data={"name": "fonts"}), download=True)
    with pytest.raises(UserError, match="fonts has the domains a, b, found 'c'"):
        estimate(settings(data={"name": "fonts", "domains": ["c"]}))


def test_model_is_checked_before_the_data():
    with pytest.raises(UserError, match=r"large.model: .*found 'no'"):
        estimate(settings(large={"model": "no"}, data={"name": "fonts"}))


def test_table_says_what_is_exact_and_what_is_not():
    found = Estimate(
        clients=2,
        tasks="3 tasks of 1 to 4 classes",
        rounds=5,
        items=12_345,
        to_encode=678,
        parameters={"cnn": 90_000},
        bytes_up=10 * 3 * 2**20,
        bytes_down=10 * 512,
        seconds={"encode": 30.04, "learn": 125.0, "fuse": 7200.0},
        memory_mib=1234.5,
    )
    console = Console(width=100)
    with console.capture() as capture:
        console.print(found.table())
    text = capture.get()
    for line in (
        "2, each 3 tasks of 1 to 4 classes",
        "90,000 parameters",
        "12,345, of which 678 to be encoded",
        "30.0 MiB; 3.0 MiB per client and round",
        "5.0 KiB; 512.0 B per client and round",
        "about 30.0 s",
        "about 2 min",
        "about 2 h 0 min",
        "about 1,234 MiB, all processes together",
        "starting processes, loading the data, saving checkpoints",
    ):
        assert line in text
    assert len(fields(Estimate)) == 10


def test_memory_is_that_of_all_processes():
    once, two = estimate(settings()), estimate(settings(engine={"workers": 2}))
    assert once.memory_mib > 100 and two.memory_mib == pytest.approx(3 * once.memory_mib, rel=0.2)
    assert set(once.seconds) == {"encode", "learn", "fuse", "evaluate", "warm up"}


# -- bytes


@pytest.mark.parametrize("last", [True, False], ids=["to the end", "not in the last task"])
def test_what_a_strangers_fusion_sends_is_counted_to_the_byte(run, monkeypatch, last):
    def big(round_, shared, options, map_jobs):
        needed = last or round_.step.task < shared.config.scenario.slots
        extras = {"big": torch.zeros(10_000 * len(round_.students))} if needed else {}
        return FusionResult(
            {student.name: student.state for student in round_.students}, [], extras
        )

    monkeypatch.setitem(FUSIONS, "none", replace(FUSIONS["none"], fuse=big))
    config = settings(**ALONE, scenario={"tasks": 4, "joins": [1, 2, 1]})
    expected, summary = estimate(config), run(config)
    assert (expected.bytes_up, expected.bytes_down) == (summary["bytes_up"], summary["bytes_down"])
    # 24 messages less the two of the second client, who comes later, less the first ones
    assert expected.bytes_down > (24 - 2 - 2) * 4 * 20_000


# -- seconds


@pytest.mark.parametrize("epochs", [1, 4])
def test_a_strangers_learner_takes_as_long_as_it_takes(learner, clock, epochs):
    learner(batches_of)
    config = settings(
        **ALONE, training={"epochs": epochs, "batch": 8}, scenario={"train_per_class": 60}
    )
    found = estimate(config, clock=clock).seconds
    assert found["learn"] == pytest.approx(all_batches(config), rel=0.02)
    assert (found["fuse"], found["evaluate"], found["encode"]) == (0.0, 0.0, 0.0)
    assert clock.now < all_batches(config)  # in which everything was tried


def test_what_ends_a_task_is_counted_once_a_task(learner, clock):
    learner(lambda lesson: 0.0, close=lambda lesson: 5.0)
    found = estimate(settings(**ALONE), clock=clock).seconds["learn"]
    assert found == pytest.approx(3 * 3 * 5.0, rel=0.02)


def test_what_only_later_tasks_need_is_not_counted_in_the_first(learner, clock):
    learner(lambda lesson: 7.0 * (lesson.number > 1))
    found = estimate(settings(**ALONE, scenario={"tasks": 5}), clock=clock).seconds["learn"]
    assert found == pytest.approx(3 * 2 * 4 * 7.0, rel=0.02)


def test_what_grows_with_the_tasks_behind_a_client_is_counted(learner, clock):
    learner(lambda lesson: 1.0 * len(lesson.notes), close=remember)
    config = settings(**ALONE, scenario={"tasks": 5})
    # in each of 2 rounds of each of 3 clients 0 + 1 + 2 + 3 + 4 notes are read
    assert estimate(config, clock=clock).seconds["learn"] == pytest.approx(2 * 3 * 10, rel=0.1)


def remember(lesson):
    lesson.notes[f"task-{lesson.number}"] = torch.zeros(1)
    return 0.0


def test_architectures_take_their_own_time(learner, clock):
    learner(lambda lesson: 1.0 if lesson.client == "client-2" else 0.0)
    config = settings(**ALONE, small={"models": ["mlp", "cnn", "mlp"]})
    assert estimate(config, clock=clock).seconds["learn"] == pytest.approx(6.0, rel=0.02)


def test_clients_that_come_late_and_do_less_cost_less(learner, clock):
    learner(lambda lesson: 1.0)
    unequal = {"joins": [1, 1, 3], "leaves": [3, 1, 3], "participation_rounds": [2, 2, 1]}
    found = estimate(settings(**ALONE, scenario=unequal), clock=clock).seconds["learn"]
    assert found == pytest.approx(6 + 2 + 1, rel=0.02)


@pytest.mark.parametrize("always", [True, False])
def test_a_strangers_fusion_takes_as_long_as_it_takes(monkeypatch, clock, always):
    def slow(round_, shared, options, map_jobs):
        if round_.step.round == 2 and (always or round_.step.task < 4):
            map_jobs(
                lambda shared, student: clock.spend(len(shared.public_inputs)), round_.students
            )
        return FusionResult({student.name: student.state for student in round_.students}, [])

    monkeypatch.setitem(FUSIONS, "none", replace(FUSIONS["none"], fuse=slow))
    config = settings(
        **ALONE, scenario={"tasks": 4, "public": 0.3, "classes_per_task": 2}, training={"batch": 8}
    )
    found = estimate(config, clock=clock).seconds
    public = len(plan(config)[1].public)
    assert found["fuse"] == pytest.approx((4 if always else 3) * 3 * public, rel=0.05)
    assert found["learn"] == 0.0


def test_what_workers_do_side_by_side_takes_its_time_once(monkeypatch, learner, clock):
    learner(lambda lesson: 1.0)
    monkeypatch.setattr(sampling.os, "cpu_count", lambda: 8)
    found = estimate(settings(**ALONE, engine={"workers": 2}), clock=clock).seconds["learn"]
    assert found == pytest.approx(6 * 2, rel=0.02)  # 3 clients, of which one worker has 2
    monkeypatch.setattr(sampling.os, "cpu_count", lambda: 1)
    crowded = estimate(settings(**ALONE, engine={"workers": 2}), clock=clock).seconds["learn"]
    assert crowded == pytest.approx(2 * found)


def test_measuring_is_counted_after_every_task_and_before_the_first(monkeypatch, clock):
    evaluate = FederatedClient.evaluate
    slow = lambda self, broadcast: (clock.spend(1.0), evaluate(self, broadcast))[1]  # noqa: E731
    monkeypatch.setattr(FederatedClient, "evaluate", slow)
    found = estimate(settings(**ALONE), clock=clock).seconds
    assert found["evaluate"] == pytest.approx(3 * 4, rel=0.05)


def test_the_warm_start_is_counted_unless_it_is_kept(monkeypatch, clock, tmp_path):
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path))

    def slow(shared, model):
        clock.spend(shared.config.small.warm_epochs * len(shared.public_inputs))
        return distilled(shared, model)

    monkeypatch.setattr(module, "distilled", slow)
    config = settings(small={"warm_epochs": 7})
    site = prepare(config)
    expected = 2 * 7 * len(site.shared.public_inputs)
    assert estimate(config, clock=clock).seconds["warm up"] == pytest.approx(expected)
    assert not (tmp_path / "warm").exists()  # what was tried is of no use to anybody
    for model in ("mlp", "cnn"):
        warm_start(site.shared, model)
    assert estimate(config, clock=clock).seconds["warm up"] == 0.0
    assert "warm up" not in estimate(settings(small={"warm_epochs": 0})).seconds


def test_items_to_be_encoded_take_what_a_few_of_them_take(monkeypatch, clock, tmp_path):
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path))
    encode = module.embed_dataset

    def slow(fm, dataset, rows, *others):
        clock.spend(2.0 * len(rows))
        return encode(fm, dataset, rows, *others)

    monkeypatch.setattr(module, "embed_dataset", slow)
    found = estimate(settings(), clock=clock)
    assert found.seconds["encode"] == pytest.approx(2.0 * found.to_encode)


def test_patience_ends_and_there_is_an_estimate_all_the_same(monkeypatch, learner, clock):
    monkeypatch.setattr(module, "PATIENCE", 20.0)
    learner(lambda lesson: 1000.0)
    found = estimate(settings(**ALONE, scenario={"tasks": 3}), clock=clock)
    # a step of three clients, twice, since the first time does not count
    assert clock.now == 2 * 3 * 1000.0
    assert found.seconds["learn"] > 1000.0 and found.bytes_up > 0


def test_what_a_method_refuses_is_refused(learner):
    def refuse(lesson):
        raise UserError("learner.name: there is nothing to learn here")

    learner(refuse)
    with pytest.raises(UserError, match="nothing to learn here"):
        estimate(settings(**ALONE))


def test_no_method_has_a_name_here():
    for file in (module, sampling):
        text = Path(file.__file__).read_text(encoding="utf-8")
        assert not re.search(r"isinstance\(|getattr\(config", text.replace("isinstance(items", ""))
        named = {f'"{name}"' for name in (*LEARNERS, *FUSIONS)} - {'"none"'}
        assert not [name for name in named if name in text]


# -- a run in small


def test_a_reduced_run_has_the_same_clients_tasks_and_classes():
    config = settings(training={"batch": 8}, scenario={"train_per_class": 60})
    site = prepare(config)
    for more in (0, 2):
        small = reduced(site, Size(task=more, public=more, epochs=1))
        assert list(small.models.items()) == list(site.models.items())
        assert len(small.shared.public_inputs) % 8 == len(site.shared.public_inputs) % 8
        for whole, cut in zip(site.streams.clients, small.streams.clients, strict=True):
            for task, few in zip(whole.tasks, cut.tasks, strict=True):
                assert (few.classes, few.met) == (task.classes, task.met)
                assert set(few.train) <= set(task.train) and set(few.test) <= set(task.test)
                assert set(site.dataset.labels[few.train]) == set(task.classes)
                # only whole batches are left out, so that the last one is as large as ever
                assert len(few.train) % 8 == len(task.train) % 8
                assert len(few.train) <= len(task.train)
                assert len(few.train) < 8 * (more + 2) or len(few.train) == len(task.train)


def test_nothing_is_left_out_of_a_run_that_is_small_anyway():
    site = prepare(settings(scenario={"train_per_class": 4}, training={"batch": 64}))
    small = reduced(site, Size())
    tasks = [task for client in site.streams.clients for task in client.tasks]
    few = [task for client in small.streams.clients for task in client.tasks]
    assert [len(task.train) for task in few] == [len(task.train) for task in tasks]


@pytest.mark.parametrize(
    ("scenario", "rounds", "late", "expected"),
    [
        ({"tasks": 6}, 5, True, [(t, r) for t in (1, 2, 6) for r in (1, 2, 3, 5)]),
        ({"tasks": 6}, 5, False, [(t, r) for t in (1, 2) for r in (1, 2, 3, 5)]),
        ({"tasks": 1}, 1, True, [(1, 1)]),
        ({"tasks": 6, "joins": [1, 4], "leaves": [3, 6]}, 1, False, [(t, 1) for t in (1, 2, 4, 5)]),
    ],
)
def test_first_and_last_rounds_of_first_and_last_tasks_are_tried(scenario, rounds, late, expected):
    few = {"classes_per_task": 1, **scenario}
    site = prepare(settings(scenario=few, training={"rounds": rounds}, large={"head": "none"}))
    assert sampled_steps(site, late) == [Step(*place) for place in expected]
