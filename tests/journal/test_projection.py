"""The projection pairs every call with one result, whatever events there are, cut off anywhere."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from deskhand.journal.blocks import Image, MessageBlock, RedactedThinking, Text, Thinking, ToolUse
from deskhand.journal.events import CallFinished, Event, MessageReceived, TurnEnded, TurnStarted
from deskhand.journal.projection import UNKNOWN_FATE, Projection, project

MODEL = "m"
PNG = ("image/png", b"\x89PNG")


def blobs(digest: str) -> tuple[str, bytes]:
    return PNG


texts = st.sampled_from(["", " ", "\n\t", "a", "some words", "é\x00"])
blocks = st.one_of(
    st.builds(Text, texts),
    st.builds(Thinking, texts, st.sampled_from(["", "signed"])),
    st.builds(RedactedThinking, st.just("x")),
)
results = st.lists(st.one_of(st.builds(Text, texts), st.just(Image("image/png", "d"))), max_size=3)


@st.composite
def conversations(draw: st.DrawFn) -> list[Event]:
    """A session as the loop could have written it, killed and taken up at any place."""
    events: list[Event] = []
    calls = 0
    for turn in range(1, draw(st.integers(1, 4)) + 1):
        prompt = (Text(draw(texts)),)
        events.append(TurnStarted(turn, prompt, "/", "auto", MODEL, "http://x"))
        for _ in range(draw(st.integers(0, 4))):
            content: list[MessageBlock] = list(draw(st.lists(blocks, max_size=3)))
            uses = [
                ToolUse(f"c{calls + number}", "bash", {"command": "true"}) for number in range(draw(st.integers(0, 3)))
            ]
            calls += len(uses)
            author = draw(st.sampled_from([MODEL, "another"]))
            events.append(MessageReceived(turn, author, (*content, *uses), "tool_use"))
            answered = [use for use in draw(st.permutations(uses)) if draw(st.integers(0, 9))]
            events += [CallFinished(turn, use.id, "bash", "ok", tuple(draw(results))) for use in answered]
        if draw(st.booleans()):
            events.append(TurnEnded(turn, "end_turn"))
    return events[: draw(st.integers(0, len(events)))]


def check(messages: list[dict[str, Any]]) -> None:
    """Assert what every endpoint demands of `messages`."""
    open_calls: list[str] = []
    for index, message in enumerate(messages):
        assert message["role"] == ("user", "assistant")[index % 2]
        assert message["content"]
        for block in message["content"]:
            if block["type"] == "text":
                assert block["text"].strip()
        found = [block["tool_use_id"] for block in message["content"] if block["type"] == "tool_result"]
        assert found == open_calls, "each call has one result, in order"
        kinds = [block["type"] for block in message["content"]]
        assert kinds[-1] not in ("thinking", "redacted_thinking"), "the API refuses reasoning at the end"
        assert kinds[: len(found)] == ["tool_result"] * len(found), "results come first"
        open_calls = [block["id"] for block in message["content"] if block["type"] == "tool_use"]
    assert not messages or messages[-1]["role"] == "user"


@settings(deadline=None, max_examples=300)
@given(conversations())
def test_any_prefix_of_any_session_projects_to_a_valid_request(events: list[Event]) -> None:
    """lessons.md 7: an orphan `tool_use` would make the API answer 400 for ever."""
    check(project(events, MODEL, blobs))


@settings(deadline=None, max_examples=100)
@given(conversations())
def test_growing_by_one_event_gives_what_a_replay_gives(events: list[Event]) -> None:
    projection = Projection(MODEL, blobs)
    for count, event in enumerate(events, 1):
        projection.add(event)
        grown = [msgspec.json.decode(message) for message in projection.messages()]
        assert grown == project(events[:count], MODEL, blobs)


@settings(deadline=None, max_examples=100)
@given(conversations())
def test_the_prefix_of_the_request_keeps_its_bytes(events: list[Event]) -> None:
    """Caches compare bytes: but for the moving breakpoints, an answered message never changes again."""

    def without_breakpoints(messages: list[bytes]) -> list[bytes]:
        return [message.replace(b',"cache_control":{"type":"ephemeral"}', b"") for message in messages]

    projection = Projection(MODEL, blobs)
    before: list[bytes] = []
    for event in events:
        projection.add(event)
        after = without_breakpoints(projection.messages())
        stable = max(0, len(before) - 2)  # the last answer and what follows it may still grow
        assert after[:stable] == before[:stable]
        before = after


@settings(deadline=None, max_examples=50)
@given(conversations())
def test_at_most_two_breakpoints_are_in_the_messages(events: list[Event]) -> None:
    """The API allows four; the system prompt has one."""
    messages = msgspec.json.encode(project(events, MODEL, blobs))
    assert messages.count(b'"cache_control"') <= 2


def test_an_open_call_is_told_as_of_unknown_fate() -> None:
    events: list[Event] = [
        TurnStarted(1, (Text("go"),), "/", "auto", MODEL, "http://x"),
        MessageReceived(1, MODEL, (ToolUse("a", "bash", {}), ToolUse("b", "bash", {})), "tool_use"),
        CallFinished(1, "b", "bash", "error", (Text("no"),)),
    ]
    content = project(events, MODEL, blobs)[-1]["content"]
    assert [block["tool_use_id"] for block in content] == ["a", "b"]
    assert content[0]["content"][0]["text"] == UNKNOWN_FATE
    assert content[0]["is_error"]
    assert content[1]["is_error"]


def test_a_name_that_no_endpoint_takes_is_sent_back_as_one_that_all_take() -> None:
    """A model that made up a tool's name would else be refused for ever, with all of its session."""
    for name, sent in [("foo bar!", "foo_bar_"), ("", "unnamed"), ("n" * 500, "n" * 64), ("naïve\0", "na_ve_")]:
        events: list[Event] = [
            TurnStarted(1, (Text("go"),), "/", "auto", MODEL, "http://x"),
            MessageReceived(1, MODEL, (ToolUse("a", name, {}),), "tool_use"),
        ]
        assert project(events, MODEL, blobs)[1]["content"][0]["name"] == sent


