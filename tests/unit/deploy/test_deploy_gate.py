from collections.abc import Iterator
from pathlib import Path

import pytest
from deployments import Backend, backend
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import Message, Metadata
from flwr.proto.node_pb2 import Node
from starlette.testclient import TestClient

from fedbridge.deploy import gate as module
from fedbridge.deploy.gate import CALLS, gate
from fedbridge.deploy.keys import new_authority

PULL, PUSH = "/v1/fleet/pull-messages", "/v1/fleet/push-messages"


def answers(node: int, *sources: int) -> bytes:
    """Return what a node says that pushes messages which are said to be of some nodes."""
    messages = [Message(metadata=Metadata(src_node_id=source)) for source in sources]
    said: bytes = PushMessagesRequest(
        node=Node(node_id=node), messages_list=messages
    ).SerializeToString()
    return said


@pytest.fixture
def superlink(original: Path) -> Iterator[Backend]:
    statuses = {f"/v1/fleet/{call}": 200 for call in CALLS} | {"/v1/fleet/get-run": 401}
    with backend(original / "server", statuses) as server:
        yield server


@pytest.fixture
def outside(superlink: Backend, original: Path) -> Iterator[TestClient]:
    app = gate(f"https://127.0.0.1:{superlink.port}", original / "server" / "ca.crt")
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize("call", sorted(CALLS))
def test_what_a_supernode_says_gets_through(outside: TestClient, superlink: Backend, call: str):
    message = answers(7, 7) if call == "push-messages" else b"\0message"
    answer = outside.post(f"/v1/fleet/{call}", content=message, headers={"X-Key": "k"})
    assert answer.status_code == superlink.statuses[f"/v1/fleet/{call}"]
    assert (answer.content, answer.headers["x-answer"]) == (b"answer", "yes")
    ((path, headers, body),) = superlink.calls
    assert (path, body) == (f"/v1/fleet/{call}", message)
    assert {k.lower(): v for k, v in headers.items()}["x-key"] == "k"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/control/register-node",
        "/v1/control/start-run",
        "/v1/control/list-nodes",
        "/v1/runtime/acquire-task",
        "/v1/fleet/register-node",
        "/v1/fleet/unregister-node",
        "/v1/fleet/../control/start-run",
        "/v1/fleet/%2e%2e/control/start-run",
        "/v1/fleet/..%2fcontrol%2fstart-run",
        "/v1/fleet/pull-messages/",
        "/V1/FLEET/pull-messages",
        "//v1/fleet/pull-messages",
        "/v1/fleet/",
        "/docs",
        "/",
    ],
)
def test_nothing_else_gets_in(outside: TestClient, superlink: Backend, path: str):
    superlink.statuses = {path: 200, "/v1/control/start-run": 200}
    assert outside.post(path, content=b"").status_code == 404
    assert superlink.calls == []


def test_only_calls_get_in(outside: TestClient, superlink: Backend):
    for method in ("GET", "PUT", "DELETE"):
        assert outside.request(method, PULL).status_code == 405
    assert superlink.calls == []


@pytest.mark.parametrize("said", [answers(7, 8), answers(7, 7, 8), answers(7), b"\0", b""])
def test_nobody_answers_for_another(outside: TestClient, superlink: Backend, said: bytes):
    assert outside.post(PUSH, content=said).status_code == 403
    assert superlink.calls == []


@pytest.mark.parametrize("bound, call", [("LARGEST", "push-object"), ("LARGEST_READ", PULL[10:])])
def test_what_is_absurdly_large_is_not_passed_on(
    outside: TestClient, superlink: Backend, monkeypatch: pytest.MonkeyPatch, bound: str, call: str
):
    monkeypatch.setattr(module, bound, 10)
    assert outside.post(f"/v1/fleet/{call}", content=b"0123456789").status_code == 200
    assert outside.post(f"/v1/fleet/{call}", content=b"0123456789x").status_code == 413
    assert len([body for _, _, body in superlink.calls if body]) == 1


def test_who_asks_for_messages_waits_until_there_is_one(
    outside: TestClient, superlink: Backend, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "LOOK", 0.01)
    superlink.silent = 3
    answer = outside.post(PULL, content=b"question", headers={"X-Key": "k"})
    assert answer.content == b"answer"
    assert [body for _, _, body in superlink.calls] == [b"question"] * 4
    assert {headers["x-key"] for _, headers, _ in superlink.calls} == {"k"}


def test_nobody_waits_for_ever_nor_for_anything_else(
    outside: TestClient, superlink: Backend, monkeypatch: pytest.MonkeyPatch
):
    superlink.silent = 10**9
    for call in CALLS - {"pull-messages"}:
        content = answers(7, 7) if call == "push-messages" else b""
        assert outside.post(f"/v1/fleet/{call}", content=content).content == b""
    monkeypatch.setattr(module, "HOLD", 0.0)
    assert outside.post(PULL).content == b""
    assert len(superlink.calls) == len(CALLS)


def test_an_error_is_told_at_once(outside: TestClient, superlink: Backend):
    superlink.silent = 10**9
    superlink.statuses[PULL] = 401
    assert outside.post(PULL).status_code == 401
    assert len(superlink.calls) == 1


def test_a_superlink_that_is_down_is_told(original: Path):
    with backend(original / "server", {}) as gone:
        port = gone.port
    app = gate(f"https://127.0.0.1:{port}", original / "server" / "ca.crt")
    with TestClient(app) as client:
        assert client.post(PULL).status_code == 503


def test_a_superlink_of_another_authority_is_not_spoken_to(
    superlink: Backend, tmp_path: Path, original: Path
):
    new_authority(tmp_path)
    app = gate(f"https://127.0.0.1:{superlink.port}", tmp_path / "ca.crt")
    with TestClient(app) as client:
        assert client.post(PULL).status_code == 503
    assert superlink.calls == []
