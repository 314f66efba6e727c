"""The Messages client against real sockets: what servers do wrong is borne or named, and half a message is none."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from deskhand.journal.blocks import Text, Thinking, ToolUse
from deskhand.journal.events import Usage
from deskhand.model.endpoint import Endpoint
from deskhand.model.errors import EndpointError
from deskhand.model.messages import CallDelta, MessagesClient, Received, StreamEvent, TextDelta
from raw_server import (
    Asked,
    Handler,
    answer,
    answer_json,
    answering,
    block,
    call_block,
    chunked,
    ended,
    listening,
    read_request,
    sse,
    started,
    text_block,
)

KEY = "sk-test-0123456789"
MESSAGE = [
    started("m", input_tokens=3),
    *block(0, {"type": "thinking", "thinking": ""}, {"type": "thinking_delta", "thinking": "Hm – 😀"}),
    *text_block(1, "Rea", "ding."),
    *call_block(2, "read", '{"path": "é', ' 1"}', call="c1"),
    *call_block(3, "bash", '{"command": "ls"}', call="c2"),
    *ended("tool_use", output_tokens=9),
]
STREAM = sse(*MESSAGE)
CONTENT = (
    Thinking("Hm – 😀"),
    Text("Reading."),
    ToolUse("c1", "read", {"path": "é 1"}),
    ToolUse("c2", "bash", {"command": "ls"}),
)
RECEIVED = Received(CONTENT, "tool_use", Usage(input_tokens=3, output_tokens=9), "m")
HELLO = sse(started(), *text_block(0, "Hello"), *ended())
UNENDING = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


@contextlib.contextmanager
def connected(port: int, first_byte: float = 20, idle: float = 20) -> Any:
    client = MessagesClient(Endpoint(f"http://127.0.0.1:{port}", api_key=KEY), first_byte, idle)
    try:
        yield client
    finally:
        client.close()


async def collect(client: MessagesClient) -> list[StreamEvent]:
    async with contextlib.aclosing(client.stream(b'{"stream": true}')) as events:
        return [event async for event in events]


def ask(handler: Handler, first_byte: float = 20, idle: float = 20) -> list[StreamEvent]:
    """Return what comes of one request to a server that behaves like `handler`."""

    async def main() -> list[StreamEvent]:
        async with listening(handler) as port:
            with connected(port, first_byte, idle) as client:
                return await collect(client)

    return asyncio.run(main())


def fail(handler: Handler, first_byte: float = 20, idle: float = 20) -> EndpointError:
    """Return the error that comes of one request."""
    with pytest.raises(EndpointError) as caught:
        ask(handler, first_byte, idle)
    assert str(caught.value) == caught.value.message
    assert KEY not in caught.value.message
    assert "\n" not in caught.value.message
    return caught.value


def test_a_streamed_message_arrives_piece_by_piece_and_then_whole() -> None:
    asked: list[Asked] = []
    events = ask(answering(chunked(STREAM, 100), asked=asked))
    assert events[-1] == RECEIVED
    assert sum(isinstance(event, Received) for event in events) == 1
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Rea", "ding."]
    assert [event.name for event in events if isinstance(event, CallDelta)] == ["read"] * 3 + ["bash"] * 2
    (request,) = asked
    assert request.line == "POST /v1/messages HTTP/1.1"
    assert request.body == b'{"stream": true}'
    assert request.headers["x-api-key"] == KEY
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("deskhand/")
    assert "accept-encoding" not in request.headers


def test_a_message_in_chunks_of_one_byte() -> None:
    assert ask(answering(chunked(STREAM, 1)))[-1] == RECEIVED


@pytest.mark.parametrize("line_end", ["\r\n", "\r"])
def test_other_line_ends_a_mark_and_no_event_names(line_end: str) -> None:
    lines = [line for line in STREAM.decode().split("\n") if not line.startswith("event:")]
    stream = "\ufeff" + line_end.join([": hello", "", *lines, "data: [DONE]", "", ""])
    assert ask(answering(chunked(stream.encode(), 37)))[-1] == RECEIVED


@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "text/html", "application/octet-stream"])
def test_a_stream_is_a_stream_whatever_its_content_type(content_type: str) -> None:
    assert ask(answering(chunked(STREAM, 500, content_type)))[-1] == RECEIVED


def test_a_compressed_stream_that_nobody_asked_for() -> None:
    body = gzip.compress(STREAM)
    assert ask(answering(answer(body, headers=["Content-Encoding: gzip"])))[-1] == RECEIVED
    assert fail(answering(answer(body, headers=["Content-Encoding: br"]))).kind == "malformed"


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
def test_a_server_that_does_not_stream_is_understood(content_type: str) -> None:
    message = {
        "type": "message",
        "model": "m",
        "content": [msgspec.to_builtins(made) for made in CONTENT],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 3, "output_tokens": 9},
    }
    body = b"\n " + msgspec.json.encode(message)
    events = ask(answering(answer(body, headers=[f"Content-Type: {content_type}"])))
    assert events[-1] == RECEIVED
    assert TextDelta("Reading.") in events


def test_what_comes_after_the_end_of_a_message_is_no_part_of_it() -> None:
    """In one piece with the end, as a server that repeats itself sends it: the calls must not run twice."""
    assert ask(answering(answer(STREAM + STREAM)))[-1] == RECEIVED


def test_the_calls_of_a_refused_message_are_void() -> None:
    refused = sse(
        started(), *text_block(0, "I will not."), *call_block(1, "bash", '{"command": "ls"}'), *ended("refusal")
    )
    received = ask(answering(answer(refused)))[-1]
    assert received == Received((Text("I will not."),), "refusal", Usage(), "m")


def test_half_a_character_in_a_signature_is_borne() -> None:
    """Nothing that cannot be written to the journal may get into a message."""
    thought = block(0, {"type": "thinking", "thinking": "Hm"}, {"type": "signature_delta", "signature": "HALF"})
    stream = sse(started(), *thought, *ended()).replace(b"HALF", rb"\ud800")
    assert ask(answering(answer(stream)))[-1] == Received((Thinking("Hm", "\ufffd"),), "end_turn", Usage(), "m")


def test_an_answer_without_content_is_an_empty_message() -> None:
    assert ask(answering(chunked(sse(started(), *ended()), 50)))[-1] == Received((), "end_turn", Usage(), "m")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("<!DOCTYPE html><html><title>Sign in</title></html>", "not_an_endpoint"),
        ("Ollama is running", "not_an_endpoint"),
        ("[1, 2]", "not_an_endpoint"),
        ('{"choices": []}', "not_an_endpoint"),
        ('{"hello": "world"}', "not_an_endpoint"),
        ('{"type": "message", "content": 1}', "malformed"),
        ('{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}', "overloaded"),
        ('{"error": "boom"}', "server_error"),
        ('{"type": "message", "content": [', "malformed"),
        ("data: {oops\n\n", "malformed"),
        ("data: [1]\n\n", "malformed"),
        ("", "dropped"),
        ("ev", "dropped"),
        (" \n", "dropped"),
        (": only a comment\n\n", "dropped"),
    ],
)
def test_an_answer_under_200_that_is_no_message(body: str, kind: str) -> None:
    error = fail(answering(answer(body)))
    assert error.kind == kind
    assert error.message.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ("overloaded_error", "overloaded"),
        ("rate_limit_error", "rate_limited"),
        ("api_error", "server_error"),
        ("invalid_request_error", "invalid_request"),
        ("from_the_future", "server_error"),
    ],
)
def test_an_error_in_mid_stream_is_told_by_its_type(told: str, kind: str) -> None:
    stream = sse(*MESSAGE[:6], {"type": "error", "error": {"type": told, "message": "Not now"}})
    error = fail(answering(chunked(stream, 80)))
    assert error.kind == kind
    assert "Not now" in error.message


def test_a_stream_cut_at_any_byte_never_gives_a_message() -> None:
    """Row 9: whatever is missing, half a tool call is never committed."""
    uncut = len(STREAM) - len(sse(*ended("tool_use")[1:]))  # before `message_stop`, which may be missing

    async def main() -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(STREAM)}\r\n\r\n".encode()
        whole = head + STREAM
        cuts = iter(range(0, len(head) + uncut, 3))

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(whole[: next(cuts)])
            await writer.drain()

        async with listening(handle) as port:
            with connected(port) as client:
                for cut in range(0, len(head) + uncut, 3):
                    with pytest.raises(EndpointError) as caught:
                        await collect(client)
                    assert caught.value.kind == "dropped", cut

    asyncio.run(main())


@pytest.mark.parametrize("reset", [True, False])
def test_a_stream_without_its_last_event_is_whole(reset: bool) -> None:
    stream = sse(*MESSAGE[:-1])

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(stream) + reset}\r\n\r\n".encode() + stream)
        await writer.drain()

    assert ask(handle)[-1] == RECEIVED


def test_a_server_that_keeps_the_stream_open_after_the_end_does_not_hold_the_message() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(UNENDING + HELLO)
        await asyncio.sleep(60)

    async def main() -> None:
        async with listening(handle) as port:
            with connected(port) as client:
                for _ in range(2):  # and the next request has a connection of its own
                    assert isinstance((await collect(client))[-1], Received)

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < 20


def test_requests_share_one_connection() -> None:
    async def main() -> None:
        connections = 0
        serve = answering(chunked(HELLO, 20))

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            await serve(reader, writer)

        async with listening(handle) as port:
            with connected(port) as client:
                for _ in range(5):
                    await collect(client)
                    await asyncio.sleep(0.01)
        assert connections == 1

    asyncio.run(main())


def silent_after(sent: bytes, pings: bytes = b"") -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(sent)
        while True:
            await asyncio.sleep(0.1)
            writer.write(pings)
            await writer.drain()

    return handle


PING = sse({"type": "ping"})


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        (silent_after(b""), "first_byte"),
        (silent_after(b"HTTP/1.1 200"), "first_byte"),
        (silent_after(UNENDING), "first_byte"),
        (silent_after(UNENDING + sse(started())), "first_byte"),
        (silent_after(UNENDING + sse(started()), PING), "first_byte"),
        (silent_after(UNENDING, b": alive\n\n"), "first_byte"),
        (silent_after(UNENDING + sse(*MESSAGE[:6])), "idle"),
        (silent_after(UNENDING + sse(*MESSAGE[:6]), PING), "idle"),
        (silent_after(UNENDING + sse(*MESSAGE[:6]), b": alive\n\n"), "idle"),
    ],
)
def test_silence_ends_and_pings_alone_do_not_prolong_it_for_ever(handler: Handler, kind: str) -> None:
    """Rows 4 and 43: the first byte has a long limit, the stream a short one, and a heartbeat is no progress."""
    began = time.monotonic()
    assert fail(handler, first_byte=0.6, idle=0.3).kind == kind
    assert time.monotonic() - began < 10


def test_a_model_that_reads_for_long_is_not_cut_by_the_idle_limit() -> None:
    """Row 43: in prefill the first byte's limit counts, though the server has sent its first event."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(UNENDING + sse(MESSAGE[0]))
        await asyncio.sleep(0.5)
        writer.write(sse(*MESSAGE[1:]))
        await writer.drain()

    assert ask(handle, first_byte=20, idle=0.1)[-1] == RECEIVED


