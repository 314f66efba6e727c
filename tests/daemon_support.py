"""What the tests of the daemon's life share: a daemon without sessions, and words with it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from deskhand.daemon import connect
from deskhand.daemon.record import DaemonError, Record, find

ECHO = Path(__file__).parent / "daemon" / "echo_daemon.py"
VERSION = "1.2.3"

T = TypeVar("T")


@dataclass(slots=True)
class EchoDaemon:
    """The daemon of `home`: as a child of the test, or detached as a client starts it."""

    home: Path
    _children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def command(self, version: str = VERSION, idle_exit: float = 0) -> list[str]:
        """Return what runs it."""
        return [sys.executable, "-P", str(ECHO), version, str(idle_exit)]

    def start(self, idle_exit: float = 0, home: Path | None = None, **environment: str) -> subprocess.Popen[bytes]:
        """Run it in the foreground; its standard error is a pipe."""
        where = {"DESKHAND_HOME": str(home or self.home)}
        process = subprocess.Popen(
            self.command(idle_exit=idle_exit), env={**os.environ, **where, **environment}, stderr=subprocess.PIPE
        )
        self._children.append(process)
        return process

    def started(self, idle_exit: float = 0, home: Path | None = None, **environment: str) -> Record:
        """Run it in the foreground, and return its record as soon as it is there."""
        process = self.start(idle_exit, home, **environment)
        return until(lambda: self._record_of(process, home or self.home))

    def _record_of(self, process: subprocess.Popen[bytes], home: Path) -> Record | None:
        if process.poll() is not None:
            assert process.stderr is not None
            raise AssertionError(process.stderr.read().decode())
        record = find(home)
        return record if record and record.pid == process.pid else None

    def wait(self) -> int:
        """Return the exit code of the one that was started last, when it has ended."""
        return self._children[-1].wait(timeout=20)

    def stderr(self) -> str:
        """Return what the one that was started last has said until its end."""
        self.wait()
        stream = self._children[-1].stderr
        assert stream is not None
        return stream.read().decode()

    def ensure(self, version: str = VERSION, timeout: float = 20, idle_exit: float = 0) -> Record:
        """Find it, or start it detached."""
        return connect.ensure(self.home, version, timeout, self.command(version, idle_exit))

    def attach(self, version: str = VERSION, timeout: float = 20, idle_exit: float = 0) -> Line:
        """Connect to it, and start it detached where it does not run."""
        _, connection = connect.attach(self.home, version, timeout, self.command(version, idle_exit))
        return Line(connection)

    def connect(self) -> Line:
        """Connect to it where it runs."""
        return Line(connect.connect(self.home))

    @property
    def log(self) -> str:
        """What is in its log so far."""
        file = self.home / "logs" / "daemon.log"
        return file.read_text() if file.exists() else ""

    def close(self) -> None:
        """End whatever of it still runs."""
        for process in self._children:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait(timeout=10)
            if process.stderr is not None:
                process.stderr.close()
        with suppress(DaemonError):
            connect.stop(self.home, timeout=1, force=True)


class Line:
    """A connection to the echo daemon; every wait ends after 20 seconds."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(20)
        self._connection = connection
        self._reader = connection.makefile("rb")

    def ask(self, word: str) -> str:
        """Say a word, and return the answer; empty where the daemon has hung up."""
        self.say(word)
        return self.hear()

    def say(self, word: str) -> None:
        """Say a word."""
        self._connection.sendall(word.encode() + b"\n")

    def hear(self) -> str:
        """Return the next line, empty where the daemon has hung up."""
        try:
            return self._reader.readline().decode().strip()
        except ConnectionError:
            return ""

    def about(self) -> Mapping[str, Any]:
        """Return what the daemon says about itself."""
        about: Mapping[str, Any] = json.loads(self.ask("about"))
        return about

    def close(self) -> None:
        """Hang up."""
        self._reader.close()
        self._connection.close()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def until(look: Callable[[], T | None], seconds: float = 20) -> T:
    """Look again and again, and return the first thing that is seen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"not seen within {seconds} s")
