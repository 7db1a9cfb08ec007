"""The gate: of all that a SuperLink answers to, only what SuperNodes need gets in from outside.

A SuperLink serves one port. On it whoever comes by may also register keys and start runs, that is,
have code executed at every site. So the SuperLink listens on its own machine only, and this passes
on to it the calls of SuperNodes, which it authenticates by their keys, and nothing else. Who
asks for messages waits here until there is one, for SuperNodes come back only every three seconds.
Who answers does so for itself: the SuperLink looks whose key it is, but not whose answer.
"""

import asyncio
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx
import uvicorn
from flwr.proto.fleet_pb2 import PushMessagesRequest
from google.protobuf.message import DecodeError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fedbridge.core.errors import UserError
from fedbridge.core.web import Prompt
from fedbridge.deploy.settings import SERVER, ServerSettings, read_env

CALLS = frozenset(
    {
        "activate-node",
        "confirm-message-received",
        "deactivate-node",
        "get-fab",
        "get-run",
        "pull-messages",
        "pull-object",
        "push-messages",
        "push-object",
        "send-node-heartbeat",
    }
)
"""What a SuperNode whose key is registered says to its SuperLink."""
PULL, PUSH = "pull-messages", "push-messages"
HOLD, LOOK = 20.0, 0.5
"""Seconds for which a SuperNode waits for a message, and between looks for one. It gives up after
30."""
LARGEST = 1 << 30  # bytes of one call
LARGEST_READ = 1 << 22  # of one that is read here, by whomever: it holds no model
OF_ONE_CONNECTION = {
    "accept-encoding",
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "transfer-encoding",
}
UNPACKED = "content-encoding"  # an answer is unpacked on its way
TIMEOUT = httpx.Timeout(120.0)


def gate(superlink: str, authority: Path) -> Starlette:
    """Return the web application that stands before a SuperLink at ``https://HOST:PORT``."""
    context = ssl.create_default_context(cafile=authority)
    client = httpx.AsyncClient(base_url=superlink, verify=context, timeout=TIMEOUT, trust_env=False)

    async def forward(request: Request) -> Response:
        call = request.path_params["call"]
        if call not in CALLS:  # whatever else a SuperLink answers is not for the network
            raise HTTPException(404)
        if call not in (PULL, PUSH):
            return await say(call, _body(request, LARGEST), request)
        question = b"".join([part async for part in _body(request, LARGEST_READ)])
        # the SuperLink checks the key of the node that calls, not the sender its messages name
        if call == PUSH and not _answers_for_itself(question):
            raise HTTPException(403, "a node must answer for itself")
        # a question for messages is held until there is one: sooner for the client, fewer calls
        end = time.monotonic() + (HOLD if call == PULL else 0.0)
        while True:
            answer = await say(call, question, request)
            if answer.status_code != 200 or answer.body or time.monotonic() >= end:
                return answer
            await asyncio.sleep(LOOK)
            if await request.is_disconnected():  # a message that it does not get would be lost
                return answer

    async def say(call: str, content: bytes | AsyncIterator[bytes], request: Request) -> Response:
        try:
            answer = await client.post(
                f"/v1/fleet/{call}", content=content, headers=_passed_on(request.headers)
            )
        except httpx.TransportError as error:
            raise HTTPException(503, "the SuperLink does not answer") from error
        headers = _passed_on(answer.headers)
        headers.pop(UNPACKED, None)
        return Response(answer.content, answer.status_code, headers)

    app = Starlette(routes=[Route("/v1/fleet/{call}", forward, methods=["POST"])])
    app.router.redirect_slashes = False
    return app


async def _body(request: Request, most: int) -> AsyncIterator[bytes]:
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise HTTPException(413)
        yield part


def _answers_for_itself(question: bytes) -> bool:
    """Return whether a push has only messages of the pushing node, whose key is checked later."""
    push = PushMessagesRequest()
    try:
        push.ParseFromString(question)
    except DecodeError:
        return False
    return {message.metadata.src_node_id for message in push.messages_list} == {push.node.node_id}


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key not in OF_ONE_CONNECTION}


def main(folder: Path) -> None:
    """Serve the gate of a server's folder until the process is asked to end."""
    settings = read_env(folder / SERVER, ServerSettings)
    for name in ("ca.crt", "server.pem", "server.key"):
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: must be a file; fedbridge deploy renew writes it")
    bound = _listening(settings)
    print(f"gate: {settings.listen}:{settings.port} leads to the SuperLink", flush=True)
    app = gate(f"https://127.0.0.1:{settings.superlink_port}", folder / "ca.crt")
    config = uvicorn.Config(
        app,
        ssl_certfile=folder / "server.pem",
        ssl_keyfile=os.fspath(folder / "server.key"),
        http=Prompt,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,  # who waits for a message would be waited for
        log_level="warning",
    )
    with bound:
        uvicorn.Server(config).run(sockets=[bound])


def _listening(settings: ServerSettings) -> socket.socket:
    """Return a socket that listens; raise UserError if the address cannot be had."""
    host, port = settings.listen, settings.port
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise UserError(
            f"gate: {host}:{port} cannot be listened at: {why}; is this gate running already? "
            "Another PORT or LISTEN is set in server.env"
        ) from error
