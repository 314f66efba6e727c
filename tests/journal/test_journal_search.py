"""Search finds words wherever they were said, takes any query, and needs no index to find."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deskhand.journal.blocks import Text
from deskhand.journal.events import CallFinished, CallStarted, SessionChanged
from deskhand.journal.search import CLOSE, OPEN, read_through, search
from deskhand.journal.store import Journal
from journal_support import answer, created, ended, prompt, record, started


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    """A journal with a word or two of every kind."""
    journal = Journal.open(tmp_path_factory.mktemp("searched") / "journal.db")
    record(
        journal,
        "first",
        created("/project/invisible"),
        prompt("Please mend the date parser, naïve as it is."),
        answer("I shall look at parse_date first.", thinking="secretly"),
        started("pytest tests/test_dates.py -q"),
        CallStarted(
            1, "c2", "edit", {"path": "/project/dates.py", "changes": [{"old": "strptime", "lines": 42}]}, "write"
        ),
        CallFinished(1, "c1", "bash", "error", (Text("\x1b[31mE   ValueError: 日本 is not a date\x1b[0m"),)),
        SessionChanged(title="Calendars"),
        ended(),
    )
    record(journal, "second", prompt("Another date, another parser."), answer("a != b"))
    yield journal
    journal.close_now()


@pytest.mark.parametrize(
    ("query", "source"),
    [
        ("mend", "prompt"),
        ("naive", "prompt"),
        ("parse_date", "answer"),
        ("test_dates.py", "call"),
        ("strptime 42", "call"),
        ("edit", "call"),
        ("ValueError", "result"),
        ("日本", "result"),
        ("calendars", "title"),
    ],
)
def test_a_word_is_found_where_it_was_said(searched: Journal, query: str, source: str) -> None:
    (hit,) = search(searched, query)
    assert (hit.session, hit.source) == ("first", source)
    assert OPEN in hit.snippet
    assert CLOSE in hit.snippet
    assert "\x1b" not in hit.snippet


def test_all_words_must_occur_and_each_may_be_a_beginning(searched: Journal) -> None:
    assert [hit.session for hit in search(searched, "DATE pars")] == ["second", "first", "first"]
    assert [hit.session for hit in search(searched, "date pars", limit=1)] == ["second"]
    assert search(searched, "date parser calendars") == []
    assert search(searched, "") == []


def test_reasoning_and_folders_are_not_searched(searched: Journal) -> None:
    assert search(searched, "secretly") == []
    assert search(searched, "invisible") == []


def test_a_query_without_letters_is_looked_for_as_it_is(searched: Journal) -> None:
    (hit,) = search(searched, "!=")
    assert hit.snippet == f"a {OPEN}!={CLOSE} b"


def test_without_an_index_the_same_is_found(searched: Journal) -> None:
    """Where SQLite has no FTS5."""
    for query in ("mend", "strptime 42", "ValueError", "calendars", "DATE pars"):
        indexed = [hit.seq for hit in search(searched, query)]
        assert [hit.seq for hit in read_through(searched, query.split(), 20)] == indexed


def test_a_journal_that_takes_no_writes_is_searched_all_the_same(path: Path, journal: Journal) -> None:
    record(journal, "s", prompt("find me"))
    journal.connection.execute("PRAGMA query_only = ON")
    assert [hit.session for hit in search(journal, "find")] == ["s"]


def test_what_was_said_since_the_last_search_is_found(journal: Journal) -> None:
    record(journal, "s", created(), prompt("one"))
    assert len(search(journal, "one")) == 1
    record(journal, "s", answer("one more"), ended())
    assert len(search(journal, "one")) == 2
    assert len(search(journal, "one")) == 2, "and is found once"


def test_the_index_catches_up_over_many_events(journal: Journal) -> None:
    record(journal, "s", *[answer(f"number n{number}") for number in range(1200)])
    assert len(search(journal, "number", limit=2000)) == 1200
    assert len(search(journal, "n1199")) == 1


@settings(deadline=None, max_examples=100)
@given(
    st.one_of(
        st.text(max_size=40),
        st.text(st.characters(), max_size=10),
        st.text(st.sampled_from("\"'*^:(){}+-ANDORNOTNEAR date\0\udcff%_"), max_size=60),
        st.just("x " * 1000),
    )
)
def test_no_query_is_an_error(searched: Journal, query: str) -> None:
    """What the user types is data, never syntax."""
    search(searched, query)
    search(searched, f'date "{query}')
    read_through(searched, query.split(), 5)


def test_no_operator_is_obeyed(searched: Journal) -> None:
    assert search(searched, "mend NOT date") == []
    assert search(searched, "mend OR calendars") == []
