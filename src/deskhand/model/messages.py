"""The Anthropic Messages API, streamed: a request's body out, pieces of the answer and one whole message back.

https://docs.anthropic.com/en/api/messages-streaming. What comes is judged by its first bytes, not by its
`content-type`: servers and proxies label streams as text, ignore `stream: true`, or put a login page in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Literal

import msgspec

from deskhand.model import discovery
from deskhand.model.assembly import (
    CallDelta,
    MessageAssembler,
    MessageError,
    Received,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
    events_of,
    is_too_deep,
    whole_characters,
)
from deskhand.model.connect import TransportError
from deskhand.model.endpoint import Endpoint
from deskhand.model.errors import EndpointError, classify, classify_told, failure, from_transport
from deskhand.model.http import ConnectionPool, Headers, Response
from deskhand.model.sse import EventParser, EventTooLargeError, ServerEvent

__all__ = ["CallDelta", "MessagesClient", "Received", "StreamEvent", "TextDelta", "ThinkingDelta"]

ANSWER_CAP = 1024 * 1024 * 1024
"""Bytes of one answer, as it is on the wire; a stream has some thirty for each byte of text, or a hundred and
twenty where a server sends single letters."""
_ERROR_BODY = 10.0
"""Seconds to read what an error says. The status alone would do."""
_SNIFFED = 1024
_STREAM_STARTS = (b"event:", b"data:", b"id:", b"retry:", b":")


class MessagesClient:
    """Speaks to one endpoint. Connections are kept between requests; `close` ends them.

    `first_byte` limits, in seconds, how long the model may read before it begins to write, and any later time in
    which nothing but pings comes; `idle` how long the stream may be silent once the model writes.
    """

    def __init__(self, endpoint: Endpoint, first_byte: float, idle: float) -> None:
        self.endpoint = endpoint
        self._first_byte = first_byte
        self._idle = idle
        self._pool = ConnectionPool(endpoint.base_url)

    def close(self) -> None:
        """Close the kept connections."""
        self._pool.close()

    async def stream(self, body: bytes, headers: Headers = ()) -> AsyncGenerator[StreamEvent, None]:
        """Send a request and give what comes of it: deltas, then exactly one `Received`, the last event.

        `headers` are added to the endpoint's own. Close the generator (`contextlib.aclosing`) to stop the answer;
        that closes its connection. Raises `EndpointError`; then there was no `Received`.
        """
        clock = _Clock(self._first_byte, self._idle)
        headers = [*self.endpoint.headers(), *headers]
        target = self.endpoint.messages_target
        try:
            async with (
                self._pool.request("POST", target, headers, body, first_byte=self._first_byte) as response,
                aclosing(await self._events(response, clock)) as events,
            ):
                async for event in events:
                    yield event
        except TransportError as error:
            raise from_transport(error, self.endpoint) from None
        except EndpointError as error:
            if error.kind == "model_not_found" and (models := await discovery.list_models(self.endpoint)):
                error.message += f" The endpoint offers: {', '.join(models[:10])}{', …' if models[10:] else ''}."
            raise

    async def _events(self, response: Response, clock: _Clock) -> AsyncGenerator[StreamEvent, None]:
        if not 200 <= response.status < 300:
            raise classify(response.status, response.headers, await response.read(_ERROR_BODY), self.endpoint)
        source = _Source(response, clock, self.endpoint)
        match await source.sniff():
            case "stream":
                return self._read_stream(source, clock)
            case "json":
                return self._read_json(source)
            case "other":
                page = source.head.decode("utf-8", "replace")
                reason = "a web page" if page.lstrip("\ufeff \t\r\n").startswith("<") else page
                raise failure("not_an_endpoint", self.endpoint, reason)

    async def _read_stream(self, source: _Source, clock: _Clock) -> AsyncGenerator[StreamEvent, None]:
        parser = EventParser()
        message = MessageAssembler()
        try:
            while chunk := await source.receive():
                for event in parser.feed(chunk):
                    shown = self._take(event, message, clock)
                    if shown is not None:
                        yield shown
                    if message.done:
                        break
                if message.done:  # some servers keep the stream open after it, or go on to say what nobody asked for
                    break
        except EventTooLargeError as error:
            raise failure("malformed", self.endpoint, f"it sent {error}") from None
        except TransportError:
            if not message.is_complete:
                raise
        if not message.is_complete:
            raise failure("dropped", self.endpoint, "the stream ended before the message did")
        yield message.message()

    def _take(
        self, event: ServerEvent, message: MessageAssembler, clock: _Clock
    ) -> TextDelta | ThinkingDelta | CallDelta | None:
        if not event.data.strip() or event.data.strip() == "[DONE]":
            return None
        parsed = self._decode(event.data)
        kind = parsed.get("type")
        if kind is None:
            kind = parsed["type"] = "error" if parsed.get("error") else event.name
        if kind == "error":
            raise classify_told(parsed, self.endpoint)
        try:
            shown = message.feed(parsed)
        except MessageError as error:
            raise failure("malformed", self.endpoint, str(error)) from None
        if kind != "ping":
            clock.progress(answering=message.begun)
        return shown

    async def _read_json(self, source: _Source) -> AsyncGenerator[StreamEvent, None]:
        """Read an answer that is one JSON object: an error, or a message from a server that does not stream."""
        parts = []
        while part := await source.receive():
            parts.append(part)
        body = self._decode(b"".join(parts).decode("utf-8-sig", "replace"))
        if body.get("error") or body.get("type") == "error":
            raise classify_told(body, self.endpoint)
        if body.get("type", "message") != "message" or "content" not in body:
            reason = "it speaks Chat Completions" if "choices" in body else "its answer is JSON, but no message"
            raise failure("not_an_endpoint", self.endpoint, reason)
        message = MessageAssembler()
        try:
            for event in events_of(body):
                shown = message.feed(event)
                if shown is not None:
                    yield shown
        except MessageError as error:
            raise failure("malformed", self.endpoint, str(error)) from None
        yield message.message()

    def _decode(self, data: str) -> dict[str, Any]:
        try:
            parsed: Any = _decode(data)
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict) or is_too_deep(parsed):
            raise failure("malformed", self.endpoint, f"not a JSON object that makes sense: {data[:200]}")
        return parsed


class _Clock:
    """How long the next piece of an answer may take."""

    def __init__(self, first_byte: float, idle: float) -> None:
        self._first_byte = first_byte
        self._idle = idle
        self.late: Literal["first_byte", "idle"] = "first_byte"
        """Which of the limits is running."""
        self._progressed = asyncio.get_running_loop().time()

    def progress(self, *, answering: bool) -> None:
        """Something came that is more than a sign of life."""
        if answering:
            self.late = "idle"
        self._progressed = asyncio.get_running_loop().time()

    def left(self) -> float:
        """Return the seconds that the next wait may last. Many servers ping; that alone must not last for ever."""
        left = self._progressed + self._first_byte - asyncio.get_running_loop().time()
        return min(left, self._idle) if self.late == "idle" else left


class _Source:
    """The bytes of an answer, within the clock and the cap, with a look at the first of them."""

    def __init__(self, response: Response, clock: _Clock, endpoint: Endpoint) -> None:
        self._response = response
        self._clock = clock
        self._endpoint = endpoint
        self._size = 0
        self.head = b""

    async def sniff(self) -> Literal["stream", "json", "other"]:
        """Say what the body is. An answer that ends before that is clear is a broken stream."""
        while len(self.head) < _SNIFFED and (chunk := await self._read()):
            self.head += chunk
            start = self.head.removeprefix(b"\xef\xbb\xbf").lstrip()
            if start[:1] == b"{":
                return "json"
            if any(start.startswith(field) for field in _STREAM_STARTS):
                return "stream"
            if start and not any(field.startswith(start) for field in (*_STREAM_STARTS, b"\xef\xbb\xbf")):
                return "other"
        return "stream"

    async def receive(self) -> bytes:
        """Return the next piece, b"" at the end."""
        if self.head:
            head, self.head = self.head, b""
            return head
        return await self._read()

    async def _read(self) -> bytes:
        left = self._clock.left()
        if left <= 0:
            raise TransportError(self._clock.late, "nothing but signs of life came for too long")
        try:
            chunk = await self._response.receive(left)
        except TransportError as error:
            raise TransportError(self._clock.late, str(error)) if error.kind == "idle" else error from None
        self._size += len(chunk)
        if self._size > ANSWER_CAP:
            raise failure("malformed", self._endpoint, f"it sent more than {ANSWER_CAP} bytes")
        return chunk


def _decode(data: str) -> Any:
    try:
        return msgspec.json.decode(data)
    except ValueError:
        import json  # which takes what msgspec does not: raw control characters, and halves of characters

        parsed = json.loads(data, strict=False)
        if isinstance(parsed, dict) and parsed.get("type") == "content_block_delta":
            return parsed  # the other half may be in the next delta
        return msgspec.json.decode(whole_characters(json.dumps(parsed, ensure_ascii=False)))
