"""Run one program against the clock's endpoint, and gather what it took."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import monotonic_ns

from benchmarks.endpoint import Request

REPOSITORY = Path(__file__).resolve().parent.parent
DEADLINE_SECONDS = 120
SAMPLE_SECONDS = 0.05
SENT_AT = re.compile(rb"<(\d+)>")

Command = Callable[[int], list[str]]
"""Gives the command line of a program, for the endpoint's port."""


class BenchmarkError(Exception):
    """A program that was measured did not do its work; the message says which, and shows its last words."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of a program took. Times are nanoseconds of `time.monotonic_ns`."""

    started: int
    requests: list[Request]
    cpu_seconds: float
    """User and system time of the program and of every child that it waited for."""
    peak_bytes: int
    """Resident memory at its peak, summed over the tree."""
    output: list[tuple[int, bytes]]
    """Each line of the standard output, and when it came."""

    @property
    def cold_ms(self) -> float:
        """From the start of the process to the first byte of its first request."""
        return (self.requests[0].first_byte - self.started) / 1e6

    @property
    def call_ms(self) -> list[float]:
        """For each call: from the last byte of the model's answer to the whole of the next request."""
        pairs = zip(self.requests, self.requests[1:], strict=False)
        return [(following.whole - request.answered) / 1e6 for request, following in pairs]

    @property
    def token_ms(self) -> list[float]:
        """For each streamed token: from its sending to its arrival on the standard output."""
        arrivals: dict[int, int] = {}  # the last line repeats the whole text
        for came, line in self.output:
            for sent in SENT_AT.findall(line):
                arrivals.setdefault(int(sent), came)
        return [(came - sent) / 1e6 for sent, came in arrivals.items()]


def run(command: Command, folder: Path, *, calls: int = 0, tokens: int = 0) -> Run:
    """Run `command(port)` in `folder` for one turn of so many calls, then a text of so many tokens.

    Raises `BenchmarkError` where it fails, or asks the model less often than the turn needs.
    """
    with endpoint(calls, tokens) as (port, requests):
        argv = command(port)
        with tempfile.TemporaryFile() as errors:
            started = monotonic_ns()
            process = subprocess.Popen(
                argv,
                cwd=folder,
                env=environment(folder, port),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
            with deadline(process), memory_watch(process.pid) as peak:
                assert process.stdout
                output = [(monotonic_ns(), line) for line in process.stdout]
                _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            errors.seek(0)
            last_words = errors.read()[-2000:].decode(errors="replace")
    if process.returncode != 0 or len(requests) != calls + 1:
        raise BenchmarkError(
            f"{' '.join(argv)} ended with {process.returncode} after {len(requests)} of {calls + 1} requests.\n"
            f"{last_words}"
        )
    return Run(
        started=started,
        requests=requests,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_bytes=peak[0] or resident_peak_of(usage.ru_maxrss),
        output=output,
    )


def python_start_ms() -> float:
    """Return how long a bare interpreter takes from its start to its end."""
    started = monotonic_ns()
    subprocess.run([sys.executable, "-c", "pass"], timeout=DEADLINE_SECONDS, check=True)
    return (monotonic_ns() - started) / 1e6


def environment(folder: Path, port: int) -> dict[str, str]:
    """Return the whole environment of a measured program: nothing of the user's is in it but the PATH."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "DESKHAND_HOME": str(folder / "deskhand-home"),
        "LANG": "C.UTF-8",
        "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}",
        "ANTHROPIC_API_KEY": "benchmark",
        "ANTHROPIC_MODEL": "benchmark",
    }


@contextmanager
def endpoint(calls: int, tokens: int) -> Iterator[tuple[int, list[Request]]]:
    """Run an endpoint; give its port, and a list that holds the requests once it has ended."""
    requests: list[Request] = []
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.endpoint", str(calls), str(tokens)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process, deadline(process):
        assert process.stdin
        assert process.stdout
        yield int(process.stdout.readline()), requests
        process.stdin.close()
        requests += [Request(**json.loads(line)) for line in process.stdout]


@contextmanager
def deadline(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> Iterator[None]:
    """Kill the process, with its group where it leads one, when the block takes too long."""

    def kill() -> None:
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()

    timer = threading.Timer(DEADLINE_SECONDS, kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def memory_watch(pid: int) -> Iterator[list[int]]:
    """Watch the tree below `pid`; give a list with its peak in bytes, which stays 0 where there is no /proc."""
    peak = [0]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_SECONDS):
            peak[0] = max(peak[0], sum(map(peak_of_process, tree(pid))))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()


def tree(pid: int) -> Iterator[int]:
    """Yield `pid` and the processes below it that have become programs of their own (Linux)."""
    yield pid
    try:
        below = [child for thread in Path(f"/proc/{pid}/task").iterdir() for child in children_of(thread)]
    except OSError:
        return  # it has ended since
    for child in below:
        if command_line(child) != command_line(pid):  # else it is a copy between fork and exec, in the same memory
            yield from tree(child)


def children_of(thread: Path) -> list[int]:
    """Return the processes that one thread has started."""
    return [int(child) for child in (thread / "children").read_text().split()]


def command_line(pid: int) -> bytes:
    """Return the program and its arguments, as /proc has them; b"" where the process has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def peak_of_process(pid: int) -> int:
    """Return the peak of one process's resident memory in bytes: VmHWM of proc_pid_status(5)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def resident_peak_of(maxrss: int) -> int:
    """Return the bytes of a `ru_maxrss`, which macOS counts in bytes and others in kilobytes (getrusage(2))."""
    return maxrss if sys.platform == "darwin" else maxrss * 1024


def percentile_95(values: list[float]) -> float:
    """Return the value that 95 % are not above."""
    return sorted(values)[int(len(values) * 0.95)]


def growth(values: list[float]) -> float:
    """Return the median of the last 50 values divided by that of the first 50."""
    return median(values[-50:]) / median(values[:50])
