"""The journal's SQLite file: how it is made, brought up to date, opened, and what its errors mean to a user."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

APPLICATION_ID = 0x44534B48
"""`DSKH`: tells a journal from any other SQLite file (`PRAGMA application_id`)."""

LOCK_WAIT = 10.0
"""How long, in seconds, one process waits for another to finish a write. Writes take milliseconds."""

VERSIONS: tuple[tuple[str, ...], ...] = (
    (
        # AUTOINCREMENT: a sequence number is never used again, not even after the newest session was deleted
        """CREATE TABLE events (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            session TEXT NOT NULL,
            at REAL NOT NULL,
            type TEXT NOT NULL,
            data TEXT NOT NULL
        )""",
        "CREATE INDEX events_of_session ON events (session, seq)",
        # the few events that a list of sessions is made from, so that it need not pass through all the others
        """CREATE INDEX landmarks ON events (session, seq)
            WHERE type IN ('session.created', 'session.changed', 'turn.started', 'turn.ended')""",
        "CREATE TABLE blobs (digest TEXT PRIMARY KEY, media_type TEXT NOT NULL, data BLOB NOT NULL)",
        """CREATE TABLE blob_uses (
            session TEXT NOT NULL,
            digest TEXT NOT NULL REFERENCES blobs,
            PRIMARY KEY (session, digest)
        ) WITHOUT ROWID""",
        "CREATE INDEX users_of_blob ON blob_uses (digest)",
    ),
)
"""What turns a journal of one schema version into the next; the first makes version 1 of an empty file."""


class JournalError(Exception):
    """The journal cannot be used; the message is one sentence for the user."""


_CAUSES = {
    sqlite3.SQLITE_FULL: "The disk is full, so the journal {path} cannot take what happens: free some space and go on.",
    sqlite3.SQLITE_IOERR: "The disk failed under the journal {path} ({error}): "
    "check the disk, its free space and your quota, and go on.",
    sqlite3.SQLITE_READONLY: "The journal {path} is read-only: make it and its folder writable, "
    "or set DESKHAND_HOME to a folder that is.",
    sqlite3.SQLITE_CANTOPEN: "The journal {path} cannot be opened: see that it is a file, in a folder that exists "
    "and is writable, or set DESKHAND_HOME to another folder.",
    sqlite3.SQLITE_BUSY: "The journal {path} is held by another process: try again when that one is done.",
    sqlite3.SQLITE_NOTADB: "{path} is not a journal of Deskhand: move it away, or set DESKHAND_HOME to another folder.",
    sqlite3.SQLITE_CORRUPT: "The journal {path} is damaged ({error}): docs/journal.md says how to save what is in it.",
}


def explain(path: Path, error: Exception) -> JournalError:
    """Return what `error` means to the user of the journal at `path`."""
    if isinstance(error, JournalError):
        return error
    if isinstance(error, OSError):
        return JournalError(
            f"The journal {path} cannot be opened: {error.strerror}. "
            "Make its folder writable, or set DESKHAND_HOME to one that is."
        )
    sentence = _CAUSES.get(code_of(error), "The journal {path} cannot take or give this: {error}.")
    return JournalError(sentence.format(path=path, error=error))


def code_of(error: Exception) -> int:
    """Return SQLite's primary result code, as in `sqlite3.SQLITE_FULL`; `SQLITE_OK` where the error has none."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return code & 0xFF


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Raise SQLite's and the system's errors within as `JournalError`."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise explain(path, error) from None


def connect(path: Path) -> sqlite3.Connection:
    """Open the file as it is. Transactions are begun and committed by hand."""
    return sqlite3.connect(path, timeout=LOCK_WAIT, isolation_level=None, check_same_thread=False)


def open_database(path: Path) -> sqlite3.Connection:
    """Open the journal at `path`: made, private to the user, where there is none; brought up to date where it is old.

    Raises `JournalError`, also for a journal of a newer Deskhand.
    """
    with explained(path):
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        connection = connect(path)
        try:
            _bring_up_to_date(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def version_of(connection: sqlite3.Connection) -> int:
    """Return the schema version of an open journal; 0 for an empty file."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def newer_version(path: Path) -> JournalError:
    """Return the error for a journal that a newer Deskhand has brought to its own version."""
    return JournalError(
        f"The journal {path} was written by a newer Deskhand: update this one, or set DESKHAND_HOME to another folder."
    )


def _bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    version = version_of(connection)
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if version and application != APPLICATION_ID:
        raise _not_ours(path)
    if version > len(VERSIONS):
        raise newer_version(path)
    _use_write_ahead_log(connection)
    if version < len(VERSIONS):
        connection.execute("BEGIN IMMEDIATE")
        try:
            _upgrade(connection, path)
        except BaseException:
            connection.rollback()
            raise
        connection.commit()


def _upgrade(connection: sqlite3.Connection, path: Path) -> None:
    version = version_of(connection)  # again: another process may have been faster
    if version == 0 and connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise _not_ours(path)
    for statements in VERSIONS[version:]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(VERSIONS)}")


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch to WAL, which stays; a copy that was dumped or recovered has lost it.

    SQLite does not wait for other processes here, so we do.
    """
    if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
        return
    deadline = time.monotonic() + LOCK_WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if code_of(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _not_ours(path: Path) -> JournalError:
    return JournalError(_CAUSES[sqlite3.SQLITE_NOTADB].format(path=path))
