from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from deskhand import process_table
from deskhand.tools import bash
from deskhand.tools.base import EVERYTHING, CallContext, Ending, ToolError, ToolResult

PROMPT = 10.0
"""Seconds: much less than any of the sleeps in these tests, much more than any ending takes."""


@pytest.fixture
def context(tmp_path: Path) -> Iterator[CallContext]:
    outputs, cwd = tmp_path / "outputs", tmp_path / "work"
    outputs.mkdir()
    cwd.mkdir()
    yield CallContext(session=str(tmp_path), call="call", cwd=cwd, outputs=outputs)
    left = marked(tmp_path)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "the test left processes behind"


def marked(session: Path) -> list[int]:
    """Return the living processes that carry the mark of a test's calls."""
    marks = {row.pid: process_table.mark_of(row.pid) for row in process_table.read_table().values() if not row.zombie}
    return [pid for pid, mark in marks.items() if mark and mark[0] == str(session)]


def run(context: CallContext, command: str) -> ToolResult:
    return asyncio.run(asyncio.wait_for(bash.run(bash.Parameters(command), context), 60))


def text_of(result: ToolResult) -> str:
    (text,) = result.content
    assert isinstance(text, str)
    return text


async def run_until(context: CallContext, command: str, text: str, sentence: str) -> ToolResult:
    """Run a command, and end it as the clock does as soon as it has written `text`."""
    task = asyncio.ensure_future(bash.run(bash.Parameters(command), context))
    output = context.outputs / f"{context.call}.txt"
    deadline = time.monotonic() + PROMPT
    while not (output.exists() and text in output.read_text("latin-1")):
        assert time.monotonic() < deadline, f"{text!r} never came"
        await asyncio.sleep(0.01)
    context.ending = Ending(sentence, expired=True)
    task.cancel()
    return await asyncio.wait_for(task, PROMPT)


def test_output_is_all_that_a_command_which_succeeds_gives_back(context: CallContext) -> None:
    result = run(context, "echo hi; echo there >&2")
    assert (text_of(result), result.error, result.output, result.size) == ("hi\nthere", False, None, 9)
    assert list(context.outputs.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("echo no; exit 3", "no\n[exit 3]"),
        ("exit 1", "(no output)\n[exit 1]"),
        ("kill -SEGV $$", "(no output)\n[killed by SIGSEGV]"),
        ("kill -s RTMIN+1 $$", f"(no output)\n[killed by signal {signal.SIGRTMIN + 1}]")
        if sys.platform == "linux"
        else ("exit 2", "(no output)\n[exit 2]"),
    ],
)
def test_a_command_that_fails_is_an_error_and_says_how_it_ended(context: CallContext, command: str, text: str) -> None:
    result = run(context, command)
    assert (text_of(result), result.error) == (text, True)


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("true", "(no output)"),
        (r"printf 'a\0b'", r"a\x00b"),
        (r"printf '\377\376'", r"\xff\xfe"),
        ("printf 'no newline'", "no newline"),
        ("echo before; exec >&- 2>&-; echo after; sleep 0.1", "before"),
        ("cat; echo end of input", "end of input"),
        ("read -r answer < /dev/tty || echo no terminal", "no terminal"),
        ("-x || echo 'no option of the shell'", "no option of the shell"),
        ("cd / && pwd", "/"),
        ("test -t 0 || test -t 1 || test -t 2 || echo $TERM $PAGER", "dumb cat"),
        ("git commit", None),
    ],
)
def test_awkward_commands_come_back(context: CallContext, command: str, text: str | None) -> None:
    result = text_of(run(context, command))
    if text is None:
        assert result
    else:
        assert text in result


def test_two_equal_runs_give_equal_text(context: CallContext) -> None:
    assert text_of(run(context, "sleep 0.01; false")) == text_of(run(context, "sleep 0.3; false"))


