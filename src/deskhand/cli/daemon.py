"""`deskhand daemon start|stop|restart|status|run`, and `deskhand dump`: the process that outlives its windows."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from deskhand import __version__
from deskhand.cli.terminal import Terminal, complain, safe
from deskhand.daemon.ask import ask_daemon
from deskhand.daemon.connect import NotRunning, ensure, stop
from deskhand.daemon.record import DaemonError
from deskhand.home import Home, HomeError, find_home
from deskhand.journal.database import JournalError
from deskhand.settings import SettingsError

if TYPE_CHECKING:
    import argparse

FAILED = 1

_STOP_LIMIT = 15.0
"""Seconds for a daemon to stop its turns and end."""


def run(arguments: list[str]) -> int:
    """Run the sub-command and return the exit code: 0 done, 1 failed or not running, 2 usage."""
    options = _parse(arguments)
    try:
        code: int = options.command(find_home(), options)
        return code
    except (DaemonError, HomeError, JournalError, SettingsError) as error:
        complain(str(error))
        return FAILED


def dump(arguments: list[str]) -> int:
    """`deskhand dump`: print a line for each call in flight."""
    import argparse

    parser = argparse.ArgumentParser(prog="deskhand dump", description="Show what is in flight in the daemon, now.")
    parser.parse_args(arguments)
    out = Terminal(sys.stdout)
    try:
        for line in ask_daemon(find_home(), "_deskhand/status")["calls"] or ["Nothing is in flight."]:
            out.line(safe(line))
    except DaemonError as error:
        complain(str(error))
        return FAILED
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    import argparse

    parser = argparse.ArgumentParser(
        prog="deskhand daemon", description="The agent process, which outlives editors and terminals."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command, words in (
        ("start", _start, "start it, if it does not run"),
        ("stop", _stop, "stop its turns, and end it"),
        ("restart", _restart, "stop it, saying what that interrupts, and start it anew"),
        ("status", _status, "what it is doing"),
        ("run", _run, "be the daemon, in the foreground"),
    ):
        sub = commands.add_parser(name, help=words, description=f"{words.capitalize()}.")
        sub.set_defaults(command=command)
        if name in ("stop", "restart"):
            sub.add_argument("--force", action="store_true", help="kill it, if it does not end by itself")
    return parser.parse_args(arguments)


def _start(home: Home, options: argparse.Namespace) -> int:
    record = ensure(home.root, __version__)
    Terminal(sys.stdout).line(f"The daemon runs: pid {record.pid}, version {record.version}, socket {record.socket}.")
    return 0


def _stop(home: Home, options: argparse.Namespace) -> int:
    was_there = stop(home.root, _STOP_LIMIT, options.force)
    Terminal(sys.stdout).line("The daemon has ended." if was_there else "No daemon runs.")
    return 0


def _restart(home: Home, options: argparse.Namespace) -> int:
    try:
        running = [each for each in ask_daemon(home, "_deskhand/status")["sessions"] if each["running"]]
    except NotRunning:
        running = []
    out = Terminal(sys.stdout)
    for session in running:
        out.line(f"Interrupting the turn of session {session['id']} in {safe(session['cwd'])}.")
    stop(home.root, _STOP_LIMIT, options.force)
    return _start(home, options)


def _status(home: Home, options: argparse.Namespace) -> int:
    try:
        status = ask_daemon(home, "_deskhand/status")
    except NotRunning as nobody:
        Terminal(sys.stdout).line(str(nobody))
        return FAILED
    _show(Terminal(sys.stdout), status)
    return 0


def _run(home: Home, options: argparse.Namespace) -> int:
    from deskhand.daemon.local import complete
    from deskhand.daemon.serve import serve_daemon

    complete(serve_daemon(home))
    return 0


def _show(out: Terminal, status: dict[str, Any]) -> None:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status["began"]))
    out.line(f"Deskhand {status['version']}, pid {status['pid']}, since {since}; clients: {status['clients']}")
    if not status["sessions"]:
        out.line("No session is open.")
    for session in status["sessions"]:
        state = out.paint("running", "green") if session["running"] else "idle"
        out.line(f"  {session['id']}  {state}  {safe(session['cwd'])}")
    for line in status["calls"]:
        out.line(f"    {safe(line)}")
