import json
import time
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from rich.console import Console

from fedbridge.data import DATASETS, load_dataset
from fedbridge.data.store import cache_folder
from fedbridge.errors import UserError
from fedbridge.estimate import Estimate, estimate
from fedbridge.methods.files import parse_config
from fedbridge.pace import LargePace, Pace, pace_of, pace_of_head, pace_of_large, seconds_of
from fedbridge.runner import Experiment
from fedbridge.runs import Run
from fedbridge.setup import plan, prepare, used_items
from tiny_transformers import save_vit

TREE = {
    "data": {"name": "digits"},
    "scenario": {"clients": 3, "tasks": 3, "classes_per_task": 2, "train_per_class": 20},
    "large": {"model": "patches", "size": 16},
    "small": {"models": ["mlp", "cnn"], "dimension": 32},
    "training": {"rounds": 2, "epochs": 1, "batch": 16},
    "engine": {"workers": 0, "device": "cpu"},
}
UNEQUAL = {"joins": [1, 2, 1], "leaves": [3, 3, 2], "effort": [2, 2, 1]}


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


@pytest.fixture
def run(tmp_path):
    """Run an experiment and return its summary."""

    def conducted(config):
        folder = tmp_path / "run"
        for _ in Experiment(Run.create(folder, config)).conduct():
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
        {"large": {"absorb": 0.3}},
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
        {"scenario": {"effort": [1], "repeats": 1, "blur": 0.2}, "fusion": {"name": "fedproto"}},
        {
            "learner": {"name": "target"},
            "fusion": {"name": "target", "groups": True, "items": 20, "synthesis": 10, "steps": 1},
        },
    ],
    ids=str,
)
def test_bytes_are_those_of_the_run(run, changes):
    config = settings(**changes)
    expected, summary = estimate(config), run(config)
    assert expected.bytes_up == pytest.approx(summary["bytes_up"], rel=1e-4)
    assert expected.bytes_down == pytest.approx(summary["bytes_down"], rel=1e-4)


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


def test_time_and_memory_grow_with_the_work():
    once = estimate(settings())
    longer = estimate(settings(training={"epochs": 40}))
    assert set(once.seconds) == {"encode", "learn", "fuse", "evaluate", "warm up"}
    assert longer.seconds["learn"] > 4 * once.seconds["learn"] > 0.0
    assert once.seconds["fuse"] > 0.0 and once.seconds["evaluate"] > 0.0
    assert once.seconds["warm up"] > 0.0
    assert "warm up" not in estimate(settings(small={"warm_epochs": 0})).seconds
    two = estimate(settings(engine={"workers": 2}))
    assert once.memory_mib > 100 and two.memory_mib > 2.5 * once.memory_mib


def test_clients_cost_what_they_take_part_in():
    full = estimate(settings())
    unequal = {"joins": [1, 1, 3], "leaves": [3, 1, 3], "effort": [2, 2, 1]}
    # of 18 messages there remain 6, 2 and 1; of 9 uploads of sums 3, 1 and 1
    less = estimate(settings(scenario=unequal))
    assert 9 / 18 * full.bytes_up < less.bytes_up < 5 / 9 * full.bytes_up
    assert less.bytes_down < 0.55 * full.bytes_down
    blurred = estimate(settings(scenario={"blur": 0.2}))
    assert blurred.bytes_up >= full.bytes_up  # earlier seen classes are named earlier
    assert blurred.bytes_up == pytest.approx(full.bytes_up, rel=0.001)


def test_no_fusion_costs_next_to_nothing():
    with_it, without = estimate(settings()), estimate(settings(fusion={"name": "none"}))
    assert without.seconds["fuse"] < 0.5 * with_it.seconds["fuse"]


