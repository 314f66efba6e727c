"""The `search` tool: the lines that match a regex, by ripgrep where it is installed, else by our own `grep`.

Either runs as a child process and writes the same JSON. It is ended as soon as there are enough matches, or nobody
waits for them; so the worst regex costs no more than the call's own limits.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Annotated, Any

import msgspec

from deskhand.process_table import CALL_VARIABLE, SESSION_VARIABLE, start_time
from deskhand.seam.risk import READ
from deskhand.tools.base import CallContext, ToolError, ToolResult, built_in
from deskhand.tools.files import check_searchable, reads, show_path
from deskhand.tools.text import visible
from deskhand.tools.walk import LONGEST_GLOB, alternatives, path_filter

MOST_MATCHES = 200
MOST_CHARACTERS = 36_000
WIDEST = 300
"""Characters of a line that are shown, around its first match."""

_LONGEST_EVENT = 4_000_000
_LONGEST_COMPLAINT = 500

# A quote within JSON's strings has a backslash before it, so that neither is found in the text of a line or a path.
_BEFORE_TEXT = re.compile(rb'\{"type": ?"[a-z]+", ?"data": ?\{"path": ?\{.*?\}, ?"lines": ?', re.DOTALL)
_LINE_NUMBER = re.compile(rb'\}, ?"line_number": ?(\d+),')
_SEAM = 40
"""Bytes in which the number of a line has room, should it be cut in two."""


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to search."""

    pattern: Annotated[str, msgspec.Meta(max_length=10_000)]
    path: Annotated[str, msgspec.Meta(description="file or folder")] = "."
    glob: Annotated[
        str, msgspec.Meta(max_length=LONGEST_GLOB, description="only such files: *.py, src/**/*.{ts,tsx}")
    ] = ""
    ignore_case: bool = False
    context: Annotated[int, msgspec.Meta(ge=0, le=20, description="lines around")] = 0
    files_only: Annotated[bool, msgspec.Meta(description="only names of files")] = False


class _Report(msgspec.Struct):
    """What is found, as it is shown. A file's lines count only when its end shows that it is no binary."""

    parameters: Parameters
    root: Path
    cwd: Path
    fits: Callable[[str], bool] | None
    lines: list[str] = msgspec.field(default_factory=list)
    matches: int = 0
    files: int = 0
    full: bool = False
    _of_file: list[str] = msgspec.field(default_factory=list)
    _matches_of_file: int = 0
    _last_line: int = 0
    _room: int = MOST_CHARACTERS

    def add(self, event: dict[str, Any]) -> None:
        """Take in one event of ripgrep's JSON (see its printer's documentation, `grep_printer::JSON`)."""
        kind = event["type"]
        if kind == "summary" or not self._is_wanted(_text(event["data"]["path"])):
            return
        if kind == "begin":
            self._of_file, self._matches_of_file, self._last_line = [], 0, -1
        elif kind == "end":
            if event["data"]["binary_offset"] is None:
                self.close_file()
            self._of_file = []
        else:
            self._add_line(kind, event["data"])

    def close_file(self) -> None:
        """Count the lines of the file that was being read."""
        if not self._of_file:
            return
        self.lines += self._of_file
        self.matches += self._matches_of_file
        self.files += 1
        self._of_file = []

    def _is_wanted(self, path: str) -> bool:
        return self.fits is None or self.fits(os.path.relpath(path, self.root))

    def _add_line(self, kind: str, data: dict[str, Any]) -> None:
        if self.parameters.context and self._last_line + 1 != data["line_number"] and (self._of_file or self.lines):
            self._of_file.append("--")
        self._last_line = data["line_number"]
        path = show_path(_text(data["path"]), self.cwd)
        if self.parameters.files_only:
            shown = path
        else:
            mark = ":" if kind == "match" else "-"
            shown = f"{path}{mark}{self._last_line}{mark}{_cut(data)}"
        self._of_file.append(shown)
        self._matches_of_file += kind == "match"
        self._room -= len(shown) + 1
        self.full = self.matches + self._matches_of_file >= MOST_MATCHES or self._room <= 0
        if self.full:
            self.close_file()


