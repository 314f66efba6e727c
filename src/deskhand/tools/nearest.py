"""Why a text is not in a file: the nearest lines, and what the likeliest slip was."""

from __future__ import annotations

import re
import time

from deskhand.tools.text import visible

_LINES_SHOWN = 12
_SECONDS = 1.0
_LIKE = 0.6
_LONGEST = 300


def explain_missing(name: str, wanted: str, text: str) -> str:
    """Return the sentence, and the lines, for a model whose `wanted` is not in the `text` of the file `name`."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    wanted_lines = wanted.replace("\r\n", "\n").strip("\n").split("\n")
    start = f"old is not in {name}. "
    unnumbered = [re.sub(r"^\s*\d+\t", "", line) for line in wanted_lines]
    if unnumbered != wanted_lines and "\n".join(unnumbered) in "\n".join(lines):
        return start + "Without the line numbers of read it is: leave them out."
    if "\\" in wanted and "\n".join(wanted_lines) in visible("\n".join(lines)):
        return (
            start + "read shows what is no text as \\xNN or \\r; that cannot be matched: choose a stretch without it."
        )
    place = _same_but_for_whitespace(wanted_lines, lines)
    if place is not None:
        shown = _numbered(lines, place, len(wanted_lines))
        return f"{start}The same text with other whitespace (indentation, tabs, trailing spaces) is there:\n{shown}"
    place = _most_like(wanted_lines, lines)
    if place is None:
        return start + "Nothing in it is much like it: read the file again."
    return f"{start}The nearest lines are:\n{_numbered(lines, place, len(wanted_lines))}"


def _same_but_for_whitespace(wanted: list[str], lines: list[str]) -> int | None:
    """Return the index of the line where `wanted` begins if whitespace is not looked at."""
    text = _bare(lines)
    place = text.find(_bare(wanted))
    return None if place < 0 else text.count("\n", 0, place)


def _bare(lines: list[str]) -> str:
    """Return the lines without whitespace, each between newlines."""
    return "\n" + "".join("".join(line.split()) + "\n" for line in lines)


def _most_like(wanted: list[str], lines: list[str]) -> int | None:
    """Return the index where `wanted` would begin, judged by the line most like its longest; a second at most."""
    import difflib  # 5 ms that only a miss pays

    index, anchor = max(enumerate(line.strip()[:_LONGEST] for line in wanted), key=lambda item: len(item[1]))
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(anchor)
    best, place = _LIKE, None
    end = time.monotonic() + _SECONDS
    for number, line in enumerate(lines):
        if number % 100 == 0 and time.monotonic() > end:
            break
        matcher.set_seq1(line.strip()[:_LONGEST])
        if matcher.real_quick_ratio() > best and matcher.quick_ratio() > best and matcher.ratio() > best:
            best, place = matcher.ratio(), max(0, number - index)
    return place


def _numbered(lines: list[str], start: int, count: int) -> str:
    shown = lines[start : start + min(count, _LINES_SHOWN)]
    return "\n".join(f"{number}\t{visible(line[:_LONGEST])}" for number, line in enumerate(shown, start + 1))
