"""A session as people read it: its events in order, each call in one piece with its arguments and its result."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from deskhand.journal.blocks import Image, RedactedThinking, Text, Thinking, ToolUse
from deskhand.journal.events import (
    CallFinished,
    CallStarted,
    Entry,
    MessageReceived,
    SessionChanged,
    SessionCreated,
    TurnEnded,
    TurnStarted,
)
from deskhand.journal.store import Damaged

_NOT_FOR_READING = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
"""Colours and commands of terminals (ECMA-48), and control characters but for tab and newline."""


def readable(text: str) -> str:
    """Return what a reader of `text` would see of it."""
    return _NOT_FOR_READING.sub("", text)


def one_line(text: str) -> str:
    """Return what a reader of `text` would see of it, without line breaks."""
    return " ".join(readable(text).split())


def local_time(at: float) -> str:
    """Return the minute of `at`, in seconds since the epoch, in the user's time zone."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


class Attributes(msgspec.Struct, frozen=True):
    """The session began, or changed: what is set from here on."""

    at: float
    words: str


class Prompt(msgspec.Struct, frozen=True):
    """What the user sent, and with it a turn's beginning."""

    at: float
    turn: int
    model: str
    content: tuple[Text | Image, ...]


class Said(msgspec.Struct, frozen=True):
    """Text of the model; `reasoning` where it was thinking."""

    text: str
    reasoning: bool


class Call(msgspec.Struct, frozen=True):
    """A call. `finished` is None where it has no result (yet)."""

    tool: str
    arguments: dict[str, Any] | str
    """As text where they were no JSON object."""
    finished: CallFinished | None


class End(msgspec.Struct, frozen=True):
    """A turn's end."""

    at: float
    ended: TurnEnded


Step = Attributes | Prompt | Said | Call | End | Damaged


def transcript(rows: Iterable[Entry | Damaged]) -> Iterator[Step]:
    """Yield the steps of a session. A call stands where its result came, or before the end of its turn."""
    open_calls: dict[str, Call] = {}
    for row in rows:
        if isinstance(row, Damaged):
            yield row
            continue
        event = row.event
        match event:
            case SessionCreated() | SessionChanged():
                yield Attributes(row.at, _attributes(event))
            case TurnStarted():
                yield from _drain(open_calls)
                yield Prompt(row.at, event.turn, event.model, event.prompt)
            case MessageReceived():
                yield from _said(event)
                open_calls.update(_asked_for(event))
            case CallStarted():  # with the arguments that were approved; an external engine's call begins here
                open_calls[event.call] = Call(event.tool, event.arguments, None)
            case CallFinished():
                asked = open_calls.pop(event.call, None)
                yield Call(event.tool, asked.arguments if asked else {}, event)
            case TurnEnded():
                yield from _drain(open_calls)
                yield End(row.at, event)
    yield from _drain(open_calls)


def _drain(open_calls: dict[str, Call]) -> Iterator[Call]:
    yield from open_calls.values()
    open_calls.clear()


def _said(event: MessageReceived) -> Iterator[Said]:
    for block in event.content:
        if isinstance(block, Text) and block.text:
            yield Said(block.text, reasoning=False)
        elif isinstance(block, Thinking) and block.thinking:
            yield Said(block.thinking, reasoning=True)
        elif isinstance(block, RedactedThinking):
            yield Said("(encrypted by the provider)", reasoning=True)


def _asked_for(event: MessageReceived) -> dict[str, Call]:
    return {
        block.id: Call(block.name, block.input if block.malformed is None else block.malformed, None)
        for block in event.content
        if isinstance(block, ToolUse)
    }


def _attributes(event: SessionCreated | SessionChanged) -> str:
    values = {"folder": event.cwd, "mode": event.mode, "model": event.model}
    if isinstance(event, SessionChanged):
        values["title"] = event.title
    return ", ".join(f"{name} {value}" for name, value in values.items() if value)
