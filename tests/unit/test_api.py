import subprocess
import sys

import numpy as np
import pytest

import fedbridge
from fedbridge.core.errors import UserError
from fedbridge.methods.files import parse_config
from fedbridge.runs.run import Run

TINY = {
    "name": "tiny",
    "data": {"name": "digits"},
    "scenario": {"clients": 2, "tasks": 1, "public_per_class": 5, "train_per_class": 12},
    "large": {"model": "patches", "size": 16},
    "small": {"models": ["mlp"], "dimension": 32},
    "training": {"rounds": 2, "epochs": 1},
    "engine": {"workers": 0, "device": "cpu"},
}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDBRIDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def result(tmp_path_factory, cache):
    return fedbridge.run(TINY, tmp_path_factory.mktemp("api") / "run")


def test_importing_loads_next_to_nothing():
    code = "import fedbridge, sys; print({'torch', 'numpy', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_every_public_name_is_there_and_no_other():
    for name in fedbridge.__all__:
        assert getattr(fedbridge, name).__name__ == name
    assert set(fedbridge.__all__) <= set(dir(fedbridge))
    with pytest.raises(AttributeError, match="fedbridge attribute nothing"):
        fedbridge.nothing  # noqa: B018


def test_a_run_is_carried_out_and_read(result):
    assert result.finished and result.clients == ("client-1", "client-2")
    assert result.summary["method"] == "tiny"
    final = result.summary["results"]["small"]["class-incremental"]["final_accuracy"]
    last = [r for r in result.accuracy if r.predictor == "small" and r.after_task == r.on_task == 1]
    shares = [r.accuracy for r in last if r.protocol == "class-incremental"]
    assert final == pytest.approx(np.mean(shares))
    assert result.report().read_text(encoding="utf-8").startswith("<!doctype html>")
    assert repr(result) == f"Result({str(result.folder)!r}, finished)"


def test_a_clients_predictor_is_had_from_the_result(result, tmp_path):
    one = result.predictor("client-1")
    one.save(tmp_path / "p")
    x = np.zeros((2, 16, 16), np.uint8)
    assert fedbridge.load(tmp_path / "p").predict(x) == one.predict(x)


def test_settings_are_laid_over_a_file_a_tree_and_a_config(tmp_path, result):
    (tmp_path / "tiny.toml").write_text('name = "filed"\n[training]\nrounds = 3\n')
    filed = fedbridge.check(tmp_path / "tiny.toml", data={"name": "digits"}, training={"epochs": 1})
    assert type(filed).__name__ == "Estimate"
    from fedbridge.api import config_of

    for given in (TINY, parse_config(TINY, "test")):
        found = config_of(given, {"seed": 3, "training": {"rounds": 1}})
        assert (found.seed, found.training.rounds, found.training.epochs) == (3, 1, 1)
    found = config_of(TINY, {"learner": {"name": "replay"}})
    assert found.learner.name == "replay"


def test_progress_is_told_and_a_stopped_run_goes_on(tmp_path, result):
    told = []

    def stop(progress):
        told.append(progress.done)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fedbridge.run(TINY, tmp_path / "run", tell=stop)
    stopped = fedbridge.load(tmp_path / "run")
    assert not stopped.finished
    with pytest.raises(UserError, match="not finished; go on with"):
        _ = stopped.summary
    assert stopped.results == {}  # nothing is known before the first task has ended
    assert stopped.reached.words == "before the first task was measured, stopped at step 1 of 2"
    again = fedbridge.resume(tmp_path / "run", tell=lambda progress: told.append(progress.done))
    assert told == [1, 2]
    assert again.accuracy == result.accuracy
    assert fedbridge.resume(tmp_path / "run").finished


def test_runs_are_compared(result):
    assert "tiny" in fedbridge.compare([result.folder])


def test_a_folder_in_use_is_refused_and_a_refused_run_leaves_none(tmp_path, result):
    with pytest.raises(UserError, match="this one is in use"):
        fedbridge.run(TINY, result.folder)
    with pytest.raises(UserError, match="unknown model 'nothing'"):
        fedbridge.run(TINY, tmp_path / "a" / "b", small={"models": ["nothing"]})
    assert not (tmp_path / "a").exists()
    with pytest.raises(UserError, match="did you mean 'epochs'"):
        fedbridge.run(TINY, tmp_path / "a", training={"epoch": 1})


def test_what_is_no_saved_thing_is_refused(tmp_path):
    with pytest.raises(UserError, match="must hold a run, a saved predictor or a saved client"):
        fedbridge.load(tmp_path)


def test_a_run_folder_stays_a_run(result):
    assert Run.open(result.folder).config == fedbridge.load(result.folder).config


@pytest.mark.parametrize(
    "what", ["learners", "fusions", "models", "datasets", "scenarios", "metrics"]
)
def test_what_a_config_can_name_is_told_in_rows(what):
    rows = fedbridge.available(what)
    keys = {tuple(row) for row in rows}
    assert len(keys) == 1 and "name" in keys.pop()
    known = {"learners": "smcf", "fusions": "obod", "models": "cnn", "datasets": "digits"} | {
        "scenarios": "given",
        "metrics": "forgetting",
    }
    assert known[what] in [row["name"] for row in rows]


def test_what_there_is_no_list_of_is_refused():
    with pytest.raises(UserError, match=r"what: must be one of learners, .*, found 'optimisers'"):
        fedbridge.available("optimisers")


def test_a_run_has_a_table(result):
    assert "tiny" in str(result.table().title) and result.table().row_count > 3


def test_data_are_looked_at_before_a_run(tmp_path):
    found = fedbridge.inspect(TINY, large={"head": "none"})
    assert len(found.classes) == 10 and not found.unusable
    assert {task.client for task in found.tasks} == {"client-1", "client-2"}
    page = found.write(tmp_path / "page.html")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    (tmp_path / "tiny.toml").write_text('data = { name = "digits" }\nlarge = { head = "none" }\n')
    filed = fedbridge.inspect(tmp_path / "tiny.toml")
    assert filed.classes == found.classes
    assert len(fedbridge.inspect(tmp_path / "tiny.toml", scenario={"clients": 2}).tasks) < len(
        filed.tasks
    )


def test_a_sites_file_is_looked_at_with_its_common_config(tmp_path):
    (tmp_path / "tiny.toml").write_text('data = { name = "digits" }\nlarge = { head = "none" }\n')
    (tmp_path / "site.toml").write_text('client = "client-2"\n')
    found = fedbridge.inspect(tmp_path / "site.toml", common=tmp_path / "tiny.toml")
    assert {task.client for task in found.tasks} == {"client-2"}


def test_what_a_run_is_at_is_logged(tmp_path, caplog):
    with caplog.at_level("INFO", logger="fedbridge.api"):
        result = fedbridge.run(TINY, tmp_path / "run")
    steps = [r.message for r in caplog.records if r.message.startswith("task ")]
    assert len(steps) == result.reached.total and steps[0].startswith("task 1 round 1: ")
    assert result.reached.state == "finished"
    kept = result.summary["results"]["small"]
    assert all(result.results["small"][p].items() >= kept[p].items() for p in kept)
