from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deskhand import process_table, processes
from deskhand.process_table import read_row, read_table, read_table_from_ps, start_time
from deskhand.processes import Process

PROMPT = 10.0
"""Seconds: much less than any of the sleeps in these tests, much more than any ending takes."""


def start(folder: Path, command: str, call: str = "call") -> Process:
    return processes.start(
        ["bash", "-c", command],
        cwd=folder,
        environment=dict(os.environ),
        output=folder / "output",
        mark=(str(folder), call),
    )


def running(folder: Path, call: str | None = None) -> list[int]:
    """Return the living processes that carry the mark of a test."""
    marks = {row.pid: process_table.mark_of(row.pid) for row in read_table().values() if not row.zombie}
    return [pid for pid, mark in marks.items() if mark and mark[0] == str(folder) and call in (None, mark[1])]


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    left = running(tmp_path)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "the test left processes behind"


def until(folder: Path, text: str) -> None:
    """Wait until the command has written `text`."""
    deadline = time.monotonic() + PROMPT
    while text not in (folder / "output").read_text():
        assert time.monotonic() < deadline, f"{text!r} never came"
        time.sleep(0.01)


async def survivors_of(process: processes.Process, expected: list[str]) -> list[str]:
    """Return what survives, once each has become the program that it is to be, or has had the time for it."""
    deadline = time.monotonic() + PROMPT
    while True:
        found = sorted(survivor.command for survivor in await process.survivors())
        if found == expected or time.monotonic() >= deadline:
            return found
        await asyncio.sleep(0.02)


def test_exit_codes_and_signals_are_those_of_the_program(tmp_path: Path) -> None:
    async def codes() -> list[int]:
        return [await start(tmp_path, command).wait() for command in ("exit 0", "exit 7", "kill -SEGV $$")]

    assert asyncio.run(codes()) == [0, 7, -signal.SIGSEGV]


def test_output_and_errors_are_appended_in_order_and_input_is_empty(tmp_path: Path) -> None:
    async def main() -> None:
        await start(tmp_path, "echo one; echo two >&2; cat; echo three; echo four >> /dev/stderr; echo five").wait()

    asyncio.run(main())
    assert (tmp_path / "output").read_text() == "one\ntwo\nthree\nfour\nfive\n"


def test_a_full_pipe_cannot_stop_a_program_lesson_13(tmp_path: Path) -> None:
    async def main() -> int:
        return await asyncio.wait_for(start(tmp_path, "head -c 3000000 /dev/zero | tee /dev/fd/2").wait(), PROMPT)

    assert asyncio.run(main()) == 0
    assert (tmp_path / "output").stat().st_size > 64 * 1024


def test_wait_does_not_wait_for_what_runs_in_the_background_lesson_11(tmp_path: Path) -> None:
    async def main() -> None:
        process = start(tmp_path, "sleep 31 & echo hi")
        assert await asyncio.wait_for(process.wait(), PROMPT) == 0
        assert await survivors_of(process, ["sleep 31"]) == ["sleep 31"]
        assert await process.end() == []

    asyncio.run(main())
    assert (tmp_path / "output").read_text() == "hi\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
def test_survivors_are_found_in_other_sessions_and_below_lost_parents_lesson_12(tmp_path: Path) -> None:
    async def main() -> None:
        process = start(tmp_path, "(setsid bash -c 'sleep 41; true' &) ; set -m; sleep 42 &")
        await process.wait()
        expected = ["bash -c sleep 41; true", "sleep 41", "sleep 42"]
        assert await survivors_of(process, expected) == expected
        await process.end()

    asyncio.run(main())


def test_what_ends_by_itself_in_an_instant_is_no_survivor(tmp_path: Path) -> None:
    async def main() -> None:
        process = start(tmp_path, "echo hi > >(sleep 0.01; cat)")
        await process.wait()
        assert await process.survivors() == []

    asyncio.run(main())


def test_survivors_of_one_call_are_not_those_of_another(tmp_path: Path) -> None:
    async def main() -> None:
        first = start(tmp_path, "setsid sleep 43 & sleep 44 &", call="first")
        await first.wait()
        second = start(tmp_path, "true", call="second")
        await second.wait()
        assert await second.survivors() == []
        assert await second.end() == []
        assert len(running(tmp_path, "first")) == 2
        await first.end()

    asyncio.run(main())


