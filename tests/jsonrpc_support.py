"""A JSON-RPC peer to test: its handler, and the other side as bytes or as a second peer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec

from deskhand.jsonrpc import INVALID_PARAMS, METHOD_NOT_FOUND, Peer, RpcError


class Desk:
    """A handler that can do what the tests ask for, and says in `seen` in which order it was asked."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.gate = asyncio.Event()
        self.peer: Peer | None = None

    async def request(self, method: str, params: Any) -> Any:
        self.seen.append((method, params))
        if method == "echo":
            return params
        if method == "wait":
            await self._wait(params)
            return params
        if method == "tidy up":
            try:
                await self.gate.wait()
            finally:
                await asyncio.sleep(0.1)
                self.seen.append("tidied up")
        if method == "partial":
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(30)
            return "as far as it came"
        if method == "stubborn":
            while not self.gate.is_set():
                with suppress(asyncio.CancelledError):
                    await self.gate.wait()
            return "at last"
        if method == "refuse":
            raise RpcError(INVALID_PARAMS, "Not like this.", {"field": "x"})
        if method == "fail":
            raise ValueError("a mistake of the handler's")
        if method == "unsayable":
            return object()
        if method == "ask back":
            return await self._ask_back(params)
        raise RpcError(METHOD_NOT_FOUND, f"There is no method {method}.")

    async def notification(self, method: str, params: Any) -> None:
        self.seen.append((method, params))
        if method == "slow":
            await asyncio.sleep(0.05)
        elif method == "block":
            await self.gate.wait()
        elif method == "hang":
            await asyncio.sleep(30)
        elif method == "fail":
            raise ValueError("a mistake of the handler's")
        elif method == "cancelled inside":
            raise asyncio.CancelledError
        elif method == "ask back":
            self.seen.append(await self._ask_back(params))
        elif method == "unknown":
            raise RpcError(METHOD_NOT_FOUND, "There is no such thing.")
        self.seen.append((method, "handled"))

    async def _ask_back(self, params: Any) -> Any:
        assert self.peer is not None
        try:
            return await self.peer.request("echo", params, timeout=10)
        except ConnectionError:
            self.seen.append("nobody there")
            raise

    async def _wait(self, params: Any) -> None:
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.seen.append(("cancelled", params))
            raise


class Wire:
    """The other side as bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *lines: bytes | dict[str, Any] | list[Any]) -> None:
        encoded = [line if isinstance(line, bytes) else msgspec.json.encode(line) for line in lines]
        self.writer.write(b"".join(line + b"\n" for line in encoded))

    def call(self, request_id: Any, method: str, params: Any = None) -> None:
        self.send({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})

    def tell(self, method: str, params: Any = None) -> None:
        self.send({"jsonrpc": "2.0", "method": method, "params": params})

    async def receive(self) -> dict[str, Any]:
        line = await asyncio.wait_for(self.reader.readuntil(b"\n"), 20)
        message = msgspec.json.decode(line)
        assert isinstance(message, dict)
        assert message.pop("jsonrpc") == "2.0"
        return message

    async def receive_error(self) -> tuple[Any, int]:
        message = await self.receive()
        assert isinstance(message["error"]["message"], str)
        return message["id"], message["error"]["code"]

    async def check_alive(self) -> None:
        self.call("alive?", "echo", ["yes"])
        assert await self.receive() == {"id": "alive?", "result": ["yes"]}


@asynccontextmanager
async def wired(**options: Any) -> AsyncIterator[tuple[Wire, Desk, Peer]]:
    """A peer, its handler, and the other side as bytes; nothing of the peer is left afterwards."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    wire = Wire(*await asyncio.open_unix_connection(sock=theirs, limit=2**17))
    desk = Desk()
    desk.peer = peer = Peer(reader, writer, desk, **options)
    running = asyncio.create_task(peer.run())
    try:
        yield wire, desk, peer
    finally:
        desk.gate.set()
        peer.close()
        await asyncio.wait_for(running, 15)
        wire.writer.transport.abort()
        await asyncio.sleep(0)
        assert writer.is_closing()


@asynccontextmanager
async def paired(**options: Any) -> AsyncIterator[tuple[Peer, Desk, Peer, Desk]]:
    """Two peers that are connected."""
    left, right = socket.socketpair()
    here, there = Desk(), Desk()
    here.peer = Peer(*await asyncio.open_unix_connection(sock=left), here, **options)
    there.peer = Peer(*await asyncio.open_unix_connection(sock=right), there, **options)
    running = [asyncio.create_task(desk.peer.run()) for desk in (here, there) if desk.peer]
    try:
        yield here.peer, here, there.peer, there
    finally:
        here.gate.set()
        there.gate.set()
        here.peer.close()
        there.peer.close()
        await asyncio.wait_for(asyncio.gather(*running), 15)


async def until(condition: Callable[[], object]) -> None:
    """Wait, at most 20 s, until the condition holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(60):
            await scenario()
        assert asyncio.all_tasks() == {asyncio.current_task()}, "tasks outlived their peer"

    asyncio.run(whole())
