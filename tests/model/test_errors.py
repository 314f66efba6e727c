"""Failures named: by status first, then by type, then by bounded text; and never a secret or a stranger's tricks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deskhand.model.connect import TransportError, TransportKind
from deskhand.model.endpoint import Endpoint
from deskhand.model.errors import (
    EndpointError,
    ErrorKind,
    classify,
    classify_told,
    duration,
    from_transport,
    quote,
    read_retry_after,
)
from deskhand.model.retries import RETRIES

KEY = "sk-ant-0123456789abcdef"
ENDPOINT = Endpoint("https://api.example.com", api_key=KEY)
NOW = 1_800_000_000.0


def told(kind: str, message: str) -> bytes:
    return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_9"})


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request"),
        (401, "unauthorised"),
        (402, "out_of_credit"),
        (403, "forbidden"),
        (404, "not_found"),
        (405, "not_an_endpoint"),
        (407, "proxy"),
        (408, "request_timeout"),
        (409, "conflict"),
        (413, "too_large"),
        (418, "invalid_request"),
        (422, "invalid_request"),
        (429, "rate_limited"),
        (500, "server_error"),
        (501, "not_an_endpoint"),
        (502, "server_error"),
        (503, "server_error"),
        (504, "server_error"),
        (520, "server_error"),
        (529, "overloaded"),
        (301, "moved"),
        (307, "moved"),
    ],
)
@pytest.mark.parametrize(
    "body", [b"", told("from_the_future", "No."), b"<html><title>Oh\nno</title>", b"\xff\x00", b"[" * 9999]
)
def test_the_status_decides(status: int, kind: str, body: bytes) -> None:
    """Row 8."""
    error = classify(status, {}, body, ENDPOINT)
    assert (error.kind, error.status) == (kind, status)
    assert error.message.startswith("https://api.example.com ")
    assert error.message.endswith(".")
    assert error.message.isprintable()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, told("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"), "context_too_long"),
        (400, told("invalid_request_error", "Your credit balance is too low to access the API."), "out_of_credit"),
        (400, told("exceed_context_size_error", "sorry"), "context_too_long"),
        (400, b'{"error": {"message": "This model\'s maximum context length is 8192 tokens."}}', "context_too_long"),
        (400, b'{"error": {"message": "the request exceeds the available context size"}}', "context_too_long"),
        (400, b'{"error": {"message": "Invalid model name passed in model=x"}}', "model_not_found"),
        (404, told("not_found_error", "model: claude-nope"), "model_not_found"),
        (404, b'{"error": "model \\"llama9\\" not found, try pulling it first"}', "model_not_found"),
        (404, b'{"object": "error", "message": "The model `x` does not exist.", "code": 404}', "model_not_found"),
        (404, b'{"detail": "Not Found"}', "not_found"),
        (404, b"404 page not found", "not_found"),
        (429, b'{"error": {"code": "insufficient_quota", "message": "You exceeded your quota"}}', "out_of_credit"),
        # A precise status is not overruled by what an answer says of itself, nor by words in it.
        (529, told("overloaded_error", "Overloaded; your credit balance is too low"), "overloaded"),
        (401, told("overloaded_error", "prompt is too long"), "unauthorised"),
        (500, told("invalid_request_error", "prompt is too long"), "server_error"),
        (400, told("rate_limit_error", "x" * 5_000 + " prompt is too long"), "invalid_request"),
    ],
)
def test_type_and_text_refine_what_the_status_leaves_open(status: int, body: bytes, kind: str) -> None:
    """Row 8: bounded text last."""
    assert classify(status, {}, body, ENDPOINT).kind == kind


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "overloaded"),
        ({"error": {"type": "invalid_request_error", "message": "prompt is too long"}}, "context_too_long"),
        ({"error": {"type": "billing_error"}}, "out_of_credit"),
        ({"error": "boom"}, "server_error"),
        ({"error": {"type": ["odd"], "message": {"nested": 1}}}, "server_error"),
        ({"type": "error"}, "server_error"),
    ],
)
def test_an_error_without_a_status_is_told_by_its_type(body: dict[str, Any], kind: str) -> None:
    assert classify_told(body, ENDPOINT).kind == kind


@pytest.mark.parametrize("kind", get_args(TransportKind))
def test_every_failure_on_the_wire_has_a_sentence(kind: TransportKind) -> None:
    error = from_transport(TransportError(kind, "because"), ENDPOINT)
    assert "because" in error.message
    assert error.message.startswith("https://api.example.com ")


def test_a_local_server_that_is_not_started_is_named_with_its_command() -> None:
    error = from_transport(TransportError("refused", "it refused"), Endpoint("http://localhost:11434"))
    assert error.message == (
        "Nothing listens at http://localhost:11434: start `ollama serve`, or set ANTHROPIC_BASE_URL to another place."
    )


def test_missing_credentials_are_told_from_wrong_ones() -> None:
    assert "wants credentials, and none are set" in classify(401, {}, b"", Endpoint("http://x")).message
    assert "refused the credentials" in classify(401, {}, b"", ENDPOINT).message


def test_a_redirect_says_where_to_without_what_follows_the_question_mark() -> None:
    error = classify(308, {"location": "https://login.example.com/in?token=abc"}, b"", ENDPOINT)
    assert "(308: to https://login.example.com/in)" in error.message


def test_a_web_page_is_named_by_its_title() -> None:
    page = b"<!doctype html><html><head><title>502 Bad Gateway</title></head><body>" + b"<p>" * 5000
    assert "(502: 502 Bad Gateway)" in classify(502, {}, page, ENDPOINT).message


def test_request_ids_come_from_header_or_body() -> None:
    assert classify(500, {"request-id": "req_1"}, told("x", "y"), ENDPOINT).request_id == "req_1"
    assert classify(500, {}, told("x", "y"), ENDPOINT).request_id == "req_9"


@settings(max_examples=100, deadline=None)
@given(st.text(), st.text(), st.sampled_from([200, 400, 401, 404, 429, 500]))
def test_a_strangers_text_is_one_short_printable_line_without_the_key(before: str, after: str, status: int) -> None:
    for body in (told("x", before + KEY + after), (before + KEY + after).encode("utf-8", "replace")):
        message = classify(status, {"location": before}, body, ENDPOINT).message
        assert KEY not in message
        assert message.isprintable()
        assert len(message) < 600
    assert len(quote(before + after)) <= 300


def test_short_keys_and_keys_of_others_are_hidden_too() -> None:
    assert quote("key abc, alphabet abcd", ("abc",)) == "key [key], alphabet abcd"
    assert quote("Incorrect API key provided: sk-proj-AAAABBBBCCCC.") == "Incorrect API key provided: [key]."
    assert quote("Authorization: Bearer eyJhbGciOi.x") == "Authorization: Bearer [key]"
    assert quote("\x1b[31mred\u202e\u200b\r\nline") == "[31mred line"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "12"}, 12),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "0"}, 0),
        ({"retry-after-ms": "250", "retry-after": "12"}, 0.25),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"}, 30),
        ({"retry-after": "Fri, 15 Jan 2027 07:00:00 GMT"}, None),
        ({"retry-after": "Sun, 22 Nov 2026 00:01:00 GMT", "date": "Sun, 22 Nov 2026 00:00:00 GMT"}, 60),
        ({"anthropic-ratelimit-requests-reset": "2027-01-15T08:00:05Z"}, 5),
        (
            {
                "anthropic-ratelimit-requests-reset": "2027-01-15T08:00:05Z",
                "anthropic-ratelimit-input-tokens-reset": "2027-01-15T09:00:20+01:00",
            },
            20,
        ),
        ({"anthropic-ratelimit-tokens-reset": "2027-01-15T07:00:05Z"}, None),
        ({"anthropic-ratelimit-tokens-reset": "2027-01-15T08:00:05"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "Fri, 99 Zzz 99999 08:00:30 GMT"}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert read_retry_after(headers, NOW) == seconds


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40))
def test_no_header_breaks_the_reading(text: str) -> None:
    for name in ("retry-after", "retry-after-ms", "date", "anthropic-ratelimit-tokens-reset"):
        seconds = read_retry_after({name: text, "anthropic-ratelimit-requests-reset": text}, NOW)
        assert seconds is None or seconds >= 0


def test_durations_in_words() -> None:
    assert [duration(seconds) for seconds in (0.2, 90, 119.5, 600, 7_200, 1e300)] == [
        "1 s",
        "90 s",
        "120 s",
        "10 min",
        "2 h",
        "more than 30 days",
    ]


def test_the_sentence_says_how_long_the_endpoint_asks_to_wait() -> None:
    error = classify(429, {"retry-after": "900"}, b"", ENDPOINT)
    assert error.retry_after == 900
    assert "(429; it asks to wait 15 min)" in error.message


def test_an_error_is_its_sentence() -> None:
    error = EndpointError("dropped", "It broke.")
    assert str(error) == "It broke."


def test_the_page_of_errors_has_every_kind_with_its_retries() -> None:
    page = (Path(__file__).parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([\w ]+) \|$", page, re.M))
    assert set(rows) == set(get_args(ErrorKind))
    for kind in get_args(ErrorKind):
        number = RETRIES.get(kind, 0)
        assert rows[kind] == (f"{number} times" if number > 1 else "once" if number else "no"), kind


def test_a_strangers_full_stop_does_not_end_our_sentence() -> None:
    body = b'{"type": "error", "error": {"type": "rate_limit_error", "message": "Too many requests."}}'
    error = classify(429, {"retry-after": "30"}, body, Endpoint("http://x"))
    assert "Too many requests; it asks to wait 30 s" in str(error)
