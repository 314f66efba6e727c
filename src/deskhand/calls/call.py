"""One call's life: prepare, decide, run under the clock, finish.

Whatever happens, a call that was asked for gets exactly one `call.finished`: a result, a refusal, a validation
error, the clock's verdict, or the user's stop.
"""

from __future__ import annotations

import asyncio
import hashlib
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from deskhand import log
from deskhand.calls.caps import cap
from deskhand.calls.clock import Watch
from deskhand.calls.inflight import Flight, InFlight
from deskhand.calls.prepare import Prepared, Rejected, prepare
from deskhand.calls.repetition import Repetition
from deskhand.calls.schedule import predecessors
from deskhand.journal.blocks import Text, ToolUse
from deskhand.journal.events import (
    CallFinished,
    CallSpawned,
    CallStarted,
    FileChange,
    Mode,
    Outcome,
    PlanChanged,
)
from deskhand.journal.record import Record
from deskhand.seam.decide import SAID_NO, decide, refusal
from deskhand.seam.question import Ask, Question
from deskhand.settings import LimitSettings
from deskhand.tools.base import NOTHING, CallContext, Change, Ending, Tool, ToolError, ToolResult
from deskhand.tools.files import name_of

STOP_GRACE = 0.9
"""Seconds that a tool has to clean up when the user stops the turn: a stop takes one second, whatever runs."""

EXPIRY_GRACE = 5.0
"""Seconds that a tool has to clean up when the clock ends its call; nobody is waiting at the keyboard."""

LARGEST_KEPT = 16 * 1024 * 1024
"""Bytes of a replaced file that are kept for undo."""


class Room(msgspec.Struct):
    """What the calls of one turn share."""

    record: Record
    turn: int
    cwd: Path
    mode: Mode
    tools: Mapping[str, Tool[Any]]
    limits: LimitSettings
    outputs: Path
    in_flight: InFlight
    ask: Ask | None = None
    repetition: Repetition = msgspec.field(default_factory=Repetition)


class _Ended(msgspec.Struct, frozen=True):
    """How a tool's run came out, before its result is capped and recorded."""

    outcome: Outcome
    result: ToolResult


async def run_calls(uses: list[ToolUse], room: Room) -> list[CallFinished]:
    """Run the calls of one message: side by side where they touch different things, else in the model's order.

    Returns when each has its durable result. When cancelled, each call that had started is ended within
    `STOP_GRACE` and has its result before the cancellation goes on. Raises `JournalError` where the journal cannot
    be written.
    """
    room.repetition.begin_message()
    prepared = [prepare(use, room.tools, room.cwd, room.limits) for use in uses]
    if len(prepared) == 1:
        finished = [await _one(prepared[0], room)]
    else:
        finished = await _several(prepared, room)
    await room.record.flush()
    return finished


async def _several(prepared: list[Prepared | Rejected], room: Room) -> list[CallFinished]:
    touched = [step.resources if isinstance(step, Prepared) else NOTHING for step in prepared]
    tasks: list[asyncio.Task[CallFinished]] = []
    for step, earlier in zip(prepared, predecessors(touched), strict=True):
        before = [tasks[index] for index in earlier]
        tasks.append(asyncio.create_task(_after(before, step, room)))
    try:
        await asyncio.wait(tasks)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=STOP_GRACE + 0.1)
        raise
    return [task.result() for task in tasks]


async def _after(before: list[asyncio.Task[CallFinished]], step: Prepared | Rejected, room: Room) -> CallFinished:
    if before:
        await asyncio.wait(before)
    return await _one(step, room)


async def _one(step: Prepared | Rejected, room: Room) -> CallFinished:
    if isinstance(step, Rejected):
        return _finish_without_running(step.use, "invalid", step.sentence, room)
    verdict = decide(step.risk.klass, room.mode)
    answer = await room.ask(_question(step)) if verdict == "ask" and room.ask is not None else None
    if verdict == "run" or answer:
        return await _run(step, room)
    sentence = SAID_NO if answer is False else refusal(verdict, step.risk.klass, room.mode, step.risk.reason)
    return _finish_without_running(step.use, "refused", sentence, room)


def _question(step: Prepared) -> Question:
    use, risk = step.use, step.risk
    title = step.tool.title(step.arguments)
    return Question(use.id, use.name, title, step.tool.kind, risk.klass, risk.reason, use.input)


async def _run(step: Prepared, room: Room) -> CallFinished:
    use, record = step.use, room.record
    await record.append(CallStarted(room.turn, use.id, use.name, use.input, step.risk.klass, step.risk.reason))
    watch = Watch(step.limits)
    with room.in_flight.enter(Flight(record.session, step, watch)) as flight:
        context = _context(flight, room)
        task = asyncio.create_task(step.tool.run(step.arguments, context))
        try:
            ended = await _under_the_clock(task, watch, context)
        except asyncio.CancelledError:
            context.ending = Ending(f"interrupted by user after {watch.elapsed:.1f} s", expired=False)
            ended = await _end(task, context, STOP_GRACE)
            await _finish(step, ended, watch, room)
            raise
        return await _finish(step, ended, watch, room)


