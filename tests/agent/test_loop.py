"""A turn has one end, and each of its calls one result, also where the fault is our own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deskhand.agent.loop import Loop, Turn
from deskhand.calls.inflight import InFlight
from deskhand.journal.blocks import Text
from deskhand.journal.events import CallFinished, SessionCreated, TurnEnded
from deskhand.journal.record import Record
from deskhand.journal.store import Journal
from deskhand.model.endpoint import Endpoint
from deskhand.model.messages import MessagesClient
from deskhand.seam.risk import READ
from deskhand.settings import Settings
from deskhand.tools.base import EVERYTHING, CallContext, Tool, ToolResult
from support import RunningRehearsal, ScriptSource


async def broken(arguments: dict[str, Any], context: CallContext) -> ToolResult:
    """Return what no tool may return, so that the call cannot be finished."""
    return ToolResult((b"bytes",))  # type: ignore[arg-type]


PROBE: Tool[dict[str, Any]] = Tool(
    name="probe",
    description="A probe.",
    schema={"type": "object"},
    kind="other",
    parse=dict,
    run=broken,
    risk=lambda arguments, cwd: READ,
    resources=lambda arguments, cwd: EVERYTHING,
    title=lambda arguments: "probe",
)


def test_a_fault_of_our_own_ends_the_turn_and_leaves_no_call_open(
    rehearsal: Callable[[ScriptSource], RunningRehearsal], tmp_path: Path
) -> None:
    call = {"tool": "probe", "arguments": {}}
    endpoint = Endpoint(rehearsal([{"call": [call, call]}]).url)

    async def work() -> tuple[TurnEnded, list[str]]:
        journal = Journal.open(tmp_path / "journal.db")
        try:
            record = Record(journal, "s")
            await record.append(SessionCreated(cwd=str(tmp_path), mode="auto", began="2026-11-22"))
            client = MessagesClient(endpoint, 30, 30)
            turn = Turn(1, "m", client, {"probe": PROBE}, Settings(), lambda live: None)
            ended = await Loop(record, tmp_path, InFlight()).turn((Text("go"),), endpoint, turn)
            client.close()
            finished = [entry.event for entry in journal.entries("s") if isinstance(entry.event, CallFinished)]
            return ended, [block.text for call in finished for block in call.content if isinstance(block, Text)]
        finally:
            await journal.close()

    ended, results = asyncio.run(work())
    assert ended.error is not None
    assert (ended.stop_reason, ended.error.kind) == ("failed", "internal")
    assert len(results) == 2
    assert all("may or may not have taken effect" in result for result in results)
