"""One process at a time: a lock on a file that is never replaced, and that goes with its process.

However a process ends, the system takes its locks back; one that was forked off never had them.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path

from filelock import FileLock, Timeout, lock_descriptor

from fedbridge.core.errors import UserError
from fedbridge.core.files import writing

LOCK = ".lock"
GLANCE = 0.1  # seconds after which whoever only looked whether a lock is held has let go of it
Lock = FileLock


def lock_at(path: Path) -> Lock:
    """Return the lock on a file, not taken yet; who has it may take it once more."""
    return Lock(path, thread_local=False, poll_interval=GLANCE / 5)


def taken(lock: Lock, patience: float = 0.0) -> bool:
    """Take a lock and make its file, with its folder; False if it is not free within ``patience``.

    Raises OSError if the system refuses.
    """
    path = Path(lock.lock_file)
    for last in (False, True):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=max(patience, GLANCE))
            return True
        except Timeout:
            return False
        except FileNotFoundError:  # whoever had it has removed the folder again
            if last:
                raise
    return False


@contextmanager
def holding(lock: Lock, busy: str = "", patience: float = inf) -> Iterator[None]:
    """Hold a lock meanwhile; raise UserError with the words ``busy`` if another has it for long.

    Waits for ever unless ``patience`` is given, in seconds.
    """
    with writing(Path(lock.lock_file)):
        mine = taken(lock, patience)
    if not mine:
        raise UserError(busy)
    try:
        yield
    finally:
        lock.release()


def held(path: Path) -> bool:
    """Return whether a process holds the lock on a file; nothing is written."""
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not any(_free(file) for _ in range(3))  # another may be looking just now
    finally:
        os.close(file)


def _free(file: int) -> bool:
    free = lock_descriptor(file, blocking=False)
    if not free:
        time.sleep(GLANCE / 100)
    return free
