"""The Agent Client Protocol over standard input and output, for one editor: what `deskhand acp` does."""

from __future__ import annotations

import asyncio
import signal
import sys

from deskhand.daemon.acp import AcpAgent
from deskhand.daemon.hub import Hub
from deskhand.home import Home
from deskhand.jsonrpc import Peer


async def serve_stdio(home: Home) -> None:
    """Answer the client at the other end of our standard streams, until it leaves or a signal comes.

    Raises `HomeError`, `JournalError`, or `ValueError` where the streams are files and not pipes.
    """
    hub = Hub(home)
    try:
        agent = AcpAgent(hub)
        reader, writer = await _standard_streams()
        agent.peer = Peer(reader, writer, agent)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, agent.peer.close)
        await agent.peer.run()
        agent.leave()
    finally:
        await hub.shut()


async def _standard_streams() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sys.stdout)
    return reader, asyncio.StreamWriter(transport, protocol, None, loop)
