"""The `edit` tool: replace a stretch of a file that is given exactly, and leave every other byte as it is.

The search is on the file's bytes, in its own encoding. The one liberty: a newline in the given text stands for
whatever newline the file has there, and new text gets that one too.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated

import msgspec

from deskhand.journal.events import FileSeen, Location
from deskhand.seam.files import classify_write
from deskhand.tools.base import CallContext, Change, ToolError, ToolResult, built_in, resolve
from deskhand.tools.files import check_seen, digest, hunks, name_of, read_whole, real, replace, to_the_end, writes
from deskhand.tools.nearest import explain_missing
from deskhand.tools.text import Encoding, detect, newline_of

_MOST_COUNTED = 1_000
"""Places that are looked for where one is meant."""


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to replace."""

    path: str
    old: str
    new: str
    replace_all: Annotated[bool, msgspec.Meta(description="every occurrence")] = False


class Splice(msgspec.Struct, frozen=True):
    """Bytes `start` to `end` of a file, and what comes in their place."""

    start: int
    end: int
    new: bytes


class FileText:
    """The bytes of a text file with what is needed to find and place text in them."""

    def __init__(self, data: bytes, encoding: Encoding) -> None:
        self.data = data
        self.encoding = encoding
        self._following = (0, -1)
        self._unit = len("a".encode(encoding.codec))
        self._text_newline = newline_of(encoding.decode(data))
        if self._text_newline == "\r":
            self._newline = re.compile(re.escape(encoding.encode("\r")))
        else:
            crlf, cr, lf = (re.escape(encoding.encode(newline)) for newline in ("\r\n", "\r", "\n"))
            self._newline = re.compile(b"%b|(?<!%b)%b" % (crlf, cr, lf))
        self._folded, self._folds = self._fold()

    def _fold(self) -> tuple[bytes, list[int]]:
        """Return the file with each CRLF as LF, where a search is linear, and the places in it of those LFs."""
        crlf = re.compile(re.escape(self.encoding.encode("\r\n")))
        starts = [match.start() for match in crlf.finditer(self.data) if self._is_aligned(match.start())]
        ends = [0, *(start + self._unit for start in starts)]
        parts = [self.data[end:start] for end, start in zip(ends, [*starts, len(self.data)], strict=True)]
        return b"".join(parts), [start - number * self._unit for number, start in enumerate(starts)]

    def find(self, old: str, *, overlapping: bool) -> Iterator[tuple[int, int]]:
        """Yield start and end of each place where `old` is. Raises `UnicodeEncodeError`."""
        wanted = self._with_lf(old)
        needle = self.encoding.encode(wanted.replace("\n", "\r") if self._text_newline == "\r" else wanted)
        start = self._folded.find(needle, len(self.encoding.bom))
        while start >= 0:
            step = 1
            if self._is_aligned(start):
                yield self._unfolded(start), self._unfolded(start + len(needle))
                step = 1 if overlapping else len(needle)
            start = self._folded.find(needle, start + step)

    def _unfolded(self, position: int) -> int:
        """Return where in the file a position of its folded form is."""
        return position + bisect_left(self._folds, position) * self._unit

    def _with_lf(self, text: str) -> str:
        text = text.replace("\r\n", "\n")
        return text.replace("\r", "\n") if self._text_newline == "\r" else text

    def _is_aligned(self, position: int) -> bool:
        """Tell whether a character begins here: in UTF-16 the bytes of one may occur across two others."""
        return (position - len(self.encoding.bom)) % self._unit == 0

    def _newlines(self, start: int) -> Iterator[re.Match[bytes]]:
        return (match for match in self._newline.finditer(self.data, start) if self._is_aligned(match.start()))

    def fitted(self, new: str, start: int) -> bytes:
        """Return `new` in the file's encoding, with the newline of the place. Raises `UnicodeEncodeError`."""
        newline = self._newline_after(start)
        # In a file with LF, a CRLF that the model wrote is what it wants.
        fitted = new if newline == "\n" else self._with_lf(new).replace("\n", newline)
        return self.encoding.encode(fitted)

    def _newline_after(self, position: int) -> str:
        """Return the first newline from `position` on; where there is none, the one that the file uses most."""
        known, newline = self._following
        if not known <= position <= newline:
            match = next(self._newlines(position), None)
            newline = len(self.data) if match is None else match.start()
            # Kept, because many replacements in one long line would each search it to its end.
            self._following = (position, newline)
        match = self._newline.match(self.data, newline)
        return self._text_newline if match is None else match[0].decode(self.encoding.codec)

    def line_at(self, position: int) -> int:
        """Return the number of the line, from 1, that byte `position` is in."""
        before = self.encoding.decode(self.data[:position])
        return before.count("\r" if self._text_newline == "\r" else "\n") + 1

    def pieces(self, splices: list[Splice]) -> Iterator[tuple[str, str]]:
        """Yield what stays and what changes, as `hunks` takes it."""
        position = 0
        for splice in splices:
            yield self._pair(self.data[position : splice.start], None)
            yield self._pair(self.data[splice.start : splice.end], splice.new)
            position = splice.end
        yield self._pair(self.data[position:], None)

    def _pair(self, before: bytes, after: bytes | None) -> tuple[str, str]:
        old = self._with_lf(self.encoding.decode(before))
        return old, old if after is None else self._with_lf(self.encoding.decode(after))


