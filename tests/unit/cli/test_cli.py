import errno
import json
import os
import subprocess
import sys

import datasets
import pytest

from fedbridge.cli import main as cli
from fedbridge.cli.guidance import page_for
from fedbridge.cli.listing import listing
from fedbridge.client import client, state
from fedbridge.core.errors import UserError
from fedbridge.methods.registry import FUSIONS, LEARNERS
from fedbridge.models import FOUNDATION_SOURCES, OWN, SMALL_SOURCES
from fedbridge.runs import run as runs
from fedbridge.runs import tracking
from fedbridge.runs.live.standing import RunStatus
from fedbridge.runs.run import Run, exclusive_lock
from fedbridge.runs.runner import Experiment

TINY = """
name = "tiny"
[data]
name = "digits"
[scenario]
clients = 2
tasks = 2
classes_per_task = 2
public_per_class = 5
train_per_class = 12
[large]
model = "patches"
size = 16
[small]
models = ["mlp"]
dimension = 32
[training]
rounds = 1
epochs = 1
[engine]
workers = 0
device = "cpu"
"""
FUNCTIONS = """
import torch

def poisoned(batch):
    if not isinstance(batch, torch.Tensor):
        raise TypeError("pictures only")
    result = batch.flatten(1)[:, :8].clone()
    result[1:, 0] = float("nan")
    return result
"""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDBRIDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Call the command line in a folder with a config; return code, output and complaint."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(TINY)

    def called(*arguments):
        monkeypatch.setattr(sys, "argv", ["fedbridge", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return called


def only_line(err):
    """Return the one line of an error, behind which stands the page that helps, or --help does."""
    line, *more = err.splitlines()
    helps = [] if line.endswith("--help") else [f"see {page_for(line)}"]
    assert err.endswith("\n") and more == helps, err
    return line


# -- the way a run goes


def test_run_resume_report_and_compare(call, tmp_path):
    code, out, err = call("run", "tiny.toml")
    assert (code, err) == (0, "")
    assert "task 2 round 1: small" in out and "page: runs/tiny/report.html" in out
    table = (tmp_path / "runs/tiny/accuracy.csv").read_bytes()
    summary = (tmp_path / "runs/tiny/summary.json").read_bytes()
    (tmp_path / "runs/tiny/report.html").unlink()

    code, out, err = call("resume", "runs/tiny")
    assert (code, err) == (0, "")
    assert out.startswith("runs/tiny: this run is finished")
    assert (tmp_path / "runs/tiny/report.html").is_file()
    assert (tmp_path / "runs/tiny/accuracy.csv").read_bytes() == table
    assert (tmp_path / "runs/tiny/summary.json").read_bytes() == summary

    code, out, _ = call("report", "runs/tiny")
    assert code == 0 and "page: runs/tiny/report.html" in out
    code, out, _ = call("compare", "runs/tiny", "--markdown")
    assert code == 0 and "tiny" in out


@pytest.mark.parametrize(
    "command",
    [
        *(["resume", "r"], ["report", "r"], ["compare", "r"], ["predict", "r", "x.png"]),
        *(["export", "r", "--client", "client-1"], ["serve", "r"]),
    ],
)
def test_a_finished_run_with_other_settings_is_told_and_not_shown(call, tmp_path, command):
    code, *_ = call("run", "tiny.toml", "--quiet", "--out", "r")
    assert code == 0
    kept = {path: path.read_bytes() for path in (tmp_path / "r").rglob("*") if path.is_file()}
    text = (tmp_path / "r/config.toml").read_text()
    assert "\ntasks = 2" in text
    (tmp_path / "r/config.toml").write_text(text.replace("\ntasks = 2", "\ntasks = 3"))
    code, out, err = call(*command)
    assert (code, out) == (2, "")
    assert "scenario.tasks: 2 when it was started, 3 now. The run is finished" in only_line(err)
    (tmp_path / "r/config.toml").write_text(text)
    assert kept == {path: path.read_bytes() for path in kept}


def test_a_checkpoint_of_other_clients_is_told(call, tmp_path):
    code, *_ = call("run", "tiny.toml", "--quiet", "--out", "r")
    (tmp_path / "r/summary.json").unlink()
    told = json.loads((tmp_path / "r/environment.json").read_text())
    del told["settings"]  # as an earlier version left it
    (tmp_path / "r/environment.json").write_text(json.dumps(told))
    text = (tmp_path / "r/config.toml").read_text()
    (tmp_path / "r/config.toml").write_text(text.replace("\nclients = 2", "\nclients = 3"))
    code, _, err = call("resume", "r")
    assert code == 2
    line = only_line(err)
    assert "must fit the settings" in line and "found 'client-3' on one side alone" in line


def test_quiet_prints_nothing(call):
    assert call("run", "tiny.toml", "--quiet", "--out", "q") == (0, "", "")
    assert call("resume", "q", "--quiet") == (0, "", "")


def test_override_and_out(call, tmp_path):
    code, *_ = call("run", "tiny.toml", "--set", "seed=3", "--out", "a/b", "--quiet")
    assert code == 0
    assert Run.open(tmp_path / "a/b").config.seed == 3


def test_encoding_is_part_of_the_progress(call, monkeypatch, tmp_path):
    said = []
    encode = RunStatus.encode
    monkeypatch.setattr(
        RunStatus, "encode", lambda self, *counts: (said.append(counts), encode(self, *counts))[1]
    )
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path / "new-cache"))
    assert call("run", "tiny.toml", "--out", "r")[0] == 0
    assert said and all(0 < done <= wanted for done, wanted in said)


