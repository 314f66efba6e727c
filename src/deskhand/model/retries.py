"""Which failures are tried again, how often, and after how long. Pure: the loop does the waiting, and shows it.

A request makes at most 9 attempts. Without a word from the endpoint its waits add up to 96 seconds at most; with
one, each wait is as long as it asked, up to `LONGEST_ASKED` and a second, so that 17 minutes are never exceeded.
"""

from __future__ import annotations

from collections.abc import Callable

from deskhand.model.errors import EndpointError, ErrorKind

FIRST = 0.5
"""Seconds before the first retry; each further wait is twice as long, up to `LONGEST`."""
LONGEST = 32.0
LONGEST_ASKED = 120.0
"""Seconds that we wait in silence because the endpoint asks for it. What asks for more fails, and says until when."""

RETRIES: dict[ErrorKind, int] = {
    "rate_limited": 8,
    "overloaded": 8,
    "server_error": 5,
    "dropped": 5,
    "request_timeout": 5,
    "conflict": 2,
    "refused": 2,
    "dns": 2,
    "unreachable": 2,
    "malformed": 2,
    "empty": 2,
    "idle": 2,
    "first_byte": 1,
}
"""How often a request is made again after a failure of each kind. A kind that is not here cannot pass by itself."""


def delay(error: EndpointError, attempt: int, random: Callable[[], float]) -> float | None:
    """Return the seconds to wait before making the request again, or None where it must not be made again.

    `attempt` counts the failures of this request so far, this one among them, from 1. `random` gives numbers
    from 0 to 1, for the jitter that keeps many clients from coming back at the same instant.
    """
    if attempt > RETRIES.get(error.kind, 0):
        return None
    if error.retry_after:
        return None if error.retry_after > LONGEST_ASKED else error.retry_after + random()
    longest = min(FIRST * 2.0 ** (attempt - 1), LONGEST)
    return longest * (1 + random()) / 2
