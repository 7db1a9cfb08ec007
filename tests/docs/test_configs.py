"""Every file in configs/ loads, says what it is, and names data and models that exist."""

import tomllib

import pytest
from documents import ROOT

from fedbridge.data import DATASETS
from fedbridge.data.hub.hub import PREFIX, owned_name
from fedbridge.methods.config import Config
from fedbridge.methods.files import dump_config, load_config
from fedbridge.methods.registry import FUSIONS, LEARNERS
from fedbridge.models import FOUNDATION_MODELS, SMALL_MODELS

SUITES = ROOT / "configs" / "suites"  # no configs; see test_results.py
PATHS = sorted(p for p in (ROOT / "configs").rglob("*.toml") if p.parent != SUITES)
BASELINES = sorted((ROOT / "configs" / "baselines").glob("*.toml"))
METHODS = sorted((ROOT / "configs" / "methods").glob("*.toml"))
WHOLE = [path for path in PATHS if path not in METHODS]
QUICKSTART = load_config(ROOT / "configs" / "quickstart.toml")


def name_of(path):
    return path.relative_to(ROOT / "configs").as_posix()


@pytest.mark.parametrize("path", PATHS, ids=name_of)
def test_config_loads_and_names_what_exists(path):
    config = load_config(path)
    assert set(config.small.models) <= set(SMALL_MODELS)
    reads = {SMALL_MODELS[name].modality for name in config.small.models}
    if config.data.name.startswith(PREFIX):  # of the hub, and so is the FM
        assert owned_name(config.data.name)
        assert config.large.model.startswith("transformers:") and reads == {"image"}
        return
    entry = DATASETS[config.data.name]
    assert set(config.data.domains or ()) <= set(entry.domains)
    assert config.large.model in FOUNDATION_MODELS
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
    cold = QUICKSTART.small.model_copy(update={"warm_epochs": 0})  # the warm start is of ours
    assert (config.small, config.seed) == (cold, QUICKSTART.seed)
    assert (config.large.model, config.large.size) == ("lite0", QUICKSTART.large.size)


def split_of(config: Config) -> dict[str, object]:
    return config.scenario.model_dump(exclude={"history"})


def test_baselines_use_nothing_of_the_method():
    for path in BASELINES:
        config = load_config(path)
        assert config.learner.name == "finetune" and config.fusion.name == "none", path
        assert config.large.student_weight == 0.0 and not config.starts_warm, path


def test_upper_bounds_train_as_long_as_the_quickstart():
    for name, history in (("joint-own", "own"), ("joint-pooled", "pooled"), ("finetune", "task")):
        config = load_config(ROOT / "configs" / "baselines" / f"{name}.toml")
        assert config.scenario.history == history
        assert config.training == QUICKSTART.training


@pytest.mark.parametrize("path", METHODS, ids=name_of)
def test_method_states_itself_and_no_scenario(path):
    tree = tomllib.loads(path.read_text(encoding="utf-8"))
    assert tree["name"] == path.stem
    assert {"name", "learner", "fusion"} <= set(tree)
    assert set(tree) <= {"name", "learner", "fusion", "large", "small", "training"}
    assert set(tree.get("small", {})) <= {"warm_epochs"}  # which models there are is the scenario's
    assert "name" in tree["learner"] and "name" in tree["fusion"]


@pytest.mark.parametrize("path", METHODS, ids=name_of)
def test_method_may_be_laid_over_every_scenario(path, tmp_path):
    stated = tomllib.loads(path.read_text(encoding="utf-8"))
    for scenario in WHOLE:
        laid = tmp_path / "laid.toml"
        text = f"extends = {str(scenario)!r}\n" + path.read_text(encoding="utf-8")
        laid.write_text(text, encoding="utf-8")
        config, base = load_config(laid), load_config(scenario)
        assert (config.data, config.scenario, config.small) == (
            base.data,
            base.scenario,
            base.small.model_copy(update=stated.get("small", {})),
        )
        found = config.model_dump(mode="json")
        for section in ("learner", "fusion", "large", "training"):
            for key, value in stated.get(section, {}).items():
                there = found[section][key]
                if isinstance(value, dict):  # which states what differs from the defaults
                    there = {inner: there[inner] for inner in value}
                assert there == value, (scenario, section, key)


def test_every_learner_and_every_fusion_has_a_preset():
    configs = [load_config(path) for path in METHODS]
    assert {config.learner.name for config in configs} == set(LEARNERS)
    assert {config.fusion.name for config in configs} == set(FUSIONS)


def test_presets_differ_from_each_other():
    settings = [dump_config(load_config(path).model_copy(update={"name": ""})) for path in METHODS]
    assert len(set(settings)) == len(METHODS)


def test_our_method_has_all_its_defaults():
    ours = load_config(ROOT / "configs" / "methods" / "fedbridge.toml")
    assert ours == Config(name="fedbridge")
