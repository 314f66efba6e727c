"""`todo`: the plan of the work, as the user sees it; each call replaces it whole."""

from __future__ import annotations

from typing import Literal

import msgspec

from deskhand.journal.events import PlanEntry
from deskhand.seam.risk import READ
from deskhand.tools.base import NOTHING, CallContext, ToolResult, built_in


class Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    content: str
    status: Literal["pending", "in_progress", "completed"] = "pending"


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    entries: list[Item]


async def run(arguments: Parameters, context: CallContext) -> ToolResult:
    """Hand the plan on; the text is short, since the model has just written the entries itself."""
    plan = tuple(PlanEntry(item.content, item.status) for item in arguments.entries)
    return ToolResult((_summary(arguments),), plan=plan)


def _summary(arguments: Parameters) -> str:
    if not arguments.entries:
        return "The plan is empty."
    done = sum(item.status == "completed" for item in arguments.entries)
    return f"Plan: {done} of {len(arguments.entries)} done."


TOOL = built_in(
    __file__,
    Parameters,
    kind="think",
    run=run,
    risk=lambda arguments, cwd: READ,
    resources=lambda arguments, cwd: NOTHING,
    title=_summary,
    limits="internal",
)