async def run(parameters: Parameters, context: CallContext) -> ToolResult:
    """Edit the file."""
    if not parameters.old:
        raise ToolError("old is empty: give the text to replace. To make or fill a file, use write.")
    if parameters.old == parameters.new:
        raise ToolError("old and new are the same: nothing would change.")
    return await to_the_end(_edit, parameters, context.path(parameters.path), context.seen)


def _edit(parameters: Parameters, path: Path, seen: Mapping[str, str]) -> ToolResult:
    before = read_whole(path)
    check_seen(path, before, seen)
    encoding = detect(before)
    if encoding is None:
        raise ToolError(f"{path} is binary: change it with a program that knows its format.")
    file = FileText(before, encoding)
    splices = _splices(file, parameters)
    after = _spliced(before, splices)
    if after == before:
        raise ToolError("old and new differ only in newlines, and edit keeps the file's: nothing would change.")
    replace(path, after)
    target = real(path)
    line = file.line_at(splices[0].start)
    count = f"{len(splices):,} replacements, the first" if len(splices) > 1 else "1 replacement"
    return ToolResult(
        (f"Edited {parameters.path}: {count} at line {line:,}.",),
        seen=(FileSeen(name_of(target), digest(after)),),
        changes=(Change(target, before, after, hunks(file.pieces(splices))),),
        locations=(Location(name_of(path), line),),
    )


def _splices(file: FileText, parameters: Parameters) -> list[Splice]:
    """Return the replacements to make. Raises `ToolError` where there are none, or more than were meant."""
    try:
        found = file.find(parameters.old, overlapping=not parameters.replace_all)
        places = list(found if parameters.replace_all else islice(found, _MOST_COUNTED))
    except UnicodeEncodeError as error:
        raise _foreign("old", error, file, parameters) from None
    if not places:
        raise ToolError(explain_missing(parameters.path, parameters.old, file.encoding.decode(file.data)))
    if len(places) > 1 and not parameters.replace_all:
        raise _ambiguous(file, places, parameters)
    return [Splice(start, end, _fitted(file, start, parameters)) for start, end in places]


def _fitted(file: FileText, start: int, parameters: Parameters) -> bytes:
    try:
        return file.fitted(parameters.new, start)
    except UnicodeEncodeError as error:
        raise _foreign("new", error, file, parameters) from None


def _spliced(data: bytes, splices: list[Splice]) -> bytes:
    parts = []
    position = 0
    for splice in splices:
        parts += [data[position : splice.start], splice.new]
        position = splice.end
    return b"".join([*parts, data[position:]])


def _foreign(which: str, error: UnicodeEncodeError, file: FileText, parameters: Parameters) -> ToolError:
    character = error.object[error.start]
    shown = character if character.isprintable() else "a character"
    return ToolError(
        f"{which} has {shown} (U+{ord(character):04X}), which {parameters.path}, being {file.encoding.name}, "
        "cannot hold. Use another character, or convert the file first."
    )


def _ambiguous(file: FileText, places: list[tuple[int, int]], parameters: Parameters) -> ToolError:
    lines = ", ".join(str(file.line_at(start)) for start, _ in places[:10])
    more = ", …" if len(places) > 10 else ""
    count = f"{len(places):,} times" if len(places) < _MOST_COUNTED else f"{_MOST_COUNTED:,} times or more"
    return ToolError(
        f"old occurs {count} in {parameters.path}, at lines {lines}{more}. "
        "Give more of the text around the one you mean, or set replace_all."
    )


TOOL = built_in(
    __file__,
    Parameters,
    kind="edit",
    run=run,
    risk=lambda parameters, cwd: classify_write(resolve(cwd, parameters.path), cwd),
    resources=lambda parameters, cwd: writes(parameters.path, cwd),
    title=lambda parameters: f"Edit {parameters.path}",
)
