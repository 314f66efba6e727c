"""The journal: the append-only record of everything, in one SQLite file."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from deskhand.journal.database import (
    VERSIONS,
    JournalError,
    code_of,
    explained,
    newer_version,
    open_database,
    version_of,
)
from deskhand.journal.events import Entry, Event, decode
from deskhand.journal.writer import Append, Flush, Stop, Writer

__all__ = ["UNREADABLE", "Damaged", "Journal", "JournalError"]

UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""What `decode` raises for a row that is no event of this version."""

_log = logging.getLogger(__name__)


class Damaged(msgspec.Struct, frozen=True):
    """A row of the journal that is no event any more: what is left of it, and why it cannot be read.

    `at` is 0 and `data` empty where the file itself is damaged.
    """

    seq: int
    session: str
    at: float
    data: bytes
    reason: str


class Journal:
    """An open journal. Reading blocks for as long as SQLite reads; appending never does.

    Several processes may have one journal open; a session should be advanced by one at a time (see `locks`).
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection
        """For reading, and for deleting and indexing; events are written by `append` alone."""
        self._writer = Writer(path)
        self._closed = False
        self._reported: set[int] = set()

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Open the journal at `path`, in a folder that exists; made, 0600, where there is none.

        Raises `JournalError` where it cannot be used, or was written by a newer Deskhand.
        """
        return cls(path, open_database(path))

    def append(
        self,
        session: str,
        event: Event,
        blobs: Mapping[str, tuple[str, bytes]] | None = None,
        *,
        now: bool = True,
    ) -> asyncio.Future[Entry]:
        """Append `event`, with every blob that it names (digest: media type, bytes).

        The future gives the entry once it is durable, or raises `JournalError`. It may be left alone: events
        of one session reach the disk in order, so to wait for one is to wait for all before it. After a
        failure the session takes no more events until `flush` has raised it, so that none is on disk without
        those before it. To cancel the wait does not take the event back. An event that nobody waits for need
        not be written `now`: it is, with the next one, within a twentieth of a second.
        """
        done: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
        if self._closed:
            done.set_exception(self._closed_error())
            done.exception()  # counts as heard, as in the writer
        else:
            self._writer.put(Append(session, time.time(), event, blobs or {}, done), now=now)
        return done

    async def flush(self, session: str) -> None:
        """Wait until everything appended to `session` so far is durable.

        Raises `JournalError` where something is not; the session then takes events again.
        """
        if self._closed:
            raise self._closed_error()
        if self._writer.idle:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writer.put(Flush(session, done))
        await done

    def entries(self, session: str, after: int = 0) -> list[Entry]:
        """Return the durable events of `session` with sequence numbers beyond `after`.

        A damaged row is left out, and a warning logged with its number: the rest of a session is worth more
        than none of it. `rows` gives damaged ones too. Raises `JournalError`.
        """
        entries = []
        for row in self.rows(session, after):
            if isinstance(row, Entry):
                entries.append(row)
            elif row.seq not in self._reported:
                self._reported.add(row.seq)
                _log.warning(
                    "Event %d of session %s is damaged and was left out; `deskhand sessions export %s` keeps what is "
                    "left of it.",
                    row.seq,
                    session,
                    session,
                )
        return entries

    def rows(self, session: str, after: int = 0) -> Iterator[Entry | Damaged]:
        """Yield what `entries` returns, and what it leaves out, in order. Raises `JournalError`."""
        with explained(self.path):
            try:
                for row in self._scan(session, after):
                    after = row.seq
                    yield row
            except sqlite3.DatabaseError as error:
                if code_of(error) != sqlite3.SQLITE_CORRUPT:
                    raise
                yield from self._one_by_one(session, after)

    def blob(self, digest: str) -> tuple[str, bytes]:
        """Return the media type and the bytes of a blob. Raises `JournalError` where there is none."""
        with explained(self.path):
            row = self.connection.execute("SELECT media_type, data FROM blobs WHERE digest = ?", (digest,)).fetchone()
        if row is None:
            raise JournalError(f"The journal {self.path} has no blob {digest}: it may have been damaged.")
        media_type, data = row
        return media_type, data

    async def close(self) -> None:
        """Write what is queued, and close. Whoever appends later gets a `JournalError`."""
        if self._closed:
            return
        self._closed = True
        if not self._writer.idle:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._writer.put(Stop(done))
            await done
            self._writer.join()
        self.connection.close()

    def close_now(self) -> None:
        """Do as `close` does, where no event loop runs."""
        if self._closed:
            return
        self._closed = True
        if not self._writer.idle:
            self._writer.put(Stop(None))
            self._writer.join()
        self.connection.close()

    def _scan(self, session: str, after: int) -> Iterator[Entry | Damaged]:
        # as bytes, because a damaged text may not be UTF-8, at which sqlite3 would give up the whole query
        cursor = self.connection.execute(
            "SELECT seq, at, CAST(data AS BLOB) FROM events WHERE session = ? AND seq > ? ORDER BY seq",
            (session, after),
        )
        for seq, at, data in cursor:
            yield self._row(seq, session, at, data)

    def _one_by_one(self, session: str, after: int) -> Iterator[Entry | Damaged]:
        """Yield the rows around a damaged stretch of the file, found through the index."""
        numbers = self.connection.execute(
            "SELECT seq FROM events WHERE session = ? AND seq > ? ORDER BY seq", (session, after)
        )
        for (seq,) in numbers.fetchall():
            try:
                at, data = self.connection.execute(
                    "SELECT at, CAST(data AS BLOB) FROM events WHERE seq = ?", (seq,)
                ).fetchone()
            except sqlite3.DatabaseError as error:
                yield Damaged(seq, session, 0.0, b"", str(error))
            else:
                yield self._row(seq, session, at, data)

    def _row(self, seq: int, session: str, at: float, data: bytes) -> Entry | Damaged:
        try:
            return Entry(seq, session, at, decode(data))
        except UNREADABLE as error:
            if version_of(self.connection) > len(VERSIONS):  # a newer Deskhand came while we had it open
                raise newer_version(self.path) from None
            return Damaged(seq, session, at, data, str(error))

    def _closed_error(self) -> JournalError:
        return JournalError(f"The journal {self.path} is closed: Deskhand is stopping.")
