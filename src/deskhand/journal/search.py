"""Full-text search over prompts, answers, arguments, results and titles.

The index is a table of the journal that is caught up when someone searches: recording an event costs nothing
for it. Where SQLite has no FTS5, or the journal takes no writes, the events themselves are read through.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec

from deskhand.journal.blocks import plain_text
from deskhand.journal.database import explained
from deskhand.journal.events import (
    CallFinished,
    CallStarted,
    Event,
    MessageReceived,
    SessionChanged,
    TurnStarted,
    decode,
)
from deskhand.journal.store import UNREADABLE, Journal
from deskhand.journal.transcript import readable

OPEN, CLOSE = "\x02", "\x03"
"""Around each match in a hit's snippet; searched texts hold no control characters themselves."""

_SOURCES = {
    "turn.started": "prompt",
    "message.received": "answer",
    "call.started": "call",
    "call.finished": "result",
    "session.changed": "title",
}
_WITH_TEXT = f"type IN ({', '.join(repr(tag) for tag in _SOURCES)})"

_CHUNK = 500
"""Events that are indexed in one transaction: few enough that nobody who appends has to wait long."""

_MOST_WORDS = 50
"""FTS5 refuses expressions that are too deep; nobody searches for more words."""

_AROUND = 40
"""Characters that a snippet shows on either side of the match, where events are read through."""


class Hit(msgspec.Struct, frozen=True):
    """An event that matches. `source`: prompt, answer, call, result or title; `at` in seconds since the epoch."""

    session: str
    seq: int
    at: float
    source: str
    snippet: str


def search(journal: Journal, query: str, limit: int = 20) -> list[Hit]:
    """Return the newest `limit` events that have all words of `query`, each at the beginning of a word.

    A query without letters and digits is looked for as it is. Raises `JournalError` where the journal cannot
    be read, and nothing else, whatever the query.
    """
    # encoded and decoded, because bytes on a command line that are no text become what SQLite refuses
    given = readable(query.encode("utf-8", "replace").decode()).split()
    words = [word for word in given if any(map(str.isalnum, word))][:_MOST_WORDS]
    if words:
        # no FTS5, a read-only or full disk, a long write elsewhere, a damaged index: none is a reason not to find
        with suppress(sqlite3.DatabaseError):
            _catch_up(journal.connection)
            return _look_up(journal.connection, words, limit)
    return read_through(journal, words or given, limit)


def read_through(journal: Journal, words: list[str], limit: int) -> list[Hit]:
    """Return the newest `limit` events in which all `words` occur, be it within others, without the index."""
    hits: list[Hit] = []
    patterns = [re.compile(re.escape(word), re.IGNORECASE) for word in words]
    with explained(journal.path):
        rows = journal.connection.execute(
            f"SELECT seq, session, at, type, CAST(data AS BLOB) FROM events WHERE {_WITH_TEXT} ORDER BY seq DESC"
        )
        for seq, session, at, tag, data in rows:
            if len(hits) >= limit or not patterns:
                break
            text = _text_of_row(data)
            matches = [pattern.search(text) for pattern in patterns]
            first = matches[0]
            if first is not None and all(matches):
                hits.append(Hit(session, seq, at, _SOURCES[tag], _snippet(text, *first.span())))
    return hits


def _look_up(connection: sqlite3.Connection, words: list[str], limit: int) -> list[Hit]:
    query = " ".join('"' + word.replace('"', '""') + '"*' for word in words)  # quoted: nothing in it is syntax
    rows = connection.execute(
        """SELECT session, seq, at, type, snippet(search, 0, ?, ?, '…', 12)
            FROM search JOIN events ON seq = search.rowid
            WHERE search MATCH ? ORDER BY search.rowid DESC LIMIT ?""",
        (OPEN, CLOSE, query, limit),
    )
    return [Hit(session, seq, at, _SOURCES[tag], snippet) for session, seq, at, tag, snippet in rows]


def _catch_up(connection: sqlite3.Connection) -> None:
    """Index what was appended since the last search."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'search'").fetchone():
        connection.execute("CREATE VIRTUAL TABLE IF NOT EXISTS search USING fts5 (text)")
    indexed = _last_indexed(connection)
    while connection.execute(f"SELECT 1 FROM events WHERE seq > ? AND {_WITH_TEXT} LIMIT 1", (indexed,)).fetchone():
        connection.execute("BEGIN IMMEDIATE")
        try:
            indexed = _index_chunk(connection, max(indexed, _last_indexed(connection)))
        except BaseException:
            connection.rollback()
            raise
        connection.commit()


def _index_chunk(connection: sqlite3.Connection, indexed: int) -> int:
    """Index the next events after `indexed`; return the last one's number."""
    rows = connection.execute(
        f"SELECT seq, CAST(data AS BLOB) FROM events WHERE seq > ? AND {_WITH_TEXT} ORDER BY seq LIMIT ?",
        (indexed, _CHUNK),
    ).fetchall()
    # a row for each, be it empty: the highest row number is where the next search goes on
    connection.executemany(
        "INSERT INTO search (rowid, text) VALUES (?, ?)", [(seq, _text_of_row(data)) for seq, data in rows]
    )
    return rows[-1][0] if rows else indexed


def _last_indexed(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT rowid FROM search ORDER BY rowid DESC LIMIT 1").fetchone()
    return row[0] if row else 0


def _text_of_row(data: bytes) -> str:
    with suppress(*UNREADABLE):
        return readable(_text(decode(data)))
    return ""


def _text(event: Event) -> str:
    match event:
        case TurnStarted():
            return plain_text(event.prompt)
        case MessageReceived() | CallFinished():
            return plain_text(event.content)
        case CallStarted():
            return "\n".join((event.tool, *_strings(event.arguments)))
        case SessionChanged():
            return event.title or ""
    return ""


def _strings(value: Any) -> Iterator[str]:
    """Yield the texts and numbers in a call's arguments."""
    if isinstance(value, dict):
        for key in value:
            yield from _strings(value[key])
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, str | int | float):
        yield str(value)


def _snippet(text: str, start: int, end: int) -> str:
    before = text[max(0, start - _AROUND) : start]
    after = text[end : end + _AROUND]
    ellipsis_before = "…" if start > _AROUND else ""
    ellipsis_after = "…" if end + _AROUND < len(text) else ""
    return f"{ellipsis_before}{before}{OPEN}{text[start:end]}{CLOSE}{after}{ellipsis_after}"
