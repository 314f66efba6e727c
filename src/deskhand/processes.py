"""Programs that we start: each has an owner, an end that cannot hang, and a mark by which it is found again.

- A program runs in a POSIX session of its own, reads nothing, and writes to a file. Nothing here waits for the
  end of an output, which a child in the background may keep open for ever. What is waited for is the pid.
- Whatever it starts carries its mark (session and call) in the environment. On Linux this process is also their
  subreaper (prctl(2)): what loses its parent becomes our child, wherever it moved itself to.
- So an ending reaches all of them, and the next start finds what a killed agent left, and nothing else.

Every program with a POSIX session of its own must be started here: an unknown child outside our own session is
taken for such an orphan, and is reaped when it has died.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from deskhand.process_table import (
    CALL_VARIABLE,
    SESSION_VARIABLE,
    Mark,
    Row,
    Table,
    command_line,
    mark_of,
    read_row,
    read_table,
    send,
    with_descendants,
)

GRACE = 0.5
"""Seconds between TERM and KILL."""

_AFTER_KILL = 0.3
"""Seconds for what was killed to be gone. What is not, hangs in the kernel, and is named instead."""

_SETTLE = 0.05
"""Seconds that what a program leaves may take to end by itself, as the `tee` of `> >(tee log)` does."""

_POLL = 0.02
"""Seconds between two looks at a program whose end cannot be waited for."""

_PR_SET_CHILD_SUBREAPER = 36

_unreaped: dict[int, Process] = {}
"""The programs that `start` gave out and that are not reaped yet, by pid."""


class Survivor(msgspec.Struct, frozen=True):
    """A process that goes on after the program that started it."""

    pid: int
    command: str


class Process(msgspec.Struct, eq=False):
    """A running program, from `start`. `started` tells it from a later process of the same pid."""

    pid: int
    started: str
    mark: Mark
    _popen: subprocess.Popen[bytes]
    _clock: int
    _known: dict[int, int] = msgspec.field(default_factory=dict)
    """The start of each process that was seen to belong here: it may lose its parent later, and its mark."""

    async def wait(self) -> int:
        """Return the program's exit code, or -N for signal N, when it has ended itself, whatever it has started."""
        if self._popen.returncode is None:
            try:
                await _exit_of(self.pid)
            except OSError:  # no pidfd: the kernel is older than 5.3, or no descriptor is free
                while self._popen.poll() is None:  # noqa: ASYNC110 - nothing tells of the end
                    await asyncio.sleep(_POLL)
        code = self._popen.wait()
        _unreaped.pop(self.pid, None)
        return code

    async def survivors(self) -> list[Survivor]:
        """Return what still runs of that which the program started, after `wait`."""
        if not self._left_something():
            return []
        await asyncio.sleep(_SETTLE)
        return [Survivor(row.pid, command_line(row.pid)) for row in self._alive()] if self._left_something() else []

    async def end(self) -> list[int]:
        """End the program and all that it started: TERM, `GRACE` seconds later KILL.

        It takes less than a second. It goes on to its end where the caller is cancelled. Returns the pids that
        even KILL did not end: other users' processes, and those that hang in the kernel.
        """
        return await asyncio.shield(asyncio.ensure_future(self._end()))

    async def _end(self) -> list[int]:
        try:
            left = await self._drive_out(signal.SIGTERM, GRACE)
            if left:
                left = await self._drive_out(signal.SIGKILL, _AFTER_KILL)
        except asyncio.CancelledError:  # the event loop is closing
            self._signal(signal.SIGKILL, self._alive())
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(_AFTER_KILL)
            self._reap()
            raise
        self._reap()
        _reap_orphans()
        return [row.pid for row in left]

    async def _drive_out(self, number: signal.Signals, seconds: float) -> list[Row]:
        """Send the signal, once, to each process until none is left or the time is over; return those left."""
        deadline = time.monotonic() + seconds
        self._signal(number, alive := self._alive())
        told = {row.pid for row in alive}
        pause = 0.005
        while alive and time.monotonic() < deadline:
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.04)
            alive = self._alive()
            for row in alive:
                if row.pid not in told:
                    send(row, number)
            told.update(row.pid for row in alive)
        return alive

    def _signal(self, number: signal.Signals, rows: list[Row]) -> None:
        # The group at once, so that none forks away. Until the program is reaped, its pid is nobody else's.
        whole_group = self._popen.returncode is None and _signal_group(self.pid, number)
        for row in rows:
            if not (whole_group and row.group == self.pid):
                send(row, number)

    def _alive(self) -> list[Row]:
        """Return the running processes that belong to the program, itself among them."""
        table = read_table()
        family = with_descendants(table, [row.pid for row in table.values() if self._claims(row)])
        rows = [table[pid] for pid in family if pid in table]
        self._known.update((row.pid, row.clock) for row in rows)
        return [row for row in rows if not row.zombie]

    def _claims(self, row: Row) -> bool:
        if row.clock < self._clock:
            return False
        return self.pid in (row.pid, row.group, row.session) or (
            self._known.get(row.pid) == row.clock or mark_of(row.pid) == self.mark
        )

    def _left_something(self) -> bool:
        """Tell, cheaply, whether anything of the program may still run; reap what has died."""
        orphans = _reap_orphans()
        return _signal_group(self.pid, 0) or any(self._claims(row) for row in orphans)

    def _reap(self) -> None:
        if self._popen.poll() is not None:
            _unreaped.pop(self.pid, None)


