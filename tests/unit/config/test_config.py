import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fedbridge.config import Scenario
from fedbridge.core.errors import UserError
from fedbridge.methods.alone import Alone
from fedbridge.methods.catalog import every_setting
from fedbridge.methods.config import Config
from fedbridge.methods.files import RENAMED, dump_config, load_config, parse_config
from fedbridge.methods.finetune import FineTune
from fedbridge.methods.obod import OBOD
from fedbridge.methods.smcf import SMCF


@pytest.fixture
def load(tmp_path):
    def loading(text="", *overrides):
        path = tmp_path / "settings.toml"
        path.write_text(text, encoding="utf-8")
        return load_config(path, list(overrides))

    return loading


def refused(load, text, *overrides):
    with pytest.raises(UserError) as caught:
        load(text, *overrides)
    return str(caught.value)


def test_empty_file_gives_all_defaults(load):
    assert load() == Config()


def test_settings_are_read_into_their_sections(load):
    config = load('seed = 3\n[scenario]\nclients = 7\n[learner]\nname = "finetune"')
    assert (config.seed, config.scenario.clients) == (3, 7)
    assert config.learner == FineTune()
    assert config.fusion == OBOD()


def test_settings_cannot_be_changed_later():
    with pytest.raises(ValidationError, match="frozen"):
        Config().seed = 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sede = 1", "sede: unknown key (did you mean 'seed'?)"),
        ("[scenario]\nclientes = 3", "scenario.clientes: unknown key (did you mean 'clients'?)"),
        ("[trainng]\nrounds = 1", "trainng: unknown key (did you mean 'training'?)"),
        (
            '[learner]\nname = "smcf"\nmemori = 5',
            "learner.memori: unknown key (did you mean 'memory'?)",
        ),
        (
            '[fusion]\nname = "obod"\nteacher = 5',
            "fusion.teacher: unknown key (did you mean 'teachers'?)",
        ),
        (
            '[learner]\nname = "finetune"\nmemory = 5',
            "learner.memory: unknown key (known: classes, name)",
        ),
        (
            "[data]\nqqq = 1",
            "data.qqq: unknown key (known: classes, clients, domains, hub, modality, name, "
            "options, own, public, public_items, public_options, public_own, size)",
        ),
    ],
)
def test_unknown_key_is_named_with_what_was_meant(load, text, expected):
    message = refused(load, text)
    assert message.endswith(f"settings.toml: {expected}")


@pytest.mark.parametrize(
    ("text", "field", "found"),
    [
        ("seed = -1", "seed", "-1"),
        ("[scenario]\nclients = 0", "scenario.clients", "0"),
        ('[scenario]\nclients = "many"', "scenario.clients", "'many'"),
        ("[scenario]\ntest = 1.0", "scenario.test", "1.0"),
        ('[scenario]\norder = "any"', "scenario.order", "'any'"),
        ("[scenario]\nalpha = 0", "scenario.alpha", "0"),
        ("[small]\nmodels = []", "small.models", "[]"),
        ("[training]\nlr = 2.0", "training.lr", "2.0"),
        ("[large]\nregularisation = [0.1, -1]", "large.regularisation.1", "-1"),
        ('[learner]\nname = "smcf"\nmemory = -1', "learner.memory", "-1"),
        ('[learner]\nname = "smcf"\nprevious = inf', "learner.previous", "inf"),
        ('[learner]\nname = "other"', "learner.name", "'other'"),
        ('[engine]\nworkers = -2', "engine.workers", "-2"),
        ('[engine]\ncheckpoint_seconds = -1', "engine.checkpoint_seconds", "-1"),
        ('[engine]\nkind = "flower"\ncheckpoint_seconds = 5', "engine.checkpoint_seconds", "5"),
    ],
)  # fmt: skip
def test_wrong_value_is_named_with_field_and_value(load, text, field, found):
    message = refused(load, text)
    assert f"settings.toml: {field}" in message
    assert message.endswith(f"found {found}")


def test_a_learner_or_a_fusion_that_is_not_there_is_named_with_what_was_meant(load):
    message = refused(load, '[learner]\nname = "smfc"\n[fusion]\nname = "fedaverage"')
    learner, fusion = message.split("; fusion")
    assert "learner.name: must be one of finetune, ewc, " in learner
    assert learner.endswith("found 'smfc'; did you mean 'smcf'?")
    assert fusion.startswith(".name: must be one of none, obod, ")
    assert fusion.endswith("found 'fedaverage'; did you mean 'fedavg'?")


def test_a_text_in_place_of_a_list_is_told_without_words_of_python(load):
    message = refused(load, '[small]\nmodels = "cnn"')
    assert message.endswith("small.models: Input should be a list, found 'cnn'")


def test_all_faults_are_named_at_once(load):
    message = refused(load, "seed = -1\n[scenario]\nclients = 0\ntask = 1")
    assert "seed: " in message
    assert "scenario.clients: " in message
    assert "scenario.task: unknown key (did you mean 'tasks'?)" in message


def test_fractions_must_leave_training_data(load):
    message = refused(load, "[scenario]\ntest = 0.6\npublic = 0.5")
    assert "scenario.test + scenario.public must be below 1" in message
    assert "found 1.1" in message


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none.toml: cannot read .*: No such file or directory"):
        load_config(tmp_path / "none.toml")