def test_a_model_that_paused_is_asked_to_go_on() -> None:
    """A request that ends with the model's own words is refused by most endpoints."""
    events: list[Event] = [
        TurnStarted(1, (Text("go"),), "/", "auto", MODEL, "http://x"),
        MessageReceived(1, MODEL, (Text("one moment "),), "pause_turn"),
    ]
    assert [message["role"] for message in project(events, MODEL, blobs)] == ["user", "assistant", "user"]


def test_reasoning_goes_back_only_signed_and_only_to_its_own_model() -> None:
    thought, unsigned = Thinking("hm", "sig"), Thinking("hm")
    events: list[Event] = [
        TurnStarted(1, (Text("go"),), "/", "auto", MODEL, "http://x"),
        MessageReceived(1, MODEL, (thought, unsigned, RedactedThinking("r"), Text("ok")), "end_turn"),
        TurnStarted(2, (Text("on"),), "/", "auto", MODEL, "http://x"),
    ]
    own = [block["type"] for block in project(events, MODEL, blobs)[1]["content"]]
    other = [block["type"] for block in project(events, "another", blobs)[1]["content"]]
    assert own == ["thinking", "redacted_thinking", "text"]
    assert other == ["text"]


def test_a_second_result_for_a_call_changes_nothing() -> None:
    events: list[Event] = [
        TurnStarted(1, (Text("go"),), "/", "auto", MODEL, "http://x"),
        MessageReceived(1, MODEL, (ToolUse("a", "bash", {}),), "tool_use"),
        CallFinished(1, "a", "bash", "ok", (Text("first"),)),
    ]
    late = CallFinished(1, "a", "bash", "ok", (Text("second"),))
    assert project([*events, late], MODEL, blobs) == project(events, MODEL, blobs)


def test_images_are_sent_as_their_bytes() -> None:
    events: list[Event] = [TurnStarted(1, (Image("image/png", "d"),), "/", "auto", MODEL, "http://x")]
    source = project(events, MODEL, blobs)[0]["content"][0]["source"]
    assert source == {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}
