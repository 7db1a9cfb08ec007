"""Clients' programs without their start: a process that has loaded everything forks them.

For every message Flower starts ``flwr-clientapp``, which loads Python, torch and fedbridge for
seconds and works for less than one. In a folder that comes first on the path of a SuperNode, a
command of the same name hands its arguments, environment and outputs to a process that waits here.
Whoever kills the command kills the program.
"""

import array
import json
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from servers import Process, environment, wait_until

COMMAND = """\
#!{python} -IS
import array, json, os, socket, sys
said = dict(argv=sys.argv, cwd=os.getcwd(), umask=os.umask(0), environ=dict(os.environ))
with socket.socket(socket.AF_UNIX) as line:
    line.connect({address!r})
    outputs = array.array("i", [1, 2])
    line.sendmsg([b"!"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, outputs)])
    line.sendall(json.dumps(said).encode() + b"\\n")
    sys.exit(int(line.recv(16) or b"1"))
"""


@contextmanager
def forking(log: Path) -> Iterator[str]:
    """Give a PATH on which clients' programs are forked from a process that is ready for it."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder:  # sockets' names are short
        address, command = f"{folder}/socket", Path(folder) / "flwr-clientapp"
        command.write_text(COMMAND.format(python=sys.executable, address=address))
        command.chmod(0o755)
        process = Process([sys.executable, __file__, address], log)
        try:
            wait_until(lambda: "ready" in process.said, 120.0, log)
            yield f"{folder}{os.pathsep}{environment()['PATH']}"
        finally:
            process.end()


def main(address: str) -> None:
    """Load what a client's program needs, and fork one for every command that comes."""
    import flwr.supernode.cli  # noqa: F401

    import fedbridge.runs.flower_app  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that end
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(address)
        door.listen(64)
        print("ready", flush=True)
        while True:
            line, _ = door.accept()
            with line:
                if os.fork() == 0:
                    door.close()
                    _work(line)


def _work(line: socket.socket) -> None:
    """Be the program that was asked for, and say how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    code = 1
    try:
        outputs = array.array("i")
        _, ((_, _, data),), *_ = line.recvmsg(1, socket.CMSG_SPACE(2 * outputs.itemsize))
        outputs.frombytes(data)
        for number, output in enumerate(outputs, start=1):
            os.dup2(output, number)
        with line.makefile("rb") as file:
            _become(json.loads(file.readline()))
        threading.Thread(target=_die_with, args=(line,), daemon=True).start()
        from flwr.supernode.cli import flwr_clientapp

        flwr_clientapp()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    finally:
        line.sendall(str(code).encode())
        os._exit(code)


def _die_with(line: socket.socket) -> None:
    """Wait until the command is gone, which says nothing more, and go with it."""
    line.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


def _become(said: dict[str, Any]) -> None:
    os.chdir(said["cwd"])
    os.umask(said["umask"])
    os.environ.clear()
    os.environ.update(said["environ"])
    sys.argv[:] = said["argv"]
    sys.path[:0] = filter(None, said["environ"].get("PYTHONPATH", "").split(os.pathsep))
    sys.modules.pop("sitecustomize", None)
    with suppress(ModuleNotFoundError):  # as Python does when it starts
        import sitecustomize  # noqa: F401


if __name__ == "__main__":
    main(sys.argv[1])
