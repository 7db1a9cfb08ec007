"""What is checked and prepared before the first job, on the digits."""

import json

import numpy as np
import pytest
from suites import SUITE, method

from fedbridge.bench import ready
from fedbridge.bench.ready import make_ready
from fedbridge.core.errors import UnavailableError, UserError
from fedbridge.core.store import cache_folder
from fedbridge.federation.setup import plan, prepare, used_items
from tiny_transformers import save_vit

PLAIN = 'set = ["learner.name=finetune"]'


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDBRIDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def prepared(monkeypatch):
    """Note what an FM would have to encode items for."""
    configs = []
    monkeypatch.setattr(ready, "prepare", lambda config, **_: configs.append(config))
    return configs


def test_everything_is_in_the_cache_afterwards(bench, monkeypatch):
    few = (
        'config = "base.toml"\nset = ["scenario.train_per_class=5", "scenario.public_per_class=4"]'
    )
    made = bench(SUITE.replace('config = "base.toml"', few))
    told = []
    make_ready(made.path, made.jobs(), lambda *news: told.append(news))
    assert told and all(scenario == "first" for scenario, *_ in told)
    told.clear()
    for job in made.jobs():
        prepare(job.config, tell=lambda *news: told.append(news))
    assert told == []


def test_methods_with_the_same_data_and_fm_are_prepared_once_per_seed(bench, prepared):
    bound = method("bound", rest='set = ["scenario.history=pooled"]')
    made = bench(SUITE + bound + method("none", rest='set = ["large.head=none"]'))
    make_ready(made.path, made.jobs())
    assert [config.seed for config in prepared] == [1, 2, 3]


def test_models_are_tried_once_and_each_fm_is_loaded_before_and_for_encoding(bench, monkeypatch):
    tried, loaded = [], []
    trial, load = ready.check_models, ready.foundation_of

    def check(names, shape):
        tried.extend(names)
        trial(names, shape)

    def foundation_of(config):
        loaded.append(config.large.size)
        return load(config)

    monkeypatch.setattr(ready, "check_models", check)
    monkeypatch.setattr(ready, "foundation_of", foundation_of)
    monkeypatch.setattr("fedbridge.federation.setup.foundation_of", None)
    few = ["scenario.train_per_class=5", "scenario.public_per_class=4", "large.size=32"]
    made = bench(SUITE.replace(PLAIN, f"set = {few}"))
    jobs = [job for job in made.jobs() if job.config.large.size == 32]
    make_ready(made.path, jobs)
    assert sorted(tried) == sorted(set(jobs[0].config.small.models))
    assert {job.seed for job in jobs} == {1, 2, 3} and loaded == [32, 32]


def test_another_size_is_another_encoding(bench, prepared):
    made = bench(SUITE.replace(PLAIN, 'set = ["large.size=32"]'))
    make_ready(made.path, made.jobs())
    assert sorted((c.large.side, c.seed) for c in prepared) == [
        (size, seed) for size in (32, 96) for seed in (1, 2, 3)
    ]


def encoded():
    """Return how many items each data set's store holds, by FM."""
    stores = (cache_folder() / "embeddings").glob("*/done.npy")
    found = {}
    for path in stores:
        about = json.loads((path.parent / "manifest.json").read_text())
        key = about["model"].partition(":")[0], about["data"]
        found[key] = found.get(key, 0) + int(np.load(path).sum())
    return found


def test_exactly_what_the_jobs_need_is_encoded(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path / "cache"))
    few = '"scenario.train_per_class=5", "scenario.public_per_class=4", "large.size=16"'
    vit = f'"large.model={save_vit(tmp_path)}"'
    probe = f'{vit}, "large.head=probe", "large.tuning=prompt"'
    none, drawn = '"large.head=none"', '"data.public=none", "data.public_items=9"'

    def made(**methods):
        entries = "".join(
            method(name, rest=f"set = [{few}, {sets}]") for name, sets in methods.items()
        )
        text = SUITE[: SUITE.index("[[method]]")].replace("[1, 2, 3]", "[1]") + entries
        return bench(text)

    def ready_for(**methods):
        suite = made(**methods)
        assert make_ready(suite.path, suite.jobs()) == []
        return suite.jobs()

    ready_for(none=none, both=f"{none}, {drawn}")
    assert encoded() == {}
    (tuned,) = ready_for(tuned=probe)
    _, streams = plan(tuned.config)
    assert encoded() == {("transformers", "digits"): len(streams.public)}
    ready_for(plain='"large.model=patches"', none=none)
    own = len(used_items(streams))
    assert encoded()["patches", "digits"] == own
    ready_for(other=f'"large.model=patches", {drawn}', tuned=f"{probe}, {drawn}")
    assert encoded() == {
        ("transformers", "digits"): len(streams.public),
        ("transformers", "none"): 9,
        ("patches", "digits"): own,
        ("patches", "none"): 9,
    }


def test_jobs_whose_data_or_model_cannot_be_had_are_told_and_the_rest_is_ready(
    bench, prepared, monkeypatch
):
    def gone(name):
        def load(*_, **__):
            asked.append(name)
            raise UnavailableError(f"{name}: cannot be reached")

        return load

    asked: list[str] = []
    monkeypatch.setattr("fedbridge.data.hub_parts", gone("the hub"))
    load = ready.foundation_of

    def foundation_of(config):
        model = config.large.model
        return (gone(model) if model == "transformers:a/b" else load)(config)

    monkeypatch.setattr(ready, "foundation_of", foundation_of)
    hub = method("hub", rest='set = ["data.name=hf:a/b", "training.rounds=3"]')
    public = method("public", rest='set = ["data.public=hf:a/b", "large.head=none"]')
    model = method("model", rest='set = ["large.model=transformers:a/b"]')
    without = method("none", rest='set = ["large.model=transformers:a/b", "large.head=none"]')
    made = bench(SUITE + hub + public + model + without)
    told = {job.name: reason for job, reason in make_ready(made.path, made.jobs())}
    reasons = {
        "hub": "the hub: cannot be reached",
        "public": "the hub: cannot be reached",
        "model": "transformers:a/b: cannot be reached",
    }
    assert told == {f"first--{m}--{s}": why for m, why in reasons.items() for s in (1, 2, 3)}
    # nobody waits for it again and again: once as data, once as the public set
    assert asked == ["the hub", "the hub", "transformers:a/b"]
    assert {(c.data.name, c.large.model) for c in prepared} == {("digits", "patches")}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("scenario.tasks=9", "= 18 classes are needed, data set 'digits' has 10"),
        ("small.models=['cnm']", r"small\.models.*'cnm'"),
        ("small.models=['gru']", "'gru'"),
        ("large.model=unknown", r"large\.model.*'unknown'"),
        ("data.name=unknown", "'unknown'"),
        ("data.public=unknown", "'unknown'"),
        ('large.tuning=prompt", "large.head=probe', "needs large.model to be"),
    ],
)
def test_what_a_run_would_refuse_is_refused_before_anything_is_encoded(
    bench, prepared, override, message
):
    made = bench(SUITE.replace(PLAIN, f'set = ["{override}"]'))
    entry = f"^{made.path}: scenario 'first', method 'plain', seed 1: "
    with pytest.raises(UserError, match=entry + f".*{message}"):
        make_ready(made.path, made.jobs())
    assert prepared == []
