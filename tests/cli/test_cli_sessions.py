"""`deskhand sessions`, as a user types it."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from deskhand.journal.blocks import Text, ToolUse
from deskhand.journal.events import CallFinished, CallStarted, MessageReceived, SessionCreated, TurnEnded, TurnStarted
from deskhand.journal.locks import lock_session
from deskhand.journal.store import Journal
from support import Deskhand

FIRST, SECOND = "20261122-100000-aaa111", "20261122-110000-bbb222"


@pytest.fixture
def sessions(home: Path) -> Path:
    """A home with two sessions; the second one used last."""

    async def fill() -> None:
        home.mkdir(parents=True)
        journal = Journal.open(home / "journal.db")
        for session, word in ((FIRST, "apples"), (SECOND, "pears")):
            call = ToolUse("c1", "bash", {"command": f"grow {word}"})
            journal.append(session, SessionCreated(f"/garden/{word}", "auto", "2026-11-22"))
            prompt = (Text(f"Count the {word}\nby hand"),)
            journal.append(session, TurnStarted(1, prompt, f"/garden/{word}", "auto", "m", "http://x"))
            journal.append(session, MessageReceived(1, "m", (Text("I shall count."), call), "tool_use"))
            journal.append(session, CallStarted(1, "c1", "bash", call.input, "write"))
            lines = "".join(f"\x1b[31m{number} {word}\x1b[0m\n" for number in range(400))
            journal.append(session, CallFinished(1, "c1", "bash", "ok", (Text(lines),), 2.0))
            journal.append(session, TurnEnded(1, "end_turn"))
        await journal.close()

    asyncio.run(fill())
    return home


def test_list_shows_the_session_used_last_first(deskhand: Deskhand, sessions: Path) -> None:
    for arguments in (["sessions"], ["sessions", "list"]):
        ran = deskhand(*arguments)
        assert ran.code == 0
        head, second, first = ran.stdout.splitlines()
        assert head.split() == ["SESSION", "UPDATED", "TURNS", "FOLDER", "TITLE"]
        assert second.split() == [SECOND, "just", "now", "1", "/garden/pears", "Count", "the", "pears"]
        assert first.startswith(FIRST)
    assert len(deskhand("sessions", "-n", "1").stdout.splitlines()) == 2


def test_list_as_json_is_for_programs(deskhand: Deskhand, sessions: Path) -> None:
    listed = json.loads(deskhand("sessions", "list", "--json").stdout)
    assert [session["id"] for session in listed] == [SECOND, FIRST]
    assert (listed[1]["cwd"], listed[1]["turns"], listed[1]["state"]) == ("/garden/apples", 1, "end_turn")


def test_a_table_fits_the_terminal_it_is_shown_on(deskhand: Deskhand, sessions: Path) -> None:
    for columns in (60, 80, 100):
        shown = on_a_terminal(deskhand, ["sessions", "list"], columns=columns, NO_COLOR="1")
        assert "\x1b" not in shown
        assert FIRST in shown
        assert max(map(len, shown.splitlines())) <= columns
        assert "Count" in shown
    assert "\x1b[1m" in on_a_terminal(deskhand, ["sessions", "list"], columns=60)


def test_show_tells_the_latest_session_and_cuts_long_results(deskhand: Deskhand, sessions: Path) -> None:
    ran = deskhand("sessions", "show")
    assert ran.code == 0
    for part in (SECOND, "> Count the pears\nby hand", "I shall count.", 'bash {"command": "grow pears"}  ok 2.0 s'):
        assert part in ran.stdout
    assert "more lines" in ran.stdout
    assert "\x1b" not in ran.stdout, "a result's own colours command no terminal"
    assert "apples" in deskhand("sessions", "show", "aaa111").stdout


def test_search_shows_where_the_words_are(deskhand: Deskhand, sessions: Path) -> None:
    ran = deskhand("sessions", "search", "count", "app")
    assert ran.code == 0
    assert f"{FIRST}  " in ran.stdout
    assert "Count the apples by hand" in ran.stdout
    assert SECOND not in ran.stdout
    assert deskhand("sessions", "search", '"', "OR (").code == 0
    assert deskhand("sessions", "search", "bananas").stdout == "Nothing in any session matches.\n"


def test_export_writes_json_lines_and_markdown(deskhand: Deskhand, sessions: Path, tmp_path: Path) -> None:
    assert [line["event"]["type"] for line in deskhand("sessions", "export", "aaa111").lines] == [
        "session.created",
        "turn.started",
        "message.received",
        "call.started",
        "call.finished",
        "turn.ended",
    ]
    file = tmp_path / "session.md"
    arguments = ("sessions", "export", "aaa111", "--format", "markdown", "-o", file)
    assert deskhand(*arguments).code == 0
    assert file.read_text().startswith("# Count the apples\n")
    assert file.stat().st_mode & 0o077 == 0


def test_export_overwrites_nothing_unasked(deskhand: Deskhand, sessions: Path, tmp_path: Path) -> None:
    file = tmp_path / "notes.md"
    file.write_text("mine")
    ran = deskhand("sessions", "export", "aaa111", "-o", file)
    assert (ran.code, file.read_text()) == (1, "mine")
    assert "exists already" in ran.stderr
    assert deskhand("sessions", "export", "aaa111", "-o", file, "--force").code == 0
    assert file.read_text().startswith("{")
    ran = deskhand("sessions", "export", "aaa111", "-o", tmp_path / "nowhere" / "file")
    assert ran.code == 1
    assert len(ran.stderr.splitlines()) == 1


def test_delete_asks_first(deskhand: Deskhand, sessions: Path) -> None:
    ran = deskhand("sessions", "delete", "aaa111")
    assert ran.code == 1
    assert "add --yes" in ran.stderr
    assert "Delete 20261122-100000-aaa111 (Count the apples)? [y/N]" in on_a_terminal(
        deskhand, ["sessions", "delete", "aaa111"], answer="n\n"
    )
    assert len(json.loads(deskhand("sessions", "--json").stdout)) == 2
    assert "Deleted" in on_a_terminal(deskhand, ["sessions", "delete", "aaa111"], answer="y\n")
    assert len(json.loads(deskhand("sessions", "--json").stdout)) == 1


def test_delete_removes_the_outputs_and_leaves_other_sessions(deskhand: Deskhand, sessions: Path) -> None:
    for session in (FIRST, SECOND):
        (sessions / "outputs" / session).mkdir(parents=True)
        (sessions / "outputs" / session / "c1.txt").write_text("long")
    assert deskhand("sessions", "delete", FIRST, "--yes").stdout == f"Deleted {FIRST}.\n"
    assert [folder.name for folder in (sessions / "outputs").iterdir()] == [SECOND]
    assert [session["id"] for session in json.loads(deskhand("sessions", "--json").stdout)] == [SECOND]


def test_a_session_at_work_is_not_deleted(deskhand: Deskhand, sessions: Path) -> None:
    (sessions / "run").mkdir()
    lock = lock_session(sessions / "run", FIRST)
    assert lock is not None
    ran = deskhand("sessions", "delete", FIRST, "--yes")
    lock.release()
    assert ran.code == 1
    assert "is at work in another process" in ran.stderr
    assert len(json.loads(deskhand("sessions", "--json").stdout)) == 2


def test_an_unknown_session_gets_one_sentence(deskhand: Deskhand, sessions: Path) -> None:
    for command in (["show", "zzz"], ["export", "zzz"], ["delete", "zzz", "--yes"], ["show", "20261122"]):
        ran = deskhand("sessions", *command)
        assert (ran.code, ran.stdout) == (1, "")
        assert len(ran.stderr.splitlines()) == 1
        assert SECOND in ran.stderr, "it names what there is"


def test_wrong_usage_exits_with_2(deskhand: Deskhand, sessions: Path) -> None:
    for arguments in (["nonsense"], ["list", "-n", "0"], ["export"], ["search"], ["list", "--nonsense"]):
        ran = deskhand("sessions", *arguments)
        assert ran.code == 2
        assert "Traceback" not in ran.stderr


def test_a_new_user_is_told_how_to_begin(deskhand: Deskhand, home: Path) -> None:
    ran = deskhand("sessions")
    assert (ran.code, ran.stdout[:16]) == (0, "No sessions yet.")
    assert deskhand("sessions", "--json").stdout == "[]\n"
    assert deskhand("sessions", "show").code == 1
    assert not home.exists(), "to look makes nothing"


def test_a_damaged_journal_gets_one_sentence(deskhand: Deskhand, home: Path) -> None:
    home.mkdir(parents=True)
    (home / "journal.db").write_bytes(b"not a database" * 1000)
    ran = deskhand("sessions")
    assert ran.code == 1
    assert len(ran.stderr.splitlines()) == 1
    assert "is not a journal of Deskhand" in ran.stderr


def test_a_reader_that_has_seen_enough_is_no_error(deskhand: Deskhand, sessions: Path) -> None:
    """`deskhand sessions export … | head -1`."""
    for arguments in (["export", "aaa111"], ["show"], ["list"]):
        process = deskhand.start("sessions", *arguments)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == 0


def test_an_old_locale_gets_question_marks(deskhand: Deskhand, sessions: Path) -> None:
    ran = deskhand("sessions", "show", PYTHONIOENCODING="ascii")
    assert ran.code == 0
    assert "Traceback" not in ran.stderr


def on_a_terminal(
    deskhand: Deskhand, arguments: list[str], columns: int = 100, answer: str = "", **environment: str
) -> str:
    """Run a command on a terminal of its own and return what it showed."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "deskhand", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=deskhand.cwd,
        env={**deskhand.environment, "TERM": "xterm", **environment},
        start_new_session=True,
    ) as process:
        os.close(theirs)
        os.write(ours, answer.encode())
        shown = b""
        try:
            while data := os.read(ours, 4096):
                shown += data
        except OSError:
            pass  # EIO: the last one who had the terminal open is gone
        process.wait(timeout=30)
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")
