"""Sessions are found by id and by folder, listed newest first, and deleted without a trace."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from deskhand.journal.events import SessionChanged, TurnEnded
from deskhand.journal.search import search
from deskhand.journal.sessions import (
    UnknownSessionError,
    delete_session,
    find_session,
    latest_session,
    new_session_id,
    summaries,
)
from deskhand.journal.store import Journal
from journal_support import answer, created, ended, execute, finished, image_result, prompt, record


def test_ids_sort_by_time_and_do_not_repeat() -> None:
    ids = [new_session_id(now) for now in (1e9, 1e9, 1e9 + 1)]
    assert all(re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", session) for session in ids)
    assert max(ids) == ids[2]
    assert len(set(ids)) == 3


def test_a_summary_says_what_the_session_is_about_and_where_it_stands(journal: Journal) -> None:
    record(
        journal, "s", created("/old"), prompt("\n  Fix the date parser  \nplease", model="m1"), answer("ok"), ended()
    )
    record(journal, "s", SessionChanged(cwd="/new"), prompt("And now?", turn=2, model="m2"))
    (summary,) = summaries(journal)
    assert (summary.id, summary.cwd, summary.title) == ("s", "/new", "Fix the date parser")
    assert (summary.turns, summary.model, summary.state) == (2, "m2", "open")
    assert 0 < summary.created <= summary.updated

    record(journal, "s", TurnEnded(2, "cancelled"), SessionChanged(title="Dates"))
    (summary,) = summaries(journal)
    assert (summary.title, summary.state) == ("Dates", "cancelled")


def test_a_session_without_a_turn_is_listed_too(journal: Journal) -> None:
    record(journal, "s", created())
    (summary,) = summaries(journal)
    assert (summary.title, summary.turns, summary.model, summary.state) == ("", 0, None, "new")


def test_the_session_used_last_comes_first(journal: Journal) -> None:
    for session in ("a", "b", "c"):
        record(journal, session, created(), prompt("hello"), ended())
    record(journal, "a", prompt("again", turn=2))
    assert [summary.id for summary in summaries(journal)] == ["a", "c", "b"]
    assert [summary.id for summary in summaries(journal, 2)] == ["a", "c"]


def test_a_list_does_not_read_through_all_events(path: Path, journal: Journal) -> None:
    """A session of 10,000 calls is listed as fast as one of ten."""
    plan = execute(
        path,
        "EXPLAIN QUERY PLAN SELECT session FROM events WHERE "
        "type IN ('session.created', 'session.changed', 'turn.started', 'turn.ended') "
        "GROUP BY session ORDER BY max(seq) DESC",
    )
    assert any("landmarks" in str(step) for step in plan), plan


def test_a_session_is_found_by_its_id_its_beginning_or_its_end(journal: Journal) -> None:
    for session in ("20261122-100000-aaa111", "20261122-100000-bbb222", "20261123-100000-aaa333"):
        record(journal, session, created())
    assert find_session(journal, "20261122-100000-aaa111") == "20261122-100000-aaa111"
    assert find_session(journal, "bbb222") == "20261122-100000-bbb222"
    assert find_session(journal, "20261123") == "20261123-100000-aaa333"
    with pytest.raises(UnknownSessionError, match=r"may mean any of 20261122-\S+, 20261122-\S+: give more of the id"):
        find_session(journal, "20261122")
    with pytest.raises(UnknownSessionError, match=r"There is no session 'zzz'\. The newest are 20261123-"):
        find_session(journal, "zzz")
    with pytest.raises(UnknownSessionError):
        find_session(journal, "")


def test_an_id_that_begins_another_is_itself(journal: Journal) -> None:
    for session in ("s", "s1"):
        record(journal, session, created())
    assert find_session(journal, "s") == "s"


def test_to_look_for_a_session_where_there_is_none_gets_a_sentence(journal: Journal) -> None:
    with pytest.raises(UnknownSessionError, match="there are none yet"):
        find_session(journal, "s")
    assert latest_session(journal) is None


def test_a_session_is_taken_up_where_its_folder_is_now(journal: Journal) -> None:
    """lessons.md 20: sessions were lost when the folder moved. The key is the id; the folder is an attribute."""
    record(journal, "moved", created("/old"), prompt("hello"), ended())
    record(journal, "other", created("/other"))
    record(journal, "moved", SessionChanged(cwd="/new"))
    assert latest_session(journal, "/new") == "moved"
    assert latest_session(journal, "/old") is None
    assert latest_session(journal, "/other") == "other"
    assert latest_session(journal) == "moved"
    assert find_session(journal, "moved") == "moved"


def test_a_deleted_session_leaves_nothing_behind(path: Path) -> None:
    """Not in the lists, not in the search, not in the bytes of the file."""
    journal = Journal.open(path)
    own, shared = ("image/png", b"OWN-IMAGE" * 50), ("image/png", b"SHARED-IMAGE" * 50)

    async def append() -> None:
        journal.append("gone", created())
        journal.append("gone", prompt("the magicword of mine"))
        journal.append("gone", finished("magicword " * 2000))
        journal.append("gone", image_result("own"), {"own": own})
        await journal.append("gone", image_result("shared"), {"shared": shared})
        await journal.append("kept", image_result("shared"), {"shared": shared})
        await journal.append("kept", prompt("something else"))

    asyncio.run(append())
    assert len(search(journal, "magicword")) == 2

    delete_session(journal, "gone")
    assert [summary.id for summary in summaries(journal)] == ["kept"]
    assert search(journal, "magicword") == []
    assert len(search(journal, "something")) == 1
    assert journal.blob("shared") == shared
    delete_session(journal, "kept")
    assert execute(path, "SELECT count(*) FROM blobs") == [(0,)]
    journal.close_now()
    for file in path.parent.iterdir():
        for trace in (b"magicword", b"OWN-IMAGE", b"SHARED-IMAGE"):
            assert trace not in file.read_bytes()


def test_numbers_of_deleted_events_are_not_used_again(journal: Journal) -> None:
    """A front end that saw number 7 would otherwise miss the new one."""
    last = record(journal, "gone", created(), ended())[-1]
    delete_session(journal, "gone")
    assert record(journal, "new", created())[0].seq > last.seq