def test_the_probes_training_is_counted(monkeypatch):
    monkeypatch.setattr("fedbridge.estimate.pace_of_large", lambda *_: LargePace(1.0, 0.0))
    config = settings(large={"head": "probe", "probe_epochs": 3})
    _, streams = plan(config)
    items = sum(len(task.train) for client in streams.clients for task in client.tasks)
    found, without = estimate(config).seconds["learn"], estimate(settings()).seconds["learn"]
    # 2 rounds of 3 epochs, a second per item, and little else
    assert without < 5.0 and 0.0 <= found - 2 * 3 * items < 5.0


def test_what_a_tuned_fm_encodes_is_counted(monkeypatch):
    monkeypatch.setattr("fedbridge.estimate.pace_of_large", lambda *_: LargePace(0.0, 1.0))
    config = settings(learner={"memory": 0})
    _, streams = plan(config)
    tasks = [task for client in streams.clients for task in client.tasks]
    found = estimate(config).seconds
    learning = 2 * sum(len(task.train) + len(streams.public) for task in tasks)
    assert 0.0 <= found["learn"] - learning < 5.0
    rehearsing = estimate(settings(learner={"memory": 1})).seconds["learn"]
    # an exemplar for each of six classes, in two rounds of the second and of the third task
    assert rehearsing - learning == pytest.approx(3 * 2 * 2 * 6, abs=5.0)
    measured = sum(
        sum(len(task.test) for task in client.tasks[: after + 1])
        + sum(len(task.validation) for task in client.tasks[:after])
        for client in streams.clients
        for after in (1, 2, 3)
    ) + sum(len(task.test) for task in tasks)
    assert 0.0 <= found["evaluate"] - measured < 5.0


def test_the_fusion_of_prompts_is_counted(monkeypatch, tmp_path):
    monkeypatch.setattr("fedbridge.estimate.pace_of_large", lambda *_: LargePace(2.0, 1.0))
    large = {"model": save_vit(tmp_path), "size": 16, "head": "tail-anchors", "probe_epochs": 3}
    config = settings(large={**large, "tuning": "pool", "tuning_size": 2, "pool": 4, "picks": 2})
    public = len(plan(config)[1].public)
    found = estimate(config).seconds["fuse"]
    # in six rounds two of three clients' prompts are read with, and one's trained for 3 epochs
    assert 0.0 <= found - 6 * public * (2 * 1.0 + 3 * 2.0) < 5.0
    assert estimate(settings(large=large)).seconds["fuse"] < 5.0


def test_what_ewc_looks_at_after_each_task_is_counted(monkeypatch):
    slow = Pace(parameters=1, learn=0.0, read=0.0, fuse=0.0, close=1.0)
    monkeypatch.setattr("fedbridge.estimate.pace_of", lambda *_: slow)
    for name, items in (("ewc", 3 * 3 * 7), ("finetune", 0)):
        most = {"fisher_items": 7} if name == "ewc" else {}
        config = settings(learner={"name": name, **most}, large={"head": "none"})
        assert estimate(config).seconds["learn"] == pytest.approx(items)


def test_fisher_information_takes_time_and_other_learners_close_at_once():
    stream = plan(settings())[1].clients[0]
    paces = {}
    for name in ("ewc", "finetune"):
        commons = prepare(settings(learner={"name": name})).commons
        paces[name] = pace_of(commons, load_dataset("digits"), stream, "mlp")
    assert paces["finetune"].close < paces["ewc"].close < 1.0


