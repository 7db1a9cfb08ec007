"""The gate before the service: what may wait at a time, and that room is given back."""

import asyncio
from typing import Any

import pytest

from fedbridge.inference.serving import Limits, limits
from fedbridge.inference.serving.limits import BodyGate

SCOPE = {"type": "http", "method": "POST", "path": "/predict"}


class House:
    """A gate of which two may be inside at a time, and an application that answers when it may."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.taken: list[bytes] = []
        self.gate = BodyGate(self.answer, Limits(body=10))

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        self.taken.append((await receive())["body"])
        await self.open.wait()
        await send({"type": "http.response.start", "status": 200})

    async def ask(self, *parts: bytes) -> int:
        """Send a body in parts and return the status of what comes back."""
        messages = [{"type": "http.request", "body": one, "more_body": True} for one in parts]
        messages[-1]["more_body"] = False
        statuses = []

        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            statuses.append(message.get("status"))

        await self.gate(SCOPE, receive, send)
        return int(statuses[0])


@pytest.fixture(autouse=True)
def two_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "AT_ONCE", 2)


@pytest.mark.parametrize("body", [[b"x"], [b"12345", b"67890"]])
def test_a_third_is_told_to_come_later_until_one_has_its_answer(body: list[bytes]) -> None:
    async def visits() -> None:
        house = House()
        inside = [asyncio.create_task(house.ask(*body)) for _ in range(2)]
        while len(house.taken) < 2:
            await asyncio.sleep(0)
        assert await house.ask(*body) == 503
        house.open.set()
        assert await asyncio.gather(*inside) == [200, 200]
        for _ in range(3):  # one after another, there is room again each time
            assert await house.ask(*body) == 200
        assert house.taken == [b"".join(body)] * 5

    asyncio.run(visits())


def test_a_body_may_be_as_large_as_is_said_and_no_larger() -> None:
    async def visits() -> None:
        house = House()
        house.open.set()
        assert await house.ask(b"0123456789") == 200
        for _ in range(5):  # what was refused takes no room
            assert await house.ask(b"01234", b"567890") == 413
        assert await house.ask(b"0123456789") == 200

    asyncio.run(visits())
