"""One question to the daemon, for commands that want an answer and no conversation."""

from __future__ import annotations

import json
from typing import Any

from deskhand.daemon.connect import connect
from deskhand.daemon.record import DaemonError
from deskhand.home import Home

_ANSWER = 5.0
"""Seconds for an answer."""


def ask_daemon(home: Home, method: str) -> dict[str, Any]:
    """Return the result of a request without parameters. Raises `NotRunning` or `DaemonError`."""
    connection = connect(home.root)
    with connection, connection.makefile("rwb") as stream:
        connection.settimeout(_ANSWER)
        try:
            stream.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method}).encode() + b"\n")
            stream.flush()
            answer = json.loads(stream.readline())
            result: dict[str, Any] = answer["result"]
        except (OSError, ValueError, KeyError):
            raise DaemonError("The Deskhand daemon gives no answer: `deskhand daemon restart` starts anew.") from None
        return result
