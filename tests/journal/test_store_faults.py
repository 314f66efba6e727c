"""What fails is told in one sentence, costs no more than it must, and passes when its cause has passed."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from deskhand.journal.database import VERSIONS, connect, explain
from deskhand.journal.events import SCHEMA_VERSION, SessionCreated
from deskhand.journal.export import json_lines
from deskhand.journal.sessions import summaries
from deskhand.journal.store import Damaged, Journal, JournalError
from journal_support import answer, created, ended, execute, finished, prompt, record

UNWRITABLE = SessionCreated("/project/\udcff", "auto", "2026-11-22")
"""A folder whose name is no text: the one event that the journal itself cannot take."""

FILL_AND_GO_ON = textwrap.dedent("""
    import asyncio, resource, sys
    from pathlib import Path
    from deskhand.journal.blocks import Text
    from deskhand.journal.events import MessageReceived
    from deskhand.journal.store import Journal, JournalError

    folder, how = Path(sys.argv[1]), sys.argv[2]
    ballast = folder / "ballast"

    def message(length):
        return MessageReceived(1, "m", (Text("x" * length),), "end_turn")

    def take_the_room_away():
        if how == "limit":
            size = (folder / "journal.db-wal").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20_000, resource.RLIM_INFINITY))
            return
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                file.truncate(file.tell() - 20_000)

    def give_it_back():
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        ballast.unlink(missing_ok=True)

    async def main():
        journal = Journal.open(folder / "journal.db")
        acknowledged = [await journal.append("s", message(10)) for _ in range(20)]
        acknowledged += [await journal.append("other", message(10))]
        take_the_room_away()
        try:
            while True:
                acknowledged.append(await journal.append("s", message(3000)))
        except JournalError as error:
            print(error)
        give_it_back()
        acknowledged.append(await journal.append("other", message(1)))
        try:
            await journal.append("s", message(2))
            sys.exit("an event landed without the one before it")
        except JournalError as error:
            print(error)
        try:
            await journal.flush("s")
            sys.exit("the failure was not told")
        except JournalError as error:
            print(error)
        acknowledged.append(await journal.append("s", message(3)))
        await journal.close()

        journal = Journal.open(folder / "journal.db")
        found = sorted(journal.entries("s") + journal.entries("other"), key=lambda entry: entry.seq)
        assert found == acknowledged, "exactly what was acknowledged is there"

    asyncio.run(main())
""")


def test_a_write_that_the_disk_refuses_fails_alone_and_tells_why(tmp_path: Path) -> None:
    """lessons.md 19: nothing acknowledged is lost, and the session can go on."""
    ran = _run([sys.executable, "-c", FILL_AND_GO_ON, str(tmp_path), "limit"])
    assert ran.returncode == 0, ran.stderr
    first, second, third = ran.stdout.splitlines()
    assert first == second == third
    assert first.startswith(f"The disk failed under the journal {tmp_path / 'journal.db'}")


def test_a_full_disk_is_named_and_the_session_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """lessons.md 19, on a file system of 1 MB."""
    script = [sys.executable, "-c", FILL_AND_GO_ON, str(tmp_path), "fill"]
    ran = _run(_on_a_disk_of_its_own(tmp_path, script))
    assert ran.returncode == 0, ran.stderr
    (told,) = set(ran.stdout.splitlines())
    path = tmp_path / "journal.db"
    assert told == f"The disk is full, so the journal {path} cannot take what happens: free some space and go on."


def test_a_read_only_folder_gets_a_sentence(tmp_path: Path) -> None:
    open_it = "import sys; from pathlib import Path; from deskhand.journal.store import *\n" + textwrap.dedent("""
        try:
            Journal.open(Path(sys.argv[1]) / "journal.db")
        except JournalError as error:
            print(error)
    """)
    script = [sys.executable, "-c", open_it, str(tmp_path)]
    ran = _run(_on_a_disk_of_its_own(tmp_path, script, "ro"))
    assert ran.returncode == 0, ran.stderr
    assert "cannot be opened: Read-only file system" in ran.stdout


def test_one_sessions_unwritable_event_does_not_fail_anothers(journal: Journal) -> None:
    """lessons.md 8: one session's error poisoned the others."""

    async def append() -> None:
        bad = journal.append("bad", UNWRITABLE)
        good = journal.append("good", created())  # in the same transaction, as like as not
        await good
        with pytest.raises(JournalError, match="cannot take or give this"):
            await bad

    asyncio.run(append())
    assert len(journal.entries("good")) == 1
    assert journal.entries("bad") == []


def test_after_a_failure_nothing_lands_until_it_was_heard(journal: Journal) -> None:
    """A message that failed, and that nobody awaited, must not be followed by the start of its call."""

    async def append() -> None:
        await journal.append("s", prompt("go"))
        journal.append("s", UNWRITABLE)
        await asyncio.sleep(0.1)
        for _ in range(2):
            with pytest.raises(JournalError):
                await journal.append("s", finished("too late"))
        with pytest.raises(JournalError):
            await journal.flush("s")
        await journal.flush("s")
        await journal.append("s", ended())

    asyncio.run(append())
    assert [entry.event for entry in journal.entries("s")] == [prompt("go"), ended()]


def test_a_failure_that_nobody_awaits_makes_no_noise(journal: Journal) -> None:
    noise: list[dict[str, Any]] = []

    async def append() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: noise.append(context))
        journal.append("s", UNWRITABLE)
        with pytest.raises(JournalError):
            await journal.flush("s")

    asyncio.run(append())
    assert noise == []


def test_an_append_waits_for_another_process_to_finish_its_write(path: Path, journal: Journal) -> None:
    other = connect(path)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.5, other.rollback)
    release.start()
    assert len(record(journal, "s", created())) == 1
    release.join()
    other.close()