def test_dead_orphans_are_reaped_and_children_of_others_are_left_to_them(tmp_path: Path) -> None:
    async def main() -> None:
        others = subprocess.Popen(["sh", "-c", "exit 5"])
        process = start(tmp_path, "setsid true & (sleep 0.01 &) ; sleep 0.2")
        await process.wait()
        await process.survivors()
        zombies = [row for row in read_table().values() if row.parent == os.getpid() and row.zombie]
        assert {row.pid for row in zombies} <= {others.pid}
        assert others.wait() == 5

    asyncio.run(main())


TREES = {
    "a command": "echo ready; sleep 30",
    "a child in the background": "sleep 31 & echo ready; wait",
    "a nested shell": 'bash -c "echo ready; sleep 32"; true',
    "a process that ignores TERM": "trap '' TERM; echo ready; sleep 33; sleep 33",
    "a process in a session of its own": "setsid sleep 12 & echo ready; sleep 34",
    "a daemon that ignores TERM": "(setsid bash -c 'trap : TERM; echo ready; while :; do sleep 35; done' &) ; sleep 36",
    "a pipeline": "(echo ready; sleep 37) | cat | cat",
    "jobs in groups of their own": "set -m; sleep 38 & sleep 39 & echo ready; wait",
    "a stopped process": "echo ready; kill -STOP $$",
    "a tree that forks on TERM": "trap 'sleep 40 & sleep 41' TERM; echo ready; sleep 42 & wait",
}


@pytest.mark.parametrize("command", TREES.values(), ids=TREES.keys())
def test_end_is_prompt_and_leaves_nothing_lesson_11(tmp_path: Path, command: str) -> None:
    async def main() -> None:
        process = start(tmp_path, command)
        waiting = asyncio.ensure_future(process.wait())
        await asyncio.to_thread(until, tmp_path, "ready")
        begun = time.monotonic()
        assert await process.end() == []
        assert time.monotonic() - begun < PROMPT
        assert await asyncio.wait_for(waiting, PROMPT) != 0

    asyncio.run(main())
    assert running(tmp_path) == []


def test_end_reaches_processes_that_wiped_the_mark_while_their_parents_live(tmp_path: Path) -> None:
    async def main() -> int:
        process = start(tmp_path, "setsid env -i bash -c 'echo $$; exec sleep 45' & wait")
        await asyncio.to_thread(until, tmp_path, "\n")
        await process.end()
        return int((tmp_path / "output").read_text())

    assert read_row(asyncio.run(main())) is None


def test_a_cancelled_ending_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        process = start(tmp_path, "trap '' TERM; echo ready; sleep 47; sleep 48")
        await asyncio.to_thread(until, tmp_path, "ready")
        ending = asyncio.ensure_future(process.end())
        await asyncio.sleep(0.05)
        ending.cancel()
        assert await asyncio.wait_for(process.wait(), PROMPT) == -signal.SIGKILL

    asyncio.run(main())


def test_an_ending_survives_the_end_of_the_event_loop(tmp_path: Path) -> None:
    async def main() -> None:
        process = start(tmp_path, "trap '' TERM; echo ready; sleep 49; sleep 50")
        await asyncio.to_thread(until, tmp_path, "ready")
        task = asyncio.ensure_future(process.end())
        await asyncio.sleep(0.05)
        assert not task.done()

    asyncio.run(main())
    deadline = time.monotonic() + PROMPT
    while running(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)


def test_waiting_works_without_a_free_descriptor(tmp_path: Path) -> None:
    async def main() -> int:
        process = start(tmp_path, "sleep 0.1; exit 3")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            return await process.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert asyncio.run(main()) == 3


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    async def main() -> tuple[int, int]:
        await start(tmp_path, "true").wait()
        before = len(list(Path("/dev/fd").iterdir()))
        for _ in range(5):
            background = start(tmp_path, "sleep 51 & true")
            await background.wait()
            await background.end()
            process = start(tmp_path, "sleep 52")
            waiting = asyncio.ensure_future(process.wait())
            await asyncio.sleep(0.01)
            waiting.cancel()
            await process.end()
        return before, len(list(Path("/dev/fd").iterdir()))

    before, after = asyncio.run(main())
    assert before == after


def test_what_cannot_be_started_raises_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        start(tmp_path / "missing", "true")
    with pytest.raises(ValueError, match="null"):
        start(tmp_path, "echo \0")


