"""The parser of server-sent events: any split gives the same events, in linear time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deskhand.model.sse import EventParser, EventTooLargeError, ServerEvent


def parse(*chunks: bytes, cap: int = 1_000_000) -> list[ServerEvent]:
    parser = EventParser(cap)
    return [event for chunk in chunks for event in parser.feed(chunk)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [("message", "YHOO\n+2\n10")]),
        (b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
         [("message", "first event"), ("message", "second event")]),
        (b"data\n\ndata\ndata\n\ndata:", [("message", ""), ("message", "\n")]),
        (b"data:test\n\ndata: test\n\n", [("message", "test"), ("message", "test")]),
        (b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\ndata: x\n\n",
         [("add", "73857293"), ("remove", "2153"), ("message", "x")]),
        (b"event: lonely\n\ndata: x\n\n", [("message", "x")]),
        (b"\xef\xbb\xbfdata: after a mark\n\n", [("message", "after a mark")]),
        (b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", [("message", "a"), ("message", "b"), ("message", "c")]),
        (b"unknown: field\nretry: 10\ndata: a:b\n\n", [("message", "a:b")]),
        (b"data: \xff\xc3\n\n", [("message", "\ufffd\ufffd")]),
    ],
)  # fmt: skip
def test_streams_of_the_standard_mean_what_it_says(stream: bytes, events: list[tuple[str, str]]) -> None:
    assert parse(stream) == events


_LINES = st.sampled_from(
    [
        "data: x",
        "data: déjà – 😀",
        "data",
        "event: é",
        ": comment",
        "id: 4",
        "",
        "",
        "data: \u2028 \x85 not ends",
        "what",
    ]
)
_STREAMS = st.lists(st.tuples(_LINES, st.sampled_from(["\n", "\r", "\r\n"]))).map(
    lambda lines: "".join(line + end for line, end in lines).encode()
)


@settings(max_examples=100, deadline=None)
@given(_STREAMS, st.booleans(), st.data())
def test_any_split_gives_the_same_events(stream: bytes, mark: bool, data: st.DataObject) -> None:
    stream = b"\xef\xbb\xbf" * mark + stream
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole = parse(stream)
    assert parse(*pieces) == whole
    assert parse(*(stream[i : i + 1] for i in range(len(stream)))) == whole


def test_a_line_of_ten_megabytes_in_small_pieces_takes_linear_time() -> None:
    piece = b"x" * 64
    began = time.monotonic()
    events = parse(b"data: ", *[piece] * 160_000, b"\n\n", cap=11_000_000)
    assert len(events[0].data) == 10_240_000
    assert time.monotonic() - began < 15  # a quadratic parser takes minutes


def test_an_event_beyond_the_cap_is_refused_before_it_is_whole() -> None:
    with pytest.raises(EventTooLargeError):
        parse(b"data: ", b"x" * 200, cap=100)
    with pytest.raises(EventTooLargeError):
        parse(b"data: xxxxxxxxxx\n" * 20, cap=100)
    assert len(parse(*[b"data: xxxxxxxxxx\n\n"] * 20, cap=100)) == 20