def test_invalid_toml_is_named_with_its_line(load, tmp_path):
    assert "not valid TOML" in refused(load, "seed = 1\nseed")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"bytes.toml: this config file must be UTF-8"):
        load_config(tmp_path / "bytes.toml")


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("seed=9", lambda config: config.seed == 9),
        ("learner.name=finetune", lambda config: config.learner == FineTune()),
        ('fusion.name="none"', lambda config: config.fusion == Alone()),
        ("training.lr=1e-3", lambda config: config.training.lr == 0.001),
        ('data.domains=["a", "b"]', lambda config: config.data.domains == ("a", "b")),
        ("name=a=b", lambda config: config.name == "a=b"),
    ],
)
def test_override_wins_over_the_file(load, override, value):
    assert value(load('seed = 1\n[learner]\nname = "smcf"', override))


def test_last_override_wins(load):
    assert load("", "seed=1", "seed=2").seed == 2


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed", "--set seed: must have the form a.b=value"),
        ("=3", "--set =3: must have the form a.b=value"),
        ("seed.x=3", "seed: Input should be a valid integer, found {'x': 3}"),
        ("scenario.client=3", "scenario.client: unknown key (did you mean 'clients'?)"),
        ("seed=abc", "seed: "),
    ],
)
def test_wrong_override_is_named(load, override, expected):
    assert expected in refused(load, "seed = 1", override)


def write(folder, **texts):
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text)


def test_file_states_only_what_differs_from_the_one_it_extends(tmp_path):
    (tmp_path / "sub").mkdir()
    write(tmp_path, base="seed = 1\n[scenario]\nclients = 5\ntasks = 4")
    write(tmp_path / "sub", middle='extends = "../base.toml"\n[scenario]\nclients = 6')
    write(tmp_path, top='extends = "sub/middle.toml"\nseed = 2')
    config = load_config(tmp_path / "top.toml", ["scenario.alpha=3.0"])
    found = (config.seed, config.scenario.clients, config.scenario.tasks, config.scenario.alpha)
    assert found == (2, 6, 4, 3.0)


def test_options_of_a_learner_are_inherited_by_the_same_learner_only(tmp_path):
    write(
        tmp_path,
        base='[learner]\nname = "smcf"\nmemory = 7\nlarge = 0.5',
        same='extends = "base.toml"\n[learner]\nmemory = 3',
        other='extends = "base.toml"\n[learner]\nname = "finetune"',
    )
    assert load_config(tmp_path / "same.toml").learner == SMCF(memory=3, large=0.5)
    assert load_config(tmp_path / "other.toml").learner == FineTune()


def test_faulty_extension_is_named(tmp_path):
    write(
        tmp_path,
        number="extends = 3",
        lost='extends = "nowhere.toml"',
        ring='extends = "chain.toml"',
        chain='extends = "ring.toml"',
    )
    expected = {
        "number": "number.toml: extends must be the name of a file, found 3",
        "lost": "nowhere.toml: cannot read this config file",
        "ring": "ring.toml: extends itself through .*chain.toml",
    }
    for name, message in expected.items():
        with pytest.raises(UserError, match=message):
            load_config(tmp_path / f"{name}.toml")


@pytest.mark.parametrize(
    "config",
    [
        Config(),
        Config(learner=FineTune(classes="task"), fusion=Alone()),
        Config(seed=4, learner=SMCF(memory=0), scenario=Scenario(train_per_class=5)),
        Config.model_validate({"data": {"domains": ["é", 'quote"d']}, "name": "back\\slash"}),
    ],
)
def test_dumped_settings_load_as_the_same(load, config):
    assert load(dump_config(config)) == config


def test_dump_writes_every_default_out():
    text = dump_config(Config())
    for line in ("seed = 0", "[scenario]", "alpha = 1.0", "memory = 20", 'form = "one-by-one"'):
        assert line in text.splitlines()


weights = st.floats(0.0, 1e6)


@given(
    seed=st.integers(0, 2**62),
    previous=weights,
    alpha=st.floats(1e-6, 1e6),
    name=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20),
    workers=st.one_of(st.just("auto"), st.integers(0, 64)),
)
def test_any_settings_survive_toml(tmp_path_factory, seed, previous, alpha, name, workers):
    tree = {
        "seed": seed,
        "name": name,
        "scenario": {"alpha": alpha},
        "learner": {"name": "smcf", "previous": previous},
        "engine": {"workers": workers},
    }
    config = parse_config(tree, "here")
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(dump_config(config), encoding="utf-8", newline="")
    loaded = load_config(path)
    assert loaded == config
    assert math.isclose(loaded.learner.previous, previous, rel_tol=0.0)


RENAMED_TO = {
    "training.rate = 0.1": "training.lr",
    "large.least = 3": "large.min_class_items",
    "large.own = [0.0]": "large.personal_weights",
    "large.absorb = 0.5": "large.student_weight",
    "small.warm_rate = 0.1": "small.warm_lr",
    "scenario.amount = [0.5]": "scenario.data_fraction",
    "scenario.effort = [1]": "scenario.participation_rounds",
    "learner.ahead = false": "learner.teach_unseen",
    "data.own.least = 3": "data.own.min_class_items",
    "fusion.rate = 0.1": "fusion.lr",
}


@pytest.mark.parametrize("line", RENAMED_TO)
def test_keys_of_earlier_releases_are_refused_with_their_new_names(line: str, tmp_path):
    path = tmp_path / "old.toml"
    path.write_text(f"{line}\n")
    old = line.partition(" ")[0]
    with pytest.raises(UserError, match=rf"{old}: is now called {RENAMED_TO[line]}$"):
        load_config(path)


def test_every_renamed_key_leads_to_one_that_exists():
    known = set(every_setting())
    assert RENAMED and not known & set(RENAMED)
    assert set(RENAMED.values()) <= known
