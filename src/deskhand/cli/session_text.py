"""Sessions as text for a terminal: the table, a transcript, a match in context."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from deskhand.cli.terminal import Terminal, safe
from deskhand.journal.search import CLOSE, OPEN, Hit
from deskhand.journal.sessions import SessionSummary
from deskhand.journal.transcript import Attributes, Call, End, Prompt, Said, Step, local_time, one_line

_UNCUT = 10_000
"""The width of what is no terminal: a program that reads a list wants whole titles."""
_ROOM_FOR_FOLDERS = 80
"""The width from which on folders are shown; a narrow terminal has room for titles only."""
_RESULT_LINES = 12
_AGES = ((86_400, "day"), (3_600, "hour"), (60, "min"))


def table(sessions: list[SessionSummary], terminal: Terminal, now: float) -> Iterable[str]:
    """Yield the lines of a table that fits the terminal: folders lose their beginning, titles their end."""
    width = terminal.width if terminal.interactive else _UNCUT
    rows = [("SESSION", "UPDATED", "TURNS", "FOLDER", "TITLE")]
    rows += [
        (session.id, _age(now - session.updated), str(session.turns), _short(session.cwd), one_line(session.title))
        for session in sessions
    ]
    id_width, age_width, turns_width, folder_width, _ = (
        max(map(_columns, column)) for column in zip(*rows, strict=True)
    )
    folder_width = min(folder_width, width // 4)
    for index, (session, age, turns, folder, title) in enumerate(rows):
        line = f"{_padded(session, id_width)}  {_padded(age, age_width)}  {turns:>{turns_width}}  "
        if width >= _ROOM_FOR_FOLDERS:
            line += _padded(_cut_left(folder, folder_width), folder_width) + "  "
        line += _cut(title, width - _columns(line))
        yield terminal.paint(line, "bold") if index == 0 else line


def shown(step: Step, terminal: Terminal) -> str:
    """Return a step of a transcript, with long results cut."""
    match step:
        case Attributes():
            return terminal.paint(f"{local_time(step.at)}  {one_line(step.words)}", "dim")
        case Prompt():
            text = "\n".join(getattr(block, "text", "[image]") for block in step.content)
            head = terminal.paint(f"{local_time(step.at)}  turn {step.turn}", "dim")
            return f"\n{head}\n{terminal.paint('> ' + safe(text), 'bold', 'cyan')}\n"
        case Said(text, reasoning=True):
            return terminal.paint(safe(text), "dim")
        case Said(text):
            return safe(text)
        case Call():
            return _shown_call(step, terminal)
        case End():
            error = f": {safe(step.ended.error.message)}" if step.ended.error else ""
            words = f"{local_time(step.at)}  turn {step.ended.turn} ended: {step.ended.stop_reason}{error}"
            return "\n" + terminal.paint(words, "red" if step.ended.error else "dim")
    return terminal.paint(f"Event {step.seq} is damaged: {one_line(step.reason)}", "red")


def _shown_call(call: Call, terminal: Terminal) -> str:
    written = call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments, ensure_ascii=False)
    arguments = _cut(one_line(written), max(20, terminal.width - len(call.tool) - 30))
    if call.finished is None:
        return f"{terminal.paint(safe(call.tool), 'bold')} {arguments}  {terminal.paint('no result', 'yellow')}"
    colour = "green" if call.finished.outcome == "ok" else "red"
    outcome = terminal.paint(f"{call.finished.outcome} {call.finished.seconds:.1f} s", colour)
    text = "\n".join(getattr(block, "text", "[image]") for block in call.finished.content)
    return "\n".join((f"{terminal.paint(safe(call.tool), 'bold')} {arguments}  {outcome}", *_excerpt(text, terminal)))


def _excerpt(text: str, terminal: Terminal) -> Iterable[str]:
    lines = safe(text).splitlines()
    for line in lines[:_RESULT_LINES]:
        yield terminal.paint("  " + _cut(line, max(20, terminal.width - 2)), "dim")
    if len(lines) > _RESULT_LINES:
        yield terminal.paint(f"  … {len(lines) - _RESULT_LINES} more lines: `deskhand sessions export`", "dim")


def shown_hit(hit: Hit, terminal: Terminal) -> str:
    """Return where a match is, and the text around it with the match in colour."""
    before, *matches = " ".join(hit.snippet.split()).split(OPEN)
    pieces = [safe(before)]
    for match in matches:
        found, _, after = match.partition(CLOSE)
        pieces.append(terminal.paint(safe(found), "bold", "yellow") + safe(after))
    place = terminal.paint(f"{hit.session}  {local_time(hit.at)}  {hit.source}", "dim")
    return f"{place}\n  {''.join(pieces)}"


def _age(seconds: float) -> str:
    for length, name in _AGES:
        count = int(seconds // length)
        if count >= 1:
            return f"{count} {name}{'s' if count > 1 and name != 'min' else ''} ago"
    return "just now"


def _short(folder: str) -> str:
    home = str(Path.home())
    return "~" + folder[len(home) :] if folder == home or folder.startswith(home + "/") else safe(folder)


def _columns(text: str) -> int:
    return sum(_columns_of(character) for character in text)


def _columns_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _padded(text: str, columns: int) -> str:
    return text + " " * (columns - _columns(text))


def _cut(text: str, columns: int) -> str:
    """Return the beginning of `text` that fits."""
    taken = 0
    fits = 0
    for index, character in enumerate(text):
        taken += _columns_of(character)
        if taken > columns:
            return text[:fits] + "…" if columns > 0 else ""
        if taken < columns:
            fits = index + 1
    return text


def _cut_left(text: str, columns: int) -> str:
    """Return the end of `text` that fits: of a path, the end says most."""
    return _cut(text[::-1], columns)[::-1]
