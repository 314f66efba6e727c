"""The command line: finds the command, and imports nothing else.

A command is a function `(arguments) -> exit code` of a module: `run`, where no other is named.
"""

from __future__ import annotations

import importlib
import io
import os
import sys

from deskhand import __version__

COMMANDS = {
    "run": ("deskhand.cli.run", "one turn, without questions"),
    "demo": ("deskhand.cli.demo", "fix a real bug in a scratch repository, and watch"),
    "acp": ("deskhand.cli.acp", "serve an editor that speaks the Agent Client Protocol"),
    "daemon": ("deskhand.cli.daemon", "start, stop or look at the agent process that outlives its windows"),
    "dump": ("deskhand.cli.daemon:dump", "what is in flight in the daemon, now"),
    "sessions": ("deskhand.cli.sessions", "list, show, search, export or delete sessions"),
    "rehearse": ("deskhand.cli.rehearse", "serve a scripted model on loopback"),
}

FAILED = 1
USAGE = 2
STOPPED = 130


def main(arguments: list[str]) -> int:
    """Run the command that `arguments` name, and return its exit code."""
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help", "help"):
        sys.stdout.write(_help())
        return 0
    if name in ("-V", "--version", "version"):
        sys.stdout.write(f"deskhand {__version__}\n")
        return 0
    if name not in COMMANDS:
        sys.stderr.write(f"deskhand: there is no command {name!r}{_meant(name)} `deskhand --help` lists them.\n")
        return USAGE
    module, _, function = COMMANDS[name][0].partition(":")
    command = getattr(importlib.import_module(module), function or "run")
    code: int = command(arguments[1:])
    return code


def entry() -> None:
    """Run the program and leave at once: a thread that is stuck in a tool must not hold the exit up."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an old locale gets escapes, not a traceback
    try:
        code = main(sys.argv[1:])
    except SystemExit as usage:  # argparse leaves this way, having said why
        code = usage.code if isinstance(usage.code, int) else USAGE
    except KeyboardInterrupt:
        code = STOPPED
    except Exception as fault:  # a bug of ours: the user gets a sentence, the log the rest
        code = _own_up(fault)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (BrokenPipeError, ValueError):
            continue  # nobody reads it any more
        except OSError:  # the disk is full, say: what was to be told has not been told
            code = code or FAILED
    os._exit(code)


def _open_closed_streams() -> None:
    """Put the null device where a standard stream was closed: else the next file that is opened takes its place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - open for good


def _own_up(fault: Exception) -> int:
    import traceback

    from deskhand import log
    from deskhand.cli.terminal import complain

    log.write("".join(traceback.format_exception(fault)))
    where = f" The log has the details: {log.path()}." if log.path() else ""
    complain(f"A fault in Deskhand itself ended this: {type(fault).__name__}: {fault}.{where}")
    return FAILED


def _help() -> str:
    commands = "\n".join(f"  deskhand {name:<10} {text}" for name, (_, text) in COMMANDS.items())
    return f"""\
Deskhand {__version__}: a local-first coding agent.

{commands}

  deskhand COMMAND --help   what a command takes
  deskhand --version

ANTHROPIC_BASE_URL says where the model lives (ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN, and
ANTHROPIC_MODEL beside it); DESKHAND_HOME where Deskhand keeps its state (default ~/.deskhand).
"""


def _meant(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, COMMANDS, n=1)
    return f"; did you mean {close[0]!r}?" if close else "."
