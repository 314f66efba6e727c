"""A daemon is started: detached from the terminal and from the client that needs it, and the only one of its home."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from deskhand.daemon.record import DaemonError, Record, StrPath, find, try_lock
from deskhand.home import Home
from deskhand.process_table import CALL_VARIABLE, SESSION_VARIABLE, Row, read_row

_POLL = 0.005
"""Seconds between two looks at whether it listens."""

_LAST_LINES = 8192
"""Bytes of the log in which the last line is looked for."""

# The shell's child loses its parent at once: who ends a client with all of its descendants, as editors do, does not
# reach the daemon, and a client that lives long never has it as a zombie.
_DETACH = '"$@" > /dev/null & echo $!'

_TERMINAL = frozenset(
    (
        *("_", "COLORTERM", "COLUMNS", "LINES", "OLDPWD", "PS1", "PWD", "SHLVL", "STY", "TERM", "TERMCAP", "WINDOW"),
        *("SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "TMUX", "TMUX_PANE", "VTE_VERSION", "WINDOWID", "WT_SESSION"),
    )
)
_TERMINAL_PREFIXES = ("ALACRITTY_", "GHOSTTY_", "GNOME_TERMINAL_", "ITERM_", "KITTY_", "KONSOLE_", "TERM_", "WEZTERM_")
# They speak of pipes and sockets that are the client's own: make's job server, systemd's notifications.
_HANDLES = frozenset(
    (
        *("MAKEFLAGS", "MAKELEVEL", "MFLAGS"),
        *("INVOCATION_ID", "JOURNAL_STREAM", "LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET"),
    )
)
_CALL_OF_ANOTHER_AGENT = frozenset({SESSION_VARIABLE, CALL_VARIABLE})


def start(home: StrPath, timeout: float, command: Sequence[str] | None = None) -> Record:
    """Start the daemon of `home`, wait until it listens, and return its record, or that of one that is there already.

    One client starts at a time, and the others wait for what it started. Raises as `connect.ensure`.
    """
    deadline = time.monotonic() + timeout
    folder = Home(Path(home))
    turn = _open(folder.run() / "start.lock")
    try:
        while not try_lock(turn):
            record = find(home)
            if record is not None:
                return record
            _pause(deadline, folder)
        # It is looked for once more: whose turn it was before may have started it.
        return find(home) or _start(folder, deadline, command or daemon_command())
    finally:
        os.close(turn)


def daemon_command() -> list[str]:
    """Return what runs the daemon in the foreground."""
    return [sys.executable, "-P", "-m", "deskhand", "daemon", "run"]


def daemon_environment(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return what a daemon inherits of its first client's environment.

    All of it, for keys, proxies, PATH and the display are in it, but for what speaks of the client's terminal, of its
    open files, or of the call of another agent in which it may be running.
    """
    dropped = _TERMINAL | _HANDLES | _CALL_OF_ANOTHER_AGENT
    kept = {
        name: value
        for name, value in environment.items()
        if name not in dropped and not name.startswith(_TERMINAL_PREFIXES)
    }
    return {**kept, "DESKHAND_HOME": str(home)}


def _start(home: Home, deadline: float, command: Sequence[str]) -> Record:
    log = home.logs() / "daemon.log"
    output = _open(log)
    try:
        said = os.fstat(output).st_size
        process = _spawn(command, daemon_environment(os.environ, home.root), output, deadline)
    finally:
        os.close(output)
    while process is not None:
        record = find(home.root)
        if record is not None:
            return record
        _pause(deadline, home)
        process = _still(process)
    # One that a service manager started at the same time may have been quicker, and ours have given way.
    record = find(home.root)
    if record is None:
        raise DaemonError(f"The Deskhand daemon ended as it started: {_last_line(log, said)} The log is {log}.")
    return record


def _spawn(command: Sequence[str], environment: Mapping[str, str], output: int, deadline: float) -> Row | None:
    """Start the command, detached, its standard error appended to `output`; None where it has ended already."""
    try:
        shell = subprocess.run(
            ["/bin/sh", "-c", _DETACH, "sh", *command],
            cwd="/",  # no folder, and no disk, is kept from being removed
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
            timeout=max(1.0, deadline - time.monotonic()),
            check=True,
        )
        return read_row(int(shell.stdout))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise DaemonError(f"Cannot start the Deskhand daemon with /bin/sh: {error}.") from None


def _still(process: Row) -> Row | None:
    """Return the process if it still runs."""
    row = read_row(process.pid)
    return row if row is not None and row.clock == process.clock and not row.zombie else None


def _pause(deadline: float, home: Home) -> None:
    if time.monotonic() >= deadline:
        raise DaemonError(f"The Deskhand daemon is not ready in time: see {home.logs() / 'daemon.log'}.")
    time.sleep(_POLL)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DaemonError(
            f"Cannot start the Deskhand daemon, for {path} cannot be written: {error.strerror}."
        ) from None


def _last_line(log: Path, said: int) -> str:
    """Return the last line of the log beyond its first `said` bytes."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            # Where it is shorter than it was, the daemon has begun a new one.
            file.seek(max(said if said <= size else 0, size - _LAST_LINES))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1].strip() if lines else "it said nothing."