def test_a_tracker_that_is_not_there_is_refused_before_anything_is_made(
    call, monkeypatch, tmp_path
):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    code, out, err = call("run", "tiny.toml", "--track", "mlflow", "--track", "wandb")
    assert (code, out) == (2, "")
    assert only_line(err).endswith(
        '"mlflow" needs the extra of that name: pip install "fedbridge[mlflow]"'
    )
    assert not (tmp_path / "runs").exists()
    code, _, err = call("run", "tiny.toml", "--track", "paper")
    assert code == 2 and "track.to" in only_line(err) and "'paper'" in err


def test_a_dashboard_says_what_it_cannot_show(call, monkeypatch, tmp_path):
    code, _, err = call("dashboard")
    assert code == 2 and only_line(err) == "error: runs: must be a folder with runs, found none"
    code, _, err = call("dashboard", tmp_path, "--host", "0.0.0.0")
    assert code == 2 and "names: must be given with the host 0.0.0.0" in only_line(err)
    monkeypatch.setitem(sys.modules, "fedbridge.report.dashboard.serving", None)
    code, _, err = call("dashboard", tmp_path)
    assert code == 2 and 'pip install "fedbridge[dashboard]"' in only_line(err)


@pytest.mark.parametrize(
    "what", ["learners", "fusions", "models", "datasets", "scenarios", "metrics"]
)
def test_list(call, what):
    code, out, err = call("list", what)
    assert (code, err) == (0, "")
    known = {"learners": "smcf", "fusions": "obod", "models": "lite0", "datasets": "digits"} | {
        "scenarios": "given",
        "metrics": "forgetting",
    }
    assert known[what] in out


def test_list_names_every_way_to_bring_a_model_in_one_piece(call):
    _, out, _ = call("list", "models")
    assert all(source.form in out for source in (*SMALL_SOURCES.values(), OWN))
    assert all(source.form in out for source in FOUNDATION_SOURCES.values())


@pytest.mark.parametrize("what", ["models", "datasets"])
def test_a_narrow_terminal_cuts_nothing_of_a_list_off(call, monkeypatch, what):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = call("list", what)
    assert "…" not in out


@pytest.mark.parametrize("what", ["learners", "fusions"])
def test_list_says_of_every_method_what_it_does(what):
    names = {"learners": LEARNERS, "fusions": FUSIONS}[what]
    lines = dict(zip(*(column.cells for column in listing(what).columns), strict=True))
    assert list(lines) == list(names)
    assert len(set(lines.values())) == len(lines)
    assert all(len(line) > 20 and line.endswith(".") for line in lines.values())


