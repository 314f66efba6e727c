"""A message put together from the events of its stream: pieces to show on the way, one whole message at the end.

Servers differ in what they send; what they mean is clear nearly always, and is taken so. Half a message never is.
The events are those of https://docs.anthropic.com/en/api/messages-streaming.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from deskhand.journal.blocks import MessageBlock, RedactedThinking, Text, Thinking, ToolUse
from deskhand.journal.events import Usage


class TextDelta(msgspec.Struct, frozen=True):
    """More of the answer's text."""

    text: str


class ThinkingDelta(msgspec.Struct, frozen=True):
    """More of the model's reasoning."""

    text: str


class CallDelta(msgspec.Struct, frozen=True):
    """The model is writing a call: which of the message's calls (from 0), its tool, the characters of its arguments."""

    index: int
    name: str
    partial_chars: int


class Received(msgspec.Struct, frozen=True):
    """The whole message. `content` may be empty. Calls have the ids that the endpoint gave, which may not be unique."""

    content: tuple[MessageBlock, ...]
    stop_reason: str
    usage: Usage
    model: str


StreamEvent = TextDelta | ThinkingDelta | CallDelta | Received

_Kind = Literal["text", "thinking", "redacted_thinking", "tool_use", "unknown"]
_KINDS: dict[str, _Kind] = {
    "text": "text",
    "thinking": "thinking",
    "redacted_thinking": "redacted_thinking",
    "tool_use": "tool_use",
}
_MOST_TOKENS = 2**53
_DEEPEST = 100
"""Levels of JSON. Beyond some hundreds, what could be read here could not be read back from the journal."""
_CUT_SHORT = ("max_tokens", "model_context_window_exceeded")
_USAGE_FIELDS = Usage.__struct_fields__


class MessageError(Exception):
    """What came is no message; the text is a clause that says why."""


class _Block:
    """A block that is being written."""

    def __init__(self, kind: _Kind, content: dict[str, Any]) -> None:
        self.kind = kind
        self.content = content
        self.closed = False
        self.parts: list[str] = []
        self.signature: list[str] = []
        self.chars = 0
        self.number = 0

    @property
    def joined(self) -> str:
        """Everything that was written, joined once: arguments of megabytes come in pieces of a few bytes."""
        return whole_characters("".join(self.parts))


