"""Servers made of sockets, for tests that must decide on every byte a client sees."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import msgspec

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes


@asynccontextmanager
async def listening(
    handler: Handler, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve each connection with `handler` until the block ends; gives the port."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await handler(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(serve, host, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> Asked:
    """Read one request; raises `IncompleteReadError` where the client is gone."""
    line, *fields = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields if field)}
    return Asked(line, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


def answering(*answers: bytes, asked: list[Asked] | None = None, close: bool = False) -> Handler:
    """Answer the requests of each connection with `answers`, the last of them for ever; `close` after each."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = 0
        while True:
            request = await read_request(reader)
            if asked is not None:
                asked.append(request)
            writer.write(answers[min(number, len(answers) - 1)])
            await writer.drain()
            number += 1
            if close:
                return

    return handle


def saying(data: bytes) -> Handler:
    """Answer one request with `data`, and close."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(data)
        await writer.drain()

    return handle


def answer(body: bytes | str = b"", status: str = "200 OK", headers: Iterable[str] = ()) -> bytes:
    """Return a whole answer, its length told."""
    body = body.encode() if isinstance(body, str) else body
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


def answer_json(body: object, status: str = "200 OK", headers: Iterable[str] = ()) -> bytes:
    """Return an answer in JSON."""
    return answer(msgspec.json.encode(body), status, ["Content-Type: application/json", *headers])


def chunked(body: bytes, size: int, content_type: str = "text/event-stream") -> bytes:
    """Return a whole answer in chunks of `size` bytes."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def sse(*events: dict[str, Any]) -> bytes:
    """Return events as a stream."""
    return b"".join(
        f"event: {event['type']}\ndata: ".encode() + msgspec.json.encode(event) + b"\n\n" for event in events
    )


def started(model: str = "m", **usage: int) -> dict[str, Any]:
    """The event that begins a message."""
    return {"type": "message_start", "message": {"model": model, "content": [], "usage": usage}}


def block(index: int, content: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of one block."""
    return [
        {"type": "content_block_start", "index": index, "content_block": content},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def text_block(index: int, *texts: str) -> list[dict[str, Any]]:
    """The events of a text."""
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": text} for text in texts))


def call_block(index: int, name: str, *parts: str, call: str = "call_1") -> list[dict[str, Any]]:
    """The events of a call, its arguments in parts."""
    content = {"type": "tool_use", "id": call, "name": name, "input": {}}
    return block(index, content, *({"type": "input_json_delta", "partial_json": part} for part in parts))


def ended(stop_reason: str | None = "end_turn", **usage: int) -> list[dict[str, Any]]:
    """The events that end a message."""
    return [
        {"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": usage},
        {"type": "message_stop"},
    ]
