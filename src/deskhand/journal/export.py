"""A session in a file of its own: JSON lines for programs, Markdown for people."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from deskhand.journal.blocks import Image, Text
from deskhand.journal.events import CallFinished, Event, TurnStarted
from deskhand.journal.sessions import SessionSummary, summary
from deskhand.journal.store import Damaged, Journal, JournalError
from deskhand.journal.transcript import (
    Attributes,
    Call,
    End,
    Prompt,
    Said,
    Step,
    local_time,
    one_line,
    readable,
    transcript,
)

# CommonMark 0.31, section 4.5
_OPENING_FENCE = re.compile(r"(`{3,}(?=[^`]*$)|~{3,})")
_CLOSING_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*$")


def json_lines(journal: Journal, session: str) -> Iterator[str]:
    """Yield the session, a JSON object a line: its entries as the journal has them, each blob before its first use.

    A blob's line is `{"blob": digest, "media_type": …, "data": base64}`; a damaged row's is `{"damaged": seq,
    "at": …, "reason": …, "data": base64}`. Raises `JournalError`.
    """
    written: set[str] = set()
    for row in journal.rows(session):
        if isinstance(row, Damaged):
            yield _line({"damaged": row.seq, "at": row.at, "reason": row.reason, "data": row.data})
            continue
        for digest in blobs_of(row.event):
            if digest not in written:
                written.add(digest)
                yield _blob_line(journal, digest)
        yield msgspec.json.encode(row).decode()


def blobs_of(event: Event) -> list[str]:
    """Return the digests of the blobs that `event` names."""
    digests: list[str] = []
    if isinstance(event, TurnStarted):
        digests.extend(block.blob for block in event.prompt if isinstance(block, Image))
    elif isinstance(event, CallFinished):
        digests.extend(block.blob for block in event.content if isinstance(block, Image))
        digests.extend(change.before for change in event.changes if change.before is not None)
    return digests


def markdown(journal: Journal, session: str) -> Iterator[str]:
    """Yield the session as Markdown, in pieces: calls and results fenced, images named only.

    Raises `JournalError`.
    """
    yield _heading(summary(journal, session))
    for step in transcript(journal.rows(session)):
        yield "\n" + _markdown_step(step)


def _line(record: dict[str, object]) -> str:
    return msgspec.json.encode(record).decode()


def _blob_line(journal: Journal, digest: str) -> str:
    try:
        media_type, data = journal.blob(digest)
    except JournalError as error:  # one lost image must not cost the rest of the session
        return _line({"blob": digest, "missing": str(error)})
    return _line({"blob": digest, "media_type": media_type, "data": data})


def _heading(session: SessionSummary) -> str:
    return (
        f"# {one_line(session.title) or session.id}\n\n"
        f"- session: {session.id}\n- folder: {one_line(session.cwd)}\n"
        f"- from {local_time(session.created)} to {local_time(session.updated)}"
    )


def _markdown_step(step: Step) -> str:
    match step:
        case Attributes():
            return f"*{local_time(step.at)}: {one_line(step.words)}*"
        case Prompt():
            text = "\n\n".join(_block(block) for block in step.content)
            return f"## Turn {step.turn}: {local_time(step.at)}, {one_line(step.model)}\n\n{_quoted(text)}"
        case Said(text, reasoning=True):
            inside = _contained(text).replace("</details", "&lt;/details")
            return f"<details>\n<summary>Thinking</summary>\n\n{inside}\n\n</details>"
        case Said(text):
            return _contained(text)
        case Call():
            return _markdown_call(step)
        case End():
            return _markdown_end(step)
        case Damaged():
            return f"*Event {step.seq} is damaged and cannot be shown: {one_line(step.reason)}*"


def _markdown_call(call: Call) -> str:
    if isinstance(call.arguments, str):
        arguments = _fenced(call.arguments)
    else:
        arguments = _fenced(msgspec.json.format(msgspec.json.encode(call.arguments)).decode(), "json")
    parts = [f"### {one_line(call.tool)}", arguments]
    if call.finished is None:
        parts.append("*no result*")
    else:
        parts.append(f"*{call.finished.outcome} after {call.finished.seconds:.1f} s*")
        parts.extend(
            _fenced(block.text) if isinstance(block, Text) else _block(block) for block in call.finished.content
        )
    return "\n\n".join(parts)


def _markdown_end(end: End) -> str:
    error = f": {one_line(end.ended.error.message)}" if end.ended.error else ""
    return f"*{local_time(end.at)}: turn {end.ended.turn} ended: {end.ended.stop_reason}{error}*"


def _block(block: Text | Image) -> str:
    return block.text if isinstance(block, Text) else f"*[image, {block.media_type}, {block.blob}]*"


def _fenced(text: str, language: str = "") -> str:
    """Return `text` as a code block whose fence is longer than any run of backticks inside."""
    text = readable(text).removesuffix("\n")
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _quoted(text: str) -> str:
    """Return `text` as a quotation, which ends whatever it leaves open."""
    return "\n".join(f"> {line}" for line in readable(text).split("\n"))


def _contained(text: str) -> str:
    """Return `text` as it is, or as a quotation where it might leave something open that swallows what follows."""
    text = readable(text)
    return text if _closes_what_it_opens(text) else _quoted(text)


def _closes_what_it_opens(text: str) -> bool:
    """Tell whether `text` has code blocks only from the margin and in pairs, and no HTML; else, to be safe, no."""
    fence = ""
    for line in text.split("\n"):
        if fence:
            closing = _CLOSING_FENCE.match(line)
            if closing is not None and closing.group(1).startswith(fence):
                fence = ""
        elif opening := _OPENING_FENCE.match(line):
            fence = opening.group(1)
        elif line.lstrip().startswith("<") or "```" in line or "~~~" in line:
            return False
    return not fence
