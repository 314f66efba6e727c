"""A session in memory: opened from the journal, advanced by turns, watched by any number of front ends."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from deskhand import log
from deskhand.agent.live import Live
from deskhand.agent.loop import Loop, Turn
from deskhand.calls.inflight import InFlight
from deskhand.home import Home
from deskhand.journal.blocks import PromptBlock, Text
from deskhand.journal.events import CallFinished, Entry, Mode, SessionChanged, SessionCreated, TurnEnded
from deskhand.journal.projection import UNKNOWN_FATE
from deskhand.journal.record import Record
from deskhand.journal.store import Journal, JournalError
from deskhand.model.endpoint import Endpoint
from deskhand.model.messages import MessagesClient
from deskhand.seam.question import Ask, Question
from deskhand.settings import Settings
from deskhand.tools.base import Tool

STOP_LIMIT = 3.0
"""Seconds that a stopped turn may take to end, before it is left to itself."""

ANSWER_LIMIT = 3600.0
"""Seconds that a question waits for its answer; nobody answered then, which is a no."""

Watcher = Callable[[Entry | Live], None]


class TurnWanted(msgspec.Struct, frozen=True):
    """A prompt, and all that its turn is to be made with. `blobs` are those that the prompt names."""

    prompt: tuple[PromptBlock, ...]
    endpoint: Endpoint
    model: str
    mode: Mode
    settings: Settings
    blobs: dict[str, tuple[str, bytes]] = {}


class Session:
    """One conversation. It runs one turn at a time; whoever opens it holds its lock."""

    def __init__(
        self, journal: Journal, session_id: str, home: Home, tools: Mapping[str, Tool[Any]], in_flight: InFlight
    ) -> None:
        self.id = session_id
        self._in_flight = in_flight
        self._journal = journal
        self._outputs = home.outputs(session_id)
        self._tools = tools
        self._watchers: list[Watcher] = []
        self._turn: asyncio.Task[TurnEnded] | None = None
        self._next = asyncio.Lock()
        self.askers: list[Ask] = []
        """Those who can put a call's question to a user."""
        self._take_up(Record(journal, session_id))

    def begin(self, cwd: Path, mode: Mode) -> None:
        """Begin as a new session, in the folder `cwd`. It is on disk together with its first prompt."""
        self._record.append(SessionCreated(cwd=str(cwd), mode=mode, began=time.strftime("%Y-%m-%d")), now=False)

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

    async def choose(self, *, mode: Mode | None = None, model: str | None = None) -> None:
        """Choose the mode or the model of the turns to come."""
        await self._record.append(SessionChanged(mode=mode, model=model))

    def move(self, cwd: Path) -> None:
        """Let relative paths start from `cwd` from now on."""
        self._record.append(SessionChanged(cwd=str(cwd)))

    @property
    def running(self) -> bool:
        """Whether a turn is running."""
        return self._turn is not None

    def entries(self, after: int = 0) -> list[Entry]:
        """Return the durable events beyond the sequence number `after`."""
        return self._journal.entries(self.id, after)

    def watch(self, watcher: Watcher) -> None:
        """Tell `watcher` every entry once it is durable, and what is shown live between them."""
        self._watchers.append(watcher)

    def unwatch(self, watcher: Watcher) -> None:
        """Tell `watcher` nothing any more."""
        self._watchers.remove(watcher)

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

    async def prompt(self, wanted: TurnWanted) -> TurnEnded:
        """Run a turn to its end, after those that were asked for before it.

        Raises `JournalError` where it cannot be recorded; the session can be prompted again.
        """
        async with self._next:
            try:
                if self._record.state.open_turn is not None:
                    await self.recover()
                return await self._advance(wanted)
            except JournalError:
                await self._reread()
                raise

    async def _advance(self, wanted: TurnWanted) -> TurnEnded:
        if wanted.model != self.model or wanted.mode != self.mode:
            self._record.append(SessionChanged(model=wanted.model, mode=wanted.mode), now=False)
        settings = wanted.settings
        client = MessagesClient(wanted.endpoint, settings.endpoint.first_byte, settings.endpoint.idle)
        number = self._record.state.turns + 1
        turn = Turn(number, wanted.model, client, self._tools, settings, self._tell, self._ask)
        self._turn = asyncio.create_task(self._loop.turn(wanted.prompt, wanted.endpoint, turn, wanted.blobs))
        try:
            return await self._turn
        finally:
            self._turn = None
            client.close()

    async def _reread(self) -> None:
        """Go back to what the journal has: the record counts events that did not reach the disk."""
        with contextlib.suppress(JournalError):
            await self._record.flush()
        self._take_up(Record(self._journal, self.id))

    def _take_up(self, record: Record) -> None:
        self._record = record
        self._loop = Loop(record, self._outputs, self._in_flight)
        record.watch(self._tell)

    async def stop(self) -> None:
        """Stop the running turn, and wait for its end, which is near."""
        turn = self._turn
        if turn is not None:
            self.cancel()
            await asyncio.wait({turn}, timeout=STOP_LIMIT)

    def cancel(self) -> bool:
        """Stop the running turn, once; it ends as `cancelled` within a second. False: there is none to stop."""
        if self._turn is None or self._turn.cancelling():
            return False
        for line in self._in_flight.lines(self.id):
            log.write(f"STUCK on stop: {line}")
        return self._turn.cancel()

    async def _ask(self, question: Question) -> bool | None:
        """Put the question to all who are attached; the first answer wins, and the others need not answer any more."""
        asked = [asyncio.ensure_future(ask(question)) for ask in self.askers]
        try:
            for next_answer in asyncio.as_completed(asked, timeout=ANSWER_LIMIT):
                answer = await next_answer
                if answer is not None:
                    return answer
        except TimeoutError:
            return None
        finally:
            for pending in asked:
                pending.cancel()
        return None

    def _tell(self, news: Entry | Live) -> None:
        for watcher in list(self._watchers):
            watcher(news)
