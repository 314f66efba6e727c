"""Cutting a stream into lines, and sending without waiting."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deskhand.lines import Frames, Outbox


def cut(frames: Frames, pieces: Iterable[bytes]) -> list[bytes | None]:
    return [frame if frame is None else bytes(frame) for piece in pieces for frame in frames.feed(piece)]


@settings(max_examples=100, deadline=None)
@given(stream=st.binary(max_size=300).map(lambda data: data.replace(b"a", b"\n")), cuts=st.lists(st.integers(0, 300)))
def test_lines_do_not_depend_on_how_the_stream_was_cut(stream: bytes, cuts: list[int]) -> None:
    frames = Frames(cap=1000)
    edges = [0, *sorted(cuts), len(stream)]
    assert cut(frames, [stream[start:end] for start, end in pairwise(edges)]) == stream.split(b"\n")[:-1]


@settings(max_examples=100, deadline=None)
@given(lengths=st.lists(st.integers(0, 12), max_size=20), size=st.integers(1, 40))
def test_lines_above_the_cap_are_skipped_and_no_others(lengths: list[int], size: int) -> None:
    lines = [bytes([97 + number % 26]) * length for number, length in enumerate(lengths)]
    stream = b"".join(line + b"\n" for line in lines)
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert cut(Frames(cap=6), pieces) == [line if len(line) <= 6 else None for line in lines]


def test_a_line_without_end_takes_no_memory_beyond_the_cap() -> None:
    frames = Frames(cap=1000)
    assert cut(frames, [b"x" * 1000] * 1000) == [None]
    assert cut(frames, [b"\nnext\n"]) == [b"next"]


def test_what_is_put_never_waits_and_arrives_in_order() -> None:
    lines = [b"%d %s\n" % (number, b"x" * (number % 5000)) for number in range(2000)]

    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            _, writer = await asyncio.open_unix_connection(sock=ours)
            outbox = Outbox(writer, cap=100_000_000)
            assert all(outbox.put(line) for line in lines)
            assert outbox.size > 1_000_000
            flushing = asyncio.create_task(outbox.flush())
            received = asyncio.create_task(_read_all(theirs))
            await asyncio.wait_for(outbox.drain(to_the_end=True), 30)
            assert outbox.size == 0
            flushing.cancel()
            writer.close()
            assert await received == b"".join(lines)

    asyncio.run(scenario())


def test_a_side_that_does_not_read_is_given_up_at_the_cap() -> None:
    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            _, writer = await asyncio.open_unix_connection(sock=ours)
            outbox = Outbox(writer, cap=1_000_000)
            taken = 0
            while outbox.put(b"x" * 9_999 + b"\n"):
                taken += 1
            assert 100 < taken < 300
            writer.transport.abort()

    asyncio.run(scenario())


def test_a_side_that_went_ends_flush_and_drain() -> None:
    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        _, writer = await asyncio.open_unix_connection(sock=ours)
        outbox = Outbox(writer, cap=100_000_000)
        for _ in range(100):
            outbox.put(b"x" * 9_999 + b"\n")
        flushing = asyncio.create_task(outbox.flush())
        draining = asyncio.create_task(outbox.drain())
        theirs.close()
        with pytest.raises(OSError):  # noqa: PT011 - which of them depends on the system
            await asyncio.wait_for(flushing, 10)
        with pytest.raises(OSError):  # noqa: PT011
            await asyncio.wait_for(draining, 10)
        assert outbox.size == 0
        assert not outbox.put(b"more\n")

    asyncio.run(scenario())


async def _read_all(connection: socket.socket) -> bytes:
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    data = await reader.read()
    writer.close()
    return data
