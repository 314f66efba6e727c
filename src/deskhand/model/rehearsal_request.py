"""Requests as a rehearsal reads them: as strictly as the Anthropic Messages API does.

What the real endpoint answers with a 400, the rehearsal answers with a 400, in like words, so that an agent
that passes here is not refused there. Where the API is milder than most servers that speak its format
(messages of one role in a row), this is as strict as they are.
Source: the API reference (https://docs.claude.com/en/api/messages) and the errors that it answers.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec

MAX_BREAKPOINTS = 4
MAX_IMAGE = 5 * 1024 * 1024
MIN_THINKING = 1024

_SIGNATURES = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
    "image/gif": b"GIF8",
    "image/webp": b"RIFF",
}


class RefusalError(Exception):
    """The request breaks a rule of the API; the message says which, and where."""


class CacheControl(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] = "5m"


class _Cacheable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    cache_control: CacheControl | None = None


class Text(_Cacheable, frozen=True, tag="text"):
    text: str


class Base64Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="base64"):
    media_type: Literal["image/png", "image/jpeg", "image/gif", "image/webp"]
    data: str


class UrlSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="url"):
    url: str


class Image(_Cacheable, frozen=True, tag="image"):
    source: Base64Source | UrlSource


class ToolUse(_Cacheable, frozen=True, tag="tool_use"):
    id: Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9_-]+$")]
    name: Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    input: dict[str, Any]


class ToolResult(_Cacheable, frozen=True, tag="tool_result"):
    tool_use_id: str
    content: str | tuple[Text | Image, ...] = ""
    is_error: bool = False

    @property
    def text(self) -> str:
        """The result's text, without images."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(block.text for block in self.content if isinstance(block, Text))


class Thinking(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="thinking"):
    thinking: str
    signature: str


class RedactedThinking(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="redacted_thinking"):
    data: str


UserBlock = Text | Image | ToolResult
AssistantBlock = Text | Thinking | RedactedThinking | ToolUse


class UserMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="role", tag="user"):
    content: str | tuple[UserBlock, ...]

    @property
    def blocks(self) -> tuple[UserBlock, ...]:
        """The content as blocks."""
        return (Text(text=self.content),) if isinstance(self.content, str) else self.content


class AssistantMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="role", tag="assistant"):
    content: str | tuple[AssistantBlock, ...]

    @property
    def blocks(self) -> tuple[AssistantBlock, ...]:
        """The content as blocks."""
        return (Text(text=self.content),) if isinstance(self.content, str) else self.content


Message = UserMessage | AssistantMessage


class ToolOffer(_Cacheable, frozen=True):
    name: Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    input_schema: dict[str, Any]
    description: str = ""
    type: Literal["custom"] = "custom"


class ThinkingEnabled(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="enabled"):
    budget_tokens: Annotated[int, msgspec.Meta(ge=MIN_THINKING)]


class ThinkingAdaptive(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="adaptive"):
    pass


class ThinkingDisabled(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="disabled"):
    pass


class ToolChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool = False


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a POST to /v1/messages."""

    model: Annotated[str, msgspec.Meta(min_length=1)]
    max_tokens: Annotated[int, msgspec.Meta(ge=1)]
    messages: tuple[Message, ...]
    system: str | tuple[Text, ...] = ()
    tools: tuple[ToolOffer, ...] = ()
    tool_choice: ToolChoice | None = None
    stream: bool = False
    thinking: ThinkingEnabled | ThinkingAdaptive | ThinkingDisabled | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: int | None = None
    top_p: float | None = None
    stop_sequences: tuple[str, ...] = ()
    metadata: dict[str, Any] | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    cache_control: CacheControl | None = None

    @property
    def number(self) -> int:
        """The step that this request asks for: one more than the messages that the model has written."""
        return 1 + sum(isinstance(message, AssistantMessage) for message in self.messages)

    @property
    def results(self) -> tuple[ToolResult, ...]:
        """The tool results that the request ends with."""
        return tuple(block for block in self.messages[-1].blocks if isinstance(block, ToolResult))

    @property
    def prompt(self) -> str:
        """The text of the last user message that has any."""
        for message in reversed(self.messages):
            texts = [block.text for block in message.blocks if isinstance(block, Text)]
            if texts and isinstance(message, UserMessage):
                return "\n".join(texts)
        return ""

    @property
    def system_text(self) -> str:
        """The system prompt's text."""
        return self.system if isinstance(self.system, str) else "\n".join(block.text for block in self.system)


