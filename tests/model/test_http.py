"""The HTTP client against real sockets: connections kept and lost, and limits on all that comes."""

from __future__ import annotations

import asyncio
import gzip
import time
import zlib

import pytest

from deskhand.model.connect import TransportError
from deskhand.model.http import ERROR_BODY_CAP, ConnectionPool
from raw_server import Asked, Handler, answer, answering, chunked, listening, read_request, saying


async def post(pool: ConnectionPool, body: bytes = b"{}", first_byte: float = 20) -> tuple[int, bytes]:
    """Make one request; return status and body."""
    async with pool.request("POST", "/v1/messages", [("X-Header", "1")], body, first_byte=first_byte) as response:
        parts = []
        while part := await response.receive(20):
            parts.append(part)
        assert await response.receive(20) == b"", "the end stays the end"
        return response.status, b"".join(parts)


def get(handler: Handler, count: int = 1, host: str = "127.0.0.1", first_byte: float = 20) -> list[tuple[int, bytes]]:
    """Return what `count` requests to a server give."""

    async def main() -> list[tuple[int, bytes]]:
        async with listening(handler, host=host) as port:
            pool = ConnectionPool(f"http://{f'[{host}]' if ':' in host else host}:{port}")
            try:
                answers = []
                for _ in range(count):
                    answers.append(await post(pool, first_byte=first_byte))
                    await asyncio.sleep(0.02)
                return answers
            finally:
                pool.close()

    return asyncio.run(main())


def fail(handler: Handler) -> TransportError:
    with pytest.raises(TransportError) as caught:
        get(handler)
    return caught.value


def counting(handler: Handler, connections: list[int]) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        await handler(reader, writer)

    return handle


def test_a_connection_serves_many_requests() -> None:
    connections: list[int] = []
    asked: list[Asked] = []
    handler = counting(answering(answer("a"), chunked(b"bb", 1), asked=asked), connections)
    assert get(handler, 3) == [(200, b"a"), (200, b"bb"), (200, b"bb")]
    assert len(connections) == 1
    assert asked[2].headers["host"].startswith("127.0.0.1:")
    assert asked[2].headers["content-length"] == "2"
    assert asked[2].headers["x-header"] == "1"


def test_a_server_that_closes_after_each_answer_is_no_trouble() -> None:
    connections: list[int] = []
    assert get(counting(answering(answer("a"), close=True), connections), 3) == [(200, b"a")] * 3
    assert len(connections) == 3


def test_a_kept_connection_that_dies_with_the_next_request_is_replaced() -> None:
    connections: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer("a"))
        await read_request(reader)  # and close without a word, as if it had been on its way out

    assert get(counting(handle, connections), 3) == [(200, b"a")] * 3
    assert len(connections) == 3


def test_a_kept_connection_that_breaks_in_mid_answer_is_not_tried_again() -> None:
    connections: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer("a"))
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
        await writer.drain()

    with pytest.raises(TransportError) as caught:
        get(counting(handle, connections), 3)
    assert caught.value.kind == "dropped"
    assert len(connections) == 1


def test_a_new_connection_that_closes_without_an_answer_is_tried_once() -> None:
    connections: list[int] = []
    error = fail(counting(saying(b""), connections))
    assert (error.kind, str(error)) == ("dropped", "it closed the connection without an answer")
    assert len(connections) == 1


def test_what_a_server_says_unasked_is_no_answer() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer("a") + answer("stale", "408 Request Timeout"))
        await writer.drain()
        await reader.read()

    assert get(handle, 3) == [(200, b"a")] * 3


def test_interim_answers_are_skipped() -> None:
    assert get(saying(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + answer("a"))) == [(200, b"a")]


def test_a_body_may_end_with_the_connection() -> None:
    assert get(saying(b"HTTP/1.0 200 OK\r\n\r\nall of it"), 2) == [(200, b"all of it")] * 2


