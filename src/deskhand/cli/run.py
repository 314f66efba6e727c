"""`deskhand run "PROMPT"`: one turn, no questions."""

from __future__ import annotations

import os
import select
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deskhand.cli.arguments import count
from deskhand.cli.output import Output, output_for
from deskhand.cli.terminal import OutputError, complain
from deskhand.stop_keys import STOPPED, leave_when_stopped

if TYPE_CHECKING:
    import argparse

    from deskhand.journal.events import TurnEnded

USAGE = 2
FAILED = 1
LIMIT = 3
UNDECIDED = 4

_EXIT_CODES = {
    "end_turn": 0,
    "max_tokens": LIMIT,
    "max_turn_requests": LIMIT,
    "repetition": LIMIT,
    "refusal": FAILED,
    "failed": FAILED,
    "cancelled": STOPPED,
}

_SENTENCES = {
    "max_tokens": "The model's answer was cut at its output limit.",
    "max_turn_requests": "The turn was stopped at its limit of requests or tokens.",
    "repetition": "The turn was paused: the model repeated the same calls with the same results.",
    "refusal": "The model declined to answer.",
}


def run(arguments: list[str]) -> int:
    """Run one turn, and return the exit code: 0 ended, 1 failed, 2 usage, 3 limit, 4 undecided, 130 stopped."""
    leave_when_stopped()
    options = _parse(arguments)
    prompt = _prompt(options.prompt)
    if not prompt.strip():
        complain("There is no prompt: give one as an argument, or - to read it from standard input.")
        return USAGE
    return take_turn(prompt, options, output_for(options.output))


def take_turn(prompt: str, options: argparse.Namespace, output: Output) -> int:
    """Run the turn that `options` describe, shown by `output`, and return its exit code."""
    from deskhand.daemon.local import CannotStart, Wanted, complete, run_turn
    from deskhand.home import HomeError, find_home
    from deskhand.journal.blocks import Text
    from deskhand.journal.store import JournalError
    from deskhand.model.errors import EndpointError
    from deskhand.settings import SettingsError

    wanted = Wanted(
        prompt=(Text(prompt),),
        cwd=Path(os.path.expanduser(options.cwd)) if options.cwd else None,  # noqa: PTH111 - no error for `~nobody`
        session=options.session,
        latest=options.latest,
        model=options.model,
        mode=options.mode,
        max_requests=options.max_turns,
    )
    try:
        ended = complete(run_turn(wanted, find_home(), output.attend))
    except (CannotStart, HomeError, SettingsError, EndpointError, JournalError) as error:
        output.failed(str(error))
        return FAILED
    code, sentence = _verdict(ended, undecided=output.summary.undecided)
    try:
        output.ended(ended, sentence)
    except OutputError as error:
        complain(str(error))
        return code or FAILED
    return code


def _verdict(ended: TurnEnded, *, undecided: bool) -> tuple[int, str | None]:
    """Return the exit code, and what there is to say beside the answer."""
    if ended.error is not None:
        return FAILED, ended.error.message
    if ended.stop_reason == "end_turn" and undecided:
        return UNDECIDED, "The task needs a decision that nobody was here to make."
    return _EXIT_CODES[ended.stop_reason], _SENTENCES.get(ended.stop_reason)


def _parse(arguments: list[str]) -> argparse.Namespace:
    import argparse

    parser = argparse.ArgumentParser(
        prog="deskhand run",
        description="Run one turn, without questions: what would need one is refused.",
        epilog="Exit codes: 0 ended, 1 failed, 2 usage, 3 stopped at a limit, 4 needs a decision, 130 stopped.",
    )
    parser.add_argument("prompt", nargs="*", metavar="PROMPT", help="what to do; - stands for standard input")
    parser.add_argument("--cwd", metavar="DIR", help="the folder to work in (default: this one)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--session", metavar="ID", help="go on with this session (the beginning or end of its id will do)"
    )
    which.add_argument(
        "--continue",
        dest="latest",
        action="store_true",
        help="go on with the latest session of this folder; where it has none, with the latest of all folders",
    )
    parser.add_argument("--model", metavar="M", help="the model, by the endpoint's name for it")
    parser.add_argument("--engine", choices=["native"], default="native", help="what advances the turn")
    parser.add_argument(
        "--mode",
        choices=["plan", "ask", "auto", "bypass"],
        help="what runs unasked (default: the session's mode, for a new one that of the settings, else auto)",
    )
    parser.add_argument("--output", choices=["text", "json", "stream-json"], default="text", help="default: text")
    parser.add_argument("--max-turns", type=count, metavar="N", help="stop after N requests to the model")
    parser.add_argument(
        "--no-daemon", action="store_true", help="run everything in this process, as is done in any case"
    )
    return parser.parse_args(arguments)


def _prompt(words: list[str]) -> str:
    """Join the prompt; `-`, or nothing at all, stands for standard input.

    Input is read only where it is asked for: a pipe that somebody forgot to close would hold us up for ever.
    """
    if not words:
        return "" if sys.stdin.isatty() else _standard_input()
    if "-" not in words and _input_waits():
        complain("Standard input was not read; add - to the prompt to include it.")
    prompt = "\n\n".join(_standard_input() if word == "-" else word for word in words)
    try:
        prompt.encode()
    except UnicodeEncodeError:  # bytes that are no text in the user's locale, be it for the locale's fault or theirs
        return os.fsencode(prompt).decode("utf-8", "backslashreplace")
    return prompt


def _standard_input() -> str:
    return sys.stdin.buffer.read().decode("utf-8", "backslashreplace")


def _input_waits() -> bool:
    """Tell whether something was redirected to us and can be read now."""
    try:
        mode = os.fstat(0).st_mode
        if stat.S_ISREG(mode):
            return os.fstat(0).st_size > 0
        if not stat.S_ISFIFO(mode) or not select.select([0], [], [], 0)[0]:
            return False
        import fcntl
        import termios

        waiting = fcntl.ioctl(0, termios.FIONREAD, b"\0\0\0\0")
        return waiting != b"\0\0\0\0"
    except (OSError, ValueError):
        return False