def test_teachers_that_a_method_does_not_have_are_not_asked(monkeypatch):
    slow = Pace(parameters=1, learn=0.0, read=1.0, fuse=0.0, close=0.0)
    monkeypatch.setattr("fedbridge.estimate.pace_of", lambda *_: slow)

    def read(learner, fusion):
        alone = {"head": "none"}
        config = settings(learner={"name": learner}, fusion={"name": fusion}, large=alone)
        seconds = estimate(config).seconds
        return round(seconds["learn"]), round(seconds["fuse"])

    _, streams = plan(settings())
    public = len(streams.public)
    for learner in ("finetune", "replay", "ewc"):
        assert read(learner, "none") == (0, 0)
    # LwF asks its former self in the second and third task, once each
    later = [task for client in streams.clients for task in client.tasks[1:]]
    assert read("lwf", "none") == (sum(len(task.train) + public for task in later), 0)
    # every upload of 3 clients in 6 rounds is asked about U
    assert read("finetune", "fedmd") == (0, 3 * 6 * public)
    # what is accepted is weighed in 5 shares, in each of 2 rounds
    held_back = sum(
        (3 - number) * len(task.validation)
        for client in streams.clients
        for number, task in enumerate(client.tasks)
    )
    assert read("finetune", "obod") == (2 * 5 * held_back, 3 * 6 * public)
    # prototypes are means over the task's items, in every round
    own = sum(len(task.own) for client in streams.clients for task in client.tasks)
    assert read("finetune", "fedproto") == (2 * own, 0)


@pytest.mark.parametrize("fusion", ["fedmd", "feddf", "fedet", "target"])
def test_every_fusion_that_trains_takes_time(fusion):
    made = {"groups": True, "items": 20, "synthesis": 10} if fusion == "target" else {}
    learner = {"name": "target" if fusion == "target" else "finetune"}
    less = estimate(settings(fusion={"name": "fedavg", "groups": True}, learner=learner))
    more = estimate(settings(fusion={"name": fusion, **made}, learner=learner))
    assert less.seconds["fuse"] == 0.0 < more.seconds["fuse"]


def test_an_average_is_distilled_once_for_each_architecture(monkeypatch):
    flat = Pace(parameters=1, learn=0.0, read=0.0, fuse=1.0, close=0.0)
    monkeypatch.setattr("fedbridge.estimate.pace_of", lambda *_: flat)
    public = len(plan(settings())[1].public)
    for fusion, courses in (("fedmd", 3), ("feddf", 2)):
        found = estimate(settings(fusion={"name": fusion})).seconds["fuse"]
        assert found == pytest.approx(courses * 6 * public, abs=1.0)


def test_a_tuned_fm_is_tried(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path / "cache"))
    large = {"model": save_vit(tmp_path), "size": 16, "head": "probe"}
    dataset, streams = plan(settings(large=large))
    paces = {}
    for tuning in ("none", "prompt"):
        config = settings(large={**large, "tuning": tuning})
        paces[tuning] = pace_of_large(prepare(config).commons, dataset, streams.clients[0])
    assert paces["none"].read == 0.0 < paces["prompt"].read
    assert paces["none"].train > 0.0 and paces["prompt"].train > 0.0
    nothing = pace_of_large(prepare(settings()).commons, dataset, streams.clients[0])
    assert nothing == LargePace(0.0, 0.0)


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


# -- pace


def test_pace_of_every_architecture_is_positive():
    config = settings()
    site = prepare(config)
    dataset = load_dataset("digits")
    for model in ("mlp", "mixer"):
        pace = pace_of(site.commons, dataset, site.streams.clients[0], model)
        small = site.commons.small_model(model, "any")
        assert pace.parameters == sum(p.numel() for p in small.parameters())
        assert 0.0 < pace.read < pace.learn < 5.0
        assert 0.0 < pace.fuse < pace.learn


def test_head_takes_longer_for_more_features():
    small = prepare(settings(large={"projection": 32})).commons
    large = prepare(settings(large={"projection": 600})).commons
    assert pace_of_head(large).sum_up > pace_of_head(small).sum_up > 0.0
    assert pace_of_head(large).solve > pace_of_head(small).solve > 0.0


def test_seconds_are_those_of_the_fastest_try():
    waits = iter([0.03, 0.0, 0.03])
    assert seconds_of(lambda: time.sleep(next(waits))) < 0.02
    assert next(waits, None) is None
    assert np.isfinite(seconds_of(lambda: None, 1))
