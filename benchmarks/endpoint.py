"""A model endpoint that answers at once and notes when: the clock of the benchmarks.

    python -m benchmarks.endpoint CALLS TOKENS

Prints its port. Answers the first CALLS requests with one `bash` call each, then one request with a text, of TOKENS
tokens where that is not 0. When its standard input ends it prints one JSON object per request (see `Request`) and ends,
so that it cannot outlive the benchmark.

Knows as little HTTP as it must, so that it is the same small cost for whoever is measured: requests have a
Content-Length, and bodies are counted, not parsed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from time import monotonic_ns

TOKEN_SECONDS = 0.005
# The last answer waits, so that the size of the whole tree can be read while it is all there.
LAST_ANSWER_SECONDS = 0.2


@dataclass(slots=True)
class Request:
    """What happened to one request; times are `time.monotonic_ns`, which all processes of a machine share."""

    first_byte: int
    whole: int = 0
    answered: int = 0
    body: str = ""
    """The body of the first request; of the others only the size is of interest."""
    size: int = 0


class Connection(asyncio.Protocol):
    """One client's connection: gathers a request, answers it, and waits for the next."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.received = bytearray()
        self.request: Request | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        now = monotonic_ns()
        if self.request is None:
            self.request = Request(first_byte=now)
        self.received += data
        head_end = self.received.find(b"\r\n\r\n") + 4
        if head_end < 4:
            return
        head = self.received[:head_end].lower()
        _, found, rest = head.partition(b"content-length:")
        length = int(rest.split(b"\r\n", 1)[0]) if found else 0
        if len(self.received) < head_end + length:
            return
        request, self.request = self.request, None
        request.whole, request.size = monotonic_ns(), length
        if not self.script.requests:
            request.body = self.received[head_end:].decode()
        self.received.clear()
        if head.startswith(b"post /v1/messages "):
            self.script.answer(request, self.transport)
        else:
            self.transport.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")


class Script:
    """Which answer comes next, and the requests so far."""

    def __init__(self, calls: int, tokens: int) -> None:
        self.calls = calls
        self.tokens = tokens
        self.requests: list[Request] = []
        self.streams: set[asyncio.Task[None]] = set()

    def answer(self, request: Request, transport: asyncio.Transport) -> None:
        """Answer the request: a call of `bash` at once, or the last text in its own time."""
        self.requests.append(request)
        number = len(self.requests)
        if number <= self.calls:
            # Each command is another one, or the agent would rightly see a model that turns in circles.
            arguments = json.dumps({"command": f"true # {number}"})
            block = {"type": "tool_use", "id": f"toolu_{number:06}", "name": "bash", "input": {}}
            delta = {"type": "input_json_delta", "partial_json": arguments}
            chunk = HEAD + chunked(START + block_events(block, delta) + end_events("tool_use")) + LAST_CHUNK
            transport.write(chunk)
            request.answered = monotonic_ns()
        else:
            stream = asyncio.ensure_future(self.stream_text(request, transport))
            self.streams.add(stream)
            stream.add_done_callback(self.streams.discard)

    async def stream_text(self, request: Request, transport: asyncio.Transport) -> None:
        """Stream the last answer; each token is the time of its sending, so that its delay can be read anywhere."""
        transport.write(
            HEAD + chunked(START + event({"type": "content_block_start", "index": 0, "content_block": TEXT}))
        )
        for _ in range(self.tokens):
            await asyncio.sleep(TOKEN_SECONDS)
            transport.write(chunked(delta_event({"type": "text_delta", "text": f"<{monotonic_ns()}> "})))
        await asyncio.sleep(LAST_ANSWER_SECONDS)
        closing = delta_event({"type": "text_delta", "text": "done"}) + event(
            {"type": "content_block_stop", "index": 0}
        )
        transport.write(chunked(closing + end_events("end_turn")) + LAST_CHUNK)
        request.answered = monotonic_ns()


def event(data: Mapping[str, object]) -> bytes:
    """Return one server-sent event of the Messages API."""
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


def delta_event(delta: Mapping[str, object]) -> bytes:
    return event({"type": "content_block_delta", "index": 0, "delta": delta})


def block_events(block: Mapping[str, object], delta: Mapping[str, object]) -> bytes:
    """Return the events of one content block that comes in one piece."""
    start = event({"type": "content_block_start", "index": 0, "content_block": block})
    return start + delta_event(delta) + event({"type": "content_block_stop", "index": 0})


def end_events(stop_reason: str) -> bytes:
    """Return the events that end a message."""
    ending = {"stop_reason": stop_reason, "stop_sequence": None}
    usage = {"output_tokens": 10}
    return event({"type": "message_delta", "delta": ending, "usage": usage}) + event({"type": "message_stop"})


def chunked(data: bytes) -> bytes:
    """Return `data` as one chunk of a chunked body (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
TEXT = {"type": "text", "text": ""}
START = event(
    {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "benchmark",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 100, "output_tokens": 1},
        },
    }
)


async def serve(calls: int, tokens: int) -> None:
    """Serve until standard input ends, then print what was noted."""
    script = Script(calls, tokens)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(script), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for request in script.requests:
        print(json.dumps(asdict(request)))


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