def test_a_line_of_200_kb_is_cut_and_the_file_has_it_all_lesson_11(context: CallContext) -> None:
    result = run(context, "head -c 200000 /dev/zero | tr '\\0' x; echo; echo end")
    text = text_of(result)
    assert len(text) < bash.SHOWN + 500
    assert result.output is not None
    assert str(result.output) in text
    assert text.splitlines()[-2] == "end"
    assert result.size == result.output.stat().st_size == 200_005


def test_50_mb_cost_a_head_and_a_tail(context: CallContext) -> None:
    result = run(context, "echo first; yes 'some line' | head -c 50000000; echo last")
    text = text_of(result)
    assert text.startswith("first\nsome line\n")
    assert "\nlast\n[all 50.0 MB of output: " in text
    assert len(text) < bash.SHOWN + 500
    assert result.output is not None
    result.output.unlink()


def test_a_flood_is_ended_before_it_fills_the_disk(context: CallContext) -> None:
    # A sparse file grows without writing.
    result = run(context, f"echo start; truncate -s {bash.OUTPUT_CAP + 1} /dev/fd/1; sleep 30")
    assert result.error
    assert "[ended: its output passed 256.0 MB]" in text_of(result)
    assert result.size == bash.OUTPUT_CAP
    assert result.output is not None
    result.output.unlink()


def test_background_processes_are_named_and_not_waited_for_lesson_12(context: CallContext) -> None:
    result = run(
        context, "(echo started; touch up; sleep 1; echo later; sleep 31) & until [ -e up ]; do sleep 0.1; done; disown"
    )
    text = text_of(result)
    assert not result.error
    assert text.startswith("started\n[2 processes still run: pid ")
    assert "sleep 1)" in text
    assert result.output is not None
    assert str(result.output) in text
    deadline = time.monotonic() + PROMPT
    while "later" not in result.output.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "later" in result.output.read_text()
    for pid in marked(context.outputs.parent):
        os.kill(pid, signal.SIGKILL)


COMMANDS = {
    "a 200 kB line": ("head -c 200000 /dev/zero | tr '\\0' x; echo ready; sleep 30", "xx"),
    "a background child": ("sleep 31 & echo hi; echo ready; sleep 31", "hi\n"),
    "a nested shell": ('echo ready; bash -c "sleep 32"', "ready"),
    "a session of its own": ("echo ready; setsid sleep 12 & sleep 34", "ready"),
    "a trap": ("trap '' TERM; echo ready; sleep 33", "ready"),
}


@pytest.mark.parametrize(("command", "shown"), COMMANDS.values(), ids=COMMANDS.keys())
def test_an_expired_command_gives_its_output_and_leaves_nothing_lesson_11(
    context: CallContext, command: str, shown: str
) -> None:
    result = asyncio.run(run_until(context, command, "ready", "ended: no progress for 2 s"))
    text = text_of(result)
    assert result.error
    assert shown in text
    assert "ended: no progress for 2 s" in text.splitlines()
    assert marked(context.outputs.parent) == []


def test_an_expired_command_takes_its_earlier_background_children_along(context: CallContext) -> None:
    result = asyncio.run(run_until(context, "(setsid sleep 35 &); echo ready; sleep 36", "ready", "stopped"))
    assert text_of(result) == "ready\nstopped"
    assert marked(context.outputs.parent) == []


def test_a_cancelled_call_without_words_for_it_leaves_no_process(context: CallContext) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(bash.run(bash.Parameters("sleep 37"), context))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert marked(context.outputs.parent) == []


def test_growing_output_is_progress_and_silence_is_none(context: CallContext) -> None:
    reports: list[float] = []
    context.progress = lambda: reports.append(time.monotonic())
    run(context, "sleep 0.6")
    assert reports == []
    run(context, "for i in 1 2 3 4; do echo $i; sleep 0.3; done")
    assert len(reports) >= 2


def test_the_process_is_put_on_record(context: CallContext) -> None:
    spawned: list[tuple[int, str]] = []
    context.spawned = lambda pid, started: spawned.append((pid, started))
    result = run(context, "echo $$")
    ((pid, started),) = spawned
    assert pid == int(text_of(result))
    assert started


