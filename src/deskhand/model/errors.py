"""Every way an endpoint can fail, as one kind and one sentence. docs/errors.md shows them all.

What failed is told by the HTTP status first, by the error's type second, and by its text last, within bounds:
texts change, and any of them may be the words of a stranger.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from deskhand.model.connect import TransportError, TransportKind

if TYPE_CHECKING:
    from deskhand.model.endpoint import Endpoint

ErrorKind = Literal[
    "misconfigured",
    "no_endpoint",
    "invalid_request",
    "context_too_long",
    "too_large",
    "unauthorised",
    "forbidden",
    "out_of_credit",
    "not_found",
    "model_not_found",
    "moved",
    "not_an_endpoint",
    "request_timeout",
    "conflict",
    "rate_limited",
    "overloaded",
    "server_error",
    "refused",
    "dns",
    "unreachable",
    "tls",
    "proxy",
    "dropped",
    "malformed",
    "empty",
    "first_byte",
    "idle",
]

_QUOTED = 300
_SEARCHED = 2_000


class EndpointError(Exception):
    """A request did not get its answer. The message is for people: what failed, why, what to do.

    `retry_after` is in seconds, as the endpoint asked; `request_id` is the endpoint's name for the request.
    """

    def __init__(
        self,
        kind: ErrorKind,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(kind, message)
        self.kind: ErrorKind = kind
        self.message = message
        self.status = status
        self.retry_after = retry_after
        self.request_id = request_id

    def __str__(self) -> str:
        return self.message


# What the endpoint did, and what the user can do. The reason goes between the two, in brackets.
_SENTENCES: dict[ErrorKind, tuple[str, str]] = {
    "invalid_request": (
        "did not accept the request",
        "the endpoint may lack a feature that was used; try another model",
    ),
    "context_too_long": ("says that the conversation is too long for the model", "start a new session"),
    "too_large": ("says that the request is too large", "start a new session, without the largest files or images"),
    "unauthorised": ("refused the credentials", "set ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN to one that it accepts"),
    "forbidden": ("does not allow this", "ask its owner for access to this model"),
    "out_of_credit": ("says that the account has no credit left", "top it up, or use another endpoint"),
    "not_found": (
        "has nothing where the Messages API should be",
        "check ANTHROPIC_BASE_URL, and that the server is recent enough to offer /v1/messages",
    ),
    "model_not_found": ("does not know the model", "choose another with --model or ANTHROPIC_MODEL"),
    "moved": ("has moved", "set ANTHROPIC_BASE_URL to the new place"),
    "not_an_endpoint": (
        "did not answer as a model endpoint does",
        "check ANTHROPIC_BASE_URL, and whether a login page or another program answers there",
    ),
    "request_timeout": ("gave up waiting for the request", "try again"),
    "conflict": ("was busy with a conflicting request", "try again"),
    "rate_limited": ("is limiting requests", "try again later"),
    "overloaded": ("is overloaded", "try again in a while"),
    "server_error": ("failed", "try again; if it goes on, look at the server's own log or status page"),
    "refused": ("cannot be reached", "check the address, and that the server runs"),
    "dns": ("cannot be found", "check the name and the network"),
    "unreachable": ("cannot be reached", "check the network"),
    "tls": (
        "cannot be reached securely",
        "if you trust it, set SSL_CERT_FILE to a file with its certificate authority",
    ),
    "proxy": ("cannot be reached", "check HTTPS_PROXY and HTTP_PROXY, or name the host in NO_PROXY"),
    "dropped": ("broke off its answer", "try again; if it goes on, look at the server's own log"),
    "malformed": ("sent an answer that cannot be read", "try again; if it goes on, try another model or server"),
    "empty": ("answered with nothing", "try again; if it goes on, try another model"),
    "first_byte": ("did not begin to answer in time", "try again, or raise endpoint.first_byte in the settings"),
    "idle": ("fell silent in mid-answer", "try again, or raise endpoint.idle in the settings"),
}

_BY_STATUS: dict[int, ErrorKind] = {
    400: "invalid_request",
    401: "unauthorised",
    402: "out_of_credit",
    403: "forbidden",
    404: "not_found",
    405: "not_an_endpoint",
    407: "proxy",
    408: "request_timeout",
    409: "conflict",
    413: "too_large",
    422: "invalid_request",
    429: "rate_limited",
    501: "not_an_endpoint",
    529: "overloaded",
}

_BY_TYPE: dict[str, ErrorKind] = {
    "invalid_request_error": "invalid_request",
    "authentication_error": "unauthorised",
    "billing_error": "out_of_credit",
    "insufficient_quota": "out_of_credit",
    "permission_error": "forbidden",
    "not_found_error": "not_found",
    "request_too_large": "too_large",
    "rate_limit_error": "rate_limited",
    "overloaded_error": "overloaded",
    "timeout_error": "request_timeout",
    "exceed_context_size_error": "context_too_long",
}

_BY_TRANSPORT: dict[TransportKind, ErrorKind] = {
    "refused": "refused",
    "dns": "dns",
    "unreachable": "unreachable",
    "tls": "tls",
    "proxy": "proxy",
    "dropped": "dropped",
    "first_byte": "first_byte",
    "idle": "idle",
    "not_http": "not_an_endpoint",
    "encoding": "malformed",
}

# Patterns, compiled when a failure needs them: on the way to the first request they would cost 2 ms.
_TOO_LONG = (
    r"(?i)prompt is too long|context.{0,20}(length|window|size)|maximum context|too many (input )?tokens"
    r"|exceeds? the.{0,20}context"
)
_NO_CREDIT = r"(?i)credit balance is too low|insufficient (credit|funds|balance)"
_NO_MODEL = (
    r"(?is)^model: |\bmodel\b.{0,120}(not found|does not exist|not exist|is not supported|unknown|invalid)"
    r"|(invalid|unknown|no such) model\b"
)
_KEYS = r"\b(sk|key)-[A-Za-z0-9_\-]{8,}|(?<=Bearer )\S+"
_TITLE = r"(?i)<title[^>]*>([^<]*)"
_RESETS = tuple(f"anthropic-ratelimit-{what}-reset" for what in ("requests", "tokens", "input-tokens", "output-tokens"))


def classify(status: int, headers: Mapping[str, str], body: bytes, endpoint: Endpoint) -> EndpointError:
    """Return the error that an answer with a status other than 2xx means. `headers` have lower-case names."""
    kind, text, request_id = _told(status, body)
    if 300 <= status < 400:
        text = f"to {headers.get('location', 'an unnamed place').split('?')[0]}"
    retry_after = read_retry_after(headers, time.time())
    text = text.rstrip(". ")  # the sentence goes on after it
    reason = f"{status}: {text}" if text else str(status)
    if retry_after is not None:
        reason += f"; it asks to wait {duration(retry_after)}"
    return failure(
        kind,
        endpoint,
        reason,
        status=status,
        retry_after=retry_after,
        request_id=headers.get("request-id") or headers.get("x-request-id") or request_id,
    )


def classify_told(body: dict[str, Any], endpoint: Endpoint) -> EndpointError:
    """Return the error that an `error` object means, which came in a stream or under a status of success."""
    kind, text, request_id = _refined(None, body)
    return failure(kind, endpoint, text or "it gave no reason", request_id=request_id)


def from_transport(error: TransportError, endpoint: Endpoint) -> EndpointError:
    """Return the error that a failure on the wire means."""
    kind = _BY_TRANSPORT[error.kind]
    if kind == "refused" and (command := endpoint.what_to_start):
        message = (
            f"Nothing listens at {endpoint.base_url}: start {command}, or set ANTHROPIC_BASE_URL to another place."
        )
        return EndpointError(kind, message)
    return failure(kind, endpoint, str(error))


def failure(
    kind: ErrorKind,
    endpoint: Endpoint,
    reason: str,
    *,
    status: int | None = None,
    retry_after: float | None = None,
    request_id: str | None = None,
) -> EndpointError:
    """Return an error of `kind`, its sentence made from the endpoint's address and a `reason`, which is not trusted."""
    did, advice = _SENTENCES[kind]
    if kind == "unauthorised" and not endpoint.secrets:
        did = "wants credentials, and none are set"
    message = f"{endpoint.base_url} {did} ({quote(reason, endpoint.secrets)}): {advice}."
    return EndpointError(kind, message, status=status, retry_after=retry_after, request_id=request_id)


