"""One process advances a session at a time.

The lock is one byte of one file, at an offset that follows from the session's id (POSIX record locks, see
fcntl(2)). The system releases it when its process dies, however it dies, and no file per session is left.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from pathlib import Path

from deskhand.home import HomeError

_guard = threading.Lock()
_held: set[tuple[Path, int]] = set()
_files: dict[Path, int] = {}
"""The lock files of this process, open for good: record locks belong to the process, not to a descriptor. A second
lock of our own would be granted, hence `_held`; closing any descriptor would release them all, hence `_files`."""


class SessionLock:
    """The right to advance a session, until `release` or the end of the process."""

    def __init__(self, file: Path, offset: int) -> None:
        self._key = (file, offset)
        self._released = False

    def release(self) -> None:
        """Give the session back. Harmless when done twice."""
        file, offset = self._key
        with _guard:
            if not self._released:
                fcntl.lockf(_files[file], fcntl.LOCK_UN, 1, offset)
                _held.remove(self._key)
                self._released = True


def lock_session(run_folder: Path, session: str) -> SessionLock | None:
    """Lock `session` among all processes that share `run_folder`; None where someone has it, be it this process.

    Raises `HomeError` where the folder takes no lock file.
    """
    file = run_folder.absolute() / "sessions.lock"
    offset = int.from_bytes(hashlib.sha256(session.encode("utf-8", "surrogateescape")).digest()[:7], "big")
    with _guard:
        if (file, offset) in _held:
            return None
        if file not in _files:
            _files[file] = _open(file)
        try:
            fcntl.lockf(_files[file], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
        except (BlockingIOError, PermissionError):  # POSIX allows EAGAIN and EACCES for "someone has it"
            return None
        except OSError as error:  # some network disks know no locks
            raise _unusable(file, error) from None
        _held.add((file, offset))
    return SessionLock(file, offset)


def _open(file: Path) -> int:
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:  # it may be another user's, as after sudo
        raise _unusable(file, error) from None


def _unusable(file: Path, error: OSError) -> HomeError:
    return HomeError(
        f"Cannot lock sessions with {file}: {error.strerror}. "
        "Make it yours and writable, or set DESKHAND_HOME to a folder that is."
    )