def test_a_process_that_cannot_be_put_on_record_is_ended(context: CallContext) -> None:
    def refuse(pid: int, started: str) -> None:
        raise OSError("the disk is full")

    context.spawned = refuse
    with pytest.raises(OSError, match="full"):
        run(context, "sleep 38")
    assert marked(context.outputs.parent) == []


@pytest.mark.parametrize("name", ["with spaces", "with\nnewline", "ünï", "-dash", "$HOME `id`"])
def test_the_folder_may_have_any_name(context: CallContext, name: str) -> None:
    context.cwd = context.cwd / name
    context.cwd.mkdir()
    (context.cwd / "here").touch()
    assert text_of(run(context, "ls; pwd")) == f"here\n{context.cwd}"


def test_the_folder_keeps_the_name_that_the_user_knows_it_by(context: CallContext) -> None:
    link = context.cwd.parent / "link"
    link.symlink_to(context.cwd)
    context.cwd = link
    assert text_of(run(context, "pwd")) == str(link)


def test_a_folder_that_is_gone_gives_a_sentence(context: CallContext) -> None:
    context.cwd.rmdir()
    with pytest.raises(ToolError, match="is not there any more"):
        run(context, "true")


def test_a_folder_that_goes_away_meanwhile_is_the_commands_own_affair(context: CallContext) -> None:
    assert text_of(run(context, 'rmdir "$PWD" && echo gone')) == "gone"


@pytest.mark.parametrize("command", ["echo \0", "echo \ud800", "echo " + "x" * 200_000 + "\0"])
def test_what_no_shell_takes_gives_a_sentence(context: CallContext, command: str) -> None:
    with pytest.raises(ToolError, match="which no shell takes"):
        run(context, command)
    assert [path.suffix for path in context.outputs.iterdir()] in ([], [".txt"])


@pytest.mark.parametrize("size", [131_000, 131_071, 131_072, 3_000_000])
def test_a_command_of_any_length_runs(context: CallContext, size: int) -> None:
    head, tail = "cat <<'END' | wc -c\n", "\nEND\n"
    body = "y" * (size - len(head) - len(tail))
    assert text_of(run(context, head + body + tail)).strip() == str(len(body) + 1)
    assert list(context.outputs.iterdir()) == []


def test_an_outputs_folder_that_cannot_be_written_gives_a_sentence(context: CallContext) -> None:
    context.outputs = context.outputs / "missing"
    with pytest.raises(ToolError, match="cannot be started: No such file"):
        run(context, "true")


def test_commands_do_not_get_the_agents_own_keys(context: CallContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "secret")
    monkeypatch.setenv("THEIR_OWN", "kept")
    text = text_of(run(context, "env"))
    assert "secret" not in text
    assert "THEIR_OWN=kept" in text


def test_a_command_that_removes_its_output_file_is_answered(context: CallContext) -> None:
    result = run(context, f"echo hi; rm -rf {context.outputs}/*; exit 4")
    assert text_of(result) == "(the output cannot be read: No such file or directory)\n[exit 4]"


def test_the_parameters_are_checked_and_the_models_own_limit_is_told_to_the_clock() -> None:
    assert bash.TOOL.timeout(bash.TOOL.parse({"command": "true", "timeout": 5})) == 5
    assert bash.TOOL.timeout(bash.TOOL.parse({"command": "true"})) is None
    for wrong in ({}, {"command": ""}, {"command": "true", "timeout": 0}, {"command": "true", "cwd": "/"}):
        with pytest.raises(msgspec.ValidationError):
            bash.TOOL.parse(wrong)


def test_reads_run_beside_reads_and_everything_else_alone(tmp_path: Path) -> None:
    assert bash.TOOL.resources(bash.Parameters("ls -la"), tmp_path).writes == frozenset()
    assert bash.TOOL.resources(bash.Parameters("make"), tmp_path) == EVERYTHING


def test_a_title_is_one_short_line() -> None:
    assert bash.TOOL.title(bash.Parameters("ls \\\n  -la")) == "ls \\ -la"
    assert len(bash.TOOL.title(bash.Parameters("x" * 500))) == 80