@pytest.mark.parametrize("sent", [b"", UNENDING, UNENDING + sse(*MESSAGE[:6])])
def test_a_cancelled_request_closes_its_connection(sent: bytes) -> None:
    async def main() -> None:
        reading, closed = asyncio.Event(), asyncio.Event()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(sent)
            reading.set()
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            closed.set()

        async with listening(handle) as port:
            with connected(port) as client:
                request = asyncio.create_task(collect(client))
                await reading.wait()
                await asyncio.sleep(0.05)
                request.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await request
                await asyncio.wait_for(closed.wait(), 10)

    asyncio.run(main())


def test_closing_the_generator_closes_the_connection() -> None:
    async def main() -> None:
        closed = asyncio.Event()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(UNENDING + sse(*MESSAGE[:6]))
            with contextlib.suppress(ConnectionError):
                await reader.read()
            closed.set()

        async with listening(handle) as port:
            with connected(port) as client:
                async with contextlib.aclosing(client.stream(b"{}")) as events:
                    async for _ in events:
                        break
                await asyncio.wait_for(closed.wait(), 10)

    asyncio.run(main())


def test_an_unknown_model_is_answered_with_those_that_there_are() -> None:
    missing = {"type": "error", "error": {"type": "not_found_error", "message": "model: claude-x"}}
    listed = {"data": [{"id": "llama"}, {"id": "qwen\x1b[31m"}]}

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await read_request(reader)
            known = request.line == "GET /v1/models HTTP/1.1" and request.headers["x-api-key"] == KEY
            writer.write(answer_json(listed) if known else answer_json(missing, "404 Not Found"))

    error = fail(handle)
    assert error.kind == "model_not_found"
    assert error.message.endswith("The endpoint offers: llama, qwen [31m.")


def test_an_error_has_its_status_its_wait_and_its_request_id() -> None:
    body = {"type": "error", "error": {"type": "rate_limit_error", "message": f"Slow down,\n {KEY}\x07!"}}
    headers = ["Retry-After: 7", "Request-Id: req_1"]
    error = fail(answering(answer_json(body, "429 Too Many Requests", headers)))
    assert (error.kind, error.status, error.retry_after, error.request_id) == ("rate_limited", 429, 7, "req_1")
    assert "(429: Slow down, [key] !; it asks to wait 7 s)" in error.message


def test_an_error_whose_body_never_ends_is_told_by_its_status() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
        while True:
            writer.write(b"x" * 10_000)
            await writer.drain()

    error = fail(handle)
    assert error.kind == "server_error"
    assert len(error.message) < 600


def test_arguments_of_megabytes_come_whole() -> None:
    parts: Sequence[str] = ['{"content": "', *["0123456789" * 10] * 30_000, '"}']
    stream = sse(started(), *call_block(0, "write", *parts), *ended("tool_use"))
    received = ask(answering(chunked(stream, 60_000)))[-1]
    assert isinstance(received, Received)
    (call,) = received.content
    assert isinstance(call, ToolUse)
    assert len(call.input["content"]) == 3_000_000
