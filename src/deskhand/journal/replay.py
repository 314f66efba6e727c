"""The state of a session, as a replay of its events: nothing here is stored, and nothing else is remembered."""

from __future__ import annotations

import msgspec

from deskhand.journal.blocks import ToolUse
from deskhand.journal.events import (
    CallFinished,
    CallSpawned,
    CallStarted,
    Event,
    MessageReceived,
    Mode,
    PlanChanged,
    PlanEntry,
    SessionChanged,
    SessionCreated,
    TurnEnded,
    TurnStarted,
    Usage,
)


class SessionState(msgspec.Struct):
    """What the events so far say.

    `open_turn` is the turn without an end, `open_calls` its calls without a result (with those that were asked
    for and never started), `begun` those of them that had started, `spawned` their processes. `seen` maps a path to
    the digest of what the model last saw there.
    """

    cwd: str = ""
    began: str = ""
    mode: Mode = "auto"
    model: str | None = None
    title: str | None = None
    turns: int = 0
    open_turn: int | None = None
    open_calls: dict[str, ToolUse] = msgspec.field(default_factory=dict)
    begun: set[str] = msgspec.field(default_factory=set)
    spawned: dict[str, list[tuple[int, str]]] = msgspec.field(default_factory=dict)
    call_ids: set[str] = msgspec.field(default_factory=set)
    seen: dict[str, str] = msgspec.field(default_factory=dict)
    plan: tuple[PlanEntry, ...] = ()
    usage: Usage = msgspec.field(default_factory=Usage)
    outside: bool = False

    def add(self, event: Event) -> None:
        """Take the session's next event into account."""
        match event:
            case SessionCreated() | SessionChanged():
                self._attributes(event)
            case TurnStarted():
                self.turns = event.turn
                self.open_turn = event.turn
                self.outside = False
            case MessageReceived():
                self._message(event)
            case CallStarted():
                self.call_ids.add(event.call)
                self.begun.add(event.call)
            case CallSpawned() if event.call in self.open_calls:
                self.spawned.setdefault(event.call, []).append((event.pid, event.started))
            case CallFinished():
                self.open_calls.pop(event.call, None)
                self.begun.discard(event.call)
                self.spawned.pop(event.call, None)
                self.outside |= event.outside
                self.seen.update((seen.path, seen.digest) for seen in event.seen)
            case PlanChanged():
                self.plan = event.entries
            case TurnEnded():
                self.open_turn = None

    def _attributes(self, event: SessionCreated | SessionChanged) -> None:
        self.cwd = event.cwd or self.cwd
        self.mode = event.mode or self.mode
        self.model = event.model or self.model
        if isinstance(event, SessionCreated):
            self.began = event.began
        else:
            self.title = event.title or self.title

    def _message(self, event: MessageReceived) -> None:
        self.usage += event.usage
        for block in event.content:
            if isinstance(block, ToolUse):
                self.call_ids.add(block.id)
                self.open_calls[block.id] = block
