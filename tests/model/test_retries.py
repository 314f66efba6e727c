"""What is tried again, how often and when."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deskhand.model.errors import EndpointError, ErrorKind
from deskhand.model.retries import LONGEST, LONGEST_ASKED, RETRIES, delay

KINDS = st.sampled_from(get_args(ErrorKind))
LUCK = st.floats(0, 1, exclude_max=True)


def failed(kind: ErrorKind, retry_after: float | None = None) -> EndpointError:
    return EndpointError(kind, "x", retry_after=retry_after)


@pytest.mark.parametrize(
    "kind",
    [
        *("misconfigured", "no_endpoint", "invalid_request", "context_too_long", "too_large", "unauthorised"),
        *("forbidden", "out_of_credit", "not_found", "model_not_found", "moved", "not_an_endpoint", "tls", "proxy"),
    ],
)
def test_what_cannot_pass_by_itself_is_not_tried_again(kind: ErrorKind) -> None:
    """Row 8: 401, 402, 403 and 404 among them, whatever they say of waiting."""
    assert delay(failed(kind), 1, lambda: 0.5) is None
    assert delay(failed(kind, 1), 1, lambda: 0.5) is None


@settings(max_examples=100, deadline=None)
@given(KINDS, LUCK)
def test_retries_end(kind: ErrorKind, luck: float) -> None:
    """Row 8: no storm. Each kind has its number, and all the waits together are bounded."""
    waits = [delay(failed(kind), attempt, lambda: luck) for attempt in range(1, 20)]
    made = [wait for wait in waits if wait is not None]
    assert len(made) == RETRIES.get(kind, 0)
    assert waits[len(made) :] == [None] * (19 - len(made))
    assert sum(made) <= 96


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 8), LUCK)
def test_waits_double_up_to_a_limit_and_are_jittered_by_half(attempt: int, luck: float) -> None:
    wait = delay(failed("overloaded"), attempt, lambda: luck)
    longest = min(0.5 * 2 ** (attempt - 1), LONGEST)
    assert wait is not None
    assert longest / 2 <= wait <= longest


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(RETRIES)), st.floats(0.001, 10_000), LUCK)
def test_what_the_endpoint_asks_for_is_kept(kind: ErrorKind, asked: float, luck: float) -> None:
    wait = delay(failed(kind, asked), 1, lambda: luck)
    if asked > LONGEST_ASKED:
        assert wait is None, "a wait that long is not made in silence"
    else:
        assert wait is not None
        assert asked <= wait <= asked + 1


def test_an_endpoint_that_asks_for_no_wait_gets_the_usual_one() -> None:
    assert delay(failed("rate_limited", 0), 3, lambda: 0.0) == 1.0
