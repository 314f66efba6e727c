"""The `write` tool: the whole content of a file, new or not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from deskhand.journal.events import FileSeen, Hunk, Location
from deskhand.seam.files import classify_write
from deskhand.tools.base import CallContext, Change, ToolError, ToolResult, built_in, resolve
from deskhand.tools.files import (
    check_seen,
    digest,
    hunks,
    name_of,
    pieces_between,
    read_whole,
    real,
    replace,
    to_the_end,
    writes,
)
from deskhand.tools.text import UTF_8, detect, human_size, is_mixed, newline_of

_DIFF_LIMIT = 2_000_000
"""Characters of either side up to which the change is worked out to be shown."""


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to write."""

    path: str
    content: str


async def run(parameters: Parameters, context: CallContext) -> ToolResult:
    """Write the file."""
    if parameters.path.endswith("/"):
        raise ToolError(f"{parameters.path} ends in a slash, as a folder does: give the name of a file.")
    return await to_the_end(_write, parameters, context.path(parameters.path), context.seen)


def _write(parameters: Parameters, path: Path, seen: Mapping[str, str]) -> ToolResult:
    target = real(path)
    before = read_whole(path) if os.path.lexists(target) else None
    if before is not None:
        check_seen(path, before, seen)
    after, notes = _encoded(parameters.content, before or b"")
    now_seen = (FileSeen(name_of(target), digest(after)),)
    location = (Location(name_of(path)),)
    if before == after:
        return ToolResult((f"{parameters.path} has exactly this content already.",), seen=now_seen, locations=location)
    replace(path, after)
    old, new = _text(before or b""), _text(after) or ""
    if before is None:
        fate = "a new file"
    else:
        fate = f"replaced {human_size(len(before))}" if old is None else f"replaced {_count_lines(old):,}"
    count = _count_lines(new)
    sentence = f"Wrote {count:,} {'line' if count == 1 else 'lines'} to {parameters.path} ({fate})."
    change = Change(target, before, after, _hunks(old, new))
    return ToolResult((" ".join([sentence, *notes]),), seen=now_seen, changes=(change,), locations=location)


def _encoded(content: str, before: bytes) -> tuple[bytes, list[str]]:
    """Return `content` in the encoding and newlines of the file that it replaces, and what to say about that."""
    _check_whole_characters(content)
    encoding = detect(before)
    if encoding is None or encoding.damaged:
        return content.encode(), []
    notes = []
    old = encoding.decode(before)
    if newline_of(old) == "\r\n" and not is_mixed(old) and "\r" not in content:
        content = content.replace("\n", "\r\n")
        notes.append("Its CRLF newlines were kept.")
    try:
        data = encoding.bom + encoding.encode(content.removeprefix("\ufeff") if encoding.bom else content)
    except UnicodeEncodeError as error:
        character = error.object[error.start]
        return content.encode(), [*notes, f"It was {encoding.name}, which lacks {character}: it is UTF-8 now."]
    if encoding != UTF_8:
        notes.append(f"It is {encoding.name}, as it was.")
    return data, notes


def _check_whole_characters(content: str) -> None:
    """Refuse a lone surrogate, which JSON can carry and no file can."""
    try:
        content.encode()
    except UnicodeEncodeError as error:
        code = f"U+{ord(content[error.start]):04X}"
        raise ToolError(f"The content has half a character at {error.start}, the surrogate {code} alone.") from None


def _text(data: bytes) -> str | None:
    """Return the text of a file with LF newlines, as the change is shown; None for a binary."""
    encoding = detect(data)
    return None if encoding is None else encoding.decode(data).replace("\r\n", "\n")


def _count_lines(text: str) -> int:
    return text.count("\n") + (not text.endswith("\n") and text != "")


def _hunks(old: str | None, new: str) -> tuple[Hunk, ...]:
    if old is None or max(len(old), len(new)) > _DIFF_LIMIT:
        return ()
    return hunks(pieces_between(old, new))


TOOL = built_in(
    __file__,
    Parameters,
    kind="edit",
    run=run,
    risk=lambda parameters, cwd: classify_write(resolve(cwd, parameters.path), cwd),
    resources=lambda parameters, cwd: writes(parameters.path, cwd),
    title=lambda parameters: f"Write {parameters.path}",
)
