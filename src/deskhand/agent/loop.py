"""The native loop: ask the model, run the calls it makes, ask again, until it makes none.

Everything it knows is in the record; the request is a projection of it. What happened is appended before it
is acted on, so a turn that dies at any instant can be taken up by the next prompt.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import traceback
from collections.abc import Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import msgspec

from deskhand import log
from deskhand.agent.live import Restarted, Said, Show, Thought
from deskhand.agent.prompt import system_prompt
from deskhand.agent.request import Frame, frame
from deskhand.calls.call import Room, run_calls
from deskhand.calls.inflight import InFlight
from deskhand.journal.blocks import MessageBlock, PromptBlock, Text, ToolUse
from deskhand.journal.events import (
    CallFinished,
    Entry,
    Failure,
    MessageReceived,
    RequestRetried,
    StopReason,
    TurnEnded,
    TurnStarted,
    Usage,
)
from deskhand.journal.record import Record
from deskhand.journal.store import JournalError
from deskhand.model.endpoint import Endpoint
from deskhand.model.errors import EndpointError, failure
from deskhand.model.messages import MessagesClient, Received, TextDelta, ThinkingDelta
from deskhand.model.retries import delay
from deskhand.seam.question import Ask
from deskhand.settings import Settings
from deskhand.tools.base import Tool

_SAFE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")

_ENDINGS: dict[str, StopReason] = {
    "max_tokens": "max_tokens",
    "model_context_window_exceeded": "max_tokens",
    "refusal": "refusal",
}
"""The model's stop reasons that end a turn otherwise than by its own wish."""


class Turn(msgspec.Struct, frozen=True):
    """What one turn is made with; a change of settings concerns the next."""

    number: int
    model: str
    client: MessagesClient
    tools: Mapping[str, Tool[Any]]
    settings: Settings
    show: Show
    ask: Ask | None = None


