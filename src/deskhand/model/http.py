"""HTTP/1.1 as a model endpoint needs it: one origin, kept connections, streamed answers, limits on everything.

h11 over asyncio's streams (RFC 9112). It costs a fifth of a general client on the path to the first request,
which is why it exists; the `fetch` tool, which meets the whole web, uses a general client.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING

import h11

from deskhand.model.connect import CONNECT, HEAD_CAP, Connector, Origin, TransportError, parse_origin, words
from deskhand.model.proxies import Proxy

if TYPE_CHECKING:
    import zlib

ERROR_BODY_CAP = 64 * 1024
_KEPT_IDLE = 60.0
"""Seconds after which an unused connection is not trusted any more: routers forget it without a word."""
_KEPT_CONNECTIONS = 4
_READ = 64 * 1024
_DECODED_PIECE = 1024 * 1024
"""What a compressed body may unfold to at once, whatever it claims to hold."""

Headers = Iterable[tuple[str, str]]


class Response:
    """An answer whose head has arrived. The body is read in pieces, within the limits that the caller sets."""

    def __init__(self, connection: _Connection, head: h11.Response) -> None:
        self.status = head.status_code
        self.headers = _joined(head.headers)
        self._connection = connection
        self._encoding = self.headers.get("content-encoding", "").strip().lower()
        self._decoder: zlib._Decompress | None = None
        self._over = False

    async def receive(self, timeout: float) -> bytes:
        """Return the next piece of the body, b"" at its end. `timeout` is in seconds, for each wait on the wire.

        Raises `TransportError`: `idle`, `dropped`, or `encoding`.
        """
        while not self._over:
            if self._decoder is not None and self._decoder.unconsumed_tail:
                return self._decoded(self._decoder.unconsumed_tail)
            event = await self._connection.event(timeout)
            if not isinstance(event, h11.Data):
                self._over = True
                break
            data = bytes(event.data)
            if self._encoding not in ("", "identity"):
                data = self._decoded(data)
            if data:
                return data
        return b""

    async def read(self, timeout: float, cap: int = ERROR_BODY_CAP) -> bytes:
        """Return the body, or what has come of it when `timeout` seconds, `cap` bytes or the connection end it."""
        pieces: list[bytes] = []
        size = 0
        with contextlib.suppress(TransportError, TimeoutError):
            async with asyncio.timeout(timeout):
                while size < cap and (piece := await self.receive(timeout)):
                    pieces.append(piece)
                    size += len(piece)
        return b"".join(pieces)[:cap]

    def _decoded(self, data: bytes) -> bytes:
        """Decompress. No compression was asked for, but some proxies compress whatever passes."""
        import zlib  # for these rare servers alone

        if self._decoder is None:
            if self._encoding not in ("gzip", "x-gzip", "deflate"):
                reason = f"it answered in the encoding {self._encoding!r}, which was not asked for"
                raise TransportError("encoding", reason)
            self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
        try:
            return self._decoder.decompress(data, _DECODED_PIECE)
        except zlib.error as error:
            raise TransportError("encoding", f"its compressed answer is damaged: {error}") from None


class ConnectionPool:
    """Connections to one origin, opened when needed and kept for the next request.

    `environment` names proxies; `connect` is the limit for opening a connection, in seconds.
    """

    def __init__(self, url: str, environment: Mapping[str, str] = os.environ, connect: float = CONNECT) -> None:
        self._origin = parse_origin(url)
        self._connector = Connector(self._origin, environment, connect)
        self._kept: list[_Connection] = []

    @contextlib.asynccontextmanager
    async def request(
        self, method: str, target: str, headers: Headers, body: bytes = b"", *, first_byte: float
    ) -> AsyncIterator[Response]:
        """Make a request and give its answer; `first_byte` limits the wait for the answer's head, in seconds.

        An error or a cancellation closes the connection, which is how a server learns that nobody waits any
        more. Raises `TransportError`.
        """
        fields = [("Host", self._origin.authority), *headers]
        if method != "GET":
            fields.append(("Content-Length", str(len(body))))
        connection, response = await self._exchange(method, target, fields, body, first_byte)
        try:
            yield response
        except BaseException:
            connection.abort()
            raise
        self._keep(connection)

    def close(self) -> None:
        """Close the kept connections."""
        for connection in self._kept:
            connection.abort()
        self._kept.clear()

    async def _exchange(
        self, method: str, target: str, fields: list[tuple[str, str]], body: bytes, first_byte: float
    ) -> tuple[_Connection, Response]:
        connection = await self._take()
        if connection is not None:
            try:
                return connection, await connection.exchange(method, target, fields, body, first_byte)
            except TransportError as error:
                # The server closed it while it was idle. Nothing of an answer was seen. It may, rarely, have
                # read the request; that costs tokens at most, for asking a model changes nothing anywhere.
                if error.kind != "dropped" or connection.answered:
                    raise
        connection = _Connection(*await self._connector.open(), self._origin)
        return connection, await connection.exchange(method, target, fields, body, first_byte)

    async def _take(self) -> _Connection | None:
        while self._kept:
            connection = self._kept.pop()
            if await connection.is_ready():
                return connection
            connection.abort()
        return None

    def _keep(self, connection: _Connection) -> None:
        connection.kept_since = time.monotonic()
        self._kept.append(connection)
        while len(self._kept) > _KEPT_CONNECTIONS:
            self._kept.pop(0).abort()


class _Connection:
    """One connection and where its current exchange stands."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, proxy: Proxy | None, origin: Origin
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._origin = origin
        self._proxy = proxy
        self._wire = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_CAP)
        self.answered = False
        """Whether a byte of the current answer has been seen."""
        self._ended = False
        self.kept_since = 0.0

    async def exchange(
        self, method: str, target: str, fields: list[tuple[str, str]], body: bytes, first_byte: float
    ) -> Response:
        """Send a request and wait for the head of its answer."""
        self.answered = False
        try:
            self._send(method, target, fields, body)
            # The body is not drained first: a server that refuses it answers before it has read it all.
            async with asyncio.timeout(first_byte):
                while isinstance(head := await self.event(None), h11.InformationalResponse):
                    pass
        except TimeoutError:
            self.abort()
            raise TransportError("first_byte", f"no answer within {first_byte:g} s") from None
        except BaseException:
            self.abort()
            raise
        if not isinstance(head, h11.Response):
            self.abort()
            raise TransportError("dropped", "it closed the connection without an answer")
        return Response(self, head)

    def _send(self, method: str, target: str, fields: list[tuple[str, str]], body: bytes) -> None:
        if self._proxy is not None:
            target = f"http://{self._origin.authority}{target}"
            if self._proxy.authorization:
                fields = [*fields, ("Proxy-Authorization", self._proxy.authorization)]
        parts = [self._wire.send(h11.Request(method=method, target=target, headers=fields))]
        if body:
            parts.append(self._wire.send(h11.Data(data=body)))
        parts.append(self._wire.send(h11.EndOfMessage()))
        self._writer.write(b"".join(filter(None, parts)))

    async def event(self, timeout: float | None) -> h11.Event:
        """Return the next event on the wire; `timeout` limits each wait for bytes, None leaves that to the caller."""
        while True:
            try:
                event = self._wire.next_event()
            except h11.RemoteProtocolError as error:
                if self._ended:
                    reason = "in mid-answer" if self.answered else "without an answer"
                    raise TransportError("dropped", f"it closed the connection {reason}") from None
                raise TransportError("not_http", f"what came is not HTTP: {error}") from None
            if event is h11.NEED_DATA:
                await self._read(timeout)
            elif isinstance(event, h11.Event):
                return event
            else:  # h11.PAUSED: it switched protocols, which nobody asked for
                raise TransportError("not_http", "it went over to another protocol")

    async def _read(self, timeout: float | None) -> None:
        try:
            async with asyncio.timeout(timeout) as clock:
                data = await self._reader.read(_READ)
        except TimeoutError as error:
            if clock.expired():
                raise TransportError("idle", f"nothing came for {round(timeout or 0, 1):g} s") from None
            raise TransportError("dropped", f"the connection broke: {words(error)}") from None
        except OSError as error:
            raise TransportError("dropped", f"the connection broke: {words(error)}") from None
        if data and not self.answered and not data.startswith(b"HTTP/"[: len(data)]):
            raise TransportError("not_http", "what came is not HTTP")
        self.answered = self.answered or bool(data)
        self._ended = not data
        self._wire.receive_data(data)

    async def is_ready(self) -> bool:
        """Say whether another request may be sent, after taking in what has arrived since the last one."""
        if time.monotonic() - self.kept_since > _KEPT_IDLE or self._writer.is_closing():
            return False
        try:
            while self._wire.their_state is h11.SEND_BODY:  # the end of a stream is often a packet of its own
                await self.event(0)
            self._wire.start_next_cycle()
        except (TransportError, h11.LocalProtocolError):
            return False
        if self._wire.trailing_data[0]:
            return False
        try:
            async with asyncio.timeout(0):
                await self._reader.read(1)
        except TimeoutError:
            return True
        except OSError:
            return False
        return False  # it ended, or said something that answers no request

    def abort(self) -> None:
        """Close at once."""
        self._writer.transport.abort()


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers by lower-case name; those that came more than once are joined by a comma (RFC 9110, 5.3)."""
    joined: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined
