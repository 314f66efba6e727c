"""What is appended is there: in order, once, for whoever reads."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deskhand.journal.events import Event
from deskhand.journal.store import Journal, JournalError
from event_strategies import events
from journal_support import answer, created, ended, execute, image_result, prompt, record


def test_events_come_back_in_the_order_of_their_appending(journal: Journal) -> None:
    appended = record(journal, "s", created(), prompt("hello"), answer("hi"), ended())
    assert journal.entries("s") == appended
    assert [entry.seq for entry in appended] == sorted({entry.seq for entry in appended})
    assert journal.entries("s", after=appended[1].seq) == appended[2:]
    assert journal.entries("another") == []


def test_sessions_do_not_mix(journal: Journal) -> None:
    """lessons.md 47: text of chat A in chat B."""
    first = record(journal, "a", created("/a"))
    second = record(journal, "b", created("/b"))
    assert (journal.entries("a"), journal.entries("b")) == (first, second)


@settings(deadline=None, max_examples=50)
@given(st.lists(events, max_size=4))
def test_any_event_survives_the_journal(tmp_path_factory: pytest.TempPathFactory, appended: list[Event]) -> None:
    journal = Journal.open(tmp_path_factory.mktemp("journal") / "journal.db")
    record(journal, "s", *appended)
    assert [entry.event for entry in journal.entries("s")] == appended
    journal.close_now()


def test_to_wait_for_the_last_append_is_to_wait_for_all(journal: Journal) -> None:
    async def append() -> None:
        for number in range(200):
            last = journal.append("s", answer(str(number)))
        await last
        assert [entry.event for entry in journal.entries("s")] == [answer(str(number)) for number in range(200)]

    asyncio.run(append())


def test_flush_waits_for_what_nobody_awaited(journal: Journal) -> None:
    async def append() -> int:
        for number in range(50):
            journal.append("s", answer(str(number)))
        await journal.flush("s")
        return len(journal.entries("s"))

    assert asyncio.run(append()) == 50


def test_close_writes_what_is_queued(path: Path) -> None:
    async def append_and_close() -> None:
        journal = Journal.open(path)
        for number in range(50):
            journal.append("s", answer(str(number)))
        await journal.close()

    asyncio.run(append_and_close())
    journal = Journal.open(path)
    assert len(journal.entries("s")) == 50
    journal.close_now()


def test_who_comes_after_the_close_is_told(journal: Journal) -> None:
    async def append() -> None:
        await journal.close()
        with pytest.raises(JournalError, match="is closed"):
            await journal.append("s", created())
        with pytest.raises(JournalError, match="is closed"):
            await journal.flush("s")

    asyncio.run(append())


def test_a_cancelled_wait_does_not_take_the_event_back(journal: Journal) -> None:
    """lessons.md 5: what was recorded stays, whoever stopped waiting for it."""

    async def wait(appended: asyncio.Future[Any]) -> None:
        await appended

    async def append() -> None:
        waiting = asyncio.create_task(wait(journal.append("s", prompt("stop me"))))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await journal.append("s", ended())

    asyncio.run(append())
    assert [entry.event for entry in journal.entries("s")] == [prompt("stop me"), ended()]


def test_a_blob_is_kept_once_and_comes_back(path: Path, journal: Journal) -> None:
    image = ("image/png", b"\x89PNG" * 100)

    async def append() -> None:
        await journal.append("a", image_result("d1"), {"d1": image})
        await journal.append("a", image_result("d1"), {"d1": image})
        await journal.append("b", image_result("d1"), {"d1": image})

    asyncio.run(append())
    assert journal.blob("d1") == image
    assert execute(path, "SELECT count(*) FROM blobs") == [(1,)]
    with pytest.raises(JournalError, match="has no blob d2"):
        journal.blob("d2")


def test_only_the_user_can_read_the_file(path: Path, journal: Journal) -> None:
    record(journal, "s", created())
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_a_program_that_never_appends_starts_no_thread_and_changes_nothing(path: Path) -> None:
    Journal.open(path).close_now()
    before = path.read_bytes()
    journal = Journal.open(path)
    assert journal.entries("s") == []
    journal.close_now()
    assert path.read_bytes() == before


APPEND_MANY = textwrap.dedent("""
    import asyncio, sys
    from pathlib import Path
    from deskhand.journal.blocks import Text
    from deskhand.journal.events import MessageReceived
    from deskhand.journal.store import Journal

    async def main():
        journal = Journal.open(Path(sys.argv[1]))
        for number in range(int(sys.argv[3])):
            await journal.append(sys.argv[2], MessageReceived(1, "m", (Text(str(number)),), "end_turn"))
        await journal.close()

    asyncio.run(main())
""")


def test_processes_share_a_journal_from_its_making_on(path: Path) -> None:
    """All find no file, all make it, all write at the same time: nobody is told that it is locked."""
    processes = [
        subprocess.Popen([sys.executable, "-c", APPEND_MANY, str(path), f"s{number}", "100"], stderr=subprocess.PIPE)
        for number in range(4)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
    journal = Journal.open(path)
    for number in range(4):
        assert [entry.event for entry in journal.entries(f"s{number}")] == [answer(str(count)) for count in range(100)]
    journal.close_now()
