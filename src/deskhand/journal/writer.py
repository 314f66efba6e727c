"""The one thread that writes to the journal: it drains a queue into transactions.

What is queued while a commit runs goes into the next one together (group commit), so a burst of events costs
one wait for the disk, not one each. An event that nothing waits for is held back until the next one that something
does wait for: a call costs two waits for the disk, not four.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from deskhand.journal.database import JournalError, connect, explain
from deskhand.journal.events import CallSpawned, Entry, Event, PlanChanged, RequestRetried, encode

_MAY_BE_LOST_WITH_THE_POWER = (RequestRetried, CallSpawned, PlanChanged)
"""Events that survive `kill -9` at once, and a power cut only from the next other event on: not worth a sync each."""

LINGER = 0.05
"""Seconds that an event which nothing waits for is held back at most."""


class Append(msgspec.Struct, frozen=True):
    """An event on its way to the disk; `done` gets its entry, or a `JournalError`."""

    session: str
    at: float
    event: Event
    blobs: Mapping[str, tuple[str, bytes]]
    done: asyncio.Future[Entry]


class Flush(msgspec.Struct, frozen=True):
    """A mark in the queue: `done` tells how the session's events before it fared, and clears its failure."""

    session: str
    done: asyncio.Future[None]


class Stop(msgspec.Struct, frozen=True):
    """The end of the queue; `done` is told when all before it is settled."""

    done: asyncio.Future[None] | None


Item = Append | Flush | Stop


class Writer:
    """Writes what is put, in order, from the first `put` to `Stop`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: queue.SimpleQueue[list[Item]] = queue.SimpleQueue()
        self._held: list[Item] = []
        self._release: asyncio.TimerHandle | None = None
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._synchronous = ""
        self._failures: dict[str, JournalError] = {}

    def put(self, item: Item, *, now: bool = True) -> None:
        """Queue `item`; with the next one, but within `LINGER` seconds, where it need not be `now`.

        Not to be called after `Stop`.
        """
        self._held.append(item)
        if now:
            self._queue_held()
        elif self._release is None:
            self._release = asyncio.get_running_loop().call_later(LINGER, self._queue_held)

    def _queue_held(self) -> None:
        if self._release is not None:
            self._release.cancel()
            self._release = None
        if self._held:
            self._queue.put(self._held)
            self._held = []
        if self._thread is None:
            # a daemon, so that a program that forgot to close its journal still ends
            self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
            self._thread.start()

    @property
    def idle(self) -> bool:
        """Whether nothing was ever put."""
        return self._thread is None and not self._held

    def join(self) -> None:
        """Block until the thread has ended, which it does after `Stop`."""
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            items = self._queue.get()
            with suppress(queue.Empty):
                while True:
                    items += self._queue.get_nowait()
            appends: list[Append] = []
            for item in items:
                if isinstance(item, Append):
                    appends.append(item)
                    continue
                self._write(appends)
                appends = []
                if isinstance(item, Stop):
                    self._stop(item)
                    return
                self._answer(item)
            self._write(appends)

    def _answer(self, flush: Flush) -> None:
        failure = self._failures.pop(flush.session, None)
        if failure is None:
            _settle([(flush.done, None)])
        else:
            _fail(flush.done, failure)

    def _stop(self, stop: Stop) -> None:
        self._disconnect()
        if stop.done is not None:
            _settle([(stop.done, None)])

    def _write(self, appends: list[Append]) -> None:
        """Write what no failure stands in the way of: an event never lands without those before it."""
        accepted = []
        for append in appends:
            failure = self._failures.get(append.session)
            if failure is None:
                accepted.append(append)
            else:
                _fail(append.done, failure)
        if accepted:
            self._commit(accepted)

    def _commit(self, appends: list[Append]) -> None:
        try:
            entries = self._insert(appends)
        except Exception as error:  # whatever it is, those who wait must hear of it, and the thread must live
            self._disconnect()
            self._take_failure(appends, error)
            return
        _settle([(append.done, entry) for append, entry in zip(appends, entries, strict=True)])

    def _take_failure(self, appends: list[Append], error: Exception) -> None:
        sessions = list(dict.fromkeys(append.session for append in appends))
        if len(sessions) > 1:  # one session's event that cannot be written must not fail the others'
            for session in sessions:
                self._commit([append for append in appends if append.session == session])
            return
        failure = self._failures[sessions[0]] = explain(self._path, error)
        for append in appends:
            _fail(append.done, failure)

    def _insert(self, appends: list[Append]) -> list[Entry]:
        """Write `appends` in one transaction."""
        connection = self._connect()
        self._choose_durability(connection, appends)
        entries = []
        connection.execute("BEGIN IMMEDIATE")
        for append in appends:
            _insert_blobs(connection, append)
            cursor = connection.execute(
                "INSERT INTO events (session, at, type, data) VALUES (?, ?, ?, ?)",
                (append.session, append.at, append.event.__struct_config__.tag, encode(append.event).decode()),
            )
            assert cursor.lastrowid is not None
            entries.append(Entry(cursor.lastrowid, append.session, append.at, append.event))
        connection.execute("COMMIT")
        return entries

    def _choose_durability(self, connection: sqlite3.Connection, appends: list[Append]) -> None:
        light = all(isinstance(append.event, _MAY_BE_LOST_WITH_THE_POWER) for append in appends)
        synchronous = "NORMAL" if light else "FULL"
        if synchronous != self._synchronous:
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            self._synchronous = synchronous

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect(self._path)
            self._connection.execute("PRAGMA fullfsync = ON")  # macOS: plain fsync leaves data in the drive's cache
            self._synchronous = ""
        return self._connection

    def _disconnect(self) -> None:
        """Close the connection, which undoes an open transaction; the next write makes a new one."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def _insert_blobs(connection: sqlite3.Connection, append: Append) -> None:
    for digest, (media_type, data) in append.blobs.items():
        connection.execute("INSERT OR IGNORE INTO blobs VALUES (?, ?, ?)", (digest, media_type, data))
        connection.execute("INSERT OR IGNORE INTO blob_uses VALUES (?, ?)", (append.session, digest))


def _settle(results: list[tuple[asyncio.Future[Any], object]]) -> None:
    """Give the futures, all of one loop, their results; to wake the loop is what costs, and it is done once."""

    def set_results() -> None:
        for future, result in results:
            if not future.done():  # who waited may have been cancelled
                future.set_result(result)

    _call_in_loop(results[0][0], set_results)


def _fail(future: asyncio.Future[Any], failure: JournalError) -> None:
    def set_exception() -> None:
        if not future.done():
            future.set_exception(JournalError(*failure.args))
            future.exception()  # counts as heard: an append that nobody awaits is not reported as forgotten

    _call_in_loop(future, set_exception)


def _call_in_loop(future: asyncio.Future[Any], callback: Any) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        future.get_loop().call_soon_threadsafe(callback)
