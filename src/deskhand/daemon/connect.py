"""The way from a client to the daemon of its home: find it, start it where there is none, connect, and end it.

A client takes as little time to be ready as it can: what only a start or an ending needs is imported there.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence

from deskhand.daemon.record import DaemonError, Record, StrPath, check_private, find, lock_is_held, read_record

_POLL = 0.02
"""Seconds between two looks at what nothing tells of."""

_AFTER_KILL = 5.0
"""Seconds for a process that was killed to be gone."""


class NotRunning(DaemonError):
    """No daemon answers."""

    def __init__(self, home: StrPath) -> None:
        super().__init__(f"No Deskhand daemon runs for {os.fspath(home)}: `deskhand daemon start` starts one.")


class OtherVersion(DaemonError):
    """The daemon is not of this client's version. It is left alone: turns may be running in it."""

    def __init__(self, record: Record, version: str) -> None:
        super().__init__(
            f"The Deskhand daemon that runs (pid {record.pid}) is of version {record.version}, and this is version "
            f"{version}: `deskhand daemon restart` puts one of this version in its place."
        )
        self.record = record


def connect(home: StrPath, timeout: float = 5.0) -> socket.socket:
    """Return a connection, blocking, to the daemon that runs for `home`, whatever its version.

    Raises `NotRunning`, or `DaemonError` where it does not answer within `timeout` seconds or is not to be trusted.
    """
    record = read_record(home)
    connection = _connect(record, time.monotonic() + timeout) if record else None
    if connection is None:
        raise NotRunning(home)
    return connection


def attach(
    home: StrPath, version: str, timeout: float = 10.0, command: Sequence[str] | None = None
) -> tuple[Record, socket.socket]:
    """Return the record of, and a connection to, the daemon of `home`, which is started first where none runs.

    Raises as `ensure`.
    """
    deadline = time.monotonic() + timeout
    # That someone answers at the record's socket says more than a look at the record's process, and costs less.
    record = read_record(home)
    while True:
        connection = _connect(record, deadline) if record else None
        if record and connection:
            try:
                _check_version(record, version)
            except OtherVersion:
                connection.close()
                raise
            return record, connection
        if record and time.monotonic() >= deadline:
            raise DaemonError(f"The Deskhand daemon (pid {record.pid}) ends as often as it is started: see its log.")
        if record:
            time.sleep(_POLL)
        # Where it has just gone for want of work, this starts the next one.
        record = ensure(home, version, max(0.0, deadline - time.monotonic()), command)


def ensure(home: StrPath, version: str, timeout: float = 10.0, command: Sequence[str] | None = None) -> Record:
    """Return the record of the daemon that runs for `home`, and start one, detached, where none does.

    `command` is what to start, `deskhand daemon run` by default. Any number of clients may do this at once: they end
    up with one daemon. Raises `OtherVersion`; `HomeError` where the home cannot be used; and `DaemonError` where the
    daemon does not start, with the last line that it wrote to its log, or is not there within `timeout` seconds.
    """
    record = find(home)
    if record is None:
        from deskhand.daemon.start import start  # subprocess and pathlib: more than the whole rest of a client

        record = start(home, timeout, command)
    _check_version(record, version)
    return record


def stop(home: StrPath, timeout: float = 10.0, force: bool = False) -> bool:
    """Ask the daemon of `home` to end, wait until it has, and tell whether there was one.

    With `force`, what has not ended after `timeout` seconds is killed. Raises `DaemonError` where it goes on, or where
    some process holds the lock and cannot be found.
    """
    import signal

    from deskhand.process_table import read_row, send

    deadline = time.monotonic() + timeout
    record = _holder(home, deadline)
    row = read_row(record.pid) if record else None
    if record is None or row is None:
        return False
    send(row, signal.SIGTERM)
    if _ends(record, deadline):
        return True
    if not force:
        raise DaemonError(
            f"The Deskhand daemon (pid {record.pid}) has not ended within {timeout:g} s: wait for it, or "
            "kill it with `deskhand daemon stop --force`."
        )
    send(row, signal.SIGKILL)
    if not _ends(record, time.monotonic() + _AFTER_KILL):
        raise DaemonError(f"The Deskhand daemon (pid {record.pid}) hangs in the system, where even a kill waits.")
    return True


def _holder(home: StrPath, deadline: float) -> Record | None:
    """Return the record of the process that holds the lock, None where nobody does; one that starts is waited for."""
    while True:
        record = read_record(home)
        if record is not None and record.running:
            return record
        if not lock_is_held(home):
            return None
        if time.monotonic() >= deadline:
            raise DaemonError(
                f"Some process holds {os.fspath(home)}/run/daemon.lock, but has left no record, or runs in another "
                "container or on another machine. End it there."
            )
        time.sleep(_POLL)


def _ends(record: Record, deadline: float) -> bool:
    while record.running:
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL)
    return True


def _check_version(record: Record, version: str) -> None:
    if record.version != version:
        raise OtherVersion(record, version)


def _connect(record: Record, deadline: float) -> socket.socket | None:
    """Return a connection to the daemon of `record`, None where nobody listens there.

    Raises `DaemonError` where the deadline comes first, or where somebody else could be listening.
    """
    folder = record.socket.rpartition("/")[0]
    if not os.access(folder, os.F_OK):
        return None
    check_private(folder)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _knock(connection, record, deadline)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except OSError as error:
        connection.close()
        raise DaemonError(f"Cannot connect to {record.socket}: {error.strerror or error}.") from None
    except BaseException:
        connection.close()
        raise
    return connection


def _knock(connection: socket.socket, record: Record, deadline: float) -> None:
    connection.setblocking(False)
    while True:
        try:
            connection.connect(record.socket)
        except BlockingIOError:  # the queue of those who wait to be let in is full (unix(7))
            if time.monotonic() >= deadline:
                raise DaemonError(
                    f"The Deskhand daemon (pid {record.pid}) lets nobody in: it hangs, or is overwhelmed. "
                    "`deskhand daemon stop --force` ends it."
                ) from None
            time.sleep(_POLL)
        else:
            connection.setblocking(True)
            return
