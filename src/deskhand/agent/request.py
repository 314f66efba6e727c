"""The body of a request to the model, in the Anthropic Messages format.

https://docs.anthropic.com/en/api/messages
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from deskhand.settings import EndpointSettings
from deskhand.tools.base import Tool

SMALLEST_THINKING = 1024
"""Tokens; the API refuses a smaller budget."""

_encode = msgspec.json.Encoder().encode


class Frame(msgspec.Struct, frozen=True):
    """What is the same in every request of a turn, encoded once, on both sides of the messages."""

    before: bytes
    after: bytes

    def body(self, messages: list[bytes]) -> bytes:
        """Return the whole body around `messages`."""
        return b"".join((self.before, b",".join(messages), self.after))


def frame(model: str, system: str, tools: Iterable[Tool[Any]], settings: EndpointSettings) -> Frame:
    """Return the frame of a turn's requests.

    Tools come first and the system prompt after them, as the API's caches see them; one breakpoint covers both.
    """
    head: dict[str, Any] = {
        "model": model,
        "max_tokens": settings.max_output_tokens,
        "stream": True,
        "tools": [tool_schema(tool) for tool in tools],
        "system": [{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}],
    }
    if settings.thinking_tokens:
        budget = max(settings.thinking_tokens, SMALLEST_THINKING)
        head["thinking"] = {"type": "enabled", "budget_tokens": budget}
        head["max_tokens"] += budget
    return Frame(_encode(head)[:-1] + b',"messages":[', b"]}")


def tool_schema(tool: Tool[Any]) -> dict[str, Any]:
    """Return a tool as the model is told of it."""
    return {"name": tool.name, "description": tool.description, "input_schema": tool.schema}