def test_a_lock_that_is_never_given_up_is_named(path: Path, journal: Journal) -> None:
    holder = connect(path)
    holder.execute("BEGIN IMMEDIATE")
    impatient = sqlite3.connect(path, timeout=0, isolation_level=None)
    with pytest.raises(sqlite3.OperationalError) as locked:
        impatient.execute("BEGIN IMMEDIATE")
    assert "is held by another process" in str(explain(path, locked.value))
    holder.close()
    impatient.close()


def test_the_journal_of_a_newer_deskhand_is_left_alone(path: Path) -> None:
    Journal.open(path).close_now()
    execute(path, f"PRAGMA user_version = {len(VERSIONS) + 1}")
    before = path.read_bytes()
    with pytest.raises(JournalError, match="written by a newer Deskhand: update this one"):
        Journal.open(path)
    assert path.read_bytes() == before


def test_a_newer_deskhand_that_comes_while_the_journal_is_open_is_noticed(path: Path, journal: Journal) -> None:
    record(journal, "s", created())
    execute(path, f"PRAGMA user_version = {len(VERSIONS) + 1}")
    execute(path, """INSERT INTO events VALUES (9, 's', 1.0, 'dream.had', '{"type":"dream.had"}')""")
    with pytest.raises(JournalError, match="written by a newer Deskhand"):
        journal.entries("s")


def test_a_file_that_is_no_journal_is_left_alone(path: Path) -> None:
    path.write_bytes(b"my shopping list " * 1000)
    with pytest.raises(JournalError, match="is not a journal of Deskhand: move it away"):
        Journal.open(path)
    assert path.read_bytes() == b"my shopping list " * 1000


def test_another_programs_database_is_left_alone(path: Path) -> None:
    execute(path, "CREATE TABLE bookmarks (url)")
    with pytest.raises(JournalError, match="is not a journal of Deskhand"):
        Journal.open(path)
    assert execute(path, "SELECT name FROM sqlite_master") == [("bookmarks",)]
    execute(path, "PRAGMA user_version = 1")
    with pytest.raises(JournalError, match="is not a journal of Deskhand"):
        Journal.open(path)


def test_a_path_that_can_hold_no_file_gets_a_sentence(path: Path) -> None:
    with pytest.raises(JournalError, match="cannot be opened: No such file or directory"):
        Journal.open(path / "journal.db")
    path.mkdir()
    with pytest.raises(JournalError, match="see that it is a file"):
        Journal.open(path)


@pytest.mark.parametrize("damage", [b"\xff\xfe not text", b'{"type":"turn.started","tu', b"", b"[" * 100_000])
def test_a_damaged_event_costs_itself_alone_and_is_named(
    path: Path, journal: Journal, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    """lessons.md 19: one torn line, and the whole session was refused, or the line dropped without a word."""
    kept = record(journal, "s", created(), prompt("hello"))
    torn = record(journal, "s", answer("torn"))[0]
    kept += record(journal, "s", ended())
    execute(path, "UPDATE events SET data = CAST(? AS TEXT) WHERE seq = ?", (damage, torn.seq))

    with caplog.at_level(logging.WARNING):
        assert journal.entries("s") == kept
        assert journal.entries("s") == kept
    (told,) = [line.getMessage() for line in caplog.records]
    assert told.startswith(f"Event {torn.seq} of session s is damaged and was left out; `deskhand sessions export s`")

    damaged = [row for row in journal.rows("s") if isinstance(row, Damaged)]
    assert [(row.seq, row.data) for row in damaged] == [(torn.seq, damage)]
    assert [summary.title for summary in summaries(journal)] == ["hello"]


def test_a_damaged_stretch_of_the_file_costs_what_stood_there(path: Path) -> None:
    """lessons.md 19: the rest of that session opens, the other sessions are whole, and all go on."""
    journal = Journal.open(path)
    broken = record(journal, "broken", *[finished(f"broken {'x' * 3000}") for _ in range(20)])
    healthy = record(journal, "healthy", created(), prompt("hello"))
    journal.close_now()
    _overwrite_page_with(path, b"broken xxx")

    journal = Journal.open(path)
    assert len(list(journal.rows("broken"))) == 20
    left = journal.entries("broken")
    assert 0 < len(left) < 20
    assert [entry for entry in broken if entry in left] == left
    assert len([line for line in json_lines(journal, "broken") if line.startswith('{"damaged":')]) == 20 - len(left)
    assert journal.entries("healthy") == healthy
    healthy += record(journal, "healthy", ended())
    assert journal.entries("healthy") == healthy
    journal.close_now()


def test_the_schema_has_one_version() -> None:
    """A new kind of event, or field, is a new version of the file, which an older Deskhand refuses."""
    assert len(VERSIONS) == SCHEMA_VERSION


def _overwrite_page_with(path: Path, text: bytes, page_size: int = 4096) -> None:
    """Overwrite a page in the middle of those that hold `text`."""
    data = bytearray(path.read_bytes())
    pages = [start for start in range(0, len(data), page_size) if text in data[start : start + page_size]]
    start = pages[len(pages) // 2]
    data[start : start + page_size] = b"\xaa" * page_size
    path.write_bytes(data)


def _on_a_disk_of_its_own(folder: Path, command: list[str], options: str = "size=1m") -> list[str]:
    """Return `command` so that it finds a small file system at `folder`, which nobody else sees."""
    mount = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mounted = f"mount -t tmpfs -o {options} none {folder}"
    if shutil.which("unshare") is None or _run([*mount, mounted]).returncode != 0:
        pytest.skip("this system lets us mount nothing")
    return [*mount, f'{mounted} && exec "$@"', "sh", *command]


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
