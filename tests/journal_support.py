"""Sessions to put into a journal, and ways to look at the file without the store."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from deskhand.journal.blocks import Image, MessageBlock, Text, Thinking, ToolUse
from deskhand.journal.events import (
    CallFinished,
    CallStarted,
    Entry,
    Event,
    MessageReceived,
    SessionCreated,
    TurnEnded,
    TurnStarted,
)
from deskhand.journal.store import Journal


def created(cwd: str = "/project") -> SessionCreated:
    return SessionCreated(cwd, "auto", "2026-11-22")


def prompt(text: str, turn: int = 1, cwd: str = "/project", model: str = "m") -> TurnStarted:
    return TurnStarted(turn, (Text(text),), cwd, "auto", model, "http://localhost")


def answer(text: str, *calls: ToolUse, thinking: str = "", turn: int = 1) -> MessageReceived:
    thoughts: tuple[MessageBlock, ...] = (Thinking(thinking),) if thinking else ()
    return MessageReceived(turn, "m", (*thoughts, Text(text), *calls), "tool_use" if calls else "end_turn")


def started(command: str, call: str = "c1", turn: int = 1) -> CallStarted:
    return CallStarted(turn, call, "bash", {"command": command}, "write")


def finished(text: str, call: str = "c1", turn: int = 1) -> CallFinished:
    return CallFinished(turn, call, "bash", "ok", (Text(text),), 1.5)


def image_result(digest: str, call: str = "c1") -> CallFinished:
    return CallFinished(1, call, "screenshot", "ok", (Image("image/png", digest),))


def ended(turn: int = 1) -> TurnEnded:
    return TurnEnded(turn, "end_turn")


def record(journal: Journal, session: str, *events: Event) -> list[Entry]:
    """Append `events` and wait until they are durable."""

    async def append_all() -> list[Entry]:
        return list(await asyncio.gather(*[journal.append(session, event) for event in events]))

    return asyncio.run(append_all())


def execute(path: Path, statement: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
    """Do to the file what only another program would."""
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement, values).fetchall()
