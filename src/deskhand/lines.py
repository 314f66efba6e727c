"""Lines over asyncio's streams: cut what comes, queue what goes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Protocol

_HIGH = 64 * 1024
"""Bytes that a transport is given to hold. Its own queue takes longer with each write, from Python 3.12 on."""


class Writer(Protocol):
    """What is needed of an `asyncio.StreamWriter`. Each `write` is one whole line, its newline included."""

    @property
    def transport(self) -> asyncio.WriteTransport: ...
    def write(self, data: bytes, /) -> None: ...
    async def drain(self) -> None: ...


class Frames:
    """Cuts a stream into lines, in linear time, with no more in memory than a line of `cap` bytes."""

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._frame = bytearray()
        self._skipping = False

    def feed(self, chunk: bytes) -> Iterator[bytearray | None]:
        """Yield the lines that end in `chunk`, without newlines, and None for each that has become too long."""
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            if self._grows_too_long(piece):
                yield None
            elif not self._skipping:
                yield self._frame
            self._frame = bytearray()
            self._skipping = False
        if self._grows_too_long(rest):
            yield None

    def _grows_too_long(self, piece: bytes) -> bool:
        if self._skipping:
            return False
        self._frame += piece
        if len(self._frame) <= self._cap:
            return False
        self._frame = bytearray()
        self._skipping = True
        return True


class Outbox:
    """Sends lines in order. What the other side is slow to read waits here, at most about `cap` bytes."""

    def __init__(self, writer: Writer, cap: int) -> None:
        self._writer = writer
        self._cap = cap
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._waiting = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        writer.transport.set_write_buffer_limits(_HIGH)

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self._queued + self._writer.transport.get_write_buffer_size()

    def put(self, line: bytes) -> bool:
        """Send a line as soon as there is room for it. False: the other side is gone, or has long stopped reading."""
        if self._writer.transport.is_closing() or self._queued > self._cap:
            return False
        if self._queue or self._writer.transport.get_write_buffer_size() > _HIGH:
            self._queue.append(line)
            self._queued += len(line)
            self._waiting.set()
            self._empty.clear()
            return True
        try:
            self._writer.write(line)
        except OSError:
            return False
        return True

    async def flush(self) -> None:
        """Send what waits whenever there is room, until cancelled. Raises `OSError` when the other side is gone."""
        try:
            while True:
                await self._waiting.wait()
                await self._writer.drain()
                while self._queue and self._writer.transport.get_write_buffer_size() <= _HIGH:
                    line = self._queue.popleft()
                    self._queued -= len(line)
                    self._writer.write(line)
                if not self._queue:
                    self._waiting.clear()
                    self._empty.set()
        finally:
            self._queue.clear()
            self._queued = 0
            self._empty.set()

    async def drain(self, *, to_the_end: bool = False) -> None:
        """Wait until little is left, or nothing. Raises `OSError` when the other side is gone. Needs `flush` to run."""
        if to_the_end:
            self._writer.transport.set_write_buffer_limits(0)
        await self._empty.wait()
        await self._writer.drain()