class MessageAssembler:
    """Feed it the events of one stream; ask it for the message when it is `done`, or when the stream has ended."""

    def __init__(self) -> None:
        self.done = False
        """The message was said to be over."""
        self.begun = False
        """Content, or the end, has come: the model is answering, not reading."""
        self._blocks: list[_Block] = []
        self._current: dict[int, _Block] = {}
        self._stop_reason: str | None = None
        self._model = ""
        self._usage: dict[str, int] = {}

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing, though the end itself may not have been said."""
        return self.done or (self._stop_reason is not None and all(block.closed for block in self._blocks))

    def feed(self, event: dict[str, Any]) -> TextDelta | ThinkingDelta | CallDelta | None:
        """Take in one event, and return what there is to show. Events of unknown types mean nothing.

        Raises `MessageError` where the event contradicts what came before.
        """
        match event.get("type"):
            case "message_start":
                self._start(_object(event.get("message")))
            case "content_block_start":
                return self._open(_index(event), _object(event.get("content_block")))
            case "content_block_delta":
                return self._extend(_index(event), _object(event.get("delta")))
            case "content_block_stop":
                if (block := self._at(_index(event))) is not None:
                    block.closed = True
            case "message_delta":
                self._finish(_object(event.get("delta")), event.get("usage"))
            case "message_stop":
                self.begun = self.done = True
        return None

    def message(self) -> Received:
        """Return the whole message, which must be complete."""
        has_calls = any(block.kind == "tool_use" for block in self._blocks)
        stop_reason = self._stop_reason or ("tool_use" if has_calls else "end_turn")
        cut = self._blocks[-1] if self._blocks and stop_reason in _CUT_SHORT else None
        content = [made for block in self._blocks if (made := _made(block, cut=block is cut)) is not None]
        if stop_reason == "refusal":  # what was said before the refusal is void, and must not be acted on
            content = [made for made in content if not isinstance(made, ToolUse)]
        return Received(tuple(content), stop_reason, Usage(**self._usage), self._model)

    def _start(self, message: dict[str, Any]) -> None:
        if isinstance(model := message.get("model"), str):
            self._model = model
        self._count(message.get("usage"))

    def _finish(self, delta: dict[str, Any], usage: object) -> None:
        if isinstance(reason := delta.get("stop_reason"), str):
            self.begun = True
            self._stop_reason = reason
        self._count(usage)

    def _count(self, usage: object) -> None:
        """Counts are cumulative, and some servers know them only at the start or only at the end."""
        for name, value in _object(usage).items():
            if name in _USAGE_FIELDS and type(value) is int and value <= _MOST_TOKENS:
                self._usage[name] = max(self._usage.get(name, 0), value)

    def _open(self, index: int | None, content: dict[str, Any]) -> TextDelta | ThinkingDelta | CallDelta | None:
        self.begun = True
        if content.get("type") is None:
            return None  # its first delta will say what it is
        block = _Block(_KINDS.get(_string(content.get("type")), "unknown"), content)
        block.number = sum(other.kind == "tool_use" for other in self._blocks)
        if index is None:
            index = max(self._current, default=-1) + 1
        if index in self._current:  # a server that does not count: the one before is over
            self._current[index].closed = True
        self._blocks.append(block)
        self._current[index] = block
        if block.kind == "tool_use":
            return self._show(block, "")
        given = content.get(block.kind)
        return self._show(block, given) if isinstance(given, str) and given else None

    def _extend(self, index: int | None, delta: dict[str, Any]) -> TextDelta | ThinkingDelta | CallDelta | None:
        self.begun = True
        match delta:
            case {"type": "text_delta", "text": str(text)}:
                return self._show(self._block(index, "text"), text)
            case {"type": "thinking_delta", "thinking": str(text)}:
                return self._show(self._block(index, "thinking"), text)
            case {"type": "input_json_delta", "partial_json": str(text)}:
                block = self._at(index)
                if block is None or block.kind not in ("tool_use", "unknown"):
                    raise MessageError("it sent arguments that belong to no call")
                return self._show(block, text)
            case {"type": "signature_delta", "signature": str(text)}:
                self._block(index, "thinking").signature.append(text)
        return None

    def _at(self, index: int | None) -> _Block | None:
        if index is None:
            return self._blocks[-1] if self._blocks else None
        return self._current.get(index)

    def _block(self, index: int | None, kind: _Kind) -> _Block:
        """Return the block that a delta belongs to; one that was never opened is opened by it."""
        block = self._at(index)
        if block is not None and block.kind in (kind, "unknown"):
            return block
        self._open(index, {"type": kind})
        opened = self._blocks[-1]
        opened.closed = True  # who does not open blocks does not close them
        return opened

    def _show(self, block: _Block, text: str) -> TextDelta | ThinkingDelta | CallDelta | None:
        block.parts.append(text)
        block.chars += len(text)
        if block.kind == "text":
            return TextDelta(whole_characters(text))
        if block.kind == "thinking":
            return ThinkingDelta(whole_characters(text))
        if block.kind == "tool_use":
            return CallDelta(block.number, _string(block.content.get("name")), block.chars)
        return None


def events_of(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the events that would have streamed `message`, for servers that do not stream.

    Raises `MessageError` where it is not one.
    """
    content = message.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise MessageError("it has no content")
    yield {"type": "message_start", "message": message}
    for index, block in enumerate(content):
        yield {"type": "content_block_start", "index": index, "content_block": block}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": message}
    yield {"type": "message_stop"}


def whole_characters(text: str) -> str:
    """Return `text` with halves of characters joined, or replaced where the other half is missing.

    Servers that count in UTF-16 split an emoji between two pieces; no file and no terminal takes such a half.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def is_too_deep(value: dict[str, Any]) -> bool:
    """Say whether lists and objects in `value` are nested beyond all use."""
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        inner = (part for outer in level for part in (outer.values() if isinstance(outer, dict) else outer))
        level = [part for part in inner if isinstance(part, dict | list)]
        if not level:
            return False
    return True


def _made(block: _Block, *, cut: bool) -> MessageBlock | None:
    """Return the finished block, or None where there is nothing in it. `cut`: a limit ended the message in it."""
    match block.kind:
        case "text":
            return Text(block.joined) if block.chars else None
        case "thinking":
            signature = whole_characters("".join(block.signature)) or _string(block.content.get("signature"))
            return Thinking(block.joined, signature) if block.chars or signature else None
        case "redacted_thinking":
            return RedactedThinking(_string(block.content.get("data")))
        case "tool_use":
            return _call(block, cut=cut)
        case "unknown":
            return None


def _call(block: _Block, *, cut: bool) -> ToolUse:
    name, call = _string(block.content.get("name")), _string(block.content.get("id"))
    raw, given = block.joined, block.content.get("input")
    if not raw.strip() and given:  # some servers send the arguments whole, at the start
        raw = given if isinstance(given, str) else msgspec.json.encode(given).decode()
    if not raw.strip() and not cut:
        return ToolUse(call, name, {})
    try:
        arguments = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict) or is_too_deep(arguments):
        return ToolUse(call, name, {}, malformed=raw)
    return ToolUse(call, name, arguments)


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _string(value: object) -> str:
    return whole_characters(value) if isinstance(value, str) else ""


def _index(event: dict[str, Any]) -> int | None:
    index = event.get("index")
    return index if isinstance(index, int) else None
