"""The daemon's life: one for each home, found by its record, ended by a signal or for want of work.

1. `claim` takes the lock, which the system gives back when the process dies, however it dies.
2. `serve` listens on a Unix socket, and only then writes the record (`record.py`): who finds it, can connect.
3. While it lives it looks after both: what a cleaner of old files removed comes back, and a daemon whose home was
   removed ends, for nobody would find it again.
4. At its end it withdraws the record and the socket, ends the connections within a bound, and keeps the lock until
   the process is gone.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from deskhand import log
from deskhand.daemon.listen import Listener, OnConnection, attend
from deskhand.daemon.record import DaemonError, Record, check_private, lock_path, read_record, record_path, try_lock
from deskhand.home import Home, HomeError
from deskhand.process_table import start_time

Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]

_WATCH = 2.0
"""Seconds between two looks at the lock, the record and the socket."""

_ENDING = 2.0
"""Seconds, each, for the work to be stopped and for the connections to be closed, at the end."""

_LAST_KNOCK = 0.05
"""Seconds for those to be let in who have connected to a daemon that is about to end for want of work."""

_LOG_SIZE = 5_000_000
"""Bytes of the log above which a daemon begins a new one, and keeps this one as `daemon.log.1`."""


class AlreadyRunning(DaemonError):
    """Another process is the daemon of this home. `record` is what is known about it."""

    def __init__(self, home: Home, record: Record | None) -> None:
        who = f"(pid {record.pid}, version {record.version})" if record else "(which has left no record)"
        super().__init__(f"A Deskhand daemon {who} runs for {home.root} already.")
        self.record = record


class Lifetime:
    """The life of this process as the daemon of `home`. `token` is what its record tells the user's own programs."""

    def __init__(self, home: Home, version: str) -> None:
        self.token = os.urandom(32).hex()
        self._home = home
        self._version = version
        self._lock: int | None = None
        self._listener: Listener | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()
        self._trouble = ""

    def claim(self, patience: float = 3 * _ENDING) -> None:
        """Become the daemon of the home, for as long as this process lives, and open its log.

        A holder of the lock that has no record is about to begin or to end, and is given `patience` seconds for it.
        Raises `AlreadyRunning`, `DaemonError` where others could change what is in the home, or `HomeError` where the
        home cannot be used.
        """
        run = self._home.run()
        try:
            if run.stat().st_uid == os.geteuid():
                run.chmod(0o700)
            check_private(str(run))
            self._lock = self._take_lock(time.monotonic() + patience)
            # Whoever reads a dead daemon's record from now on would take this one for it.
            Path(record_path(self._home.root)).unlink(missing_ok=True)
        except OSError as error:
            raise HomeError(f"Cannot use {run} for Deskhand's daemon: {error.strerror}. Make it writable.") from None
        _open_log(self._home.logs())

    async def serve(
        self,
        on_connection: OnConnection,
        *,
        busy: Callable[[], bool],
        idle_exit: float | None,
        on_dump: Callable[[], None],
        on_stop: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Serve clients until SIGTERM, SIGINT or `stop`, or until nothing has gone on for `idle_exit` seconds.

        Nothing goes on while `busy()` is false and nobody is connected. SIGUSR1 calls `on_dump`. At the end `on_stop`
        may stop what runs while its clients still listen; then each `on_connection` that has not ended is cancelled.
        Both are waited for within a bound, and what does not end is named in the log. Raises `HomeError` where no
        socket can be had, or the record not be written.
        """
        self._arm(on_dump)
        accept = functools.partial(self._accept, on_connection)
        try:
            await self._listen(accept)
            self._write_record()
            log.write(f"Daemon {self._version} (pid {os.getpid()}) is ready.")
            await self._live(accept, busy, idle_exit)
        finally:
            self._withdraw()
            await self._end(on_stop)

    def stop(self) -> None:
        """Let `serve` come to its end."""
        self._over.set()

    def _take_lock(self, deadline: float) -> int:
        """Return the open lock file, locked."""
        path = Path(lock_path(self._home.root))
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            if try_lock(descriptor) and _is_at(path, descriptor):
                return descriptor
            os.close(descriptor)
            record = read_record(self._home.root)
            running = record is not None and record.running
            if running or time.monotonic() >= deadline:
                raise AlreadyRunning(self._home, record if running else None)
            time.sleep(0.01)

    def _arm(self, on_dump: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGINT, self.stop)
        loop.add_signal_handler(signal.SIGUSR1, on_dump)
        # Not ignored, but handled: what is ignored stays so in every program that a tool starts. A shell has us begin
        # with SIGQUIT ignored, as any program that it starts in the background.
        loop.add_signal_handler(signal.SIGHUP, lambda: None)
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)

    async def _live(self, accept: Accept, busy: Callable[[], bool], idle_exit: float | None) -> None:
        pause = _WATCH if idle_exit is None else max(0.01, min(_WATCH, idle_exit / 4))
        idle_since = time.monotonic()
        while not await self._told_to_stop(pause):
            if not self._home_is_there():
                log.write(f"{self._home.root} has been removed.")
                return
            await self._look_after(accept)
            if busy() or self._connections:
                idle_since = time.monotonic()
            elif idle_exit is not None and time.monotonic() - idle_since >= idle_exit:
                self._withdraw()
                await asyncio.sleep(_LAST_KNOCK)
                if not self._connections:
                    log.write(f"Nothing has gone on for {idle_exit:g} s.")
                    return
                await self._look_after(accept)

    async def _told_to_stop(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._over.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _home_is_there(self) -> bool:
        return self._lock is not None and _is_at(Path(lock_path(self._home.root)), self._lock)

    async def _look_after(self, accept: Accept) -> None:
        """Put the socket and the record back where they are missing."""
        try:
            if self._listener is None or not self._listener.is_there():
                await self._listen(accept)
                self._write_record()
            elif not self._has_record():
                self._write_record()
            self._trouble = ""
        except (HomeError, DaemonError) as error:
            if str(error) != self._trouble:
                log.write(f"{error} It is tried again and again.")
            self._trouble = str(error)

    async def _listen(self, accept: Accept) -> None:
        if self._server is not None:
            self._server.close()
        self._listener = Listener.open(self._home)
        self._server = await asyncio.start_unix_server(accept, sock=self._listener.socket, backlog=1024)

    def _accept(self, on_connection: OnConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(attend(on_connection, reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    def _write_record(self) -> None:
        assert self._listener is not None
        pid = os.getpid()
        started = start_time(pid) or ""
        record = Record(pid, started, str(self._listener.path), None, self.token, self._version)
        path = Path(record_path(self._home.root))
        new = path.with_suffix(".new")
        try:
            new.unlink(missing_ok=True)
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(record.to_json())
            new.replace(path)
        except OSError as error:
            with suppress(OSError):
                new.unlink()
            raise HomeError(f"Cannot write {path}: {error.strerror}. Clients find the daemon by it.") from None

    def _has_record(self) -> bool:
        record = read_record(self._home.root)
        return record is not None and record.token == self.token

    def _withdraw(self) -> None:
        """Let nobody find the daemon any more."""
        with suppress(OSError, DaemonError):
            if self._has_record():
                Path(record_path(self._home.root)).unlink()
        if self._listener is not None:
            self._listener.remove()

    async def _end(self, on_stop: Callable[[], Awaitable[None]] | None) -> None:
        if self._server is not None:
            self._server.close()
        if on_stop is not None:
            await _wait({asyncio.ensure_future(_stop(on_stop))})
        for task in self._connections:
            task.cancel()
        await _wait(self._connections)
        log.write(f"Daemon {self._version} (pid {os.getpid()}) ends.")


async def _stop(on_stop: Callable[[], Awaitable[None]]) -> None:
    try:
        await on_stop()
    except Exception as fault:
        log.write("A fault in Deskhand itself disturbed its end.\n" + "".join(traceback.format_exception(fault)))


async def _wait(tasks: set[asyncio.Task[None]]) -> None:
    if tasks:
        _, left = await asyncio.wait(tasks, timeout=_ENDING)
        for task in left:
            log.write(f"Does not end within {_ENDING:g} s, and is left behind: {task!r}")


def _is_at(path: Path, descriptor: int) -> bool:
    """Tell whether `path` is still the file that is open as `descriptor`."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except OSError:
        return False


def _open_log(logs: Path) -> None:
    """Open the log, a new one where it has grown long; a standard error that goes there, goes to the new one too."""
    file = logs / "daemon.log"
    try:
        if file.stat().st_size > _LOG_SIZE:
            follow = _is_at(file, 2)
            file.replace(logs / "daemon.log.1")
            if follow:
                descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
                os.dup2(descriptor, 2)
                os.close(descriptor)
    except OSError:
        pass  # there is none yet, or it cannot be replaced and goes on growing
    log.open_log(logs)