def quote(text: str, secrets: tuple[str, ...] = ()) -> str:
    """Return a stranger's text as it can be shown: one line, printable, at most 300 characters, without keys."""
    for secret in secrets:
        pattern = re.escape(secret)
        # A short key could be a part of any word.
        text = re.sub(pattern if len(secret) >= 8 else rf"(?<!\w){pattern}(?!\w)", "[key]", text)
    text = "".join(character if character.isprintable() else " " for character in text[: 4 * _QUOTED])
    text = re.sub(_KEYS, "[key]", " ".join(text.split()))
    return text if len(text) <= _QUOTED else text[: _QUOTED - 1] + "…"


def duration(seconds: float) -> str:
    """Return a duration in words, for people: `30 s`, `5 min`, `2 h`."""
    if seconds < 120:
        return f"{math.ceil(seconds)} s"
    if seconds < 7_200:
        return f"{math.ceil(seconds / 60)} min"
    return f"{math.ceil(seconds / 3600)} h" if seconds < 2_592_000 else "more than 30 days"


def read_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return how many seconds the endpoint asks to wait, or None where it says nothing that makes sense.

    In this order: `retry-after-ms`, `retry-after` in seconds or as a date (RFC 9110, 10.2.3), and the latest
    `anthropic-ratelimit-…-reset`. `now` is in seconds since the epoch; where the answer has a `Date`, dates count
    from that, so that a wrong clock on this machine does no harm.
    """
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    told = headers.get("retry-after")
    if told is not None and (seconds := _number(told)) is not None:
        return seconds
    sent = _http_date(headers.get("date"))
    now = now if sent is None else sent
    moments = [_http_date(told)] if told is not None else [_timestamp(headers.get(name)) for name in _RESETS]
    waits = [moment - now for moment in moments if moment is not None and moment > now]
    return max(waits, default=None)


def _told(status: int, body: bytes) -> tuple[ErrorKind, str, str | None]:
    text = body.decode("utf-8", "replace").strip()
    try:
        parsed = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        parsed = None
    if isinstance(parsed, dict):
        return _refined(status, parsed)
    if text.startswith("<"):  # a page for people; its title says what it is
        title = re.search(_TITLE, text[:_SEARCHED])
        text = title[1].strip() if title else "a web page"
    return _kind(status, "", text), text, None


def _refined(status: int | None, body: dict[str, Any]) -> tuple[ErrorKind, str, str | None]:
    """Return kind, text and request id of an error in any of the shapes that servers use."""
    error = body.get("error", body)
    kind = ""
    text: Any = ""
    if isinstance(error, dict):
        kind = next((told for name in ("type", "code") if (told := str(error.get(name))) in _BY_TYPE), "")
        text = next((said for name in ("message", "detail") if (said := error.get(name))), "")
    else:
        text = error
    if not isinstance(text, str):
        text = msgspec.json.encode(text).decode()
    request_id = body.get("request_id")
    return _kind(status, kind, text), text, request_id if isinstance(request_id, str) else None


def _kind(status: int | None, told: str, text: str) -> ErrorKind:
    kind = _kind_of_status(status) if status is not None else None
    if kind is None:
        kind = _BY_TYPE.get(told, "server_error")
    elif kind in ("invalid_request", "rate_limited") and _BY_TYPE.get(told) in ("context_too_long", "out_of_credit"):
        kind = _BY_TYPE[told]  # more precise than its status
    text = text[:_SEARCHED]
    if kind == "invalid_request" and re.search(_TOO_LONG, text):
        return "context_too_long"
    if kind == "invalid_request" and re.search(_NO_CREDIT, text):
        return "out_of_credit"
    if kind in ("invalid_request", "not_found") and re.search(_NO_MODEL, text):
        return "model_not_found"
    return kind


def _kind_of_status(status: int) -> ErrorKind | None:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 300 <= status < 400:
        return "moved"
    return "invalid_request" if 400 <= status < 500 else "server_error"


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _http_date(text: str | None) -> float | None:
    from email.utils import parsedate_to_datetime  # 10 ms that only a failure pays

    try:
        return parsedate_to_datetime(text or "").timestamp()
    except (ValueError, OverflowError):
        return None


def _timestamp(text: str | None) -> float | None:
    from datetime import datetime  # only a failure needs it

    try:
        moment = datetime.fromisoformat(text or "")
        return moment.timestamp() if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
