"""What one front end hears of one session: everything, in order, at its own pace.

A front end that reads slowly slows nothing but itself. What it cannot take in time is let go, and read from the
journal again when it has caught up: it misses no event, and of the deltas those up to the next whole message.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

from deskhand.agent.live import Live
from deskhand.daemon.session import Session
from deskhand.journal.events import Entry, MessageReceived

LONGEST_BACKLOG = 2_000
"""Pieces of news that wait for a front end before it is left to catch up from the journal."""

Deliver = Callable[[Entry | Live], Awaitable[None]]
"""Sends a piece of news, and returns when there is room for the next."""


class Subscription:
    """Delivers the news of `session` after the sequence number `after`, until it is closed."""

    def __init__(self, session: Session, deliver: Deliver, after: int) -> None:
        self._session = session
        self._deliver = deliver
        self._seen = after
        self._news: deque[Entry | Live | _Mark] = deque()
        self._behind = True
        self._muted = False
        self._wake = asyncio.Event()
        self._pump = asyncio.create_task(self._run())
        session.watch(self._hear)

    def close(self) -> None:
        """Hear and deliver nothing any more."""
        self._session.unwatch(self._hear)
        self._pump.cancel()

    async def caught_up(self) -> None:
        """Wait until what had happened when this was called is delivered, or delivery has failed."""
        mark = _Mark()
        self._hear(mark)
        waiting = asyncio.create_task(mark.reached.wait())
        await asyncio.wait({waiting, self._pump}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    def _hear(self, news: Entry | Live | _Mark) -> None:
        if len(self._news) >= LONGEST_BACKLOG and not isinstance(news, _Mark):
            self._news = deque(kept for kept in self._news if isinstance(kept, _Mark))
            self._behind = self._muted = True
        self._news.append(news)
        self._wake.set()

    async def _run(self) -> None:
        while True:
            if self._behind:
                self._behind = False
                await self._catch_up(self._session.entries(self._seen))
            while self._news and not self._behind:
                await self._pass_on(self._news.popleft())
            if not self._behind:
                self._wake.clear()
                await self._wake.wait()

    async def _catch_up(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            await self._pass_on(entry)

    async def _pass_on(self, news: Entry | Live | _Mark) -> None:
        if isinstance(news, _Mark):
            news.reached.set()
        elif not isinstance(news, Entry):
            if not self._muted:
                await self._deliver(news)
        elif news.seq > self._seen:
            self._seen = news.seq
            self._muted = self._muted and not isinstance(news.event, MessageReceived)
            await self._deliver(news)


class _Mark:
    """A place in the news that somebody waits for."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
