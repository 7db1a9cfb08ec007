"""A client's state on its disk: whatever dies when, the same request gets the same answer."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from fedbridge.client.disk import Resident
from fedbridge.core.errors import UserError
from fedbridge.wire import Broadcast, Evaluation, Request, Upload, decode, encode

RUN = "0123456789abcdef"


class Counter:
    """Adds up what it is sent; what it measures is how far it has come."""

    name = "a"

    def __init__(self) -> None:
        self.total = 0
        self.calls: list[str] = []

    def learn(self, broadcast: Broadcast) -> Upload:
        self.calls.append("learn")
        self.total += broadcast.round
        return Upload("a", 1, broadcast.round, {"total": torch.tensor([self.total])}, ())

    def evaluate(self, broadcast: Broadcast) -> Evaluation:
        self.calls.append("evaluate")
        return Evaluation("a", broadcast.task, ((1, "small", "task-aware", self.total, 100),))

    def save(self, folder: Path) -> None:
        (folder / "total").write_text(str(self.total))

    def load(self, folder: Path) -> None:
        self.calls.append("load")
        self.total = int((folder / "total").read_text())


@pytest.fixture
def resident(tmp_path):
    """Return what makes a process's client over the same folder."""

    def make(keep=3):
        made = Resident("a", Counter, tmp_path, keep)
        return made

    return make


def learn(number, plus, measure=b"", run=RUN):
    return Request(run, number, measure=measure, learn=encode(Broadcast(1, plus)))


def measure(task):
    return encode(Broadcast(task, 1))


def total(answer):
    return int(decode(answer.upload, "Upload").state["total"])


def correct(answer):
    return decode(answer.evaluation, "Evaluation").rows[0][3]


def test_a_process_that_stays_loads_nothing(resident):
    here = resident()
    assert [total(here.answer(learn(n, n))) for n in (1, 2, 3)] == [1, 3, 6]
    assert here._client.calls == ["learn"] * 3


def test_a_new_process_goes_on_where_the_last_one_was(resident):
    assert [total(resident().answer(learn(n, n))) for n in (1, 2, 3)] == [1, 3, 6]


def test_it_measures_before_it_learns(resident):
    here = resident()
    here.answer(learn(1, 5))
    answer = here.answer(learn(2, 2, measure(1)))
    assert (correct(answer), total(answer)) == (5, 7)
    only = here.answer(Request(RUN, 3, measure=measure(2)))
    assert correct(only) == 7 and only.upload == b""


def test_the_same_request_gets_the_same_answer_and_is_not_carried_out_again(resident):
    here = resident()
    first = here.answer(learn(1, 5))
    assert here.answer(learn(1, 5)) == first == resident().answer(learn(1, 5))
    assert here._client.calls == ["learn"]


def test_another_request_for_the_same_exchange_starts_from_the_state_before(resident):
    here = resident()
    here.answer(learn(1, 1))
    here.answer(learn(2, 10))
    assert total(here.answer(learn(2, 20))) == 21
    assert total(resident().answer(learn(3, 1))) == 22


def test_a_server_that_went_back_gets_answers_from_what_was_then(resident):
    here = resident()
    for number in (1, 2, 3):
        here.answer(learn(number, 1))
    assert total(here.answer(learn(2, 7))) == 8
    assert total(here.answer(learn(3, 1))) == 9  # what had been the third exchange is forgotten


def test_what_is_too_long_ago_is_refused(resident):
    here = resident(keep=2)
    for number in (1, 2, 3, 4):
        here.answer(learn(number, 1))
    with pytest.raises(UserError, match=r"exchange 3 is too long ago .* after 3 to 4"):
        here.answer(learn(3, 9))
    assert total(here.answer(learn(4, 9))) == 12
    assert total(here.answer(learn(1, 9))) == 9  # before the first one there was nothing to keep


def test_the_first_exchange_here_may_be_any_and_be_repeated_otherwise(resident):
    here = resident()
    assert total(here.answer(learn(7, 1))) == 1
    assert total(here.answer(learn(7, 2))) == 2
    assert total(here.answer(learn(5, 3))) == 3


