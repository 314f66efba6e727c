"""The rehearsal endpoint: a scripted model behind a real HTTP server on loopback.

It speaks the Anthropic Messages API, streams, refuses what the real one refuses, and fails in every way a
script asks for. Which step answers is decided by the request alone, by the number of messages that the model
has written in it: retries, `kill -9` and `--continue`, and several sessions at once need no state here. Only
a fault with `times` counts, by request.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import h11
import msgspec

from deskhand.model.rehearsal_answer import Reply, check_reasoning, error_reply, json_reply, step_reply
from deskhand.model.rehearsal_request import RefusalError, attempt_key, read_request
from deskhand.model.rehearsal_script import NO_FAULT, Script

HOST = "127.0.0.1"
MAX_BODY = 32 * 1024 * 1024
"""The API's own limit for a request."""

_READ_SIZE = 256 * 1024
_SECRET_HEADERS = ("x-api-key", "authorization")
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class RehearsalError(Exception):
    """The endpoint cannot be opened; the message is one sentence for the user."""


@dataclass(slots=True)
class Exchange:
    """A request and what became of it. Times are in seconds since the epoch.

    `first_byte_at` and `at` are the arrival of the request's first and last byte, `answered_at` the moment
    when the answer's last byte was handed to the system (0: not yet). `step` is 0 where none was asked for.
    """

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    first_byte_at: float
    at: float
    step: int = 0
    status: int = 0
    answer: str = ""
    answered_at: float = 0.0

    @property
    def body(self) -> Any:
        """The request's body, decoded; it must be JSON."""
        return msgspec.json.decode(self.raw)

    def as_json(self) -> bytes:
        """Return the exchange as one line of a record; a body that is not JSON becomes text."""
        try:
            body = msgspec.json.decode(self.raw) if self.raw else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            body = self.raw.decode("utf-8", "replace")
        fields = {
            "at": self.at,
            "first_byte_at": self.first_byte_at,
            "answered_at": self.answered_at,
            "method": self.method,
            "path": self.path,
            "headers": {name: "…" if name in _SECRET_HEADERS else value for name, value in self.headers.items()},
            "step": self.step,
            "status": self.status,
            "answer": self.answer,
            "body": body,
        }
        return msgspec.json.encode(fields) + b"\n"


