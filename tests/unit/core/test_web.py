"""What listens answers who asks, whoever else is connected and says nothing."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

import fedbridge
from fedbridge.core import web
from fedbridge.inference.serving import Limits, create_app
from predictors import predictor

HALF = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@contextmanager
def served(app: Any) -> Iterator[int]:
    """Serve an application on a port of this machine meanwhile."""
    server = web.server_of(app, lifespan="off", timeout_graceful_shutdown=1)
    with web.listening("test", "127.0.0.1", 0) as bound:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        yield bound.getsockname()[1]
        server.should_exit = True
        thread.join()


@contextmanager
def idle(port: int, count: int, said: bytes = b"") -> Iterator[list[socket.socket]]:
    """Hold connections that say no more than this."""
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            one.sendall(said)
            found.append(one)
        yield found


def asked(port: int, path: str = "/health", host: str = "127.0.0.1") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers={"Host": host})
    status = connection.getresponse().status
    connection.close()
    return status


def closed(one: socket.socket) -> bool:
    """Wait until the other side has ended a connection without an answer."""
    try:
        return one.recv(1) == b""
    except ConnectionResetError:
        return True


def health() -> Starlette:
    return Starlette(routes=[Route("/health", lambda request: PlainTextResponse("ok"))])


@pytest.mark.parametrize("said", [b"", HALF])
def test_a_service_answers_beside_many_connections_that_ask_nothing(said: bytes):
    app = create_app(predictor(large=False), Limits(), ["127.0.0.1"])
    with served(app) as port, idle(port, 80, said):
        assert asked(port) == 200


def test_a_service_answers_beside_many_whose_body_does_not_come():
    app = create_app(predictor(large=False), Limits(), ["127.0.0.1"])
    begun = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{"
    with served(app) as port, idle(port, 80, begun):
        assert asked(port) == 200


def test_the_dashboard_answers_beside_many_connections_that_ask_nothing(tmp_path):
    with fedbridge.Dashboard(tmp_path, port=0) as page:
        port = int(page.address.rsplit(":", 1)[1].strip("/"))
        with idle(port, 80, HALF):
            assert asked(port, "/") == 200


@pytest.mark.parametrize("said", [b"", HALF, HALF + b"\r\n" + HALF])
def test_who_does_not_say_what_it_wants_is_not_waited_for(
    said: bytes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(web, "PATIENCE", 1.0)  # for a busy machine to ask in
    with served(health()) as port, idle(port, 3, said) as waiting:
        for one in waiting:
            if said.endswith(b"\r\n\r\n" + HALF):
                assert one.recv(1000).startswith(b"HTTP/1.1 200")
            assert closed(one)
        monkeypatch.undo()
        assert asked(port) == 200


def test_an_answer_may_take_longer_than_a_question(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(web, "PATIENCE", 1.0)

    def slow(request: Any) -> PlainTextResponse:
        time.sleep(1.2)
        return PlainTextResponse("ok")

    with served(Starlette(routes=[Route("/health", slow)])) as port:
        assert asked(port) == 200


def test_the_one_that_has_waited_longest_makes_room(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(web, "MOST_WAITING", 5)
    with served(health()) as port, idle(port, 4) as before:
        assert asked(port) == 200  # so that those before are there
        with idle(port, 3) as after:
            assert asked(port) == 200
            assert sum(closed(one) for one in before[:3]) == 3
            for one in after:
                one.sendall(HALF + b"Connection: close\r\n\r\n")
                assert one.recv(1000).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("host", "names", "status"),
    [
        ("127.0.0.1:8000", ["127.0.0.1"], 200),
        ("LocalHost", ["localhost"], 200),
        ("[::1]:80", ["::1"], 200),
        ("evil.example", ["127.0.0.1", "localhost"], 421),
        ("127.0.0.1.evil.example", ["127.0.0.1"], 421),
        ("10.0.0.7", ["127.0.0.1"], 421),
        ("10.0.0.7", ["0.0.0.0"], 200),
        ("evil.example", ["0.0.0.0"], 421),
        ("models.example", ["0.0.0.0", "models.example"], 200),
    ],
)
def test_a_service_answers_to_its_names(host: str, names: list[str], status: int):
    client = TestClient(create_app(predictor(large=False), Limits(), names))
    assert client.get("/health", headers={"Host": host}).status_code == status
