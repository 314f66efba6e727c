"""What `run/` says about the daemon: `daemon.lock`, which it holds for life, and `daemon.json`, its record.

The lock is the truth: the system gives it back when its holder dies, however it dies. The record says where the
daemon listens; it counts only while its process lives. Every thin client reads this module before it can begin, so
it imports next to nothing, and takes the state folder as a path.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat

StrPath = str | os.PathLike[str]


class DaemonError(Exception):
    """The daemon cannot be reached, started or ended; the message says why, and what to do."""


class Record:
    """What a daemon says about itself: `daemon.json`.

    `started` is `process_table.Row.started`, which tells the process from a later one of the same pid. `port` is that
    of the panel on loopback, None where it is not served; `token` is what strangers on that port do not know.
    """

    __slots__ = ("pid", "port", "socket", "started", "token", "version")

    def __init__(self, pid: int, started: str, socket: str, port: int | None, token: str, version: str) -> None:
        self.pid = pid
        self.started = started
        self.socket = socket
        self.port = port
        self.token = token
        self.version = version

    def to_json(self) -> bytes:
        """Return the record as one line of JSON. Paths that are not UTF-8 survive, as escaped surrogates."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}).encode() + b"\n"

    @property
    def running(self) -> bool:
        """Whether the process that wrote the record still lives."""
        from deskhand.process_table import read_row  # most of a client's start, and only needed where nobody answers

        row = read_row(self.pid)
        return row is not None and row.started == self.started and not row.zombie


def record_path(home: StrPath) -> str:
    """Return where the record of the daemon of `home` is."""
    return f"{os.fspath(home)}/run/daemon.json"


def lock_path(home: StrPath) -> str:
    """Return the file whose lock the daemon of `home` holds for life."""
    return f"{os.fspath(home)}/run/daemon.lock"


def read_record(home: StrPath) -> Record | None:
    """Return the record in `home`, be its daemon alive or not; None where there is none, or none to be understood.

    Raises `DaemonError` where it cannot be read, or where others could have written it.
    """
    try:
        descriptor = os.open(record_path(home), os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DaemonError(f"Cannot read {record_path(home)}: {error.strerror}. It should be yours alone.") from None
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor is no path
        check_private(f"{os.fspath(home)}/run")
        return _parse(file.read())


def _parse(data: bytes) -> Record | None:
    try:
        fields = json.loads(data)
        words = [fields[name] for name in ("started", "socket", "token", "version")]
        pid, port = fields["pid"], fields["port"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if type(pid) is not int or type(port) not in (int, type(None)):
        return None
    if not all(isinstance(word, str) and "\0" not in word for word in words):
        return None
    started, socket, token, version = words
    return Record(pid, started, socket, port, token, version)


def find(home: StrPath) -> Record | None:
    """Return the record of the daemon of `home`, if its process lives and its socket is there; else None.

    Raises `DaemonError` as `read_record`.
    """
    record = read_record(home)
    if record is None or not record.running:
        return None
    try:
        there = stat.S_ISSOCK(os.lstat(record.socket).st_mode)
    except OSError:
        return None
    return record if there else None


def lock_is_held(home: StrPath) -> bool:
    """Tell whether a process holds the daemon's lock of `home`.

    Raises `DaemonError` where that cannot be asked.
    """
    try:
        descriptor = os.open(lock_path(home), os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise DaemonError(f"Cannot read {lock_path(home)}: {error.strerror}. It should be yours alone.") from None
    try:
        return not try_lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def try_lock(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Take a lock on an open file, and tell whether it was to be had.

    It is flock(2)'s, which belongs to the open file: the POSIX kind would be lost as soon as anything in the process,
    a tool that searches the state folder, say, had opened and closed the same file.
    """
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def check_private(folder: str) -> None:
    """See that nobody but this user can change what is in `folder`. Raises `DaemonError` where others can."""
    try:
        status = os.lstat(folder)
    except OSError as error:
        raise DaemonError(f"Cannot use {folder}: {error.strerror}.") from None
    if not stat.S_ISDIR(status.st_mode):
        raise DaemonError(f"{folder} is not a folder, and Deskhand needs one there: move it away.")
    if status.st_uid != os.geteuid():
        raise DaemonError(
            f"{folder} belongs to another user (uid {status.st_uid}; you are {os.geteuid()}), so Deskhand trusts "
            "nothing in it: set DESKHAND_HOME to a folder of your own."
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise DaemonError(f"{folder} is open to other users, so Deskhand trusts nothing in it: `chmod 700` it.")
