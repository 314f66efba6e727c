"""The daemon's Unix socket, where nobody but this user reaches it, and the end of each connection to it."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import socket
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from deskhand import log
from deskhand.daemon.record import DaemonError, check_private
from deskhand.home import Home, HomeError

OnConnection = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]

_FLUSH = 1.0
"""Seconds for a client to take what is still on its way to it when its connection ends."""

_SUN_PATH = 108 if sys.platform == "linux" else 104
"""Bytes of a socket's path, with the NUL at its end (unix(7))."""


class Listener:
    """A bound socket, and the file that stands for it."""

    def __init__(self, bound: socket.socket, path: Path) -> None:
        self.socket = bound
        self.path = path
        self._status = path.lstat()

    @classmethod
    def open(cls, home: Home) -> Listener:
        """Bind a socket for `home`, in place of what a dead daemon left: the caller holds the lock.

        Raises `HomeError` where no place serves.
        """
        troubles = []
        for folder in _folders(home):
            path = folder / "daemon.sock"
            try:
                return cls(_bind(path), path)
            except OSError as error:
                troubles.append(f"{path}: {error.strerror or error}")
            except DaemonError as error:
                troubles.append(str(error))
        raise HomeError("Cannot open a socket for Deskhand's daemon. " + " ".join(troubles))

    def is_there(self) -> bool:
        """Tell whether the file still stands for this socket."""
        try:
            return os.path.samestat(self.path.lstat(), self._status)
        except OSError:
            return False

    def remove(self) -> None:
        """Let nobody find the socket any more. Who is connected, or has knocked, stays so."""
        if self.is_there():
            with suppress(OSError):
                self.path.unlink()
                self.path.parent.rmdir()  # run/ stays, for the lock is in it


def _folders(home: Home) -> Iterator[Path]:
    """Yield the folders that may hold the socket, the first choice first."""
    yield home.run()
    # A path that is too long, or a file system that knows no sockets.
    name = f"deskhand-{os.geteuid()}-{hashlib.sha256(os.fsencode(home.root.resolve())).hexdigest()[:16]}"
    if os.environ.get("XDG_RUNTIME_DIR"):
        yield Path(os.environ["XDG_RUNTIME_DIR"], name)
    yield Path("/tmp", name)  # noqa: S108 - what others may have put there is refused


def _bind(path: Path) -> socket.socket:
    """Return a socket at `path`, which nobody but this user can reach."""
    if len(os.fsencode(path)) >= _SUN_PATH:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    path.parent.mkdir(mode=0o700, exist_ok=True)
    check_private(str(path.parent))
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(str(path))
        path.chmod(0o600)
    except OSError:
        bound.close()
        raise
    return bound


async def attend(on_connection: OnConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one client. What goes wrong with it ends its connection, and nothing else."""
    try:
        await on_connection(reader, writer)
    except ConnectionError:
        pass  # it has gone
    except Exception as fault:
        log.write("A fault in Deskhand itself ended a connection.\n" + "".join(traceback.format_exception(fault)))
    finally:
        await _hang_up(writer)


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        async with asyncio.timeout(_FLUSH):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        pass
    finally:
        writer.transport.abort()
