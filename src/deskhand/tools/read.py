"""The `read` tool: a file as a model can use it, a page at a time, whatever is in it and however big it is."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Annotated, Any

import msgspec

from deskhand.images import media_type_of
from deskhand.journal.events import FileSeen, Location
from deskhand.seam.risk import READ
from deskhand.tools.base import CallContext, ImageData, ToolError, ToolResult, built_in
from deskhand.tools.files import (
    LARGEST_WHOLE,
    Stopped,
    digest,
    is_folder,
    name_of,
    open_regular,
    read_some,
    reads,
    real,
    stoppable,
)
from deskhand.tools.pdf import pdf_text
from deskhand.tools.text import (
    UTF_8,
    Encoding,
    binary_type,
    detect,
    head_and_tail,
    human_size,
    is_mixed,
    newline_of,
    visible,
)

MOST_LINES = 2_000
MOST_CHARACTERS = 38_000
LONGEST_LINE = 2_000
MOST_ENTRIES = 300
_CHUNK = 1 << 20


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to read."""

    path: str
    offset: Annotated[int, msgspec.Meta(ge=1, description="first line, from 1")] = 1
    limit: Annotated[int, msgspec.Meta(ge=1, description="lines")] = MOST_LINES
    pages: Annotated[str, msgspec.Meta(description="of a PDF: 3 or 1-5")] = ""


class _Line(msgspec.Struct, frozen=True):
    """A line of a file, and how many of its characters were left out at its end."""

    text: str
    left_out: int


async def run(parameters: Parameters, context: CallContext) -> ToolResult:
    """Read the file or folder."""
    path = context.path(parameters.path)
    return await stoppable(_read, path, parameters)


def _read(stopped: Stopped, path: Path, parameters: Parameters) -> ToolResult:
    if is_folder(path):
        return ToolResult((_list_folder(path),), locations=(Location(name_of(path)),))
    location = Location(name_of(path), parameters.offset)
    with open_regular(path) as file:
        try:
            data = _whole(file)
            if data is None:
                return ToolResult((_page_of_huge_file(stopped, path, file, parameters),), locations=(location,))
        except OSError as error:
            raise ToolError(f"Cannot read {path}: {error.strerror}.") from None
    seen = FileSeen(name_of(real(path)), digest(data))
    return ToolResult(_show(path, data, parameters), seen=(seen,), locations=(location,))


def _whole(file: IO[bytes]) -> bytes | None:
    """Return the bytes of the file; None where they are too many to hold."""
    if os.fstat(file.fileno()).st_size > LARGEST_WHOLE:
        return None
    data = read_some(file, LARGEST_WHOLE + 1)  # files of /proc give 0 as their size, and some have no end
    return None if len(data) > LARGEST_WHOLE else data


def _list_folder(path: Path) -> str:
    try:
        with os.scandir(path) as entries:
            names = sorted(entry.name + ("/" if is_folder(Path(entry.path)) else "") for entry in entries)
    except OSError as error:
        raise ToolError(f"Cannot list {path}: {error.strerror}.") from None
    shown = [visible(name).replace("\n", "\\n") for name in names[:MOST_ENTRIES]]
    if len(names) > MOST_ENTRIES:
        shown.append(f"[{len(names) - MOST_ENTRIES:,} more: find_files narrows it down.]")
    return "\n".join([f"[{path} is a folder of {len(names):,} entries.]", *shown])


def _show(path: Path, data: bytes, parameters: Parameters) -> tuple[str | ImageData, ...]:
    """Return a file that is held whole in the form that suits its content."""
    kind = binary_type(data[:16])
    image_type = media_type_of(data)
    if image_type is not None:
        return f"[{path.name} is {kind}, {human_size(len(data))}.]", ImageData(data, image_type)
    if kind == "a PDF document":
        return (pdf_text(data, *_page_range(parameters.pages)),)
    if path.suffix == ".ipynb" and (parameters.offset, parameters.limit) == (1, MOST_LINES):
        cells = _notebook(data)
        if cells is not None:
            return (cells,)
    return (_page(path, data, parameters),)


