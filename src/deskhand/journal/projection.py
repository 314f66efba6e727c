"""The projection: from a session's events to the messages of the next request.

It is a fold, and total: whatever events there are, cut off at any place, the messages satisfy what every
endpoint demands. The first and the last are the user's, roles alternate, no block is empty, and the message
after a `tool_use` begins with exactly one `tool_result` for it; a call whose end is unknown gets one that says so.

A message that an answer has followed never changes again, so it is encoded once, and the request's prefix
is the same bytes from one request to the next: prompt caches hit, and the thousandth call costs what the
first did.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from deskhand.journal.blocks import (
    MessageBlock,
    PromptBlock,
    RedactedThinking,
    ResultBlock,
    Text,
    Thinking,
    ToolUse,
)
from deskhand.journal.events import CallFinished, Event, MessageReceived, TurnStarted

Block = dict[str, Any]
Blobs = Callable[[str], tuple[str, bytes]]
"""Finds a blob by digest: its media type and bytes."""

UNKNOWN_FATE = "interrupted: the agent ended during this call; it may or may not have taken effect"

_NOT_IN_NAMES = re.compile("[^a-zA-Z0-9_-]")
_LONGEST_NAME = 64

_encode = msgspec.json.Encoder().encode
_GO_ON = {"type": "text", "text": "Go on."}
_BREAKPOINT = {"type": "ephemeral"}


class Projection:
    """The messages for `model`, kept up to date one event at a time."""

    def __init__(self, model: str, blobs: Blobs) -> None:
        self._model = model
        self._blobs = blobs
        self._settled: list[bytes] = []
        self._assistant: list[Block] = []
        self._results: dict[str, Block | None] = {}
        self._prompt: list[Block] = []
        self._last_user: list[Block] = []

    def add(self, event: Event) -> None:
        """Take the session's next event into account."""
        match event:
            case TurnStarted():
                self._prompt += [self._material(block) for block in event.prompt if _has_something(block)]
            case MessageReceived():
                self._answer([block for block in event.content if self._may_be_sent_back(block, event.model)])
            case CallFinished() if event.call in self._results and self._results[event.call] is None:
                self._results[event.call] = self._result(event)

    def messages(self) -> list[bytes]:
        """Return the messages as JSON, the last two of the user with a cache breakpoint each."""
        encoded = list(self._settled)
        if self._last_user:
            encoded[-1] = _encode({"role": "user", "content": _with_breakpoint(self._last_user)})
        if self._assistant:
            encoded.append(_encode({"role": "assistant", "content": self._assistant}))
        user = self._user_content()
        if self._assistant and not user:  # the model paused: most endpoints want the last word to be the user's
            user = [_GO_ON]
        if user:
            encoded.append(_encode({"role": "user", "content": _with_breakpoint(user)}))
        return encoded

    def _answer(self, content: list[MessageBlock]) -> None:
        """Begin the assistant's message, or go on with it where nothing of the user's came between."""
        while content and _is_reasoning(content[-1]):
            content.pop()  # the API refuses a message that ends in reasoning, as one cut by its limit may
        if not content:
            return
        user = self._user_content()
        if user:
            self._settle(user)
        elif not self._assistant:
            return  # an answer to nothing cannot be sent
        else:
            content = [block for block in content if not _is_reasoning(block)]  # it may stand at a beginning only
        self._assistant += [_message_block(block) for block in content]
        self._results.update({block.id: None for block in content if isinstance(block, ToolUse)})

    def _settle(self, user: list[Block]) -> None:
        """Close the assistant's message and the user's that follows it: an answer to both has come."""
        if self._assistant:
            self._settled.append(_encode({"role": "assistant", "content": self._assistant}))
        self._settled.append(_encode({"role": "user", "content": user}))
        self._last_user = user
        self._assistant, self._results, self._prompt = [], {}, []

    def _user_content(self) -> list[Block]:
        """Return the user's side after the assistant's last message: results in the calls' order, then words."""
        results = [block or _unknown_fate(call) for call, block in self._results.items()]
        return results + self._prompt

    def _may_be_sent_back(self, block: MessageBlock, author: str) -> bool:
        """Leave out empty blocks, and reasoning that the model could not verify as its own."""
        if isinstance(block, Thinking):
            return bool(block.signature) and author == self._model
        if isinstance(block, RedactedThinking):
            return author == self._model
        return _has_something(block)

    def _material(self, block: PromptBlock | ResultBlock) -> Block:
        if isinstance(block, Text):
            return {"type": "text", "text": block.text}
        media_type, data = self._blobs(block.blob)
        source = {"type": "base64", "media_type": media_type, "data": b64encode(data).decode("ascii")}
        return {"type": "image", "source": source}

    def _result(self, event: CallFinished) -> Block:
        content = [self._material(block) for block in event.content if _has_something(block)]
        result: Block = {
            "type": "tool_result",
            "tool_use_id": event.call,
            "content": content or [{"type": "text", "text": "(no output)"}],
        }
        if event.outcome != "ok":
            result["is_error"] = True
        return result


def project(events: Iterable[Event], model: str, blobs: Blobs) -> list[dict[str, Any]]:
    """Return the messages for `model` that follow from `events`."""
    projection = Projection(model, blobs)
    for event in events:
        projection.add(event)
    return [msgspec.json.decode(message) for message in projection.messages()]


def _has_something(block: PromptBlock | MessageBlock) -> bool:
    """Endpoints refuse text blocks without a visible character."""
    return not isinstance(block, Text) or bool(block.text.strip())


def _is_reasoning(block: MessageBlock) -> bool:
    return isinstance(block, Thinking | RedactedThinking)


def _message_block(block: MessageBlock) -> Block:
    match block:
        case Text(text):
            return {"type": "text", "text": text}
        case Thinking(thinking, signature):
            return {"type": "thinking", "thinking": thinking, "signature": signature}
        case RedactedThinking(data):
            return {"type": "redacted_thinking", "data": data}
        case ToolUse(id, name, input):
            return {"type": "tool_use", "id": id, "name": _tool_name(name), "input": input}


def _tool_name(name: str) -> str:
    """Return a name as endpoints take it: one that the model made up must not make them refuse every later request."""
    return _NOT_IN_NAMES.sub("_", name)[:_LONGEST_NAME] or "unnamed"


def _unknown_fate(call: str) -> Block:
    content = [{"type": "text", "text": UNKNOWN_FATE}]
    return {"type": "tool_result", "tool_use_id": call, "content": content, "is_error": True}


def _with_breakpoint(content: list[Block]) -> list[Block]:
    return [*content[:-1], {**content[-1], "cache_control": _BREAKPOINT}]
