import datetime as dt
import socket
import threading
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from deployments import backend

from fedbridge.core.errors import UserError
from fedbridge.deploy import reach
from fedbridge.deploy.keys import new_authority, new_server_certificate

GATE = {reach.FLEET: 401}


def test_a_gate_is_recognised(original: Path):
    server = original / "server"
    with backend(server, GATE) as up:
        words = reach.check_gate("127.0.0.1", up.port, server / "ca.crt")
    assert words == f"127.0.0.1:{up.port} answers, with a certificate of the CA"


def test_a_bare_superlink_is_told(original: Path):
    server = original / "server"
    with (
        backend(server, GATE | {reach.CONTROL: 200}) as up,
        pytest.raises(UserError, match="lets everyone who reaches it register keys"),
    ):
        reach.check_gate("127.0.0.1", up.port, server / "ca.crt")


def test_a_gate_with_nothing_behind_it_is_told(original: Path):
    server = original / "server"
    with (
        backend(server, {reach.FLEET: 503}) as up,
        pytest.raises(UserError, match="the gate is up, the SuperLink behind it is not"),
    ):
        reach.check_gate("127.0.0.1", up.port, server / "ca.crt")


def test_another_authority_is_told(original: Path, tmp_path: Path):
    new_authority(tmp_path)
    with (
        backend(original / "server", GATE) as up,
        pytest.raises(UserError, match=r"its certificate is refused: .*certificate"),
    ):
        reach.check_gate("127.0.0.1", up.port, tmp_path / "ca.crt")


def test_a_certificate_for_other_names_is_told(tmp_path: Path):
    new_authority(tmp_path)
    new_server_certificate(tmp_path, tmp_path, ["fed.example.org"], 10)
    with backend(tmp_path, GATE) as up, pytest.raises(UserError, match=r"refused: .*127\.0\.0\.1"):
        reach.check_gate("127.0.0.1", up.port, tmp_path / "ca.crt")


def test_a_closed_port_is_told(original: Path):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(UserError, match=f"127.0.0.1:{port}: nothing listens there"):
        reach.check_gate("127.0.0.1", port, original / "server" / "ca.crt")


def test_a_name_that_is_none_is_told(original: Path):
    with pytest.raises(UserError, match=r"gate\.invalid:8000: no such name"):
        reach.check_gate("gate.invalid", 8000, original / "server" / "ca.crt")


def test_silence_is_told(original: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reach, "SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(UserError, match="no answer in 0 seconds; a firewall"):
            reach.check_gate("127.0.0.1", port, original / "server" / "ca.crt")


def test_what_speaks_no_tls_is_told(original: Path):
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def greet() -> None:
            connection, _ = plain.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        with pytest.raises(UserError, match="speaks no TLS"):
            reach.check_gate("127.0.0.1", plain.getsockname()[1], original / "server" / "ca.crt")
        thread.join(10)


def clock_that_is(seconds: float, monkeypatch: pytest.MonkeyPatch) -> str:
    """Check a clock that is so many seconds ahead of the server's, half a second after 10:00:00."""
    told = dt.datetime(2026, 11, 30, 10, tzinfo=dt.UTC)
    answer = SimpleNamespace(getheader={"Date": format_datetime(told, usegmt=True)}.get)
    here = SimpleNamespace(time=lambda: told.timestamp() + 0.5 + seconds)
    monkeypatch.setattr(reach, "called", lambda *_: answer)
    monkeypatch.setattr(reach, "time", here)
    return reach.clock("127.0.0.1", 8000, Path("ca.crt"))


@pytest.mark.parametrize(
    "seconds, words",
    [
        (1.0, "agrees with the server's"),
        (2.0, "2 s ahead of the server's"),
        (-200.0, "200 s behind the server's"),
        (reach.AHEAD - 1.0, f"{reach.AHEAD - 1} s ahead of the server's"),
        (1.0 - reach.BEHIND, f"{reach.BEHIND - 1} s behind the server's"),
    ],
)
def test_a_clock_that_flower_bears_is_right(
    monkeypatch: pytest.MonkeyPatch, seconds: float, words: str
):
    assert clock_that_is(seconds, monkeypatch) == words


@pytest.mark.parametrize(
    "seconds, words",
    [
        (float(reach.AHEAD), f"found {reach.AHEAD} s ahead of the server's"),
        (-float(reach.BEHIND), f"found {reach.BEHIND} s behind the server's"),
    ],
)
def test_a_clock_that_no_supernode_gets_in_with_is_told(
    monkeypatch: pytest.MonkeyPatch, seconds: float, words: str
):
    with pytest.raises(UserError, match=words):
        clock_that_is(seconds, monkeypatch)


def test_limits_of_clocks_are_those_of_flower():
    constant = pytest.importorskip("flwr.common.constant")
    assert constant.SYSTEM_TIME_TOLERANCE == reach.AHEAD
    assert constant.TIMESTAMP_TOLERANCE == reach.BEHIND


def test_a_hidden_superlink_is_right():
    assert reach.hidden(9, ("localhost", "127.0.0.1", "::1")) == "port 9 is closed to others"


def test_a_superlink_that_others_reach_is_told():
    # on Linux a way to this machine that does not look like one
    with (
        socket.create_server(("127.0.0.1", 0)) as found,
        pytest.raises(UserError, match=r"must listen on 127\.0\.0\.1 only, found it reachable"),
    ):
        reach.hidden(found.getsockname()[1], ("0.0.0.0", "localhost"))
