"""What is checked and prepared before the first job, on the digits."""

import pytest
from suites import SUITE, method

from fedbridge.bench import ready
from fedbridge.bench.ready import make_ready
from fedbridge.errors import UserError
from fedbridge.experiment import prepare

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
    monkeypatch.setattr(ready, "prepare", lambda config, tell: configs.append(config))
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


def test_another_size_is_another_encoding(bench, prepared):
    made = bench(SUITE.replace(PLAIN, 'set = ["large.size=32"]'))
    make_ready(made.path, made.jobs())
    assert sorted((c.large.size, c.seed) for c in prepared) == [
        (size, seed) for size in (32, 96) for seed in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("scenario.tasks=9", "= 18 classes are needed, data set 'digits' has 10"),
        ("small.models=['cnm']", r"small\.models.*'cnm'"),
        ("small.models=['gru']", "'gru'"),
        ("large.model=unknown", r"large\.model.*'unknown'"),
        ("data.name=unknown", "'unknown'"),
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
