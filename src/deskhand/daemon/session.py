"""A session in memory: opened from the journal, advanced by turns, watched by any number of front ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deskhand.agent.live import Live
from deskhand.agent.loop import Loop, Turn
from deskhand.home import Home
from deskhand.journal.blocks import PromptBlock, Text
from deskhand.journal.events import CallFinished, Entry, Mode, SessionChanged, SessionCreated, TurnEnded
from deskhand.journal.projection import UNKNOWN_FATE
from deskhand.journal.record import Record
from deskhand.journal.sessions import new_session_id
from deskhand.journal.store import Journal
from deskhand.model.endpoint import Endpoint
from deskhand.model.messages import MessagesClient
from deskhand.settings import Settings
from deskhand.tools.base import Tool

Watcher = Callable[[Entry | Live], None]


class Session:
    """One conversation. It runs one turn at a time; whoever opens it holds its lock."""

    def __init__(self, journal: Journal, session_id: str, home: Home, tools: Mapping[str, Tool[Any]]) -> None:
        self.id = session_id
        self._record = Record(journal, session_id)
        self._tools = tools
        self._loop = Loop(self._record, home.outputs(session_id))
        self._watchers: list[Watcher] = []
        self._turn: asyncio.Task[TurnEnded] | None = None
        self._record.watch(self._tell)

    @classmethod
    def create(cls, journal: Journal, home: Home, tools: Mapping[str, Tool[Any]], cwd: Path, mode: Mode) -> Session:
        """Begin a new session in the folder `cwd`. It is on disk together with its first prompt."""
        session = cls(journal, new_session_id(time.time()), home, tools)
        began = time.strftime("%Y-%m-%d")
        session._record.append(SessionCreated(cwd=str(cwd), mode=mode, began=began), now=False)
        return session

    @property
    def cwd(self) -> Path:
        """The folder that relative paths start from."""
        return Path(self._record.state.cwd)

    @property
    def mode(self) -> Mode:
        """What runs without a question."""
        return self._record.state.mode

    @property
    def model(self) -> str | None:
        """The model of the last turn."""
        return self._record.state.model

    @property
    def text(self) -> str:
        """The model's last message, as text."""
        return self._record.state.text

    def move(self, cwd: Path) -> None:
        """Let relative paths start from `cwd` from now on."""
        self._record.append(SessionChanged(cwd=str(cwd)))

    def watch(self, watcher: Watcher) -> None:
        """Tell `watcher` every entry once it is durable, and what is shown live between them."""
        self._watchers.append(watcher)

    async def recover(self) -> None:
        """Close what the death of an earlier agent left open, and end the processes that it had started."""
        state = self._record.state
        if state.open_turn is None:
            return
        from deskhand.processes import sweep

        spawned = [process for processes in state.spawned.values() for process in processes]
        marks = {(self.id, call) for call in state.open_calls}
        await asyncio.to_thread(sweep, marks, spawned)
        for use in list(state.open_calls.values()):
            unknown = CallFinished(state.open_turn, use.id, use.name, "interrupted", (Text(UNKNOWN_FATE),))
            self._record.append(unknown)
        self._record.append(TurnEnded(state.open_turn, "interrupted"))
        await self._record.flush()

    async def prompt(
        self, prompt: tuple[PromptBlock, ...], endpoint: Endpoint, model: str, mode: Mode, settings: Settings
    ) -> TurnEnded:
        """Run a turn to its end. Raises `JournalError` where it cannot be recorded."""
        if model != self.model or mode != self.mode:
            self._record.append(SessionChanged(model=model, mode=mode), now=False)
        client = MessagesClient(endpoint, settings.endpoint.first_byte, settings.endpoint.idle)
        turn = Turn(self._record.state.turns + 1, model, client, self._tools, settings, self._tell)
        self._turn = asyncio.create_task(self._loop.turn(prompt, endpoint, turn))
        try:
            return await self._turn
        finally:
            self._turn = None
            client.close()

    def cancel(self) -> bool:
        """Stop the running turn, once; it ends as `cancelled` within a second. False: there is none to stop."""
        if self._turn is None or self._turn.cancelling():
            return False
        return self._turn.cancel()

    def _tell(self, news: Entry | Live) -> None:
        for watcher in self._watchers:
            watcher(news)
