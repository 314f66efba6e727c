"""The event union: everything that ever happens to a session, closed, frozen and versioned.

An event is appended before it is acted on, and never changed. Whatever else there is (the request to the
model, the plan, what a front end shows) is a replay of events. A new kind of event, or a new field, raises
`SCHEMA_VERSION` and brings a golden journal of the version before it under `tests/journal/golden/`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from deskhand.journal.blocks import MessageBlock, PromptBlock, ResultBlock

SCHEMA_VERSION = 1

Mode = Literal["plan", "ask", "auto", "bypass"]
Class = Literal["read", "write", "confirm"]

Outcome = Literal["ok", "error", "invalid", "refused", "expired", "interrupted"]
"""How a call ended. `invalid`: the arguments did not fit, nothing ran. `refused`: the seam said no.
`expired`: the clock ended it. `interrupted`: stopped by the user, or by the death of the agent."""

StopReason = Literal[
    "end_turn",
    "max_tokens",
    "max_turn_requests",
    "repetition",
    "refusal",
    "cancelled",
    "failed",
    "interrupted",
]
"""Why a turn ended. The first five are the model's or a limit's doing, `cancelled` the user's; `failed` has an
error beside it; `interrupted` is written by the next start, for a turn that died with the agent."""


class Usage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tokens, as the endpoint counted them."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_creation_input_tokens + other.cache_creation_input_tokens,
            self.cache_read_input_tokens + other.cache_read_input_tokens,
        )

    @property
    def total(self) -> int:
        """All tokens that passed, cached ones among them."""
        return self.input_tokens + self.output_tokens + self.cache_creation_input_tokens + self.cache_read_input_tokens


class Failure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why something failed: a kind for programs (see docs/errors.md), one sentence for people."""

    kind: str
    message: str


class FileSeen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file's content, by SHA-256, as the model last saw or left it. A later write checks against it."""

    path: str
    digest: str


class Hunk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One changed stretch of a file: the first line's number (from 1), the text before and after."""

    line: int
    old: str
    new: str


class FileChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a call did to a file. `before` names the blob with the bytes it replaced (none: a new file)."""

    path: str
    before: str | None
    after: str
    hunks: tuple[Hunk, ...] = ()


class Location(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A place in a file that a call is about, so that a front end can follow along."""

    path: str
    line: int | None = None


class PlanEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One step of the plan, in the words of ACP."""

    content: str
    status: Literal["pending", "in_progress", "completed"] = "pending"
    priority: Literal["high", "medium", "low"] = "medium"


class _Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What all events share: they are frozen, and strict about their fields."""


class SessionCreated(_Event, frozen=True, tag="session.created"):
    """A conversation begins, on the day `began` (YYYY-MM-DD, local). `model` is None until one is chosen."""

    cwd: str
    mode: Mode
    began: str
    model: str | None = None
    engine: str = "native"


class SessionChanged(_Event, frozen=True, tag="session.changed"):
    """Attributes of the session change; None means unchanged."""

    cwd: str | None = None
    mode: Mode | None = None
    model: str | None = None
    title: str | None = None


class TurnStarted(_Event, frozen=True, tag="turn.started"):
    """A prompt was accepted. `turn` counts from 1 within the session."""

    turn: int
    prompt: tuple[PromptBlock, ...]
    cwd: str
    mode: Mode
    model: str
    endpoint: str


class RequestRetried(_Event, frozen=True, tag="request.retried"):
    """A request failed in a way that can pass; it is made again after `wait` seconds."""

    turn: int
    attempt: int
    failure: Failure
    wait: float


class MessageReceived(_Event, frozen=True, tag="message.received"):
    """The model's message, whole. A partial one is recorded only where the user stopped it, and has no calls.

    `seconds` is from the request's first byte out to the message's last byte in.
    """

    turn: int
    model: str
    content: tuple[MessageBlock, ...]
    stop_reason: str
    usage: Usage = Usage()
    seconds: float = 0.0


class CallStarted(_Event, frozen=True, tag="call.started"):
    """A call was decided and is about to run with exactly these arguments."""

    turn: int
    call: str
    tool: str
    arguments: dict[str, Any]
    klass: Class
    reason: str = ""


class CallSpawned(_Event, frozen=True, tag="call.spawned"):
    """A call started a process. `started` (see `process_table`) tells it from a later one of the same pid."""

    turn: int
    call: str
    pid: int
    started: str


class CallFinished(_Event, frozen=True, tag="call.finished"):
    """A call has its result, the only one it will ever have.

    `seconds` is its duration, `quiet` how long it had shown no progress at its end, `size` the bytes of its
    whole output, `output` the file that holds them where `content` has only a part. `outside`: the content
    came from beyond this machine and is data, not instructions.
    """

    turn: int
    call: str
    tool: str
    outcome: Outcome
    content: tuple[ResultBlock, ...]
    seconds: float = 0.0
    quiet: float = 0.0
    size: int = 0
    output: str | None = None
    outside: bool = False
    seen: tuple[FileSeen, ...] = ()
    changes: tuple[FileChange, ...] = ()
    locations: tuple[Location, ...] = ()


class PlanChanged(_Event, frozen=True, tag="plan.changed"):
    """The model rewrote its plan."""

    turn: int
    entries: tuple[PlanEntry, ...]


class TurnEnded(_Event, frozen=True, tag="turn.ended"):
    """The one end of a turn."""

    turn: int
    stop_reason: StopReason
    usage: Usage = Usage()
    requests: int = 0
    error: Failure | None = None


Event = (
    SessionCreated
    | SessionChanged
    | TurnStarted
    | RequestRetried
    | MessageReceived
    | CallStarted
    | CallSpawned
    | CallFinished
    | PlanChanged
    | TurnEnded
)


class Entry(msgspec.Struct, frozen=True):
    """An event in its place: `seq` orders the whole journal, `at` is in seconds since the epoch."""

    seq: int
    session: str
    at: float
    event: Event


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Event)


def encode(event: Event) -> bytes:
    """Return the event as JSON."""
    return _encoder.encode(event)


def decode(data: bytes | str) -> Event:
    """Return the event in `data`.

    Raises `msgspec.ValidationError` where it is none that this version knows.
    """
    event: Event = _decoder.decode(data)
    return event
