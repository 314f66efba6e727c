"""All sessions that are open in this process, each once, however many front ends attend to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deskhand import log
from deskhand.calls.inflight import InFlight
from deskhand.daemon.session import Session
from deskhand.home import Home
from deskhand.journal.events import Mode
from deskhand.journal.locks import SessionLock, lock_session
from deskhand.journal.sessions import UnknownSessionError, delete_session, find_session, new_session_id
from deskhand.journal.store import Journal
from deskhand.tools.base import Tool
from deskhand.tools.built_in import built_in_tools


class SessionBusy(Exception):
    """Another process has the session; the message is one sentence for the user."""


class Hub:
    """The open sessions over one journal."""

    def __init__(self, home: Home) -> None:
        """Open the journal of `home`. Raises `HomeError` or `JournalError`."""
        home.folder()
        log.open_log(home.logs())
        self.home = home
        self.journal = Journal.open(home.journal)
        self.tools: Mapping[str, Tool[Any]] = built_in_tools()
        self.in_flight = InFlight()
        self._open: dict[str, tuple[Session, SessionLock]] = {}
        self._opening = asyncio.Lock()

    def create(self, cwd: Path, mode: Mode) -> Session:
        """Begin a session in the folder `cwd`."""
        session_id = new_session_id(time.time())
        lock = self._lock(session_id)
        session = self._session(session_id)
        session.begin(cwd, mode)
        self._open[session_id] = (session, lock)
        return session

    async def open(self, session_id: str) -> Session:
        """Return the session, from memory or from the journal; what a dead agent left open in it is closed.

        Raises `UnknownSessionError`, `JournalError` or `SessionBusy`.
        """
        async with self._opening:
            if session_id in self._open:
                return self._open[session_id][0]
            if find_session(self.journal, session_id) != session_id:
                raise UnknownSessionError(f"There is no session {session_id!r}; give its whole id.")
            lock = self._lock(session_id)
            try:
                session = self._session(session_id)
                await session.recover()
            except BaseException:
                lock.release()
                raise
            self._open[session_id] = (session, lock)
            return session

    async def close(self, session_id: str) -> None:
        """Stop the session's turn, and let the session go; the journal keeps it."""
        if session_id in self._open:
            session, lock = self._open.pop(session_id)
            await session.stop()
            lock.release()

    async def delete(self, session_id: str) -> None:
        """Close the session, and remove it and its outputs for good. Raises `JournalError` or `SessionBusy`."""
        await self.close(session_id)
        lock = self._lock(session_id)
        try:
            self.home.remove_outputs(session_id)
            delete_session(self.journal, session_id)
        finally:
            lock.release()

    @property
    def sessions(self) -> list[Session]:
        """The open sessions, the oldest first."""
        return [session for session, _ in self._open.values()]

    def status(self) -> dict[str, Any]:
        """Return what is open and in flight, measured now."""
        sessions = [{"id": each.id, "cwd": str(each.cwd), "running": each.running} for each in self.sessions]
        return {"sessions": sessions, "calls": self.in_flight.lines()}

    @property
    def busy(self) -> bool:
        """Whether a turn is running."""
        return any(session.running for session, _ in self._open.values())

    async def shut(self) -> None:
        """Stop every turn and close the journal."""
        await asyncio.gather(*map(self.close, list(self._open)))
        await self.journal.close()

    def _session(self, session_id: str) -> Session:
        return Session(self.journal, session_id, self.home, self.tools, self.in_flight)

    def _lock(self, session_id: str) -> SessionLock:
        lock = lock_session(self.home.run(), session_id)
        if lock is None:
            raise SessionBusy(
                f"Session {session_id} is at work in another process: wait for its turn to end, or stop it."
            )
        return lock
