"""`kill -9` at any instant: what was acknowledged is there, open calls are marked, and the next prompt works."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deskhand.journal.events import CallFinished, CallStarted, TurnEnded, TurnStarted
from deskhand.journal.sessions import latest_session
from deskhand.journal.store import Journal
from deskhand.process_table import read_row
from support import Deskhand, RunningRehearsal, ScriptSource

Rehearse = Callable[[ScriptSource], RunningRehearsal]

COUNT = {"tool": "bash", "arguments": {"command": "echo line >> count.txt; wc -l < count.txt"}}
UNKNOWN = "may or may not have taken effect"


def runs(pid: int) -> bool:
    """Tell whether the process is there, and is no zombie."""
    row = read_row(pid)
    return row is not None and not row.zombie


def check_journal(home: Path) -> None:
    """Assert that each turn has one end, and each call that started has one result."""
    journal = Journal.open(home / "journal.db")
    try:
        session = latest_session(journal)
        assert session is not None
        events = [entry.event for entry in journal.entries(session)]
    finally:
        journal.close_now()
    started = [event.turn for event in events if isinstance(event, TurnStarted)]
    ended = [event.turn for event in events if isinstance(event, TurnEnded)]
    assert started == ended == list(range(1, len(started) + 1))
    calls = [event.call for event in events if isinstance(event, CallStarted)]
    finished = [event.call for event in events if isinstance(event, CallFinished)]
    assert len(set(finished)) == len(finished)
    assert set(calls) <= set(finished)


@pytest.mark.parametrize("seed", range(12))
def test_after_kill_9_at_a_random_instant_the_session_goes_on(
    rehearsal: Rehearse, deskhand: Deskhand, home: Path, project: Path, seed: int
) -> None:
    """lessons.md 7, 19. The rehearsal refuses any request in which a call has no result, or two."""
    chance = random.Random(seed)
    model = rehearsal({"script": {"loop": True}, "step": [{"say": "Again.", "call": [COUNT, COUNT]}]})
    process = deskhand.start("run", "count", endpoint=model.url)
    time.sleep(chance.uniform(0.1, 1.2))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    asked = len(model.messages)
    ran = deskhand("run", "--continue", "--max-turns", "2", "go on", endpoint=model.url)
    if asked == 0 and "no session to continue" in ran.stderr:
        return  # it was killed before its prompt was accepted
    assert ran.code == 3, ran.stderr
    check_journal(home)
    if asked:
        first = model.messages[asked].body["messages"]
        assert first[0]["content"][0]["text"] == "count", "the prompt is on disk before the first request"
    executed = len((project / "count.txt").read_text().splitlines())
    results = str(model.messages[-1].body).count("tool_result")
    assert executed >= results - 4


def test_a_call_that_died_with_the_agent_is_marked_and_its_processes_are_swept(
    rehearsal: Rehearse, deskhand: Deskhand, home: Path, project: Path
) -> None:
    """lessons.md 15. That nothing is left of the killed agent's children is checked by the fixture as well."""
    sleep = {"tool": "bash", "arguments": {"command": "setsid sleep 620 & echo $$ > pid; sleep 621"}}
    expect = {"result": UNKNOWN, "error": True}
    model = rehearsal([{"call": sleep}, {"expect": expect, "say": "I see."}])
    process = deskhand.start("run", "begin", endpoint=model.url)
    deadline = time.monotonic() + 20
    while not (project / "pid").exists() or not (project / "pid").read_text().strip():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    shell = int((project / "pid").read_text())
    assert runs(shell)
    ran = deskhand("run", "--continue", "what happened?", endpoint=model.url)
    assert (ran.code, ran.stdout) == (0, "I see.\n"), ran.stderr
    assert not runs(shell)
    check_journal(home)


def test_two_processes_cannot_advance_one_session(rehearsal: Rehearse, deskhand: Deskhand) -> None:
    model = rehearsal([{"say": "x", "fault": {"hang": True}}])
    process = deskhand.start("run", "begin", endpoint=model.url)
    while not model.messages:
        time.sleep(0.02)
    ran = deskhand("run", "--continue", "me too", endpoint=model.url)
    assert ran.code == 1
    assert "another process" in ran.stderr
    os.kill(process.pid, signal.SIGKILL)


def test_a_full_disk_stops_the_turn_with_a_sentence_and_loses_nothing(
    rehearsal: Rehearse, deskhand: Deskhand, home: Path, project: Path
) -> None:
    """lessons.md 19. The limit on file sizes stands in for the disk: the journal cannot grow any more."""
    steps: list[Any] = [{"call": {"tool": "bash", "arguments": {"command": f"seq {n} 9000"}}} for n in range(200)]
    model = rehearsal([*steps, {"say": "ok"}])
    assert deskhand("run", "--max-turns", "1", "warm up", endpoint=model.url).code == 3
    import resource
    import subprocess
    import sys

    size = 600_000
    limited = subprocess.run(
        [sys.executable, "-m", "deskhand", "run", "--continue", "fill the disk"],
        env={**deskhand.environment, "ANTHROPIC_BASE_URL": model.url},
        cwd=project,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )
    assert limited.returncode == 1
    assert "Traceback" not in limited.stderr
    assert "journal" in limited.stderr
    ran = deskhand("run", "--continue", "--max-turns", "1", "there is room again", endpoint=model.url)
    assert ran.code == 3, ran.stderr
    check_journal(home)
    prompts = msgspec.json.encode(model.messages[-1].body)
    assert b"fill the disk" in prompts
