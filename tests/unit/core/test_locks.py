"""Locks: one process at a time, and none that is gone."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from fedbridge.core.errors import UserError
from fedbridge.core.locks import held, holding, lock_at, taken

HOLDS = """
import os, sys, time
from pathlib import Path
from fedbridge.core.locks import holding, lock_at
with holding(lock_at(Path(sys.argv[1]))):
    if os.fork() == 0:
        time.sleep(60)
    print(os.getpid(), flush=True)
    time.sleep(60)
"""


def test_one_at_a_time_and_then_the_next(tmp_path):
    path = tmp_path / "new" / "folder" / "lock"
    assert not held(path)
    with holding(lock_at(path), patience=0.0):
        assert held(path)
        busy = holding(lock_at(path), "let it end", patience=0.0)
        with pytest.raises(UserError, match=r"^let it end$"), busy:
            raise AssertionError("two have it")
    assert not held(path)
    with holding(lock_at(path), patience=0.0):
        pass


def test_whoever_has_it_may_take_it_again(tmp_path):
    lock = lock_at(tmp_path / "lock")
    with holding(lock):
        with holding(lock, patience=0.0):
            pass
        assert held(tmp_path / "lock")
    assert not held(tmp_path / "lock")


def test_it_is_waited_for(tmp_path):
    path, done = tmp_path / "lock", []

    def wait():
        with holding(lock_at(path)):
            done.append(True)

    with holding(lock_at(path)):
        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join(0.2)
        assert not done
    waiting.join(10)
    assert done


def test_it_goes_with_a_killed_process_though_what_that_forked_lives_on(tmp_path):
    path = tmp_path / "lock"
    found = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(path)], stdout=subprocess.PIPE, start_new_session=True
    )
    with found:
        found.stdout.readline()
        assert held(path)
        assert not taken(lock_at(path))
        found.kill()
        found.wait()
        try:
            os.killpg(found.pid, 0)  # the forked one is there
            assert not held(path)
            lock = lock_at(path)
            assert taken(lock)
            lock.release()
        finally:
            os.killpg(found.pid, signal.SIGKILL)


def test_a_folder_that_goes_meanwhile_is_made_again(tmp_path):
    """Whoever was refused its run removes the folder that it made; the next takes it over."""
    path, first = tmp_path / "run" / "lock", lock_at(tmp_path / "run" / "lock")
    assert taken(first)
    path.unlink()
    path.parent.rmdir()
    with holding(lock_at(path), patience=0.0):  # another file, that nobody holds
        assert held(path)
    first.release()


def test_looking_writes_nothing(tmp_path):
    assert not held(tmp_path / "lock")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "lock").touch(0o444)
    assert not held(tmp_path / "lock")


def test_many_that_look_do_not_take_each_other_for_the_holder(tmp_path):
    (path := tmp_path / "lock").touch()
    said = []
    threads = [
        threading.Thread(target=lambda: said.extend(held(path) for _ in range(50)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == [False] * 100


def test_where_it_cannot_be_made_that_is_said(tmp_path):
    (tmp_path / "file").touch()
    refused = pytest.raises(UserError, match=r"file/lock: cannot be written: File exists")
    with refused, holding(lock_at(tmp_path / "file" / "lock")):
        pass
