"""The table of running processes: what the system says about them, and how to signal one without mistaking it.

A pid alone names nobody, for it is given out again; a pid with its start time does. Linux is read through
/proc (proc(5)), macOS through ps(1).
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

_LINUX: bool = sys.platform == "linux"

SESSION_VARIABLE = "DESKHAND_SESSION"
CALL_VARIABLE = "DESKHAND_CALL"

Mark = tuple[str, str]
"""Session and call: what the environment of a call's processes says about whose they are."""


class Row(msgspec.Struct, frozen=True):
    """One process. `session` is its POSIX session (0 where unknown), `clock` its start in the system's own unit."""

    pid: int
    parent: int
    group: int
    session: int
    zombie: bool
    clock: int

    @property
    def started(self) -> str:
        """When it started, in a form that no other process of the same pid will ever have."""
        return f"{_boot()}:{self.clock}"


Table = dict[int, Row]


def read_table() -> Table:
    """Return all processes that can be seen, by pid."""
    if not _LINUX:
        return read_table_from_ps()
    rows = (read_row(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return {row.pid: row for row in rows if row is not None}


def read_row(pid: int) -> Row | None:
    """Return the process `pid`; None where there is none."""
    if not _LINUX:
        return read_table_from_ps("-p", str(pid)).get(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The second field is the program's name in brackets, and may itself hold brackets and spaces.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return Row(
        pid=pid,
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        zombie=fields[0] in (b"Z", b"X"),
        clock=int(fields[19]),
    )


def read_table_from_ps(*selection: str) -> Table:
    """Return the processes that ps(1) lists: all, or those that its options in `selection` choose."""
    listing = _ps(*(selection or ("-ax",)), "-o", "pid=,ppid=,pgid=,stat=,lstart=")
    rows = (_parse_ps(line) for line in listing.splitlines() if line.strip())
    return {row.pid: row for row in rows}


def _ps(*options: str) -> str:
    import subprocess  # 12 ms that a client on Linux, which reads /proc, does not pay

    # Start times must not change with the user's language or time zone.
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC0"}
    try:
        return subprocess.run(
            ["ps", *options], env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=False
        ).stdout.decode("utf-8", "replace")
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _parse_ps(line: str) -> Row:
    import calendar  # with strptime, 5 ms that only macOS pays
    import time

    pid, parent, group, state, *start = line.split()
    clock = calendar.timegm(time.strptime(" ".join(start), "%a %b %d %H:%M:%S %Y"))
    return Row(int(pid), int(parent), int(group), session=0, zombie=state.startswith("Z"), clock=clock)


def start_time(pid: int) -> str | None:
    """Return when the process `pid` started, as `Row.started`; None where there is no such process."""
    row = read_row(pid)
    return row.started if row else None


@functools.cache
def _boot() -> str:
    """Name this boot: Linux counts start times from it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def command_line(pid: int) -> str:
    """Return the program and arguments of `pid` on one line; empty where there is no such process."""
    if not _LINUX:
        return " ".join(_ps("-p", str(pid), "-o", "command=").split())
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return " ".join(arguments.decode("utf-8", "replace").replace("\0", " ").split())


def mark_of(pid: int) -> Mark | None:
    """Return the mark in the environment of `pid`: None where it has none, or where it cannot be read (macOS)."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    values = dict(entry.partition(b"=")[::2] for entry in environment.split(b"\0"))
    session, call = values.get(SESSION_VARIABLE.encode()), values.get(CALL_VARIABLE.encode())
    return (os.fsdecode(session), os.fsdecode(call)) if session is not None and call is not None else None


def with_descendants(table: Table, roots: Iterable[int]) -> set[int]:
    """Return `roots` and all that descend from them."""
    children: dict[int, list[int]] = {}
    for row in table.values():
        children.setdefault(row.parent, []).append(row.pid)
    found: set[int] = set()
    pending = list(roots)
    while pending:
        pid = pending.pop()
        if pid not in found:
            found.add(pid)
            pending.extend(children.get(pid, ()))
    return found


def send(row: Row, number: signal.Signals) -> None:
    """Send a signal to exactly the process of `row`; one that has ended, or is not ours to signal, is left alone."""
    handle = _handle(row.pid)
    try:
        now = read_row(row.pid)
        if now is None or now.clock != row.clock:
            return
        if sys.platform == "linux" and handle is not None:
            signal.pidfd_send_signal(handle, number)
        else:
            os.kill(row.pid, number)
    except OSError:
        pass
    finally:
        if handle is not None:
            os.close(handle)


def _handle(pid: int) -> int | None:
    """Return a descriptor that stays with the process, whoever gets the pid next; None where there is none."""
    if sys.platform == "linux":
        try:
            return os.pidfd_open(pid)
        except OSError:  # it is gone, or the kernel is older than 5.3
            return None
    else:
        return None
