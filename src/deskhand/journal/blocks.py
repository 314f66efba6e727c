"""Content blocks: what prompts, messages and results are made of, in the journal's own words.

They follow the blocks of the Anthropic Messages API, with one difference: the bytes of an image live in
the journal's blob table, once, and a block names them by digest. Events stay small, and a session of a
hundred screenshots opens as fast as one of a hundred lines.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="text"):
    """Plain text, from anyone."""

    text: str


class Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="image"):
    """An image whose bytes are the journal's blob `blob` (a SHA-256 in hex)."""

    media_type: str
    blob: str


class Thinking(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="thinking"):
    """Reasoning that the model showed. Only a signed block may be sent back, and only to its own model."""

    thinking: str
    signature: str = ""


class RedactedThinking(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="redacted_thinking"):
    """Reasoning that the provider encrypted: opaque, sent back as it came."""

    data: str


class ToolUse(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="tool_use"):
    """The model asks for a call. `id` is unique in its session, whatever the endpoint sent.

    Where the arguments were not a JSON object, `input` is empty and `malformed` holds the text as it came.
    """

    id: str
    name: str
    input: dict[str, Any]
    malformed: str | None = None


PromptBlock = Text | Image
ResultBlock = Text | Image
MessageBlock = Text | Thinking | RedactedThinking | ToolUse


def plain_text(blocks: tuple[PromptBlock | MessageBlock, ...]) -> str:
    """Return the text of `blocks`, without images, reasoning and calls."""
    return "\n".join(block.text for block in blocks if isinstance(block, Text))