def test_exchanges_that_were_missed_are_no_hindrance(resident):
    here = resident()
    assert [total(here.answer(learn(n, 1))) for n in (1, 2, 9)] == [1, 2, 3]


def test_what_was_measured_once_is_not_measured_after_having_learnt(resident):
    here = resident()
    here.answer(learn(1, 5))
    first = here.answer(learn(2, 2, measure(1)))  # the server never gets this answer
    again = here.answer(learn(3, 2, measure(1)))
    assert correct(again) == correct(first) == 5 and total(again) == 9


def test_runs_are_apart(resident):
    here = resident()
    here.answer(learn(1, 5))
    other = "fedcba9876543210"
    assert total(here.answer(learn(1, 1, run=other))) == 1
    assert total(here.answer(learn(2, 1))) == 6
    assert total(here.answer(learn(2, 1, run=other))) == 2


@pytest.mark.parametrize("run", ["", "../../etc", "0123456789ABCDEF", RUN + "\n", RUN + "0"])
def test_a_run_is_named_by_digits_and_leads_nowhere_else(resident, tmp_path, run):
    with pytest.raises(UserError, match="16 hexadecimal digits"):
        resident().answer(learn(1, 1, run=run))
    assert list(tmp_path.iterdir()) == []


def test_a_failure_amid_learning_leaves_the_state_before(resident, monkeypatch):
    here = resident()
    here.answer(learn(1, 5))
    learn_well = Counter.learn

    def fail(self, broadcast):
        learn_well(self, broadcast)
        raise RuntimeError("amid")

    monkeypatch.setattr(Counter, "learn", fail)
    with pytest.raises(RuntimeError, match="amid"):
        here.answer(learn(2, 1))
    monkeypatch.setattr(Counter, "learn", learn_well)
    assert total(here.answer(learn(2, 1))) == 6


def test_a_damaged_state_is_passed_over(resident, tmp_path, caplog):
    here = resident()
    for number in (1, 2):
        here.answer(learn(number, 1))
    (tmp_path / RUN / "step-0002" / "total").write_text("99")
    assert total(resident().answer(learn(3, 1))) == 2
    assert "total has changed" in caplog.text


def test_where_no_state_is_whole_the_client_does_not_begin_anew_in_silence(resident, tmp_path):
    here = resident()
    for number in (1, 2):
        here.answer(learn(number, 1))
    for state in (tmp_path / RUN).iterdir():
        (state / "total").write_text("99")
    with pytest.raises(UserError, match=r"a: exchange 3 needs a state .* exchange 2 damaged"):
        resident().answer(learn(3, 1))
    assert total(resident().answer(learn(1, 5))) == 5  # before which there was none


DYING = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    import fedbridge.core.checkpoints as checkpoints, fedbridge.client.disk as disk
    from test_disk import Counter, learn
    count = 0
    def die(original, where):
        def wrapper(*args, **kwargs):
            global count
            count += 1
            if count == {after}:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)
        return wrapper
    Counter.learn = die(Counter.learn, "learn")
    Counter.save = die(Counter.save, "save")
    Path.write_bytes = die(Path.write_bytes, "bytes")
    disk.write_text = die(disk.write_text, "record")
    checkpoints.write_text = die(checkpoints.write_text, "manifest")
    Path.replace = die(Path.replace, "rename")
    checkpoints.shutil.rmtree = die(checkpoints.shutil.rmtree, "prune")
    answer = disk.Resident("a", Counter, Path({folder!r}), 2).answer(learn(3, 3))
"""


@pytest.mark.parametrize("after", range(1, 12))
def test_killed_at_any_point_it_gives_the_same_answer_afterwards(resident, tmp_path, after):
    here = resident(keep=2)
    for number in (1, 2):
        here.answer(learn(number, number))
    code = DYING.format(tests=str(Path(__file__).parent), after=after, folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert total(resident(keep=2).answer(learn(3, 3))) == 6
    assert total(resident(keep=2).answer(learn(4, 4))) == 10
    kept = {path.name for path in (tmp_path / RUN).iterdir()}
    assert kept == {"step-0003", "step-0004"}