def test_check_estimates_and_leaves_nothing(call, tmp_path):
    code, out, err = call("check", "tiny.toml")
    assert code == 0
    assert all(line.endswith(" s") for line in err.splitlines())  # what lasts says for how long
    for word in (
        "mlp",
        "parameters",
        "bytes up",
        "bytes down",
        "time to learn",
        "not counted",
        "memory",
    ):
        assert word in out
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


def test_help_and_lists_need_no_torch():
    code = (
        "import sys; sys.argv = ['fedbridge', '--help']\n"
        "from fedbridge.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: code = end.code or 0\n"
        "heavy = {'torch', 'numpy', 'scipy', 'sklearn', 'pydantic', 'matplotlib', 'jinja2'}\n"
        "print(code, sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
    for command in ("run", "resume", "check", "list", "report", "compare"):
        assert f"\n  {command} " in done.stdout


@pytest.mark.parametrize("group", [(), ("data",), ("deploy",)])
def test_no_commands_sentence_is_cut_off(call, monkeypatch, group):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = call(*group, "--help")
    commands = out.partition("Commands:\n")[2].splitlines()
    assert code == 0 and commands and not [line for line in commands if line.endswith("...")]


# -- mistakes: exit code 2, one line that helps, and nothing left behind


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("engine.devic=cpu", "engine.devic: unknown key (did you mean 'device'?)"),
        ("training.rounds=0", "training.rounds: Input should be greater than or equal to 1"),
        ("learner.name=foo", "learner"),
        ("seed", "--set seed: must have the form a.b=value"),
        ("data.name=foo", "data.name: must be one of digits, "),
        ('data.domains=["x"]', "data.domains: digits has the domains digits, found 'x'"),
        ("scenario.classes_per_task=6", "12 classes are needed, data set 'digits' has 10"),
        ("scenario.test=1.5", "scenario.test: Input should be less than 1"),
        ("scenario.clients=190", "must have at least one training, one validation and one test"),
        ('small.models=["foo"]', "small.models: unknown model 'foo', known: cnn"),
        ('small.models=["gru"]', "small.models: 'gru' reads text, but the data are image"),
        ("large.model=foo", "large.model: must be one of lite0, minilm, focus, ppocr, "),
        ("large.model=transformers:./no", "transformers:./no: there is no such folder"),
        ("large.model=onnx:no.onnx", "large.model: onnx:no.onnx"),
        ("large.model=callable:no:f", "large.model: callable:no:f cannot be used"),
        ("large.size=4", "large.size: must be at least 8 for patches, found 4"),
        ("engine.device=foo", "engine.device: must be auto, cpu or cuda, found 'foo'"),
        ("engine.device=cuda:99", "engine.device"),
    ],
)
def test_mistake_in_the_settings(call, tmp_path, override, complaint):
    for command in (["run", "tiny.toml", "--out", "r"], ["check", "tiny.toml"]):
        code, out, err = call(*command, "--set", override)
        line = only_line(err)
        assert code == 2 and line.startswith("error: ") and complaint in line
        assert "Traceback" not in out
        assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


def test_pictures_cannot_be_made_of_texts_whatever_names_them(call, tmp_path):
    rows = {"text": ["a dog", "a cat"], "label": ["woof", "meow"]}
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(rows).save_to_disk(str(tmp_path / "set"))
    for name in ("wordnet", "hf:set"):
        sets = ("--set", "fusion.name=target", "--set", f"data.name={name}")
        for command in (["run", "tiny.toml", "--out", "r"], ["check", "tiny.toml"]):
            code, _, err = call(*command, *sets)
            expected = f"so the data must be pictures, found {name!r}, which is text"
            assert code == 2 and only_line(err).endswith(expected)
    assert not (tmp_path / "r").exists()


