"""One session's record: appends its events, keeps what follows from them, and tells those who watch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from deskhand.journal.events import Entry, Event
from deskhand.journal.projection import Projection
from deskhand.journal.replay import SessionState
from deskhand.journal.store import Journal

Watcher = Callable[[Entry], None]


class Record:
    """The events of `session`, from the journal and on into it.

    An event counts for `state` and the projection as soon as it is appended, so that one appended later
    builds on it; watchers are told when it is durable. The events of one session reach the disk in order: to
    wait for one is to wait for all before it.
    """

    def __init__(self, journal: Journal, session: str) -> None:
        self.session = session
        self.state = SessionState()
        self._journal = journal
        self._watchers: list[Watcher] = []
        self._projection: Projection | None = None
        self._projected_for = ""
        self._fresh_blobs: dict[str, tuple[str, bytes]] = {}
        for entry in journal.entries(session):
            self.state.add(entry.event)

    def append(
        self, event: Event, blobs: Mapping[str, tuple[str, bytes]] | None = None, *, now: bool = True
    ) -> asyncio.Future[Entry]:
        """Append `event`, with the blobs that it names (digest: media type, bytes).

        The future gives the entry once it is durable, or raises `JournalError`. An event that nobody waits for
        need not be written `now`, but with the next.
        """
        fresh = blobs or {}
        durable = self._journal.append(self.session, event, fresh, now=now)
        self._fresh_blobs.update(fresh)
        self.state.add(event)
        if self._projection is not None:
            self._projection.add(event)
        durable.add_done_callback(lambda future: self._settled(future, fresh))
        return durable

    def messages(self, model: str) -> list[bytes]:
        """Return the messages of the next request to `model`, each as JSON.

        Call it when what was appended is durable: another model than the last one's is projected from the disk.
        """
        if self._projection is None or self._projected_for != model:
            self._projection = Projection(model, self._blob)
            self._projected_for = model
            for entry in self._journal.entries(self.session):
                self._projection.add(entry.event)
        return self._projection.messages()

    def watch(self, watcher: Watcher) -> None:
        """Tell `watcher` each entry from now on, in order."""
        self._watchers.append(watcher)

    async def flush(self) -> None:
        """Wait until all that was appended is durable; raises `JournalError` where it cannot be."""
        await self._journal.flush(self.session)

    def _settled(self, durable: asyncio.Future[Entry], fresh: Mapping[str, tuple[str, bytes]]) -> None:
        for digest in fresh:
            self._fresh_blobs.pop(digest, None)
        if durable.cancelled() or durable.exception() is not None:
            return
        for watcher in self._watchers:
            watcher(durable.result())

    def _blob(self, digest: str) -> tuple[str, bytes]:
        return self._fresh_blobs.get(digest) or self._journal.blob(digest)
