"""The daemon: the sessions, and all who attend to them, until it is told to stop or has had nothing to do for long."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from deskhand import __version__, log
from deskhand.daemon.acp import AcpAgent
from deskhand.daemon.hub import Hub
from deskhand.daemon.lifetime import Lifetime
from deskhand.home import Home
from deskhand.jsonrpc import Peer
from deskhand.settings import load_settings


async def serve_daemon(home: Home) -> None:
    """Be the daemon of `home`, to its end.

    Raises `DaemonError` (another one runs), `HomeError`, `JournalError` or `SettingsError`.
    """
    lifetime = Lifetime(home, __version__)
    lifetime.claim()
    settings = load_settings(home.settings)
    hub = Hub(home)
    clients: set[AcpAgent] = set()
    began = time.time()

    def status() -> dict[str, Any]:
        return {"version": __version__, "pid": os.getpid(), "began": began, "clients": len(clients), **hub.status()}

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        agent = AcpAgent(hub, status)
        agent.peer = Peer(reader, writer, agent)
        clients.add(agent)
        try:
            await agent.peer.run()
        finally:
            clients.discard(agent)
            agent.leave()

    def dump() -> None:
        lines = hub.in_flight.lines() or ["nothing"]
        log.write("\n".join(["in flight:", *lines]))

    idle_exit = settings.daemon.idle_exit or None
    await lifetime.serve(attend, busy=lambda: hub.busy, idle_exit=idle_exit, on_dump=dump, on_stop=hub.shut)