def _page_range(pages: str) -> tuple[int, int | None]:
    """Return first and last page of `3`, `1-5` or `7-`; all of them for nothing."""
    first, dash, last = pages.replace(" ", "").partition("-")
    try:
        if not dash:
            return (int(first), int(first)) if first else (1, None)
        return int(first), int(last) if last else None
    except ValueError:
        raise ToolError(f"{pages!r} is no range of pages: write 3, 1-5 or 7-.") from None


def _page(path: Path, data: bytes, parameters: Parameters) -> str:
    """Return the asked lines of a text that is held whole."""
    encoding = detect(data)
    if encoding is None:
        raise _binary(path, data, len(data))
    text = encoding.decode(data)
    if not text:
        return "[The file is empty.]"
    newline = newline_of(text)
    separator = "\r" if newline == "\r" else "\n"
    total = text.count(separator) + (not text.endswith(separator))
    chunks = (text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK))
    lines, _ = _take(_lines(chunks, separator, parameters.offset), parameters.limit)
    if not lines:
        raise ToolError(f"{path} has {total:,} lines; offset {parameters.offset:,} is past its end.")
    last = parameters.offset + len(lines) - 1
    notes = _line_notes(lines, parameters.offset)
    if last < total:
        notes.append(f"[Lines {parameters.offset:,}-{last:,} of {total:,}. Go on with offset={last + 1}.]")
    elif parameters.offset > 1:
        notes.append(f"[End of the file, {total:,} lines.]")
    if last == total and not text.endswith(separator):
        notes.append("[No newline at the end of the file.]")
    header = _header(encoding, "mixed" if is_mixed(text) else newline)
    return "\n".join([*header, *_numbered(lines, parameters.offset), *notes])


def _page_of_huge_file(stopped: Stopped, path: Path, file: IO[bytes], parameters: Parameters) -> str:
    """Return the asked lines of a file that is too large to hold; its lines are not counted."""
    size = max(os.fstat(file.fileno()).st_size, LARGEST_WHOLE)
    file.seek(0)
    start = read_some(file, _CHUNK)
    encoding = detect(start, whole=False)
    if encoding is None:
        raise _binary(path, start, size)
    newline = newline_of(encoding.decode(start))
    file.seek(len(encoding.bom))
    separator = "\r" if newline == "\r" else "\n"
    lines, more = _take(_lines(_decoded(stopped, file, encoding), separator, parameters.offset), parameters.limit)
    if not lines:
        raise ToolError(f"{path} has fewer than {parameters.offset:,} lines; offset is past its end.")
    notes = _line_notes(lines, parameters.offset)
    last = parameters.offset + len(lines) - 1
    following = f"Go on with offset={last + 1}" if more else "This is its end"
    notes.append(f"[Lines {parameters.offset:,}-{last:,} of a file of {human_size(size)}. {following}.]")
    return "\n".join([*_header(encoding, newline), *_numbered(lines, parameters.offset), *notes])


def _decoded(stopped: Stopped, file: IO[bytes], encoding: Encoding) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding.codec)("backslashreplace")
    while not stopped():
        chunk = read_some(file, _CHUNK)
        yield decoder.decode(chunk, final=not chunk)
        if not chunk:
            return


def _lines(chunks: Iterable[str], separator: str, first: int) -> Iterator[_Line]:
    """Yield the lines from number `first` on, without holding more than a chunk of them."""
    skip = first - 1
    head, length = "", 0
    for chunk in chunks:
        if skip:
            count = chunk.count(separator)
            if count < skip:
                skip -= count
                continue
            chunk = chunk.split(separator, skip)[-1]
            skip = 0
        *ended, rest = chunk.split(separator)
        for part in ended:
            yield _line(head + part, length + len(part))
            head, length = "", 0
        head += rest[: LONGEST_LINE + 1 - len(head)]
        length += len(rest)
    if length:
        yield _line(head, length)


