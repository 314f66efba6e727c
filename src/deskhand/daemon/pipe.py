"""A pipe between standard input and output and the daemon: what an editor that starts `deskhand acp` talks through.

The editor's own settings of the endpoint go ahead of everything, for the daemon may have been started by another.
"""

from __future__ import annotations

import json
import os
import socket
import threading

from deskhand import __version__
from deskhand.daemon.connect import attach
from deskhand.home import Home

ENVIRONMENT_METHOD = "_deskhand/environment"
_CHUNK = 65536
_FAREWELL = 5.0
"""Seconds for the daemon to answer what is under way when the editor has closed our input."""


def serve_through_daemon(home: Home) -> None:
    """Carry bytes both ways until either side closes; the daemon is started where none runs.

    Raises `DaemonError` or `HomeError`.
    """
    home.folder()
    _, connection = attach(home.root, __version__)
    own = {name: value for name, value in os.environ.items() if name.startswith("ANTHROPIC_")}
    hello = {"jsonrpc": "2.0", "method": ENVIRONMENT_METHOD, "params": {"variables": own}}
    connection.sendall(json.dumps(hello).encode() + b"\n")
    # A daemon thread: when the daemon goes, nobody waits for the editor's next word.
    threading.Thread(target=_carry_in, args=(connection,), daemon=True).start()
    _carry_out(connection)


def _carry_in(connection: socket.socket) -> None:
    try:
        while data := os.read(0, _CHUNK):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(_FAREWELL)
    except OSError:
        return  # the daemon has gone, which the other direction notices


def _carry_out(connection: socket.socket) -> None:
    try:
        while data := connection.recv(_CHUNK):
            view = memoryview(data)
            while view:
                view = view[os.write(1, view) :]
    except OSError:
        return  # either side has gone