def test_refused_runs_leave_what_was_there_before(call, tmp_path):
    (tmp_path / "there").mkdir()
    for folder in ("there", "there/a/b"):
        assert call("run", "tiny.toml", "--out", folder, "--set", "data.name=foo")[0] == 2
        assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.parametrize("last", ["environment.json", "config.toml"])
def test_a_disk_that_is_full_at_the_very_beginning_leaves_nothing(
    call, tmp_path, monkeypatch, last
):
    write = runs.write_text

    def full(path, text):
        if path.name == last:
            raise UserError(f"{path}: cannot be written: disk full")
        write(path, text)

    with monkeypatch.context() as patch:
        patch.setattr(runs, "write_text", full)
        assert call("run", "tiny.toml", "--out", "a/b")[0] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


def test_a_run_that_fails_once_it_is_prepared_can_be_gone_on_with(call, tmp_path, monkeypatch):
    def full(self, rows):
        raise UserError("accuracy.csv: cannot be written: disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_accuracy", full)
        assert call("run", "tiny.toml", "--out", "r")[0] == 2
    assert call("resume", "r", "--quiet") == (0, "", "")


def test_foundation_model_that_returns_nan(call, tmp_path, monkeypatch):
    (tmp_path / "functions_with_nan.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)
    name = "large.model=callable:functions_with_nan:poisoned"
    for command in (["run", "tiny.toml", "--out", "r"], ["check", "tiny.toml"]):
        code, _, err = call(*command, "--set", name)
        assert code == 2
        assert "must return finite numbers, found NaN or infinity" in only_line(err)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", "no.toml"], "no.toml: cannot read this config file: No such file"),
        (["run", "."], ".: cannot read this config file"),
        (["run", "tiny.tml"], "No such file or directory; did you mean 'tiny.toml'?"),
        (["run", "broken.toml"], "broken.toml: not valid TOML"),
        (["run"], "Missing argument 'CONFIG'; see fedbridge run --help"),
        (["run", "tiny.toml", "--sett", "a=1"], "No such option"),
        (["check", "tiny.toml", "more"], "unexpected extra argument"),
        (["list", "toys"], "what: must be one of learners, fusions, "),
        (["walk"], "No such command 'walk'"),
        (["resume", "no-run"], "no-run: a run's folder must hold config.toml"),
        (["report", "no-run"], "no-run: a run's folder must hold config.toml"),
        (["compare", "no-run"], "no-run"),
        (["compare"], "Missing argument"),
    ],
)
def test_mistake_on_the_command_line(call, tmp_path, arguments, complaint):
    (tmp_path / "broken.toml").write_text("name = ")
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert complaint in only_line(err)


def test_no_command_shows_the_help(call):
    code, out, err = call()
    assert code == 2 and "Usage: fedbridge" in out + err


def test_folder_in_use_is_left_alone(call, tmp_path):
    call("run", "tiny.toml", "--out", "r", "--quiet")
    before = {path: path.read_bytes() for path in (tmp_path / "r").rglob("*") if path.is_file()}
    code, _, err = call("run", "tiny.toml", "--out", "r")
    assert code == 2
    assert "go on with it: fedbridge resume r" in only_line(err)
    assert before == {p: p.read_bytes() for p in (tmp_path / "r").rglob("*") if p.is_file()}


