"""The stop keys: what SIGINT, SIGTERM and SIGHUP do to a program that may be anywhere when they come.

Before there is a turn, a stop ends the program at once: an exception in the middle of an import can crash it.
While there is one, it is asked to end, and made to where it does not. A signal that whoever started us wanted
ignored (nohup(1), a shell's background jobs) is left ignored.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED = 130
"""The exit code of a program that was stopped."""

LIMIT = 3.0
"""Seconds that a stop may take. It takes one, unless the disk hangs, or who reads our output does not."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_Handler = Callable[[int, FrameType | None], object]


def leave_when_stopped() -> None:
    """Let a stop end the program at once, with `STOPPED`, from now on."""
    _handle(lambda number, frame: os._exit(STOPPED))


class StopKeys:
    """Armed stop keys. Set `cancel` and `abandon` as the work goes on from one stage to the next.

    The first signal calls `cancel` in the event loop; further ones change nothing. Where the keys are still armed
    `LIMIT` seconds later, `abandon` is called, outside of the event loop, and the program is left.
    """

    def __init__(self, cancel: Callable[[], object]) -> None:
        self.cancel = cancel
        self.abandon: Callable[[], object] = bool
        self._loop = asyncio.get_running_loop()
        self._pressed = False

    def press(self, number: int, frame: FrameType | None) -> None:
        """Take a signal."""
        if not self._pressed:
            self._pressed = True
            signal.signal(signal.SIGALRM, self._give_up)
            signal.setitimer(signal.ITIMER_REAL, LIMIT)
            self._loop.call_soon_threadsafe(lambda: self.cancel())

    def _give_up(self, number: int, frame: FrameType | None) -> None:
        try:
            self.abandon()
        finally:
            os._exit(STOPPED)


@contextmanager
def armed_stop_keys(cancel: Callable[[], object]) -> Iterator[StopKeys]:
    """Give stop keys that are armed within the block; after it, a stop ends the program at once."""
    keys = StopKeys(cancel)
    _handle(keys.press)
    try:
        yield keys
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        leave_when_stopped()


def _handle(handler: _Handler) -> None:
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)
