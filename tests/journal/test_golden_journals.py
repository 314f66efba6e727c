"""A journal of any earlier version opens, whole (lessons.md 20): one golden file for each, never to be changed.

When the version rises, write the new one's file with every kind of event: put them into a journal, and keep
`sqlite3 journal.db .dump` with its two PRAGMA lines at the top.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest

from deskhand.journal.blocks import Image, Text
from deskhand.journal.events import SCHEMA_VERSION, CallFinished, Entry, Event, MessageReceived
from deskhand.journal.export import blobs_of
from deskhand.journal.search import search
from deskhand.journal.sessions import latest_session, summary
from deskhand.journal.store import Journal
from journal_support import ended, execute, record

GOLDEN = Path(__file__).parent / "golden"
SESSION = "20261122-101500-0a1b2c"
SCHEMA = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name"


def restore(version: int, path: Path) -> None:
    """Make the golden journal at `path`."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((GOLDEN / f"v{version}.sql").read_text(encoding="utf-8"))


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_a_journal_of_an_earlier_version_opens_whole(version: int, path: Path) -> None:
    restore(version, path)
    [(events,)] = execute(path, "SELECT count(*) FROM events WHERE session = ?", (SESSION,))
    journal = Journal.open(path)
    rows = list(journal.rows(SESSION))
    assert len(rows) == events
    for row in rows:
        assert isinstance(row, Entry), f"event {row.seq} cannot be read any more: {row}"
        for digest in blobs_of(row.event):
            assert journal.blob(digest)[1]
    about = summary(journal, SESSION)
    assert (about.title, about.cwd, about.model) == ("Halves — naïve", "/home/ada/moved halves", "large-1")
    assert latest_session(journal, "/home/ada/moved halves") == SESSION
    assert {hit.source for hit in search(journal, "half")} == {"prompt", "call"}
    assert record(journal, SESSION, ended(2))[0].seq > rows[-1].seq
    journal.close_now()
    assert execute(path, "PRAGMA journal_mode") == [("wal",)]


def test_what_the_first_version_wrote_still_means_the_same(path: Path) -> None:
    restore(1, path)
    journal = Journal.open(path)
    events = [entry.event for entry in journal.entries(SESSION)]
    journal.close_now()
    message = events[4]
    assert isinstance(message, MessageReceived)
    assert message.content[2] == Text("I see it.")
    assert message.usage.total == 2430
    finished = events[11]
    assert isinstance(finished, CallFinished)
    assert (finished.outcome, finished.seconds, finished.outside) == ("expired", 300.5, True)
    assert finished.content[0] == Text("1 passed\0 \x1b[32m日本")
    assert isinstance(finished.content[1], Image)


def test_the_newest_golden_journal_holds_every_kind_of_event(path: Path) -> None:
    restore(SCHEMA_VERSION, path)
    kinds = {kind for (kind,) in execute(path, "SELECT DISTINCT type FROM events")}
    assert kinds == {event.__struct_config__.tag for event in get_args(Event)}


def test_the_newest_golden_journal_has_the_form_of_a_new_one(path: Path, tmp_path: Path) -> None:
    """A form that changed without a new version would leave users with two of them."""
    restore(SCHEMA_VERSION, path)
    new = tmp_path / "new.db"
    Journal.open(new).close_now()
    assert execute(path, SCHEMA) == execute(new, SCHEMA)
