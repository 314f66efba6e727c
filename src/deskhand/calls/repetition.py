"""A model that goes round in circles: the same calls with the same results, over and over.

A call repeats when its tool, its arguments **and its result** were all seen before in the turn. Work that
moves on is not mistaken for a circle: tests run again after an edit follow a call that was new. A result
without a word says nothing of whether anything changed (a key pressed again, a pause while something else
happens), so silent calls neither count nor break the count.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from deskhand.journal.blocks import ResultBlock, Text

TOLD_AFTER = 2
"""Repeated calls in a row after which the model is told."""

PAUSED_AFTER = 5
"""Repeated calls in a row after which a model that was told is stopped."""

SILENCE = "(no output)"


class Repetition:
    """Counts, over one turn, how many calls in a row brought nothing new."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._streak = 0
        self._was_told = False

    def begin_message(self) -> None:
        """Note that calls of another message follow: the model has read what it was told about those before."""
        self._was_told = self._streak >= TOLD_AFTER

    def note(self, tool: str, arguments: dict[str, Any], content: tuple[ResultBlock, ...]) -> str | None:
        """Count a finished call; return what the model should be told, if it is time to."""
        if all(isinstance(block, Text) and block.text in ("", SILENCE) for block in content):
            return None
        key = hashlib.sha256(msgspec.json.encode([tool, arguments, content], order="sorted")).digest()
        self._streak = self._streak + 1 if key in self._seen else 0
        self._seen.add(key)
        if self._streak < TOLD_AFTER:
            return None
        return (
            f"[Nothing new in {self._streak + 1} calls: the same calls with the same results. Change the approach, "
            f"or end and say what is missing. The turn is paused at {max(PAUSED_AFTER, self._streak + 1) + 1}.]"
        )

    @property
    def must_pause(self) -> bool:
        """Whether the model was told, and went on."""
        return self._was_told and self._streak >= PAUSED_AFTER