def test_a_config_of_ones_own_in_the_folder_is_left_alone(call, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/config.toml").write_text(TINY)
    code, _, err = call("run", "mine/config.toml", "--out", "mine")
    assert code == 2 and "this one is in use" in only_line(err)
    assert (tmp_path / "mine/config.toml").read_text() == TINY


def test_folder_of_a_run_that_never_began_can_be_used_unless_somebody_does(
    call, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(Experiment, "run_steps", interrupted)
        assert call("run", "tiny.toml", "--out", "r")[0] == 130
    left = sorted(p.name for p in (tmp_path / "r").iterdir())
    assert left == [".lock", "config.toml", "environment.json"]
    with exclusive_lock(tmp_path / "r"):
        code, _, err = call("run", "tiny.toml", "--out", "r")
        assert code == 2
        assert "another process is carrying out this run" in only_line(err)
        code, _, err = call("resume", "r")
        assert code == 2
        assert "another process is carrying out this run" in only_line(err)
    assert call("run", "tiny.toml", "--out", "r", "--quiet")[0] == 0


@pytest.mark.parametrize(
    "left",
    [
        ["environment.json.partial"],
        ["environment.json"],
        ["environment.json", "config.toml.partial"],
    ],
)
def test_a_folder_whose_run_was_killed_as_it_began_can_be_used(call, tmp_path, left):
    (tmp_path / "r").mkdir()
    for name in left:
        (tmp_path / "r" / name).write_text('{"run": "0123456789abcdef"}')
    assert call("run", "tiny.toml", "--out", "r", "--quiet")[0] == 0


def test_a_file_of_ones_own_is_not_taken_for_what_a_killed_run_has_left(call, tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "environment.json").write_text('{"name": "mine"}')
    code, _, err = call("run", "tiny.toml", "--out", "r")
    assert code == 2 and "this one is in use" in only_line(err)
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["environment.json"]


def test_data_that_would_be_downloaded_are_named(call):
    code, _, err = call("check", "tiny.toml", "--set", "data.name=emoji")
    assert code == 2
    line = only_line(err)
    assert "'emoji' (fluent, openmoji, twitter, google) is not cached" in line
    assert "check --download" in line and "MB" in line


# -- accidents: what was done stays done


def test_full_disk(call, tmp_path, monkeypatch):
    save_file = state.save_file
    monkeypatch.setattr(state, "save_file", no_room_for("client-2.safetensors", save_file, 2))
    code, _, err = call("run", "tiny.toml", "--out", "r", "--quiet")
    assert code == 2
    line = only_line(err)
    assert "disk full" in line and "fedbridge resume" in line
    assert [p.name for p in (tmp_path / "r/checkpoints").iterdir()] == ["step-0001"]
    monkeypatch.setattr(state, "save_file", save_file)
    assert call("resume", "r", "--quiet") == (0, "", "")
    assert call("run", "tiny.toml", "--out", "whole", "--quiet") == (0, "", "")
    assert (tmp_path / "r/accuracy.csv").read_bytes() == (
        tmp_path / "whole/accuracy.csv"
    ).read_bytes()


def no_room_for(name, save_file, time):
    times = []

    def failing(arrays, path):
        times.extend([path] * (path.name == name))
        if len(times) >= time:
            path.write_bytes(b"half a fi")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save_file(arrays, path)

    return failing


def test_an_extra_that_is_missing_is_named(call, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "fedbridge.runs.simulation", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = call("run", "tiny.toml", "--engine", "flower")
    assert code == 2 and "pip install 'fedbridge[flower]'" in only_line(err)


def test_interrupt_says_how_to_go_on(call, tmp_path, monkeypatch):
    save = client.FederatedClient.save
    monkeypatch.setattr(client.FederatedClient, "save", interrupted)
    code, out, err = call("run", "tiny.toml", "--out", "r", "--quiet")
    assert (code, out) == (130, "")
    assert err == "stopped; go on with: fedbridge resume r\n"
    monkeypatch.setattr(client.FederatedClient, "save", save)
    assert call("resume", "r", "--quiet") == (0, "", "")


def interrupted(*_):
    raise KeyboardInterrupt


def test_damaged_checkpoints_are_named(call, tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "write_summary", interrupted)
    assert call("run", "tiny.toml", "--out", "r", "--quiet")[0] == 130
    for checkpoint in (tmp_path / "r/checkpoints").iterdir():
        (checkpoint / "manifest.json").write_text("{")
    code, _, err = call("resume", "r")
    assert code == 2
    line = only_line(err)
    assert "no checkpoint of this run is whole: " in line and "manifest.json cannot be read" in line


def test_fault_of_ours_is_not_hidden(call, monkeypatch):
    def fault(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("fedbridge.methods.files.load_config", fault)
    monkeypatch.setattr(sys, "argv", ["fedbridge", "check", "tiny.toml"])
    with pytest.raises(ZeroDivisionError):
        cli.main()
