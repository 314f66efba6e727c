"""What people see: calls, diffs and plans in words, and nothing that could take the terminal over."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deskhand.agent.live import Live, Restarted, Said
from deskhand.cli.screen import ScreenOutput
from deskhand.cli.terminal import Terminal, safe
from deskhand.journal.blocks import Text, ToolUse
from deskhand.journal.events import (
    CallFinished,
    CallStarted,
    Entry,
    Event,
    Failure,
    FileChange,
    Hunk,
    MessageReceived,
    PlanChanged,
    PlanEntry,
    RequestRetried,
    TurnEnded,
    Usage,
)
from deskhand.tools.built_in import built_in_tools


def shown(*news: Event | Live, width: str = "60", monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    stream = io.StringIO()
    screen = ScreenOutput(Terminal(stream))
    screen.tools = built_in_tools()
    for number, piece in enumerate(news):
        screen.news(piece if isinstance(piece, Said | Restarted) else Entry(number, "s", 0.0, piece))  # type: ignore[arg-type]
    return stream.getvalue()


def test_a_call_is_a_line_with_its_time_and_the_end_of_its_output(monkeypatch: pytest.MonkeyPatch) -> None:
    use = ToolUse("c", "bash", {"command": "pytest -q"})
    text = shown(
        Said(1, "I run the tests."),
        MessageReceived(1, "m", (Text("I run the tests."), use), "tool_use"),
        CallStarted(1, "c", "bash", use.input, "write"),
        CallFinished(1, "c", "bash", "ok", (Text("\n".join(map(str, range(30))) + "\n3 passed"),), seconds=1.234),
        monkeypatch=monkeypatch,
    )
    assert text.splitlines() == [
        "I run the tests.",
        "",
        f"● pytest -q{' ' * 41}1.23 s",
        "  │ … 23 lines",
        *[f"  │ {number}" for number in range(23, 30)],
        "  │ 3 passed",
    ]


def test_an_edit_is_a_diff_with_line_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    hunk = Hunk(10, "a\nb\nc\n", "a\nB\nc\n")
    finished = CallFinished(1, "c", "edit", "ok", (), changes=(FileChange("/f", "x", "y", (hunk,)),))
    lines = shown(finished, monkeypatch=monkeypatch).splitlines()[1:]
    assert lines == ["     10   a", "        - b", "     11 + B", "     12   c"]


def test_a_plan_a_retry_and_a_broken_stream_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(
        Said(1, "half a sen"),
        Restarted(1),
        RequestRetried(1, 1, Failure("dropped", "The connection broke."), 0.5),
        PlanChanged(1, (PlanEntry("look", "completed"), PlanEntry("act", "in_progress"))),
        monkeypatch=monkeypatch,
    )
    assert text.splitlines() == [
        "half a sen",
        "The connection broke. Trying again in 0.5 s (retry 1).",
        "  ● look",
        "  ◐ act",
    ]


def test_each_step_of_a_plan_is_a_line_however_long_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = PlanChanged(1, (PlanEntry("one\ntwo"), PlanEntry("x" * 20_000)))
    assert shown(plan, width="20", monkeypatch=monkeypatch).splitlines() == ["  ○ one two", f"  ○ {'x' * 14}…"]


def test_text_breaks_at_words(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(Said(1, "one two three fo"), Said(1, "ur five"), Restarted(1), width="10", monkeypatch=monkeypatch)
    assert [line.rstrip() for line in text.splitlines()] == ["one two", "three four", "five"]


@given(st.text())
def test_no_text_can_command_the_terminal(text: str) -> None:
    clean = safe(text)
    assert not any((ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 for c in clean)


def test_escape_sequences_vanish_whole() -> None:
    assert safe("a\x1b[31mred\x1b[0m \x1b]0;title\x07b\r") == "ared b"


def test_the_end_says_what_it_came_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    stream = io.StringIO()
    screen = ScreenOutput(Terminal(stream))
    screen.summary.session_id = "s1"
    screen.ended(TurnEnded(1, "end_turn", Usage(1000, 20, 0, 9000)), None)
    assert stream.getvalue() == "0 calls · 10,000 tokens read, 9,000 of them cached · 20 written · session s1\n"
