"""What a turn shows while it happens, and does not record: deltas, and calls taking shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Said:
    """A piece of the model's text."""

    turn: int
    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """A piece of the model's reasoning."""

    turn: int
    text: str


@dataclass(frozen=True, slots=True)
class Restarted:
    """What was shown of this message is void: its stream broke, and it is asked for again."""

    turn: int


Live = Said | Thought | Restarted
Show = Callable[[Live], None]
