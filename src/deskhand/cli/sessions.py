"""`deskhand sessions [list|show|search|export|delete]`: what the journal holds."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from deskhand.cli.arguments import count
from deskhand.cli.session_text import shown, shown_hit, table
from deskhand.cli.terminal import Terminal, complain
from deskhand.home import Home, HomeError, find_home
from deskhand.journal.search import search
from deskhand.journal.sessions import delete_session, find_session, latest_session, summaries, summary
from deskhand.journal.store import Journal, JournalError
from deskhand.journal.transcript import one_line, transcript

if TYPE_CHECKING:
    import argparse

FAILED = 1

_NONE_YET = 'No sessions yet. `deskhand run "PROMPT"` begins one.'


def run(arguments: list[str]) -> int:
    """Run the sub-command (`list` where none is named) and return the exit code: 0 done, 1 failed, 2 usage."""
    options = _parse(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an old locale gets question marks, not a traceback
    try:
        home = find_home()
        if not home.journal.exists():
            return _without_journal(options)
        journal = Journal.open(home.journal)
        try:
            code: int = options.command(journal, home, options)
            sys.stdout.flush()
            return code
        finally:
            journal.close_now()
    except (JournalError, HomeError) as error:
        complain(str(error))
        return FAILED
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        complain(f"Cannot read the sessions, or write what was asked for: {error}.")
        return FAILED


def _parse(arguments: list[str]) -> argparse.Namespace:
    import argparse

    parser = argparse.ArgumentParser(prog="deskhand sessions", description="What the journal holds.")
    commands = parser.add_subparsers(metavar="COMMAND")

    lister = commands.add_parser("list", help="the newest sessions (the default)")
    lister.add_argument("-n", type=count, default=20, metavar="N", help="how many (default: 20)")
    lister.add_argument("--json", action="store_true", help="as a JSON array")
    lister.set_defaults(command=_list)

    shower = commands.add_parser("show", help="what was said and done in a session")
    shower.add_argument("session", nargs="?", metavar="ID", help="the beginning or the end of its id (default: latest)")
    shower.set_defaults(command=_show)

    searcher = commands.add_parser("search", help="find words in prompts, answers, calls and results")
    searcher.add_argument("query", nargs="+", metavar="WORD", help="all must occur, each may be a word's beginning")
    searcher.add_argument("-n", type=count, default=20, metavar="N", help="how many matches (default: 20)")
    searcher.set_defaults(command=_search)

    exporter = commands.add_parser("export", help="write a session as JSON lines or Markdown")
    exporter.add_argument("session", metavar="ID")
    exporter.add_argument("--format", choices=["jsonl", "markdown"], default="jsonl", help="default: jsonl")
    exporter.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: standard output")
    exporter.add_argument("--force", action="store_true", help="overwrite FILE where it exists")
    exporter.set_defaults(command=_export)

    deleter = commands.add_parser("delete", help="remove sessions for good, with their outputs")
    deleter.add_argument("sessions", nargs="+", metavar="ID")
    deleter.add_argument("--yes", action="store_true", help="do not ask")
    deleter.set_defaults(command=_delete)

    asks_for_help = bool(arguments) and arguments[0] in ("-h", "--help")
    if not arguments or (arguments[0].startswith("-") and not asks_for_help):
        arguments = ["list", *arguments]
    return parser.parse_args(arguments)


def _without_journal(options: argparse.Namespace) -> int:
    if getattr(options, "json", False):
        sys.stdout.write("[]\n")
        return 0
    if options.command in (_list, _search):
        sys.stdout.write(_NONE_YET + "\n")
        return 0
    complain(_NONE_YET)
    return FAILED


def _list(journal: Journal, home: Home, options: argparse.Namespace) -> int:
    sessions = summaries(journal, options.n)
    if options.json:
        import msgspec

        sys.stdout.write(msgspec.json.format(msgspec.json.encode(sessions), indent=2).decode() + "\n")
    elif sessions:
        terminal = Terminal(sys.stdout)
        for line in table(sessions, terminal, time.time()):
            sys.stdout.write(line + "\n")
    else:
        sys.stdout.write(_NONE_YET + "\n")
    return 0


def _show(journal: Journal, home: Home, options: argparse.Namespace) -> int:
    session = latest_session(journal) if options.session is None else find_session(journal, options.session)
    if session is None:
        complain(_NONE_YET)
        return FAILED
    terminal = Terminal(sys.stdout)
    about = summary(journal, session)
    sys.stdout.write(terminal.paint(f"{session}  {one_line(about.title)}", "bold") + "\n")
    for step in transcript(journal.rows(session)):
        sys.stdout.write(shown(step, terminal) + "\n")
    return 0


def _search(journal: Journal, home: Home, options: argparse.Namespace) -> int:
    terminal = Terminal(sys.stdout)
    hits = search(journal, " ".join(options.query), options.n)
    for hit in hits:
        sys.stdout.write(shown_hit(hit, terminal) + "\n")
    if not hits:
        sys.stdout.write("Nothing in any session matches.\n")
    return 0


def _export(journal: Journal, home: Home, options: argparse.Namespace) -> int:
    from deskhand.journal.export import json_lines, markdown

    session = find_session(journal, options.session)
    pieces = markdown(journal, session) if options.format == "markdown" else json_lines(journal, session)
    if options.output is None:
        for piece in pieces:
            sys.stdout.buffer.write(piece.encode() + b"\n")
        sys.stdout.buffer.flush()
        return 0
    try:
        _write(options.output, pieces, options.force)
    except FileExistsError:
        complain(f"{options.output} exists already: name another file, or add --force to overwrite it.")
        return FAILED
    except OSError as error:
        complain(f"Cannot write {options.output}: {error.strerror}. Name another file with --output.")
        return FAILED
    return 0


def _write(path: Path, pieces: Iterable[str], force: bool) -> None:
    """Write `pieces` to a file that only the user can read; a file that was begun here does not stay half-written."""
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    descriptor = os.open(path, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for piece in pieces:
                file.write(piece.encode() + b"\n")
    except BaseException:
        if not force:
            path.unlink(missing_ok=True)
        raise


def _delete(journal: Journal, home: Home, options: argparse.Namespace) -> int:
    sessions = list(dict.fromkeys(find_session(journal, text) for text in options.sessions))
    if not options.yes and not (sys.stdin.isatty() and sys.stdout.isatty()):
        complain("To delete is for good, and there is nobody to ask: add --yes.")
        return FAILED
    for session in sessions:
        about = summary(journal, session)
        if not options.yes and not _confirmed(f"Delete {session} ({one_line(about.title) or 'no prompt'})? [y/N] "):
            continue
        if not _delete_one(journal, home, session):
            complain(f"Session {session} is at work in another process: stop it first.")
            return FAILED
        sys.stdout.write(f"Deleted {session}.\n")
    return 0


def _delete_one(journal: Journal, home: Home, session: str) -> bool:
    """Delete the session with its outputs, unless a process is at work in it."""
    from deskhand.journal.locks import lock_session

    lock = lock_session(home.run(), session)
    if lock is None:
        return False
    try:
        home.remove_outputs(session)
        delete_session(journal, session)
    finally:
        lock.release()
    return True


def _confirmed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False
