import os
import subprocess
import sys

import pytest

from fedbridge.cli import completion
from fedbridge.cli.completion import config_files, lists, overrides, run_folders
from fedbridge.data import DATASETS
from fedbridge.methods.registry import FUSIONS, LEARNERS
from fedbridge.models import FOUNDATION_MODELS


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Two runs, two configs of one's own, and much that is neither."""
    monkeypatch.chdir(tmp_path)
    for run in ("runs/first", "runs/second"):
        (tmp_path / run / "checkpoints").mkdir(parents=True)
        (tmp_path / run / "config.toml").touch()
        (tmp_path / run / "environment.json").touch()
    (tmp_path / "configs" / "methods").mkdir(parents=True)
    for name in ("configs/own.toml", "configs/methods/ewc.toml", "pyproject.toml", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "config.toml").touch()
    return tmp_path


def words(found):
    return [value for value, _ in found]


def test_runs_are_found_by_what_lies_in_them():
    assert run_folders("") == ["runs/first", "runs/second"]
    assert run_folders("runs/s") == run_folders("./runs/s") == ["runs/second"]
    assert run_folders("configs/") == run_folders("no/such/folder/") == []


def test_configs_are_toml_files_that_belong_to_no_run():
    assert config_files("") == ["configs/methods/ewc.toml", "configs/own.toml"]
    assert config_files("configs/o") == ["configs/own.toml"]


def test_a_folder_with_very_many_files_is_not_read_to_its_end(folder, monkeypatch):
    monkeypatch.setattr(completion, "MOST", 3)
    for number in range(9):
        (folder / f"a{number}.toml").touch()
    assert config_files("") == ["a0.toml", "a1.toml", "a2.toml"]


def test_settings_of_every_section_and_of_every_learner():
    assert {"seed=", "data.hub.side=", "learner.memory=", "fusion.teachers="} <= set(
        words(overrides(""))
    )
    assert words(overrides("large.siz")) == ["large.size="]
    assert dict(overrides("seed"))["seed="] == "Seed of everything random."
    assert not {"data=", "learner=", "data.hub="} & set(words(overrides("")))


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("learner.name", LEARNERS),
        ("fusion.name", FUSIONS),
        ("data.name", DATASETS),
        ("data.public", DATASETS),
        ("large.model", FOUNDATION_MODELS),
    ],
)
def test_names_of_registries(key, names):
    assert {f"{key}={name}" for name in names} <= set(words(overrides(f"{key}=")))


def test_values_of_settings():
    assert words(overrides("large.head=n")) == ["large.head=nearest-mean", "large.head=none"]
    assert words(overrides("learner.teach_unseen=")) == [
        "learner.teach_unseen=true",
        "learner.teach_unseen=false",
    ]
    assert overrides("seed=") == overrides("no.such=") == []


@pytest.mark.parametrize(
    ("typed", "place", "joined", "key"),
    [
        ("fedbridge run x --set learner.name = sm", 6, "fedbridge run x --set sm", "learner.name"),
        ("fedbridge run x --set learner.name =", 5, "fedbridge run x --set ''", "learner.name"),
        ("fedbridge run x --set a = b --set c = ", 10, "fedbridge run x --set a=b --set ''", "c"),
        ("fedbridge run x --set lear", 4, "fedbridge run x --set lear", None),
        ("fedbridge run ", 2, "fedbridge run ''", None),
        ("fedbridge run 'x --set a = b", 6, "fedbridge run ''\"'\"'x' --set b", "a"),
    ],
)
def test_what_bash_cuts_at_equal_signs_is_joined(typed, place, joined, key):
    environ = {"COMP_WORDS": typed, "COMP_CWORD": str(place)}
    completion.join_settings(environ)
    assert environ["COMP_WORDS"] == joined
    assert environ["COMP_CWORD"] == str(len(joined.split()) - 1)
    assert environ.get(completion.KEY) == key


def asked(shell, **variables):
    """Return what the command line answers to a shell that asks for completions."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "fedbridge.cli.main"],
        env=os.environ | variables | {completion.VARIABLE: f"complete_{shell}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert " torch" not in done.stderr  # which would take seconds
    return done.stdout


def test_bash_is_answered():
    assert asked("bash", COMP_WORDS="fedbridge re", COMP_CWORD="1").split() == ["resume", "report"]
    assert asked("bash", COMP_WORDS="fedbridge report ", COMP_CWORD="2").split() == [
        "runs/first",
        "runs/second",
    ]
    line = "fedbridge run x --set learner.name = sm"
    assert asked("bash", COMP_WORDS=line, COMP_CWORD="6").split() == ["smcf"]


def test_zsh_is_answered():
    line = "fedbridge run configs/own.toml --set large.head=p"
    assert '"large.head=probe"' in asked("zsh", _TYPER_COMPLETE_ARGS=line)


def test_fish_is_answered():
    line = "fedbridge run configs/o"
    variables = {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    assert asked("fish", **variables).split() == ["configs/own.toml"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_installed(shell, folder):
    done = subprocess.run(
        [sys.executable, "-m", "fedbridge.cli.main", "--install-completion", shell],
        env=os.environ | {"HOME": str(folder), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{shell} completion installed in {folder}" in done.stdout


def test_what_can_be_listed_and_every_scenario_is_offered():
    assert lists("s") == ["scenarios"] and "metrics" in lists("")
    kinds = [value for value in words(overrides("scenario.kind=")) if "domain" in value]
    assert kinds == ["scenario.kind=domain-incremental"]