def _context(flight: Flight, room: Room) -> CallContext:
    step, record = flight.step, room.record

    def spawned(pid: int, started: str) -> None:
        flight.pid = pid
        _ignore(record.append(CallSpawned(room.turn, step.use.id, pid, started), now=False))

    return CallContext(
        session=record.session,
        call=step.use.id,
        cwd=room.cwd,
        outputs=room.outputs,
        seen=record.state.seen,
        progress=flight.watch.progress,
        spawned=spawned,
        call_limits=(step.limits.quiet, step.limits.total),
    )


async def _under_the_clock(task: asyncio.Task[ToolResult], watch: Watch, context: CallContext) -> _Ended:
    while not task.done():
        remaining = watch.remaining()
        if remaining <= 0:
            context.ending = Ending(watch.verdict(), expired=True)
            return await _end(task, context, EXPIRY_GRACE)
        await asyncio.wait({task}, timeout=remaining)
    return _outcome(task)


async def _end(task: asyncio.Task[ToolResult], context: CallContext, grace: float) -> _Ended:
    """Cancel a tool's task, and take what it has to show; one that does not stop is left behind, never awaited."""
    if not task.cancel():
        return _outcome(task)  # it ended in the same instant: that is the one result
    assert context.ending is not None
    outcome: Outcome = "expired" if context.ending.expired else "interrupted"
    await asyncio.wait({task}, timeout=grace)
    if not task.done():
        log.write(f"{context.call} did not stop within {grace:g} s and was left behind")
        task.add_done_callback(_swallow)
        return _Ended(outcome, ToolResult((f"{context.ending.sentence}; it did not stop and was left behind",), True))
    if task.cancelled():
        return _Ended(outcome, ToolResult((context.ending.sentence,), error=True))
    return msgspec.structs.replace(_outcome(task), outcome=outcome)


def _outcome(task: asyncio.Task[ToolResult]) -> _Ended:
    """Return what a tool's finished task says; a tool's own bug is an error of the call, and of nothing else."""
    error = task.exception()
    if error is None:
        result = task.result()
        return _Ended("error" if result.error else "ok", result)
    if isinstance(error, ToolError):
        return _Ended("error", ToolResult((str(error),), error=True))
    log.write("".join(traceback.format_exception(error)))
    sentence = f"The tool failed by a fault of its own ({type(error).__name__}: {error}). Try another way."
    return _Ended("error", ToolResult((sentence,), error=True))


async def _finish(step: Prepared, ended: _Ended, watch: Watch, room: Room) -> CallFinished:
    result = ended.result
    seconds, quiet = watch.elapsed, watch.quiet
    capped = await cap(result, step.use.id, room.outputs)
    changes, before = _kept(result.changes)
    if step.use.id not in room.record.state.open_calls:
        raise asyncio.CancelledError  # the turn was stopped, could not wait for this, and gave the call its result
    note = room.repetition.note(step.use.name, step.use.input, capped.content)
    finished = CallFinished(
        turn=room.turn,
        call=step.use.id,
        tool=step.use.name,
        outcome=ended.outcome,
        content=capped.content if note is None else (*capped.content, Text(note)),
        seconds=round(seconds, 3),
        quiet=round(quiet, 3),
        size=result.size or sum(len(part) for part in result.content if isinstance(part, str)),
        output=str(capped.output) if capped.output else None,
        outside=result.outside,
        seen=result.seen,
        changes=changes,
        locations=result.locations,
    )
    _ignore(room.record.append(finished, {**capped.blobs, **before}, now=False))
    if result.plan is not None:
        _ignore(room.record.append(PlanChanged(room.turn, result.plan), now=False))
    return finished


def _finish_without_running(use: ToolUse, outcome: Outcome, sentence: str, room: Room) -> CallFinished:
    content = (Text(sentence),)
    note = room.repetition.note(use.name, use.input, content)
    finished = CallFinished(room.turn, use.id, use.name, outcome, content if note is None else (*content, Text(note)))
    _ignore(room.record.append(finished, now=False))
    return finished


def _kept(changes: tuple[Change, ...]) -> tuple[tuple[FileChange, ...], dict[str, tuple[str, bytes]]]:
    """Return the changes as the journal has them, and the replaced bytes as blobs, for undo."""
    blobs: dict[str, tuple[str, bytes]] = {}
    recorded = []
    for change in changes:
        before = None
        if change.before is not None and len(change.before) <= LARGEST_KEPT:
            before = hashlib.sha256(change.before).hexdigest()
            blobs[before] = ("application/octet-stream", change.before)
        after = "" if change.after is None else hashlib.sha256(change.after).hexdigest()
        recorded.append(FileChange(name_of(change.path), before, after, change.hunks))
    return tuple(recorded), blobs


def _ignore(future: asyncio.Future[Any]) -> None:
    """Leave an append to the flush at the end of the batch, which raises what it would have raised."""
    future.add_done_callback(_swallow)


def _swallow(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
