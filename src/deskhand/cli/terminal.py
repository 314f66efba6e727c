"""What the commands need of a terminal: colour where it is wanted, the width, and text that cannot take it over."""

from __future__ import annotations

import errno
import os
import re
import sys
from typing import IO

_STYLES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
}

_READER_GONE = (errno.EPIPE, errno.EIO)
"""What writing says when a pipe's reader has closed it, or a terminal its window."""

_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class OutputError(Exception):
    """What was to be told could not be written; the message is one sentence for the user."""


class Terminal:
    """A stream that people may be watching."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self.interactive = stream.isatty()
        self.colour = _wants_colour(self.interactive)
        self._problem: str | None = None

    @property
    def width(self) -> int:
        """Columns; 100 where there is no telling."""
        try:
            columns = os.get_terminal_size(self.stream.fileno()).columns
        except (OSError, ValueError):
            told = os.environ.get("COLUMNS", "")
            columns = int(told) if told.isdecimal() else 0
        return columns or 100

    def paint(self, text: str, *styles: str) -> str:
        """Return `text` in `styles` (bold, dim, red, …) where colour is on."""
        if not self.colour or not text:
            return text
        return f"\x1b[{';'.join(_STYLES[style] for style in styles)}m{text}\x1b[0m"

    def write(self, text: str) -> None:
        """Write and show `text` at once.

        A reader that has gone away is no error: nobody is told any more. What a full disk, say, cannot take, `check`
        reports: nothing that is at work must be ended by what shows it.
        """
        try:
            self.stream.write(text)
            self.stream.flush()
        except (OSError, ValueError) as error:
            self.stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - lives as long as we do
            if isinstance(error, OSError) and error.errno not in _READER_GONE:
                self._problem = error.strerror

    def check(self) -> None:
        """Raise `OutputError` where something could not be written."""
        if self._problem is not None:
            raise OutputError(f"The output cannot be written: {self._problem}.")

    def line(self, text: str = "") -> None:
        """Write `text` and a newline."""
        self.write(text + "\n")

    def paragraph(self, text: str, *styles: str) -> None:
        """Write `text`, broken at words to the width, in `styles`."""
        import textwrap

        for line in textwrap.wrap(text, self.width, break_on_hyphens=False):
            self.line(self.paint(line, *styles))


def safe(text: str) -> str:
    """Return `text` without the control characters by which a model or a file could command the terminal."""
    return _CONTROL.sub("", text)


def complain(sentence: str) -> None:
    """Tell the user, on standard error, what failed."""
    terminal = Terminal(sys.stderr)
    terminal.line(f"{terminal.paint('deskhand:', 'red', 'bold')} {safe(sentence)}")


def _wants_colour(interactive: bool) -> bool:
    """https://no-color.org, and FORCE_COLOR for those who record a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return interactive and os.environ.get("TERM") != "dumb"
