"""Every snippet does what it says: Python runs, TOML is a config, commands exist."""

import shlex
import shutil
from pathlib import Path

import pytest
import typer.main
from documents import ROOT, Snippet, documents, snippets
from forked import Done, carried_out

from fedbridge.cli.main import app
from fedbridge.config import load_site
from fedbridge.methods.files import load_config

PYTHON = {name: found for name in documents() if (found := snippets("python", name))}
OWN = PYTHON.pop("README.md")  # they belong together and have a test of their own


def test_there_are_snippets_of_every_kind():
    assert "docs/architecture.md" in PYTHON
    assert len(snippets("toml")) >= 3
    assert len(snippets("bash")) >= 8


@pytest.mark.slow
@pytest.mark.parametrize("snippet", [s for found in PYTHON.values() for s in found], ids=str)
def test_python_snippet_runs(snippet, tmp_path):
    for other in [*PYTHON[snippet.document], *snippets("toml", snippet.document)]:
        if other.name:
            (tmp_path / other.name).write_text(other.text, encoding="utf-8")
    path = tmp_path / (snippet.name or "snippet.py")
    path.write_text(snippet.text, encoding="utf-8")
    done = in_new_process(path, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_readmes_own_experiment_writes_a_run(tmp_path):
    for snippet in [*OWN, *snippets("toml", "README.md")]:
        (tmp_path / snippet.name).write_text(snippet.text, encoding="utf-8")
    done = in_new_process(tmp_path / "my_run.py", tmp_path)
    assert done.returncode == 0, done.stderr
    accuracy, predicted, page = done.stdout.splitlines()
    assert float(accuracy) > 0.5 and "top" in predicted
    assert (tmp_path / page).read_text(encoding="utf-8").startswith("<!doctype html>")
    models = load_config(tmp_path / "runs" / "mine" / "config.toml").small.models
    assert models == ("my_model:tiny", "cnn")


@pytest.mark.parametrize("snippet", snippets("toml"), ids=str)
def test_toml_snippets_are_configs(snippet, tmp_path):
    shutil.copytree(ROOT / "configs", tmp_path / "configs")  # a snippet may extend one of them
    path = tmp_path / "configs" / "snippet.toml"
    path.write_text(snippet.text, encoding="utf-8")
    load = load_site if snippet.name == "site.toml" else load_config
    load(path)


@pytest.mark.parametrize("snippet", snippets("bash"), ids=str)
def test_commands_exist(snippet):
    for line in snippet.text.splitlines():
        words = shlex.split(line, comments=True)
        if words:
            check_command(snippet, words)


def check_command(snippet: Snippet, words: list[str]) -> None:
    program, *rest = words
    if program in ("fedbridge", ".venv/bin/fedbridge"):
        check_fedbridge(snippet, rest)
    elif program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = [word for word in rest if "=" not in word]
        assert targets and all(f"\n{target}:" in makefile for target in targets), f"{snippet}"
    elif program == "pip":
        assert rest[:2] == ["install", "--constraint"] and (ROOT / rest[2]).is_file(), f"{snippet}"
    elif program in ("python3", ".venv/bin/python"):
        files = [word for word in rest if word.endswith(".py")]
        assert all((ROOT / file).is_file() for file in files), f"{snippet}: {files}"
    else:
        assert program in ("export", "."), f"{snippet}: {program} is no command that is checked"


def check_fedbridge(snippet: Snippet, words: list[str]) -> None:
    group = typer.main.get_command(app)
    commands = group.commands
    name, *arguments = words
    if name.startswith("--"):  # of fedbridge itself
        assert name in {option for parameter in group.params for option in parameter.opts}
        return
    assert name in commands, f"{snippet}: there is no command {name}"
    if hasattr(commands[name], "commands"):  # such as deploy, which has commands of its own
        commands, (name, *arguments) = commands[name].commands, arguments
        assert name in commands, f"{snippet}: there is no command {name}"
    # parses as the real command line would, without running it
    context = commands[name].make_context(name, list(arguments))
    config = context.params.get("config")
    if config is not None:
        load_config(ROOT / config, context.params.get("overrides"))


def in_new_process(path: Path, folder: Path) -> Done:
    return carried_out(path, FEDBRIDGE_CACHE=str(folder / "cache"), OMP_NUM_THREADS="1")
