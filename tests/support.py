"""What the tests share beside the fixtures of conftest.py: a rehearsal in a thread, and Deskhand as a real process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from deskhand.model.rehearsal import Exchange, Rehearsal
from deskhand.model.rehearsal_script import Script, build_script, parse_script

MARK = "DESKHAND_TEST"
"""In the environment of everything that a test starts: what still has it when the test is over has leaked."""

ScriptSource = str | Sequence[Mapping[str, Any]] | Mapping[str, Any]
"""A script as TOML, as its steps, or as a whole document."""


def make_script(source: ScriptSource) -> Script:
    """Return the script of `source`."""
    if isinstance(source, str):
        return parse_script(source)
    return build_script(source if isinstance(source, Mapping) else {"step": list(source)})


@dataclass(frozen=True, slots=True)
class RunningRehearsal:
    """A rehearsal that answers, in a thread of its own."""

    url: str
    port: int
    requests: list[Exchange]

    @property
    def messages(self) -> list[Exchange]:
        """The exchanges that asked for a message."""
        return [exchange for exchange in self.requests if exchange.path.startswith("/v1/messages")]


@contextmanager
def running_rehearsal(script: Script, record: Path | None = None) -> Iterator[RunningRehearsal]:
    """Play the script until the block ends."""
    opened: Future[tuple[RunningRehearsal, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        try:
            async with Rehearsal(script, record=record) as server:
                over = asyncio.Event()
                running = RunningRehearsal(server.url, server.port, server.requests)
                opened.set_result((running, asyncio.get_running_loop(), over))
                await over.wait()
        except BaseException as error:
            if opened.done():
                raise
            opened.set_exception(error)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="rehearsal")
    thread.start()
    try:
        running, loop, over = opened.result(timeout=30)
        try:
            yield running
        finally:
            loop.call_soon_threadsafe(over.set)
    finally:
        thread.join(timeout=30)
        assert not thread.is_alive(), "the rehearsal did not end"


@dataclass(frozen=True, slots=True)
class Ran:
    """A process that has ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[Any]:
        """Standard output as lines of JSON."""
        return [msgspec.json.decode(line) for line in self.stdout.splitlines()]


@dataclass(slots=True)
class Deskhand:
    """The command line, run as a user runs it, with a home and an environment of its own."""

    environment: Mapping[str, str]
    cwd: Path
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __call__(
        self,
        *arguments: str | Path,
        endpoint: str | None = None,
        cwd: Path | None = None,
        stdin: str | bytes | None = None,
        timeout: float = 60.0,
        **environment: str,
    ) -> Ran:
        """Run a command to its end. `endpoint` is what `ANTHROPIC_BASE_URL` shall be."""
        process = self.start(*arguments, endpoint=endpoint, cwd=cwd, stdin=stdin is not None, **environment)
        data = stdin.encode() if isinstance(stdin, str) else stdin
        try:
            stdout, stderr = process.communicate(data, timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            stdout, stderr = process.communicate()
            raise AssertionError(f"{arguments} took more than {timeout} s:\n{stdout!r}\n{stderr!r}") from None
        return Ran(process.returncode, stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace"))

    def start(
        self,
        *arguments: str | Path,
        endpoint: str | None = None,
        cwd: Path | None = None,
        stdin: bool = False,
        **environment: str,
    ) -> subprocess.Popen[bytes]:
        """Start a command in a process group of its own, its output in pipes. It is ended with the test."""
        variables = {**self.environment, **environment}
        if endpoint is not None:
            variables["ANTHROPIC_BASE_URL"] = endpoint
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "deskhand", *map(str, arguments)],
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd or self.cwd,
            env=variables,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        """End what still runs, and let go of every pipe."""
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=10)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()


def clean_environment(root: Path) -> dict[str, str]:
    """Return an environment in which nothing of the user's own is seen: no keys, no settings, no proxies."""
    dropped = ("ANTHROPIC_", "DESKHAND_", "CLAUDE_")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(dropped)
        and not name.lower().endswith("_proxy")
        and name not in ("FORCE_COLOR", "NO_COLOR")
    }
    home = root / "home"
    home.mkdir()
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    return {**kept, "PATH": path, "HOME": str(home), "DESKHAND_HOME": str(home / ".deskhand"), MARK: str(root)}


def survivors(mark: str, patience: float = 3.0) -> list[str]:
    """Return the processes that a test has left behind, once they had `patience` seconds to go. Linux only."""
    deadline = time.monotonic() + patience
    while (found := list(_marked(mark))) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid, _ in found:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    return [f"{pid}: {command}" for pid, command in found]


def _marked(mark: str) -> Iterator[tuple[int, str]]:
    needle = f"{MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if needle in (folder / "environ").read_bytes().split(b"\0"):
                yield (
                    int(folder.name),
                    (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"),
                )