def test_a_start_time_names_one_process_for_good() -> None:
    with subprocess.Popen(["sleep", "53"]) as process:
        first, second = start_time(process.pid), start_time(process.pid)
        process.kill()
    assert first is not None
    assert first == second
    assert start_time(process.pid) is None


@pytest.mark.skipif(not Path("/bin/ps").exists(), reason="ps is not installed")
def test_ps_and_proc_agree_on_the_table() -> None:
    with subprocess.Popen(["sleep", "54"], start_new_session=True) as process:
        by_ps, row = read_table_from_ps()[process.pid], read_row(process.pid)
        process.kill()
    assert row is not None
    assert (by_ps.pid, by_ps.parent, by_ps.group, by_ps.zombie) == (row.pid, row.parent, row.group, row.zombie)
    assert abs(by_ps.clock - time.time()) < 60


@pytest.mark.skipif(sys.platform != "linux", reason="a signal of Linux cannot go astray")
def test_a_signal_is_never_sent_by_a_bare_pid() -> None:
    with subprocess.Popen(["sleep", "55"]) as process:
        row = read_row(process.pid)
        assert row is not None
        earlier = process_table.Row(row.pid, row.parent, row.group, row.session, zombie=False, clock=row.clock - 1)
        process_table.send(earlier, signal.SIGKILL)
        time.sleep(0.05)
        assert process.poll() is None
        process_table.send(row, signal.SIGKILL)
        assert process.wait(PROMPT) == -signal.SIGKILL


AGENT = """
    import asyncio, os, sys
    from pathlib import Path
    from deskhand import processes

    async def main():
        folder = Path(sys.argv[1])
        process = processes.start(
            ["bash", "-c", "setsid sleep 61 & (set -m; sleep 62 &) ; bash -c 'trap : TERM; sleep 63; sleep 64'"],
            cwd=folder, environment=dict(os.environ), output=folder / "output", mark=(str(folder), "in flight"),
        )
        print(process.pid, process.started, flush=True)
        await process.wait()

    asyncio.run(main())
"""


def killed_agent(folder: Path) -> tuple[int, str]:
    """Let an agent start a tree and kill it; return what it had put on record."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(AGENT), str(folder)], stdout=subprocess.PIPE, text=True
    ) as agent:
        assert agent.stdout is not None
        pid, started = agent.stdout.readline().split()
        deadline = time.monotonic() + PROMPT
        while len(running(folder)) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        agent.kill()
    assert len(running(folder)) == 4
    return int(pid), started


@pytest.mark.skipif(sys.platform != "linux", reason="the mark is read from /proc")
def test_the_next_start_sweeps_what_a_killed_agent_left_and_only_that_lesson_15(tmp_path: Path) -> None:
    spawned = killed_agent(tmp_path)
    other = {process_table.SESSION_VARIABLE: str(tmp_path), process_table.CALL_VARIABLE: "another"}
    with subprocess.Popen(["sleep", "61"], start_new_session=True) as stranger:
        with subprocess.Popen(["sleep", "62"], env={**os.environ, **other}) as other_call:
            ended = processes.sweep({(str(tmp_path), "in flight")}, [spawned])
            assert running(tmp_path) == [other_call.pid]
            assert stranger.poll() is None
            other_call.kill()
        stranger.kill()
    assert spawned[0] in ended
    assert len(ended) >= 4


@pytest.mark.skipif(sys.platform != "linux", reason="the test itself finds processes by their mark")
def test_a_sweep_without_marks_goes_by_pid_and_start_time_together(tmp_path: Path) -> None:
    pid, started = killed_agent(tmp_path)
    assert processes.sweep([], [(pid, started + "0"), (os.getpid(), "1")]) == []
    assert len(running(tmp_path)) == 4
    processes.sweep([], [(pid, started)])
    assert pid not in running(tmp_path)
    processes.sweep([(str(tmp_path), "in flight")], [])
    assert running(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the mark is read from /proc")
def test_a_sweep_spares_the_agent_that_sweeps_and_what_it_runs_in(tmp_path: Path) -> None:
    marked = {process_table.SESSION_VARIABLE: str(tmp_path), process_table.CALL_VARIABLE: "in flight"}
    program = f"from deskhand import processes; print(processes.sweep([({str(tmp_path)!r}, 'in flight')], []))"
    swept = subprocess.run(
        ["sh", "-c", f'{sys.executable} -c "{program}"; echo alive'],
        env={**os.environ, **marked},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert swept.stdout == "[]\nalive\n"