def _text(value: dict[str, str]) -> str:
    """Return a text of ripgrep's JSON; bytes that are no UTF-8 are lone surrogates, as in names of files."""
    return value["text"] if "text" in value else os.fsdecode(base64.b64decode(value["bytes"]))


def _cut(data: dict[str, Any]) -> str:
    """Return the line, or what is around its first match, on one line and without control characters."""
    raw = os.fsencode(_text(data["lines"])).rstrip(b"\r\n")
    line = raw.decode("utf-8", "backslashreplace")
    if len(line) <= WIDEST:
        return visible(line)
    offset = data["submatches"][0]["start"] if data["submatches"] else 0
    start = max(0, len(raw[:offset].decode("utf-8", "backslashreplace")) - WIDEST // 3)
    left, right = "…" if start else "", "…" if start + WIDEST < len(line) else ""
    return f"{left}{visible(line[start : start + WIDEST])}{right}"


class _Child(msgspec.Struct):
    """The searching process, which may be ended from another thread even before it has started."""

    popen: subprocess.Popen[bytes] | None = None
    ended: bool = False

    def end(self) -> None:
        """Kill the process; one that starts later is killed then."""
        self.ended = True
        if self.popen is not None:
            self.popen.kill()


async def run(parameters: Parameters, context: CallContext) -> ToolResult:
    """Search the files."""
    if not parameters.pattern:
        raise ToolError("pattern is empty, and would match every line.")
    if "\0" in parameters.pattern + parameters.glob:
        raise ToolError("There is a NUL in the pattern or glob: files that hold one are binaries, and not searched.")
    root = context.path(parameters.path)
    check_searchable(root)
    is_folder = root.is_dir()
    fits = path_filter(parameters.glob) if parameters.glob and is_folder else None
    report = _Report(parameters, root, context.cwd, fits)
    child = _Child()
    note = ""
    try:
        await asyncio.to_thread(_search, child, report, context, asyncio.get_running_loop())
    except asyncio.CancelledError:
        child.end()
        if context.ending is None or not report.lines:
            raise
        note = f"[{context.ending.sentence.rstrip('.')}; what was found until then is above.]"
    return ToolResult((_rendered(report, note),))


def _search(child: _Child, report: _Report, context: CallContext, loop: asyncio.AbstractEventLoop) -> None:
    """Run the search to its end, or until there is enough. Blocks; `child.end()` ends it."""
    command = _command(report)
    environment = {**os.environ, SESSION_VARIABLE: context.session, CALL_VARIABLE: context.call}
    try:
        # In our own POSIX session, as all that `deskhand.processes` does not start.
        popen = subprocess.Popen(
            command,
            cwd="/",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except (OSError, ValueError) as error:
        raise ToolError(f"Cannot start {command[0]}: {error}.") from None
    child.popen = popen
    if child.ended:
        popen.kill()
    assert popen.stdout is not None, "it was asked for"
    complaints: list[str] = []
    try:
        started = start_time(popen.pid)
        if started is not None:
            loop.call_soon_threadsafe(context.spawned, popen.pid, started)
        for event in _events(popen.stdout, complaints):
            report.add(event)
            if event["type"] == "begin":
                loop.call_soon_threadsafe(context.progress)
            if report.full:
                break
    finally:
        popen.kill()
        popen.stdout.close()
        popen.wait()
    if complaints and not report.lines and not child.ended:
        raise ToolError(_complaint(complaints))


def _events(output: IO[bytes], complaints: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the events in the output; what is no event goes to `complaints`."""
    while line := output.readline(_LONGEST_EVENT):
        if not line.endswith(b"\n"):
            line = _shortened(line, output)
        try:
            yield msgspec.json.decode(line)
        except msgspec.DecodeError:
            if len(complaints) < 50:
                complaints.append(line[:_LONGEST_COMPLAINT].decode("utf-8", "backslashreplace").strip())


def _shortened(start: bytes, output: IO[bytes]) -> bytes:
    """Read the rest of an event that is too large to hold, and return it without its text: the match counts.

    A line of megabytes makes such an event, and so do 100,000 matches in one line.
    """
    before_text = _BEFORE_TEXT.match(start)
    number = _LINE_NUMBER.search(start)
    piece = start
    while piece and not piece.endswith(b"\n"):
        following = output.readline(_LONGEST_EVENT)
        number = number or _LINE_NUMBER.search(piece[-_SEAM:] + following)
        piece = following
    if before_text is None or number is None:
        return start
    text = b'{"text":"[this line is too long to show]"},"line_number":%b,"submatches":[]}}'
    return before_text[0] + text % number[1]


def _complaint(lines: list[str]) -> str:
    """Return one sentence of what the program said on its standard error."""
    error = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), None)
    if error is None:
        return f"The search failed: {' '.join(lines)[:500]}"
    return f"The pattern is not a valid regex: {error}. Put a backslash before ( ) [ ] {{ }} . * + ? | meant literally."


def _command(report: _Report) -> list[str]:
    ripgrep = find_ripgrep()
    return _own_command(report) if ripgrep is None else _ripgrep_command(ripgrep, report)


def find_ripgrep() -> str | None:
    """Return the path of `rg`: from the wheel, whose program is beside our Python's, else from the user's PATH."""
    import shutil  # asyncio has it loaded already; a search is the first to need it

    beside = str(Path(sys.executable).parent)
    return shutil.which("rg", path=beside) or shutil.which("rg")


def _ripgrep_command(ripgrep: str, report: _Report) -> list[str]:
    asked = report.parameters
    command = [
        ripgrep,
        "--json",
        "--no-config",
        "--no-messages",
        "--hidden",
        "--glob=!.git",
        "--no-require-git",
        "--no-ignore-global",
        "--no-ignore-dot",
        "--no-mmap",
        "--crlf",
        "--engine=auto",
        "--sort=path",
        f"--context={asked.context}",
        f"--regexp={asked.pattern}",
    ]
    if asked.ignore_case:
        command.append("--ignore-case")
    if asked.files_only:
        command.append("--max-count=1")
    if report.fits is not None:
        command += _name_filter(asked.glob)
    return [*command, "--", str(report.root)]


def _name_filter(glob: str) -> list[str]:
    """Return options that narrow the search by the last part of `glob`: a first sieve, before `path_filter`.

    Not ripgrep's own --glob, which would bring back files that .gitignore excludes.
    """
    names = [one.rpartition("/")[2] for one in alternatives(glob)]
    if any(name in ("", "**") or ":" in name for name in names):
        return []
    return [*(f"--type-add=wanted:{name}" for name in names), "--type=wanted"]


def _own_command(report: _Report) -> list[str]:
    asked = report.parameters
    request = {
        "pattern": asked.pattern,
        "root": str(report.root),
        "glob": asked.glob if report.fits is not None else "",
        "ignore_case": asked.ignore_case,
        "context": asked.context,
        "files_only": asked.files_only,
    }
    # -P: the folder that we stand in must not lend its modules.
    return [sys.executable, "-P", "-m", "deskhand.tools.grep", msgspec.json.encode(request).decode()]


def _rendered(report: _Report, note: str) -> str:
    if not report.lines:
        where = f" in files like {report.parameters.glob}" if report.parameters.glob else ""
        return f"No match{where} under {report.root} (ignored, binary and unreadable files are not searched)."
    lines = report.lines
    if report.full:
        note = f"[Stopped after {report.matches} matches in {report.files} files: narrow the pattern, path or glob.]"
    return "\n".join([*lines, note] if note else lines)


def _title(parameters: Parameters) -> str:
    where = parameters.glob if parameters.path == "." else parameters.path
    return f'Search "{parameters.pattern}"' + (f" in {where}" if where else "")


TOOL = built_in(
    __file__,
    Parameters,
    kind="search",
    run=run,
    risk=lambda parameters, cwd: READ,
    resources=lambda parameters, cwd: reads(parameters.path, cwd),
    title=_title,
)
