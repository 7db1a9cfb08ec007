"""The numbers are a function of the settings and the seed, wherever clients are trained."""

import json
from itertools import zip_longest

from tiny_runs import conduct, table, tiny

from fedbridge.runs.run import Run
from fedbridge.runs.runner import Experiment


def test_seed_decides_every_number(whole, tmp_path):
    assert conduct(tmp_path / "same", tiny()) == table(whole)
    assert conduct(tmp_path / "other", tiny(seed=1)) != table(whole)


def test_workers_change_no_number(whole, tmp_path):
    assert conduct(tmp_path / "run", tiny(engine={"workers": 2})) == table(whole)
    ours, theirs = (json.loads((f / "summary.json").read_text()) for f in (tmp_path / "run", whole))
    assert (ours["bytes_up"], ours["bytes_down"]) == (theirs["bytes_up"], theirs["bytes_down"])
    assert ours["results"] == theirs["results"]


def test_two_experiments_in_turns_in_one_process_do_not_mix(whole, tmp_path):
    folders = {tmp_path / "same": tiny(), tmp_path / "other": tiny(seed=1)}
    both = [Experiment(Run.create(folder, c)).run_steps() for folder, c in folders.items()]
    for _ in zip_longest(*both):
        pass
    assert table(tmp_path / "same") == table(whole)
    assert table(tmp_path / "other") == conduct(tmp_path / "alone", tiny(seed=1))


def test_table_has_every_measurement_once(whole):
    lines = table(whole).decode().splitlines()[1:]
    places = [line.split(",")[:5] for line in lines]
    assert len({tuple(place) for place in places}) == len(places)
    # before any training on every task, then on the past ones and the next
    evaluations = sum([3, 2, 3, 3])
    assert len(places) == 3 * evaluations * 3 * 2


def test_summary_says_what_is_asked_of_it(whole):
    summary = json.loads((whole / "summary.json").read_text())
    assert {"method", "seed", "clients", "tasks", "bytes_up", "bytes_down"} <= set(summary)
    assert {"temporal_retention", "spatial_retention", "peak_memory_mib"} <= set(summary)
    assert {"prepare", "learn", "fuse", "evaluate", "save"} <= set(summary["seconds"])
    assert set(summary["results"]) == {"small", "large", "together"}
    for protocols in summary["results"].values():
        for measures in protocols.values():
            assert 0.0 <= measures["final_accuracy"] <= 1.0
