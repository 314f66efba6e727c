"""Messages put together: what servers mean is understood, and half a message is none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deskhand.journal.blocks import RedactedThinking, Text, Thinking, ToolUse
from deskhand.journal.events import Usage
from deskhand.model.assembly import (
    CallDelta,
    MessageAssembler,
    MessageError,
    Received,
    TextDelta,
    ThinkingDelta,
    events_of,
)
from raw_server import block, call_block, ended, started, text_block


def assemble(events: Iterable[dict[str, Any]]) -> tuple[list[TextDelta | ThinkingDelta | CallDelta], Received]:
    message = MessageAssembler()
    shown = [delta for event in events if (delta := message.feed(event)) is not None]
    assert message.is_complete
    return shown, message.message()


def call_of(*parts: str, stop_reason: str = "tool_use") -> ToolUse:
    _, message = assemble([started(), *call_block(0, "bash", *parts), *ended(stop_reason)])
    (call,) = message.content
    assert isinstance(call, ToolUse)
    return call


def test_a_message_of_every_kind_of_block() -> None:
    thinking = block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "Let me "},
        {"type": "thinking_delta", "thinking": "see."},
        {"type": "signature_delta", "signature": "c2ln"},
    )
    events = [
        started("claude", input_tokens=10, cache_read_input_tokens=5, output_tokens=1),
        *thinking,
        *block(1, {"type": "redacted_thinking", "data": "AAAA"}),
        *text_block(2, "Read", "ing."),
        *call_block(3, "read", '{"pa', 'th": "a"}', call="toolu_1"),
        *call_block(4, "bash", call="toolu_2"),
        *ended("tool_use", output_tokens=42),
    ]
    shown, message = assemble(events)
    assert shown == [
        ThinkingDelta("Let me "),
        ThinkingDelta("see."),
        TextDelta("Read"),
        TextDelta("ing."),
        CallDelta(0, "read", 0),
        CallDelta(0, "read", 4),
        CallDelta(0, "read", 13),
        CallDelta(1, "bash", 0),
    ]
    assert message == Received(
        (
            Thinking("Let me see.", "c2ln"),
            RedactedThinking("AAAA"),
            Text("Reading."),
            ToolUse("toolu_1", "read", {"path": "a"}),
            ToolUse("toolu_2", "bash", {}),
        ),
        "tool_use",
        Usage(input_tokens=10, output_tokens=42, cache_read_input_tokens=5),
        "claude",
    )


@pytest.mark.parametrize(
    "raw",
    [
        '{"command": "ls"',
        "[1]",
        "null",
        '"ls"',
        "ls",
        '{"a": NaN}',
        "[" * 100_000,
        '{"a":' * 150 + "1" + "}" * 150,
        '{"a": 1}}',
        '{"a": "\\ud800"}',
    ],
)
def test_arguments_that_are_no_object_are_kept_as_they_came(raw: str) -> None:
    """Row 42: the next part repairs them or answers with a precise error; nothing of them is lost."""
    assert call_of(*raw[:50], raw[50:]) == ToolUse("call_1", "bash", {}, malformed=raw)


@pytest.mark.parametrize("raw", ['{"command": "rm -rf /tmp/x', "", " "])
def test_a_call_that_the_token_limit_cut_is_malformed(raw: str) -> None:
    assert call_of(raw, stop_reason="max_tokens") == ToolUse("call_1", "bash", {}, malformed=raw)


def test_a_call_that_was_whole_before_the_token_limit_is_whole() -> None:
    assert call_of('{"a": 1}', stop_reason="max_tokens") == ToolUse("call_1", "bash", {"a": 1})
    events = [started(), *call_block(0, "todo"), *text_block(1, "and th"), *ended("max_tokens")]
    assert assemble(events)[1].content == (ToolUse("call_1", "todo", {}), Text("and th"))


@pytest.mark.parametrize("arguments", [{"a": 1}, '{"a": 1}'])
def test_arguments_may_come_whole_at_the_start(arguments: object) -> None:
    content = {"type": "tool_use", "id": "x", "name": "t", "input": arguments}
    _, message = assemble([*block(0, content), *ended()])
    assert message.content == (ToolUse("x", "t", {"a": 1}),)


def test_missing_ids_and_names_are_empty() -> None:
    _, message = assemble([*block(0, {"type": "tool_use", "id": None, "name": None, "input": None}), *ended()])
    assert message.content == (ToolUse("", "", {}),)


def test_blocks_may_interleave_and_skip_indices() -> None:
    first, second = call_block(1, "a", '{"x":', " 1}", call="1"), call_block(7, "b", '{"y":', " 2}", call="2")
    events = [first[0], second[0], first[1], second[1], second[2], first[2], second[3], first[3]]
    _, message = assemble([started(), *events, *ended("tool_use")])
    assert message.content == (ToolUse("1", "a", {"x": 1}), ToolUse("2", "b", {"y": 2}))


def test_a_server_that_does_not_count_its_blocks() -> None:
    events = [*text_block(0, "one"), *call_block(0, "a", "{}", call="1"), *call_block(0, "b", "{}", call="2")]
    _, message = assemble([*events, *ended()])
    assert message.content == (Text("one"), ToolUse("1", "a", {}), ToolUse("2", "b", {}))
    nameless = [{name: value for name, value in event.items() if name != "index"} for event in events]
    assert assemble([*nameless, *ended()])[1].content == message.content


def test_unknown_events_blocks_and_deltas_mean_nothing() -> None:
    events: list[dict[str, Any]] = [
        {"type": "ping"},
        {"type": "from_the_future", "index": 3},
        {},
        *block(0, {"type": "server_tool_use", "id": "s"}, {"type": "input_json_delta", "partial_json": '{"q"'}),
        *text_block(1, "a"),
        {"type": "content_block_delta", "index": 1, "delta": {"type": "citations_delta", "citation": {}}},
        {"type": "content_block_delta", "index": 1, "delta": None},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": None}},
        {"type": "content_block_stop", "index": 99},
    ]
    shown, message = assemble([*events, *ended()])
    assert shown == [TextDelta("a")]
    assert message.content == (Text("a"),)


def test_deltas_without_an_opened_block_open_it() -> None:
    events: list[dict[str, Any]] = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_start", "index": 1, "content_block": None},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "a"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": None},
    ]
    assert assemble(events)[1].content == (Thinking("hm"), Text("a"))


def test_arguments_of_no_call_are_an_error() -> None:
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{}"}}
    with pytest.raises(MessageError):
        MessageAssembler().feed(delta)


def test_usage_is_cumulative_wherever_it_is_told() -> None:
    events = [
        started(input_tokens=0, output_tokens=3),
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 7, "input_tokens": None, "else": {}}},
        *ended("end_turn", input_tokens=11, output_tokens=9, cache_creation_input_tokens=0),
    ]
    assert assemble(events)[1].usage == Usage(input_tokens=11, output_tokens=9)
    assert assemble([{"type": "message_stop"}])[1] == Received((), "end_turn", Usage(), "")


def test_the_end_may_be_unsaid_when_all_else_was_said() -> None:
    """Row 9: complete is what has a stop reason and no open block, or was said to be over; nothing else is."""
    message = MessageAssembler()
    events = [started(), *text_block(0, "a"), *call_block(1, "b", "{}"), ended("tool_use")[0]]
    for event in events:
        assert not message.is_complete
        message.feed(event)
    assert message.is_complete
    message.feed({"type": "content_block_start", "index": 2, "content_block": {"type": "text"}})
    assert not message.is_complete


def test_an_emoji_in_two_halves_is_whole_again() -> None:
    halves = "\ud83d", "\ude00"
    shown, message = assemble([*text_block(0, "a", *halves, "b\ud83d"), *ended()])
    assert message.content == (Text("a😀b\ufffd"),)
    for delta in shown:
        assert isinstance(delta, TextDelta)
        delta.text.encode()
    assert call_of('{"a": "', *halves, '"}').input == {"a": "😀"}


_TEXTS = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable())
_JSON = st.dictionaries(
    _TEXTS, st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _TEXTS | st.lists(_TEXTS), max_size=4
)
_BLOCKS = st.one_of(
    _TEXTS.map(Text),
    st.builds(Thinking, _TEXTS, st.just("c2ln")),
    st.just(RedactedThinking("AAAA")),
    st.builds(ToolUse, st.just("id"), _TEXTS, _JSON),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(_BLOCKS, max_size=5), st.integers(1, 7))
def test_any_message_survives_its_stream(blocks: list[Text | Thinking | RedactedThinking | ToolUse], size: int) -> None:
    events = [started()]
    for index, made in enumerate(blocks):
        match made:
            case Text(text):
                events += text_block(index, *_pieces(text, size))
            case Thinking(thinking, signature):
                deltas = [{"type": "thinking_delta", "thinking": piece} for piece in _pieces(thinking, size)]
                sign = {"type": "signature_delta", "signature": signature}
                events += block(index, {"type": "thinking", "thinking": ""}, *deltas, sign)
            case RedactedThinking(data):
                events += block(index, {"type": "redacted_thinking", "data": data})
            case ToolUse(call, name, arguments):
                events += call_block(index, name, *_pieces(msgspec.json.encode(arguments).decode(), size), call=call)
    assert assemble([*events, *ended("tool_use")])[1].content == tuple(blocks)
    whole = {"model": "m", "content": [msgspec.to_builtins(made) for made in blocks], "stop_reason": "tool_use"}
    assert assemble(events_of(whole))[1].content == tuple(blocks)


def _pieces(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


_SCRAPS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.sampled_from(["text", "tool_use", "{}"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "text", "input"]), inner),
    max_leaves=4,
)
_NAMES = ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"]
_PARTS = ["text_delta", "thinking_delta", "input_json_delta", "signature_delta", "text", "thinking", "tool_use"]
_FIELDS = [
    "text",
    "thinking",
    "partial_json",
    "signature",
    "data",
    "id",
    "name",
    "input",
    "stop_reason",
    "usage",
    "model",
]
_INNER = st.fixed_dictionaries(
    {}, optional={"type": st.sampled_from(_PARTS) | _SCRAPS} | dict.fromkeys(_FIELDS, _SCRAPS)
)
_EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(_NAMES) | _SCRAPS},
    optional={"index": st.integers(0, 2) | _SCRAPS, "usage": _SCRAPS}
    | dict.fromkeys(["message", "content_block", "delta"], _INNER | _SCRAPS),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(_EVENTS, max_size=12))
def test_no_nonsense_breaks_the_assembly(events: list[dict[str, Any]]) -> None:
    message = MessageAssembler()
    for event in events:
        try:
            message.feed(event)
        except MessageError:
            return
    msgspec.json.encode(message.message())
