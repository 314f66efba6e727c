"""A question to the user, and the answer: what happens where a call's class asks for a human's yes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from deskhand.journal.events import Class


class Question(msgspec.Struct, frozen=True):
    """May this very call run? `reason` says why it is asked, `arguments` are the exact ones that would run."""

    call: str
    tool: str
    title: str
    kind: str
    klass: Class
    reason: str
    arguments: dict[str, Any]


Ask = Callable[[Question], Awaitable[bool | None]]
"""Puts a question to whoever is there: True and False are answers, None means that nobody could be asked."""
