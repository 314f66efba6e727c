"""A small grep for machines without ripgrep, run as a program of its own; it speaks ripgrep's JSON.

A program, because a regex of Python's can take for ever (`(a+)+$`) while it holds the interpreter: no thread could
be stopped then. A process can be killed. Its one argument is a request in JSON:
`pattern`, `root`, `glob`, `ignore_case`, `context`, `files_only`.
"""

from __future__ import annotations

import base64
import codecs
import io
import json
import os
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from deskhand.tools.walk import path_filter, walk

_Shown = tuple[int, str, "re.Match[str] | None"]


def main(argument: str) -> int:
    """Search as the request in `argument` says, and write events to standard output; return the exit code."""
    request = json.loads(argument)
    try:
        pattern = re.compile(request["pattern"], re.IGNORECASE if request["ignore_case"] else 0)
    except (re.error, OverflowError, RecursionError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    for path in _files(Path(request["root"]), request["glob"]):
        _search(path, pattern, request["context"], request["files_only"])
    return 0


def _files(root: Path, glob: str) -> Iterator[str]:
    if root.is_file():
        yield str(root)
        return
    fits = path_filter(glob) if glob else None
    for entry in walk(root):
        if entry.is_file(follow_symlinks=False) and (fits is None or fits(os.path.relpath(entry.path, root))):
            yield entry.path


class _BinaryError(Exception):
    """The file has a NUL in it."""


def _search(path: str, pattern: re.Pattern[str], context: int, first_only: bool) -> None:
    """Write what ripgrep writes for one file: begin, matches with their context, end."""
    begun = False
    readable = True
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a Path would only be made to be taken apart again
            for number, line, found in _shown_lines(_lines(file), pattern, context):
                if not begun:
                    _write("begin", path)
                    begun = True
                _write_line(path, number, line, found)
                if first_only:
                    break
    except (OSError, UnicodeError, _BinaryError):
        readable = False
    if begun:
        _write("end", path, binary_offset=None if readable else 0)
        sys.stdout.flush()


def _lines(file: BinaryIO) -> Iterator[str]:
    """Yield the lines of a text file, without their ends. Raises `_BinaryError` at the first line with a NUL."""
    start = file.read(2)
    file.seek(0)
    if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        for line in io.TextIOWrapper(file, "utf-16", newline="\n"):
            yield line.rstrip("\r\n")
        return
    for number, data in enumerate(file):
        if b"\0" in data:
            raise _BinaryError
        line = data.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
        yield line.removeprefix("\ufeff") if number == 0 else line


def _shown_lines(lines: Iterable[str], pattern: re.Pattern[str], context: int) -> Iterator[_Shown]:
    """Yield number, text and match of the lines that match, and number and text of those around them."""
    before: deque[_Shown] = deque(maxlen=context)
    following = 0
    for number, line in enumerate(lines, 1):
        found = pattern.search(line)
        if found:
            yield from before
            before.clear()
            following = context
            yield number, line, found
        elif following:
            following -= 1
            yield number, line, None
        else:
            before.append((number, line, None))


def _write_line(path: str, number: int, line: str, found: re.Match[str] | None) -> None:
    start = len(os.fsencode(line[: found.start()])) if found else 0
    submatches = [{"start": start}] if found else []
    _write("match" if found else "context", path, lines=_text(line), line_number=number, submatches=submatches)


def _write(kind: str, path: str, **data: Any) -> None:
    sys.stdout.write(json.dumps({"type": kind, "data": {"path": _text(path), **data}}) + "\n")


def _text(text: str) -> dict[str, str]:
    """Return text as ripgrep's JSON has it: in base64 where it is not valid UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return {"bytes": base64.b64encode(os.fsencode(text)).decode()}
    return {"text": text}


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except BrokenPipeError:  # the reader has enough
        os._exit(0)
