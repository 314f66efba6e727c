"""Ctrl-C ends a turn, wherever it is, at once; the history stays whole."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support import Deskhand, RunningRehearsal, ScriptSource

Rehearse = Callable[[ScriptSource], RunningRehearsal]

SLEEP = {"tool": "bash", "arguments": {"command": "touch began; trap '' TERM INT; sleep 600; sleep 601"}}


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("step", "state"),
    [
        ({"say": "x", "fault": {"hang": True}}, "waiting for the first byte"),
        ({"say": "a long story " * 200, "fault": {"token_delay": 0.2}}, "in mid-stream"),
        ({"say": "x", "call": SLEEP}, "in a call"),
        ({"say": "x", "fault": {"status": 429, "retry_after": 60}}, "between two tries"),
    ],
)
def test_stop_ends_the_turn_in_every_state(
    rehearsal: Rehearse,
    deskhand: Deskhand,
    project: Path,
    step: dict[str, Any],
    state: str,
    number: signal.Signals,
) -> None:
    """lessons.md 5, 6. That no process is left is checked by the fixture."""
    model = rehearsal([step, {"say": "On we go."}])
    process = deskhand.start("run", "--output", "json", "begin", endpoint=model.url)
    wait_for(lambda: bool(model.messages))
    if state == "in a call":
        wait_for((project / "began").exists)
    time.sleep(0.3)
    began = time.monotonic()
    os.kill(process.pid, number)
    output, _ = process.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert process.returncode == 130
    assert b'"stop_reason": "cancelled"' in output


def test_the_history_is_whole_after_a_stop(rehearsal: Rehearse, deskhand: Deskhand, project: Path) -> None:
    """lessons.md 5: each open call has its result, and the next prompt goes on with it."""
    other = {"tool": "bash", "arguments": {"command": "echo never"}}
    expect = {"result": ["interrupted by user after", "interrupted by user before it began"], "error": True}
    model = rehearsal([{"say": "x", "call": [SLEEP, other]}, {"expect": expect, "say": "I see."}])
    process = deskhand.start("run", "begin", endpoint=model.url)
    wait_for((project / "began").exists)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    ran = deskhand("run", "--continue", "what happened?", endpoint=model.url)
    assert (ran.code, ran.stdout) == (0, "I see.\n"), ran.stderr


def test_what_was_said_before_the_stop_is_kept(rehearsal: Rehearse, deskhand: Deskhand) -> None:
    story = {"say": "Once upon a time there was " * 50, "fault": {"token_delay": 0.05}}
    model = rehearsal([story, {"say": "The end."}])
    process = deskhand.start("run", "--output", "stream-json", "tell", endpoint=model.url)
    assert process.stdout is not None
    while b"time" not in process.stdout.readline():
        pass
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=20)
    deskhand("run", "--continue", "go on", endpoint=model.url)
    messages = model.messages[-1].body["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[1]["content"][0]["text"].startswith("Once upon a")


def test_an_impatient_second_stop_leaves_no_process_and_no_half_output(
    rehearsal: Rehearse, deskhand: Deskhand, project: Path
) -> None:
    """That the command, which ignores TERM, is gone is checked by the fixture."""
    model = rehearsal([{"say": "x", "call": SLEEP}])
    process = deskhand.start("run", "--output", "json", "begin", endpoint=model.url)
    wait_for((project / "began").exists)
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert json.loads(output)["calls"][0]["outcome"] == "interrupted"


def test_a_reader_that_does_not_read_cannot_hold_a_stop_up(
    rehearsal: Rehearse, deskhand: Deskhand, project: Path
) -> None:
    """As `deskhand run … | less`: the pipe is full, and the turn waits for it."""
    talk = {"say": "word " * 100_000, "call": SLEEP}
    process = deskhand.start("run", "--output", "stream-json", "begin", endpoint=rehearsal([talk]).url)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130


def test_a_stop_before_there_is_a_turn_is_silent(rehearsal: Rehearse, deskhand: Deskhand) -> None:
    process = deskhand.start("run", "-", stdin=True, endpoint=rehearsal([{"say": "x"}]).url)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20) == (b"", b"")
    assert process.returncode == 130


def test_a_signal_that_our_parent_ignores_stops_nothing(rehearsal: Rehearse, deskhand: Deskhand, project: Path) -> None:
    """nohup(1), and the background jobs of a shell script."""
    model = rehearsal([{"say": "Done.", "fault": {"first_byte_delay": 1}}])
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = deskhand.start("run", "begin", endpoint=model.url)
    finally:
        signal.signal(signal.SIGHUP, earlier)
    wait_for(lambda: bool(model.messages))
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=20) == (b"Done.\n", b"")
