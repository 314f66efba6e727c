"""What a turn shows while it happens, and does not record: words as they come, and that they are void."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class Said(msgspec.Struct, frozen=True):
    """A piece of the model's text."""

    turn: int
    text: str


class Thought(msgspec.Struct, frozen=True):
    """A piece of the model's reasoning."""

    turn: int
    text: str


class Restarted(msgspec.Struct, frozen=True):
    """What was shown of this message is void: its stream broke, and it is asked for again."""

    turn: int


Live = Said | Thought | Restarted
Show = Callable[[Live], None]