class Rehearsal:
    """The endpoint, open between `async with` and its end.

    Every exchange is told to `observe` and written to `record`, as a line of JSON, once it is answered; the
    record is complete when the endpoint has closed. With `keep`, `requests` holds every exchange from its
    arrival on; an endpoint that runs for days does better without.
    """

    def __init__(
        self,
        script: Script,
        *,
        port: int = 0,
        record: Path | None = None,
        observe: Callable[[Exchange], None] | None = None,
        keep: bool = True,
    ) -> None:
        self.script = script
        self.port = port
        self.requests: list[Exchange] = []
        self._keep = keep
        self._observe = observe
        self._record_path = record
        self._record: BinaryIO | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._attempts: Counter[bytes] = Counter()

    @property
    def url(self) -> str:
        """What `ANTHROPIC_BASE_URL` must be."""
        return f"http://{HOST}:{self.port}"

    async def __aenter__(self) -> Self:
        """Open the endpoint. Raises `RehearsalError` where the port or the record cannot be had."""
        if self._record_path is not None:
            try:
                self._record = self._record_path.open("ab")
            except OSError as error:
                raise RehearsalError(f"Cannot write the record {self._record_path}: {error.strerror}.") from None
        try:
            # asyncio sets TCP_NODELAY on every connection itself.
            self._server = await asyncio.start_server(self._connected, HOST, self.port, limit=_READ_SIZE)
        except OSError as error:
            self._close_record()
            reason = os.strerror(error.errno or 0)  # asyncio's own text says address and port once more
            raise RehearsalError(f"Cannot listen on {HOST}:{self.port}: {reason}. Choose another port.") from None
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await asyncio.sleep(0)  # let the transports close, before the loop does
        self._close_record()

    def _close_record(self) -> None:
        if self._record is not None:
            self._record.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        try:
            await _Connection(reader, writer, self).serve()
        except OSError:
            pass  # the client went away: its business
        except asyncio.CancelledError:
            writer.transport.abort()  # the rehearsal ends; asyncio would log the cancellation as an error
        finally:
            writer.close()

    def arrived(self, exchange: Exchange) -> Reply:
        """Return the answer to a request."""
        if self._keep:
            self.requests.append(exchange)
        reply = self._route(exchange)
        exchange.status, exchange.answer = reply.status, reply.what
        return reply

    def answered(self, exchange: Exchange) -> None:
        """Record a request, now that its answer is out."""
        exchange.answered_at = exchange.answered_at or time.time()
        if self._record is not None:
            try:
                self._record.write(exchange.as_json())
                self._record.flush()
            except OSError as error:
                exchange.answer += f" (not recorded: {error.strerror})"
        if self._observe is not None:
            self._observe(exchange)

    def _route(self, exchange: Exchange) -> Reply:
        route = (exchange.method, exchange.path.partition("?")[0])
        if route == ("POST", "/v1/messages"):
            return self._message(exchange)
        if route == ("POST", "/v1/messages/count_tokens"):
            return json_reply("a count of tokens", {"input_tokens": max(1, len(exchange.raw) // 4)})
        if route == ("GET", "/v1/models"):
            return self._models()
        if route in (("GET", "/"), ("HEAD", "/")):
            return Reply(200, [b"This is a rehearsal: a scripted model.\n"], "its name", "text/plain; charset=utf-8")
        return error_reply(404, f"There is no {exchange.method} {exchange.path} here.")

    def _models(self) -> Reply:
        model = self.script.manner.model
        entry = {"type": "model", "id": model, "display_name": model, "created_at": "2026-01-01T00:00:00Z"}
        return json_reply("its model", {"data": [entry], "has_more": False, "first_id": model, "last_id": model})

    def _message(self, exchange: Exchange) -> Reply:
        if "anthropic-version" not in exchange.headers:
            return error_reply(400, "anthropic-version: header is required")
        if len(exchange.raw) > MAX_BODY:
            return error_reply(413, f"Request exceeds the maximum size of {MAX_BODY} bytes.")
        try:
            request = read_request(exchange.raw)
            exchange.step = request.number
            step = self.script.step(request.number)
            if step is None:
                return error_reply(
                    400,
                    f"The rehearsal has {len(self.script.steps)} steps, and step {request.number} was asked for: "
                    "the script has ended. Give it more steps, or `loop = true`.",
                )
            check_reasoning(self.script.step(request.number - 1), request)
            fault = step.fault_of(self._attempt(exchange)) if step.faults else NO_FAULT
            return step_reply(step, request, len(exchange.raw), fault, self.script.manner)
        except RefusalError as refusal:
            return error_reply(400, str(refusal))

    def _attempt(self, exchange: Exchange) -> int:
        """Return which attempt at its request this is, counted from 1."""
        key = attempt_key(exchange.raw)
        self._attempts[key] += 1
        return self._attempts[key]


class _Connection:
    """One client's connection, kept alive from request to request until the client or the rehearsal ends it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rehearsal: Rehearsal) -> None:
        self._reader = reader
        self._writer = writer
        self._rehearsal = rehearsal
        self._http = h11.Connection(h11.SERVER)
        self._first_byte_at = 0.0

    async def serve(self) -> None:
        """Answer requests until one side closes."""
        while True:
            self._first_byte_at = time.time() if self._http.trailing_data[0] else 0.0
            try:
                exchange = await self._request()
            except h11.RemoteProtocolError as error:
                self._refuse(error)
                return
            if exchange is None:
                return
            reply = self._rehearsal.arrived(exchange)
            try:
                await self._send(reply, exchange)
            finally:
                self._rehearsal.answered(exchange)
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _request(self) -> Exchange | None:
        """Return the next request, None where the client has closed."""
        head = await self._event()
        if not isinstance(head, h11.Request):
            return None
        if self._http.they_are_waiting_for_100_continue:
            self._writer.write(self._frame(h11.InformationalResponse(status_code=100, headers=[])))
        body = bytearray()
        while isinstance(event := await self._event(), h11.Data):
            if len(body) <= MAX_BODY:
                body += event.data
        if not isinstance(event, h11.EndOfMessage):
            return None
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
        path = head.target.decode("latin-1")
        return Exchange(head.method.decode("ascii"), path, headers, bytes(body), self._first_byte_at, time.time())

    async def _event(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            data = await self._reader.read(_READ_SIZE)
            if not self._first_byte_at:
                self._first_byte_at = time.time()
            self._http.receive_data(data)
        return event

    async def _send(self, reply: Reply, exchange: Exchange) -> None:
        """Send the answer: in one go where there is no delay, and up to the fault where there is one."""
        if reply.ending == "hang":
            return await self._silence()
        if reply.first_byte_delay:
            await asyncio.sleep(reply.first_byte_delay)
        if reply.ending == "reset" and not reply.limit:
            return await self._reset()

        outgoing = [self._frame(self._head(reply))]
        for position, piece in enumerate(_body(reply, exchange)):
            if position and reply.token_delay:
                await self._write(outgoing)
                await asyncio.sleep(reply.token_delay)
                outgoing = []
            outgoing.append(self._frame(h11.Data(data=piece)))
        if reply.ending in ("complete", "end"):
            outgoing.append(self._frame(h11.EndOfMessage()))
            exchange.answered_at = time.time()
        await self._write(outgoing)

        if reply.ending == "reset":
            await self._reset()
        elif reply.ending == "stall":
            await self._silence()
        return None

    def _head(self, reply: Reply) -> h11.Response:
        headers = [("content-type", reply.content_type), *reply.headers]
        if reply.ending == "complete" and len(reply.pieces) == 1:
            headers.append(("content-length", str(len(reply.pieces[0]))))
        return h11.Response(status_code=reply.status, headers=headers)

    def _frame(self, event: h11.Event) -> bytes:
        return self._http.send(event) or b""

    async def _write(self, outgoing: list[bytes]) -> None:
        self._writer.write(b"".join(outgoing))
        await self._writer.drain()

    async def _silence(self) -> None:
        """Say nothing until the client gives up."""
        while await self._reader.read(_READ_SIZE):
            pass

    async def _reset(self) -> None:
        """Close with a TCP reset, once what was written is out."""
        self._writer.transport.set_write_buffer_limits(high=0)
        await self._writer.drain()
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._writer.transport.abort()

    def _refuse(self, error: h11.RemoteProtocolError) -> None:
        """Answer what is not HTTP, if an answer is still possible."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            reply = error_reply(error.error_status_hint, f"This is not a request in HTTP/1.1: {error}.")
            parts = [self._head(reply), h11.Data(data=reply.pieces[0]), h11.EndOfMessage()]
            self._writer.write(b"".join(self._frame(part) for part in parts))


def _body(reply: Reply, exchange: Exchange) -> list[bytes]:
    """Return the pieces of the body that are sent: one where nothing comes between them."""
    if exchange.method == "HEAD":
        return []
    if reply.ending == "complete":
        return reply.pieces if reply.token_delay else [b"".join(reply.pieces)]
    pieces, room = [], reply.limit
    for piece in reply.pieces:
        if room <= 0:
            break
        pieces.append(piece[:room])
        room -= len(piece)
    return pieces