_decoder = msgspec.json.Decoder(Request)


def sign(thinking: str) -> str:
    """Return the signature of a thinking block that a rehearsal wrote: the same for the same text, in any process."""
    return base64.b64encode(hashlib.sha256(b"rehearsal:" + thinking.encode()).digest()).decode()


def read_request(body: bytes) -> Request:
    """Return the request in `body`.

    Raises `RefusalError` where the real API would answer 400.
    """
    try:
        request = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise RefusalError(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusalError(f"The request body is not valid JSON: {error}") from None
    _check_roles(request.messages)
    _check_blocks(request)
    _check_pairs(request.messages)
    _check_tools(request)
    _check_breakpoints(request)
    if isinstance(request.thinking, ThinkingEnabled) and request.thinking.budget_tokens >= request.max_tokens:
        raise RefusalError("`max_tokens` must be greater than `thinking.budget_tokens`.")
    return request


def _check_roles(messages: tuple[Message, ...]) -> None:
    if not messages:
        raise RefusalError("messages: at least one message is required")
    for index, message in enumerate(messages):
        wanted = UserMessage if index % 2 == 0 else AssistantMessage
        if not isinstance(message, wanted):
            if index == 0:
                raise RefusalError('messages: first message must use the "user" role')
            raise RefusalError(
                f"messages.{index}: roles must alternate between user and assistant, but two in a row are one"
            )
    if isinstance(messages[-1], AssistantMessage):
        raise RefusalError("messages: the conversation must end with a user message, prefill is not supported")


def _check_blocks(request: Request) -> None:
    for text in () if isinstance(request.system, str) else request.system:
        _check_text(text, "system")
    for index, message in enumerate(request.messages):
        if not message.blocks:
            raise RefusalError(f"messages.{index}: all messages must have non-empty content")
        for position, block in enumerate(message.blocks):
            _check_block(block, f"messages.{index}.content.{position}")
        _check_reasoning(message, f"messages.{index}")


def _check_reasoning(message: Message, where: str) -> None:
    """Check that reasoning comes first, and before something."""
    thinks = [isinstance(block, Thinking | RedactedThinking) for block in message.blocks]
    if thinks[-1]:
        raise RefusalError(f"{where}: The final block in an assistant message cannot be `thinking`.")
    if any(thinks) and not thinks[0]:
        raise RefusalError(
            f"{where}.content.0: If an assistant message contains any thinking blocks, "
            "the first block must be `thinking` or `redacted_thinking`."
        )


def _check_block(block: UserBlock | AssistantBlock, where: str) -> None:
    if isinstance(block, Text):
        _check_text(block, where)
    elif isinstance(block, Image):
        _check_image(block, where)
    elif isinstance(block, Thinking):
        if block.signature != sign(block.thinking):
            raise RefusalError(f"{where}: Invalid `signature` in `thinking` block")
    elif isinstance(block, ToolResult) and not isinstance(block.content, str):
        for inner in block.content:
            if isinstance(inner, Image):
                if block.is_error:
                    raise RefusalError(f"{where}.tool_result: all content must be type `text` if `is_error` is true")
                _check_image(inner, where)
            elif not inner.text:
                raise RefusalError(f"{where}.tool_result: text content blocks must be non-empty")


def _check_text(block: Text, where: str) -> None:
    if not block.text.strip():
        raise RefusalError(f"{where}: text content blocks must contain non-whitespace text")


def _check_image(image: Image, where: str) -> None:
    if isinstance(image.source, UrlSource):
        return
    try:
        data = base64.b64decode(image.source.data, validate=True)
    except binascii.Error:
        raise RefusalError(f"{where}.image.source.base64.data: invalid base64 data") from None
    if not data.startswith(_SIGNATURES[image.source.media_type]):
        raise RefusalError(f"{where}.image: does not match the provided media type {image.source.media_type}")
    if len(data) > MAX_IMAGE:
        raise RefusalError(f"{where}.image: image exceeds 5 MB maximum: {len(data)} bytes > {MAX_IMAGE} bytes")


def _check_pairs(messages: tuple[Message, ...]) -> None:
    """Check that each call is answered by exactly one result, at the beginning of the very next message."""
    ever: set[str] = set()
    open_calls: set[str] = set()
    for index, message in enumerate(messages):
        if isinstance(message, UserMessage):
            _check_answers(message, open_calls, index)
            continue
        open_calls = set()
        for call in message.blocks:
            if isinstance(call, ToolUse):
                if call.id in ever:
                    raise RefusalError(f"messages.{index}: `tool_use` ids must be unique, {call.id} is not")
                ever.add(call.id)
                open_calls.add(call.id)


def _check_answers(message: UserMessage, open_calls: set[str], index: int) -> None:
    answered: set[str] = set()
    prose = False
    for position, block in enumerate(message.blocks):
        where = f"messages.{index}.content.{position}"
        if not isinstance(block, ToolResult):
            prose = True
            continue
        if block.tool_use_id not in open_calls:
            raise RefusalError(
                f"{where}: unexpected `tool_use_id` found in `tool_result` blocks: {block.tool_use_id}. "
                "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
        if block.tool_use_id in answered:
            raise RefusalError(f"{where}: each tool_use must have a single result, {block.tool_use_id} has several")
        if prose:
            raise RefusalError(f"{where}: `tool_result` blocks must come first in the content of a message")
        answered.add(block.tool_use_id)
    if missing := sorted(open_calls - answered):
        raise RefusalError(
            f"messages.{index - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(missing)}. "
            "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
        )


def _check_tools(request: Request) -> None:
    names = [tool.name for tool in request.tools]
    if len(set(names)) < len(names):
        raise RefusalError("tools: Tool names must be unique.")
    for index, tool in enumerate(request.tools):
        if tool.input_schema.get("type") != "object":
            raise RefusalError(f"tools.{index}.input_schema.type: Input should be 'object'")
    choice = request.tool_choice
    if choice is None:
        return
    if not names:
        raise RefusalError("tool_choice: may only be specified while providing tools")
    if choice.type == "tool" and choice.name not in names:
        raise RefusalError(f"tool_choice: Tool '{choice.name}' not found in provided tools")


def _check_breakpoints(request: Request) -> None:
    found = sum(block.cache_control is not None for block in _cacheable(request))
    if found > MAX_BREAKPOINTS:
        raise RefusalError(f"A maximum of {MAX_BREAKPOINTS} blocks with cache_control may be provided. Found {found}.")


def _cacheable(request: Request) -> Iterator[_Cacheable]:
    yield from request.tools
    if not isinstance(request.system, str):
        yield from request.system
    for message in request.messages:
        for block in message.blocks:
            if isinstance(block, _Cacheable):
                yield block
            if isinstance(block, ToolResult) and not isinstance(block.content, str):
                yield from block.content


class _Messages(msgspec.Struct):
    messages: list[Any]


_messages_decoder = msgspec.json.Decoder(_Messages)


def attempt_key(body: bytes) -> bytes:
    """Return what is the same for every attempt at one request: a digest of its messages.

    Breakpoints are left out: a client may do without them on its second attempt.
    """
    messages = msgspec.json.encode(_messages_decoder.decode(body).messages)
    return hashlib.sha256(re.sub(rb',?"cache_control":\{[^{}]*\}', b"", messages)).digest()
