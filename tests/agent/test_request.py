"""A request's frame: what is the same in each request of a turn is encoded once, in the order that caches see."""

from __future__ import annotations

import json

from deskhand.agent.prompt import system_prompt
from deskhand.agent.request import frame
from deskhand.journal.replay import SessionState
from deskhand.settings import EndpointSettings
from deskhand.tools.built_in import built_in_tools


def test_the_body_is_what_the_api_takes() -> None:
    body = json.loads(frame("m", "Be good.", built_in_tools().values(), EndpointSettings()).body([b'{"a":1}', b"{}"]))
    assert list(body) == ["model", "max_tokens", "stream", "tools", "system", "messages"]
    assert body["messages"] == [{"a": 1}, {}]
    assert body["system"][0]["cache_control"]


def test_thinking_is_asked_for_within_a_budget_above_the_answer() -> None:
    settings = EndpointSettings(thinking_tokens=10, max_output_tokens=500)
    body = json.loads(frame("m", "s", [], settings).body([]))
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 1024}
    assert body["max_tokens"] == 1524


def test_no_schema_sends_references_or_titles() -> None:
    """Some local servers follow no `$ref`, and every byte is paid for on every request."""
    text = json.dumps([dict(tool.schema) for tool in built_in_tools().values()])
    assert "$ref" not in text
    assert '"title": "' not in text


def test_the_system_prompt_is_the_same_for_the_same_session() -> None:
    state = SessionState(cwd="/x", began="2026-11-22")
    assert system_prompt(state) == system_prompt(state)
    assert "/x" in system_prompt(state)
    assert "2026-11-22" in system_prompt(state)


def test_plan_mode_is_told_to_the_model_as_well() -> None:
    assert "Mode: plan" in system_prompt(SessionState(cwd="/x", mode="plan"))