class Loop:
    """Advances the turns of one session."""

    def __init__(self, record: Record, outputs: Path, in_flight: InFlight) -> None:
        self._record = record
        self._outputs = outputs
        self._in_flight = in_flight

    async def turn(
        self,
        prompt: tuple[PromptBlock, ...],
        endpoint: Endpoint,
        turn: Turn,
        blobs: Mapping[str, tuple[str, bytes]] | None = None,
    ) -> TurnEnded:
        """Run one turn, from the prompt to its one end, which is returned and recorded.

        Cancelling the task ends the turn as `cancelled`. Raises `JournalError` where nothing can be recorded.
        """
        state = self._record.state
        started = TurnStarted(turn.number, prompt, state.cwd, state.mode, turn.model, endpoint.base_url)
        tally = _Tally()
        error: Failure | None = None
        reason: StopReason
        try:
            await self._record.append(started, blobs)
            reason = await self._advance(turn, tally)
        except asyncio.CancelledError:
            reason = "cancelled"
            self._end_open_calls(turn.number, "interrupted by user")
        except EndpointError as cause:
            reason, error = "failed", Failure(cause.kind, str(cause))
        except JournalError:
            raise
        except Exception as fault:  # a bug of ours ends the turn with a sentence, and the session goes on
            log.write(traceback.format_exc())
            reason, error = "failed", Failure("internal", _own_fault(fault))
            self._end_open_calls(turn.number, "interrupted by a fault in Deskhand")
        ended = TurnEnded(turn.number, reason, tally.usage, tally.requests, error)
        await _settled(self._record.append(ended))
        return ended

    async def _advance(self, turn: Turn, tally: _Tally) -> StopReason:
        limits = turn.settings.limits
        state = self._record.state
        room = Room(
            self._record,
            turn.number,
            Path(state.cwd),
            state.mode,
            turn.tools,
            limits,
            self._outputs,
            self._in_flight,
            turn.ask,
        )
        request = frame(turn.model, system_prompt(state), turn.tools.values(), turn.settings.endpoint)
        while True:
            if tally.requests >= limits.turn_requests or tally.usage.total >= (limits.turn_tokens or float("inf")):
                return "max_turn_requests"
            message = await self._ask(request, turn, tally)
            uses = [block for block in message.content if isinstance(block, ToolUse)]
            if uses:
                await run_calls(uses, room)
                if room.repetition.must_pause:
                    return "repetition"
            elif message.stop_reason != "pause_turn":
                return _ENDINGS.get(message.stop_reason, "end_turn")

    async def _ask(self, request: Frame, turn: Turn, tally: _Tally) -> MessageReceived:
        """Return the model's next message, recorded; ask again where a failure can pass."""
        attempt = 0
        while True:
            try:
                message = await self._receive(request, turn)
                break
            except EndpointError as error:
                attempt += 1
                wait = delay(error, attempt, random.random)
                if wait is None:
                    raise
                turn.show(Restarted(turn.number))
                cause = Failure(error.kind, str(error))
                await self._record.append(RequestRetried(turn.number, attempt, cause, round(wait, 2)))
                await asyncio.sleep(wait)
        tally.requests += 1
        tally.usage += message.usage
        return message

    async def _receive(self, request: Frame, turn: Turn) -> MessageReceived:
        """Make one request and record its answer.

        When cancelled in mid-stream, the text that came is recorded, and half a call is not.
        """
        clock = asyncio.get_running_loop().time
        started = clock()
        said: list[str] = []
        received: Received | None = None
        body = request.body(self._record.messages(turn.model))
        try:
            async with aclosing(turn.client.stream(body)) as stream:
                async for event in stream:
                    match event:
                        case TextDelta(text):
                            said.append(text)
                            turn.show(Said(turn.number, text))
                        case ThinkingDelta(text):
                            turn.show(Thought(turn.number, text))
                        case Received():
                            received = event
        except asyncio.CancelledError:
            if said:
                partial = Text("".join(said))
                self._record.append(MessageReceived(turn.number, turn.model, (partial,), "cancelled"))
            raise
        assert received is not None, "a stream ends with its message or an error"
        return self._record_message(received, turn, clock() - started)

    def _record_message(self, received: Received, turn: Turn, seconds: float) -> MessageReceived:
        if received.stop_reason not in _ENDINGS and not _says_something(received):
            raise failure("empty", turn.client.endpoint, "it had no text and no call")
        content = _with_own_ids(received.content, self._record.state.call_ids)
        message = MessageReceived(
            turn.number, turn.model, content, received.stop_reason, received.usage, round(seconds, 3)
        )
        durable = self._record.append(message, now=False)  # the first call's start, or the turn's end, waits for it
        durable.add_done_callback(lambda future: future.cancelled() or future.exception())
        return message

    def _end_open_calls(self, turn: int, why: str) -> None:
        """Give a result to each call that has none at the turn's end: most had not begun."""
        state = self._record.state
        for use in list(state.open_calls.values()):
            when = "; it may or may not have taken effect" if use.id in state.begun else " before it began"
            self._record.append(CallFinished(turn, use.id, use.name, "interrupted", (Text(why + when),)))


def _own_fault(fault: Exception) -> str:
    return (
        f"A fault in Deskhand itself ended the turn: {type(fault).__name__}: {fault}. The log has the details; "
        "send another prompt to go on."
    )


async def _settled(durable: asyncio.Future[Entry]) -> None:
    """Wait for the turn's end to be durable: a stop in that same instant comes too late to be one."""
    while not durable.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({durable})
    durable.result()


class _Tally(msgspec.Struct):
    """What a turn has cost so far."""

    requests: int = 0
    usage: Usage = msgspec.field(default_factory=Usage)


def _says_something(received: Received) -> bool:
    """Tell whether there is a call or a word in the message; reasoning alone answers nothing."""
    return received.stop_reason == "pause_turn" or any(
        isinstance(block, ToolUse) or (isinstance(block, Text) and bool(block.text.strip()))
        for block in received.content
    )


def _with_own_ids(content: tuple[MessageBlock, ...], taken: set[str]) -> tuple[MessageBlock, ...]:
    """Give a new id to each call whose own is missing, used before in the session, or unfit for a file name."""
    taken = set(taken)
    blocks: list[MessageBlock] = []
    for block in content:
        if isinstance(block, ToolUse):
            call = block.id
            if call in taken or not _SAFE_ID.match(call):
                call = f"toolu_{os.urandom(12).hex()}"
            taken.add(call)
            block = ToolUse(call, block.name, block.input, block.malformed)
        blocks.append(block)
    return tuple(blocks)