def start(command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], output: Path, mark: Mark) -> Process:
    """Start a program whose standard output and error are appended to the file `output`; its input is empty.

    Raises `OSError` where the file cannot be opened, `cwd` not be entered, or the program not be started, and
    `ValueError` where the command holds a NUL.
    """
    _adopt_orphans()
    marked = {**environment, SESSION_VARIABLE: mark[0], CALL_VARIABLE: mark[1]}
    # Appending: what is written through /dev/stderr, say, must not overwrite what is there.
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        popen = subprocess.Popen(
            command,
            cwd=cwd,
            env=marked,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    finally:
        os.close(file)
    row = read_row(popen.pid)
    assert row is not None, "a child that is not reaped is in the table"
    process = _unreaped[popen.pid] = Process(popen.pid, row.started, mark, popen, row.clock)
    return process


def end_all() -> None:
    """End every program that still runs, with all that it started. Blocks for less than a second."""
    running = list(_unreaped.values())
    sweep({process.mark for process in running}, [(process.pid, process.started) for process in running])


def sweep(marks: Collection[Mark], spawned: Collection[tuple[int, str]]) -> list[int]:
    """End what a killed agent left behind, and return its pids. Blocks for less than a second.

    `marks` are the calls that it had in flight, `spawned` the pid and start time of each program that they
    started. A process is ended where both pid and start time fit, or where it carries one of the marks (Linux),
    with all of its descendants; never by its pid alone.
    """
    if not marks and not spawned:
        return []
    ended: set[int] = set()
    for number, seconds in ((signal.SIGTERM, GRACE), (signal.SIGKILL, _AFTER_KILL)):
        deadline = time.monotonic() + seconds
        told: set[int] = set()
        while left := _left_behind(marks, spawned):
            for row in left:
                if row.pid not in told:
                    send(row, number)
            told.update(row.pid for row in left)
            if time.monotonic() >= deadline:
                break
            time.sleep(0.02)
        ended |= told
    return sorted(ended)


def _left_behind(marks: Collection[Mark], spawned: Collection[tuple[int, str]]) -> list[Row]:
    table = read_table()
    leaders = {pid for pid, started in spawned if pid in table and table[pid].started == started}
    roots = [
        row.pid
        for row in table.values()
        if not leaders.isdisjoint((row.pid, row.group, row.session)) or mark_of(row.pid) in marks
    ]
    # This agent may itself have been started by what it is to sweep.
    spared = _with_ancestors(table, os.getpid())
    family = with_descendants(table, [pid for pid in roots if pid not in spared]) - spared
    return [table[pid] for pid in family if pid in table and not table[pid].zombie]


def _with_ancestors(table: Table, pid: int) -> set[int]:
    found: set[int] = set()
    while (row := table.get(pid)) and pid not in found:
        found.add(pid)
        pid = row.parent
    return found


async def _exit_of(pid: int) -> None:
    """Wait until our child `pid` has ended, without reaping it. Raises `OSError` where that cannot be waited for."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    try:
        with _exit_descriptor(pid) as descriptor:
            loop.add_reader(descriptor, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(descriptor)
    except ProcessLookupError:  # kqueue(2) knows no zombies: it has ended already
        return


@contextmanager
def _exit_descriptor(pid: int) -> Iterator[int]:
    """Give a descriptor that is readable as soon as our child `pid` has ended."""
    if sys.platform == "darwin":
        import select

        queue = select.kqueue()
        try:
            queue.control([select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)], 0)
            yield queue.fileno()
        finally:
            queue.close()
    else:
        descriptor = os.pidfd_open(pid)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _signal_group(group: int, number: int) -> bool:
    """Send the signal (0: none) to a process group; tell whether there is such a group."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's, as under sudo
        return True
    return True


@functools.cache
def _adopt_orphans() -> None:
    """Make this process the subreaper of its descendants (Linux; elsewhere orphans are init's)."""
    if sys.platform == "linux":
        import ctypes  # 3 ms that only an agent with a program to start pays

        one, zero = ctypes.c_ulong(1), ctypes.c_ulong(0)
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, one, zero, zero, zero)


def _reap_orphans() -> list[Row]:
    """Return our adopted children that run; reap those that have died."""
    running = []
    for pid in _children() - _unreaped.keys():
        row = read_row(pid)
        if row is None or row.session == os.getsid(0):
            continue  # a child of our own session has an owner who waits for it
        if row.zombie:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        else:
            running.append(row)
    return running


def _children() -> set[int]:
    """Return the children of this process' main thread, to which orphans go (Linux; none elsewhere)."""
    pid = os.getpid()
    try:
        return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_bytes().split()))
    except OSError:
        return set()