def test_an_answer_in_pieces_of_one_byte() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for byte in chunked(b"slowly", 3):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    assert get(handle) == [(200, b"slowly")]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "not_http"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "not_http"),
        (b"HTTP/1.1 abc\r\n\r\n", "not_http"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "not_http"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, "not_http"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "not_http"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "dropped"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", "dropped"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx", "encoding"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope", "encoding"),
    ],
)
def test_what_is_no_answer_is_named(said: bytes, kind: str) -> None:
    assert fail(saying(said)).kind == kind


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(b"a" * 5_000_000)),
        ("deflate", zlib.compress(b"a" * 5_000_000)),
        ("identity", b"a" * 5_000_000),
    ],
)
def test_a_compressed_body_is_unfolded_piece_by_piece(encoding: str, body: bytes) -> None:
    async def main() -> None:
        headers = [f"Content-Encoding: {encoding}"]
        async with listening(answering(answer(body, headers=headers))) as port:
            pool = ConnectionPool(f"http://127.0.0.1:{port}")
            async with pool.request("GET", "/", [], first_byte=20) as response:
                size = 0
                while piece := await response.receive(20):
                    assert len(piece) <= 1024 * 1024
                    size += len(piece)
                assert size == 5_000_000
            pool.close()

    asyncio.run(main())


def test_reading_an_error_is_bounded_in_bytes_and_in_time() -> None:
    async def main() -> None:
        async with listening(answering(answer(b"x" * 1_000_000, "500 Oops"))) as port:
            pool = ConnectionPool(f"http://127.0.0.1:{port}")
            async with pool.request("GET", "/", [], first_byte=20) as response:
                assert len(await response.read(20)) == ERROR_BODY_CAP
            pool.close()

        async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(b"HTTP/1.1 500 Oops\r\n\r\n")
            while True:
                writer.write(b"x")
                await asyncio.sleep(0.05)

        async with listening(drip) as port:
            pool = ConnectionPool(f"http://127.0.0.1:{port}")
            began = time.monotonic()
            async with pool.request("GET", "/", [], first_byte=20) as response:
                assert (await response.read(0.5)).startswith(b"xx")
            assert time.monotonic() - began < 10
            pool.close()

    asyncio.run(main())


def test_a_server_may_refuse_a_body_before_it_has_read_it() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer("too large", "413 Content Too Large"))
        await writer.drain()
        await asyncio.sleep(30)  # it reads no more

    async def main() -> None:
        async with listening(handle) as port:
            pool = ConnectionPool(f"http://127.0.0.1:{port}")
            assert await post(pool, b"x" * 50_000_000) == (413, b"too large")
            pool.close()

    asyncio.run(main())


def test_a_server_that_takes_no_bytes_is_not_waited_for_for_ever() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async def main() -> None:
        async with listening(handle) as port:
            pool = ConnectionPool(f"http://127.0.0.1:{port}")
            with pytest.raises(TransportError) as caught:
                await post(pool, b"x" * 50_000_000, first_byte=0.5)
            assert (caught.value.kind, str(caught.value)) == ("first_byte", "no answer within 0.5 s")
            pool.close()

    asyncio.run(main())


def test_a_connection_that_is_not_made_in_time_is_given_up() -> None:
    async def main() -> None:
        # A listener whose queue is full drops further attempts, as an unreachable host does.
        import socket

        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            fillers = [socket.socket() for _ in range(8)]
            try:
                for filler in fillers:
                    filler.setblocking(False)
                    filler.connect_ex(listener.getsockname())
                await asyncio.sleep(0.1)
                with pytest.raises(TransportError) as caught:
                    await post(ConnectionPool(url, connect=0.5))
                assert caught.value.kind == "unreachable"
            finally:
                for filler in fillers:
                    filler.close()

    asyncio.run(main())


def test_ipv6() -> None:
    asked: list[Asked] = []
    assert get(answering(answer("six"), asked=asked), host="::1") == [(200, b"six")]
    assert asked[0].headers["host"].startswith("[::1]:")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_port_where_nothing_listens(host: str) -> None:
    async def main() -> None:
        async with listening(answering(answer())) as port:
            pass
        with pytest.raises(TransportError) as caught:
            await post(ConnectionPool(f"http://{host}:{port}"))
        assert caught.value.kind == "refused"

    asyncio.run(main())
