from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deskhand.journal.events import PlanEntry
from deskhand.tools import todo
from deskhand.tools.base import CallContext, ToolResult
from deskhand.tools.todo import TOOL


def called(folder: Path, **arguments: Any) -> ToolResult:
    context = CallContext(session="s", call="c1", cwd=folder, outputs=folder)
    return asyncio.run(todo.run(TOOL.parse(arguments), context))


def test_the_entries_become_the_plan_and_the_echo_is_short(tmp_path: Path) -> None:
    entries = [
        {"content": "find the bug", "status": "completed"},
        {"content": "mend it", "status": "in_progress"},
        {"content": "run the tests"},
    ]
    result = called(tmp_path, entries=entries)
    assert result.content == ("Plan: 1 of 3 done.",)
    assert result.plan == (
        PlanEntry("find the bug", "completed"),
        PlanEntry("mend it", "in_progress"),
        PlanEntry("run the tests", "pending"),
    )


def test_an_empty_list_clears_the_plan(tmp_path: Path) -> None:
    assert called(tmp_path, entries=[]).plan == ()


@pytest.mark.parametrize("wrong", [{}, {"entries": "x"}, {"entries": [{"content": "x", "status": "done"}]}])
def test_what_is_no_plan_is_a_validation_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        TOOL.parse(wrong)


def test_the_plan_is_bookkeeping_and_cheap_to_describe(tmp_path: Path) -> None:
    arguments = TOOL.parse({"entries": []})
    assert TOOL.limits == "internal"
    assert TOOL.risk(arguments, tmp_path).klass == "read"
    assert len(TOOL.description) + len(msgspec.json.encode(TOOL.schema)) <= 800
    assert "$ref" not in msgspec.json.encode(TOOL.schema).decode()
