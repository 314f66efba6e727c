"""The clock on a call: how long it may run without progress, and how long in all.

A deadline follows progress. It ends the call, never the turn.
"""

from __future__ import annotations

import time

import msgspec

from deskhand.settings import LimitSettings
from deskhand.tools.base import LimitsKind


class Limits(msgspec.Struct, frozen=True):
    """Seconds without progress, and seconds in all."""

    quiet: float
    total: float


def limits_for(kind: LimitsKind, settings: LimitSettings, timeout: float | None = None) -> Limits:
    """Return the limits of a tool of `kind`; the model's own `timeout` holds within the total."""
    limits = {
        "internal": Limits(settings.internal, settings.internal),
        "mcp": Limits(settings.mcp_quiet, settings.mcp_total),
        "other": Limits(settings.shell_quiet, settings.shell_total),
    }[kind]
    if timeout is None:
        return limits
    total = min(max(timeout, 0.1), limits.total)
    return Limits(min(limits.quiet, total), total)


class Watch:
    """The time of one call, from its making."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._started = self._moved = time.monotonic()

    def progress(self) -> None:
        """Note that the call visibly moved on."""
        self._moved = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    @property
    def quiet(self) -> float:
        """Seconds since the last progress."""
        return time.monotonic() - self._moved

    def remaining(self) -> float:
        """Return the seconds to the nearer limit; not above zero: it has passed."""
        return min(self._limits.quiet - self.quiet, self._limits.total - self.elapsed)

    def verdict(self) -> str:
        """Return the words for a limit that has passed."""
        if self.elapsed >= self._limits.total:
            return f"ended at its limit of {self._limits.total:g} s"
        return f"ended after {self._limits.quiet:g} s without progress"