def _line(text: str, length: int) -> _Line:
    """Return a line of `length` characters that begins with `text`."""
    if text.endswith("\r"):
        text, length = text[:-1], length - 1
    return _Line(visible(text[:LONGEST_LINE]), max(0, length - LONGEST_LINE))


def _take(lines: Iterator[_Line], limit: int) -> tuple[list[_Line], bool]:
    """Return the lines that one answer has room for, at least one, and whether others follow."""
    taken: list[_Line] = []
    room = MOST_CHARACTERS
    for line in lines:
        room -= len(line.text) + len("10000\t\n")
        if taken and (len(taken) >= limit or room < 0):
            return taken, True
        taken.append(line)
    return taken, False


def _numbered(lines: list[_Line], first: int) -> Iterator[str]:
    for number, line in enumerate(lines, first):
        rest = f"[… {line.left_out:,} more characters …]" if line.left_out else ""
        yield f"{number}\t{line.text}{rest}"


def _line_notes(lines: list[_Line], first: int) -> list[str]:
    """Say how to see the rest of the first line that is cut."""
    cut = next((number for number, line in enumerate(lines, first) if line.left_out), None)
    if cut is None:
        return []
    rest = f"{LONGEST_LINE + 1}-{LONGEST_LINE * 2}"
    return [f"[Long lines are cut. More of line {cut}: bash, sed -n {cut}p FILE | cut -c {rest}]"]


def _header(encoding: Encoding, newline: str) -> list[str]:
    """Return a line on the encoding and newlines, where they are not what anyone would expect."""
    names = {"\r\n": "CRLF", "\r": "CR", "mixed": "LF and CRLF mixed"}
    notes = [] if encoding == UTF_8 else [f"Encoding: {encoding.name}."]
    if newline in names:
        notes.append(f"Newlines: {names[newline]}; edit keeps them.")
    return [f"[{' '.join(notes)}]"] if notes else []


def _binary(path: Path, start: bytes, size: int) -> ToolError:
    kind = binary_type(start[:16]) or "unknown type"
    return ToolError(
        f"{path} is binary ({kind}, {human_size(size)}), and has no text to read. "
        "Look at it with a command, such as file, xxd or strings."
    )


def _notebook(data: bytes) -> str | None:
    """Return the cells of a Jupyter notebook (nbformat 4) with their outputs; None where it is none."""
    try:
        notebook = msgspec.json.decode(data)
        cells = [_cell(number, cell) for number, cell in enumerate(notebook["cells"], 1)]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    note = "[A notebook's cells; offset=1 with a limit shows its raw lines, which edit works on.]"
    return head_and_tail("\n".join([note, *cells]), MOST_CHARACTERS)[0]


def _cell(number: int, cell: Any) -> str:
    parts = [f"--- cell {number}: {cell['cell_type']} ---", visible(_joined(cell["source"]))]
    for output in cell.get("outputs", ()):
        parts.append("--- output ---")
        parts.append(head_and_tail(visible(_output(output)), 1_000)[0])
    return "\n".join(parts)


def _output(output: Any) -> str:
    """Return one output of a cell as text, or the names of its formats."""
    if "text" in output:
        return _joined(output["text"])
    if output.get("output_type") == "error":
        return f"{output['ename']}: {output['evalue']}"
    formats = output.get("data", {})
    return _joined(formats["text/plain"]) if set(formats) == {"text/plain"} else f"[{', '.join(formats)}]"


def _joined(source: Any) -> str:
    return source if isinstance(source, str) else "".join(source)


def _title(parameters: Parameters) -> str:
    first, limit = parameters.offset, parameters.limit
    if limit != MOST_LINES:
        return f"Read {parameters.path} (lines {first}-{first + limit - 1})"
    return f"Read {parameters.path} (from line {first})" if first > 1 else f"Read {parameters.path}"


TOOL = built_in(
    __file__,
    Parameters,
    kind="read",
    run=run,
    risk=lambda parameters, cwd: READ,
    resources=lambda parameters, cwd: reads(parameters.path, cwd),
    title=_title,
)
