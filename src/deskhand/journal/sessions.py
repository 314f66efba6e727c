"""Which sessions there are: lists, look-ups and deletion, all as queries over the journal."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress

import msgspec

from deskhand.journal.blocks import plain_text
from deskhand.journal.database import JournalError, explained
from deskhand.journal.events import Event, SessionChanged, SessionCreated, TurnEnded, TurnStarted, decode
from deskhand.journal.replay import SessionState
from deskhand.journal.store import UNREADABLE, Journal

_LANDMARKS = "type IN ('session.created', 'session.changed', 'turn.started', 'turn.ended')"
"""In the words of the index `landmarks`, or SQLite would not use it."""

_LONGEST_TITLE = 200
_MOST_CANDIDATES = 5


class UnknownSessionError(JournalError):
    """No session, or more than one, is meant; the message is one sentence for the user."""


class SessionSummary(msgspec.Struct, frozen=True):
    """A session in one line. `created` and `updated` are in seconds since the epoch.

    `state` is the last turn's stop reason, `open` where that turn has no end, `new` where there was no turn.
    """

    id: str
    cwd: str
    title: str
    created: float
    updated: float
    turns: int
    model: str | None
    state: str


def new_session_id(now: float) -> str:
    """Return an id for a session that begins `now`, in seconds since the epoch: sorts by time, unique by chance."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{os.urandom(3).hex()}"


def summaries(journal: Journal, limit: int | None = None) -> list[SessionSummary]:
    """Return the `limit` newest sessions, newest first; all of them where there is none. Raises `JournalError`."""
    return [summary(journal, session) for session in _newest_first(journal, limit)]


def summary(journal: Journal, session: str) -> SessionSummary:
    """Return `session` in one line. Raises `JournalError`."""
    state = SessionState()
    model: str | None = None
    first_prompt = ""
    ended = "new"
    for event in _landmarks(journal, session):
        state.add(event)
        if isinstance(event, TurnStarted):
            model = event.model
            first_prompt = first_prompt or plain_text(event.prompt)
        elif isinstance(event, TurnEnded):
            ended = event.stop_reason
    created, updated = _span(journal, session)
    return SessionSummary(
        id=session,
        cwd=state.cwd,
        title=state.title or _first_line(first_prompt),
        created=created,
        updated=updated,
        turns=state.turns,
        model=model or state.model,
        state="open" if state.open_turn else ended,
    )


def find_session(journal: Journal, text: str) -> str:
    """Return the id that is `text`, or the only one that begins or ends with it.

    Raises `UnknownSessionError` where none or several do, and `JournalError`.
    """
    sessions = _newest_first(journal)
    if text in sessions:
        return text
    matches = [session for session in sessions if text and (session.startswith(text) or session.endswith(text))]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UnknownSessionError(f"{text!r} may mean any of {_some(matches)}: give more of the id.")
    if sessions:
        raise UnknownSessionError(f"There is no session {text!r}. The newest are {_some(sessions)}.")
    raise UnknownSessionError(f"There is no session {text!r}: there are none yet.")


def latest_session(journal: Journal, cwd: str | None = None) -> str | None:
    """Return the most recently used session, of those whose folder is now `cwd` where it is given.

    Raises `JournalError`.
    """
    if cwd is None:
        return next(iter(_newest_first(journal, 1)), None)
    folders = _folders(journal)
    return next((session for session in _newest_first(journal) if folders.get(session) == cwd), None)


def delete_session(journal: Journal, session: str) -> None:
    """Remove the session from the journal for good: events, what the search knew of them, blobs of no one else.

    Files under `outputs/` are the caller's to remove. Raises `JournalError`.
    """
    connection = journal.connection
    with explained(journal.path):
        connection.execute("PRAGMA secure_delete = ON")  # deleted means overwritten
        connection.execute("BEGIN IMMEDIATE")
        try:
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'search'").fetchone():
                connection.execute(
                    "DELETE FROM search WHERE rowid IN (SELECT seq FROM events WHERE session = ?)", (session,)
                )
                # until its segments are merged, the words of deleted texts stay in a full-text index
                connection.execute("INSERT INTO search (search) VALUES ('optimize')")
            connection.execute("DELETE FROM events WHERE session = ?", (session,))
            connection.execute(
                """DELETE FROM blobs WHERE digest IN (
                    SELECT digest FROM blob_uses AS mine WHERE session = :session AND NOT EXISTS (
                        SELECT 1 FROM blob_uses WHERE digest = mine.digest AND session <> :session))""",
                {"session": session},
            )
            connection.execute("DELETE FROM blob_uses WHERE session = ?", (session,))
        except BaseException:
            connection.rollback()
            raise
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _newest_first(journal: Journal, limit: int | None = None) -> list[str]:
    with explained(journal.path):
        rows = journal.connection.execute(
            f"SELECT session FROM events WHERE {_LANDMARKS} GROUP BY session ORDER BY max(seq) DESC LIMIT ?",
            (-1 if limit is None else limit,),
        )
        return [session for (session,) in rows]


def _landmarks(journal: Journal, session: str) -> Iterator[Event]:
    """Yield the events that a summary is made from; a damaged one must not hide the session, and is passed over."""
    with explained(journal.path):
        rows = journal.connection.execute(
            f"SELECT CAST(data AS BLOB) FROM events WHERE session = ? AND {_LANDMARKS} ORDER BY seq", (session,)
        )
        for (data,) in rows:
            with suppress(*UNREADABLE):
                yield decode(data)


def _span(journal: Journal, session: str) -> tuple[float, float]:
    """Return when the session's first and last events were."""
    with explained(journal.path):
        row = journal.connection.execute(
            """SELECT (SELECT at FROM events WHERE session = :session ORDER BY seq LIMIT 1),
                (SELECT at FROM events WHERE session = :session ORDER BY seq DESC LIMIT 1)""",
            {"session": session},
        ).fetchone()
    return row[0] or 0.0, row[1] or 0.0


def _folders(journal: Journal) -> dict[str, str]:
    """Return the folder of each session, as it is now."""
    folders: dict[str, str] = {}
    with explained(journal.path):
        rows = journal.connection.execute(
            f"""SELECT session, CAST(data AS BLOB) FROM events
                WHERE {_LANDMARKS} AND type IN ('session.created', 'session.changed') ORDER BY session, seq"""
        )
        for session, data in rows:
            with suppress(*UNREADABLE):
                event = decode(data)
                if isinstance(event, SessionCreated | SessionChanged) and event.cwd is not None:
                    folders[session] = event.cwd
    return folders


def _first_line(text: str) -> str:
    for line in text.splitlines():
        if line.strip():
            return line.strip()[:_LONGEST_TITLE]
    return ""


def _some(sessions: list[str]) -> str:
    more = len(sessions) - _MOST_CANDIDATES
    return ", ".join(sessions[:_MOST_CANDIDATES]) + (f" and {more} more" if more > 0 else "")
