"""A daemon without sessions, on a home of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon_support import EchoDaemon


@pytest.fixture
def echo(environment: dict[str, str], home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EchoDaemon]:
    """The echo daemon, not started yet. This process has its environment, as a client has, until the test is over."""
    # The home of a test may lie too deep for a socket.
    with tempfile.TemporaryDirectory(prefix="dh-") as runtime:
        environment["XDG_RUNTIME_DIR"] = runtime
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        daemon = EchoDaemon(home)
        yield daemon
        daemon.close()
