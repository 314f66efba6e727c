"""What is in flight, now: the one table that a dump, the log of a stop and the daemon's status all read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from deskhand.calls.clock import Watch
from deskhand.calls.prepare import Prepared

ARGUMENTS_SHOWN = 300
"""Characters of a call's arguments in a line."""


class Flight(msgspec.Struct):
    """A call that runs. `pid` is that of the program that it started last, if any."""

    session: str
    step: Prepared
    watch: Watch
    pid: int | None = None

    def line(self) -> str:
        """Return the call in one line: what it is, for how long it has run, and its arguments, cut."""
        use, watch = self.step.use, self.watch
        pid = "" if self.pid is None else f", pid={self.pid}"
        arguments = msgspec.json.encode(use.input).decode()
        if len(arguments) > ARGUMENTS_SHOWN:
            arguments = arguments[:ARGUMENTS_SHOWN] + "…"
        return (
            f"{use.name} (id={use.id}, kind={self.step.tool.kind}, session={self.session}, "
            f"elapsed={watch.elapsed:.1f}s, quiet={watch.quiet:.1f}s{pid}) {arguments}"
        )


class InFlight:
    """The calls that run in this process, of all sessions."""

    def __init__(self) -> None:
        self._flights: dict[tuple[str, str], Flight] = {}

    @contextmanager
    def enter(self, flight: Flight) -> Iterator[Flight]:
        """Hold `flight` in the table for as long as the block lasts."""
        key = (flight.session, flight.step.use.id)
        self._flights[key] = flight
        try:
            yield flight
        finally:
            del self._flights[key]

    def lines(self, session: str | None = None) -> list[str]:
        """Return a line for each call, of one session or of all, the oldest first."""
        return [flight.line() for flight in self._flights.values() if session in (None, flight.session)]
