"""Every file in configs/ loads, says what it is, and names data and models that exist."""

import pytest
from documents import ROOT

from fedbridge.config import Config, dump_config, load_config
from fedbridge.data import DATASETS
from fedbridge.models import FOUNDATION_MODELS, SMALL_MODELS

PATHS = sorted((ROOT / "configs").rglob("*.toml"))
BASELINES = sorted((ROOT / "configs" / "baselines").glob("*.toml"))
QUICKSTART = load_config(ROOT / "configs" / "quickstart.toml")


def name_of(path):
    return path.relative_to(ROOT / "configs").as_posix()


@pytest.mark.parametrize("path", PATHS, ids=name_of)
def test_config_loads_and_names_what_exists(path):
    config = load_config(path)
    entry = DATASETS[config.data.name]
    assert set(config.data.domains or ()) <= set(entry.domains)
    assert config.large.model in FOUNDATION_MODELS
    assert set(config.small.models) <= set(SMALL_MODELS)
    reads = {SMALL_MODELS[name].modality for name in config.small.models}
    assert reads == {FOUNDATION_MODELS[config.large.model].modality}


@pytest.mark.parametrize("path", PATHS, ids=name_of)
def test_config_begins_with_what_it_shows(path):
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ") and len(first) > 40


@pytest.mark.parametrize("path", PATHS, ids=name_of)
def test_resolved_config_means_the_same(path, tmp_path):
    resolved = tmp_path / "config.toml"
    resolved.write_text(dump_config(load_config(path)), encoding="utf-8")
    assert load_config(resolved) == load_config(path)


@pytest.mark.parametrize("path", BASELINES, ids=name_of)
def test_baseline_has_the_split_of_the_quickstart(path):
    config = load_config(path)
    assert config.name == path.stem
    assert config.data == QUICKSTART.data
    assert split_of(config) == split_of(QUICKSTART)
    assert (config.small, config.seed) == (QUICKSTART.small, QUICKSTART.seed)
    assert (config.large.model, config.large.size) == ("lite0", QUICKSTART.large.size)


def split_of(config: Config) -> dict[str, object]:
    return config.scenario.model_dump(exclude={"history"})


def test_baselines_use_nothing_of_the_method():
    for path in BASELINES:
        config = load_config(path)
        assert config.learner.name == "finetune" and config.fusion.name == "none", path
        assert config.large.absorb == (0.0,), path


def test_upper_bounds_train_as_long_as_the_quickstart():
    for name, history in (("joint-own", "own"), ("joint-pooled", "pooled"), ("finetune", "task")):
        config = load_config(ROOT / "configs" / "baselines" / f"{name}.toml")
        assert config.scenario.history == history
        assert config.training == QUICKSTART.training
