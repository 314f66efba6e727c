from __future__ import annotations

import asyncio
import io
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from ctypes.util import find_library
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from PIL import Image

from deskhand.images import SIDE
from deskhand.tools import screenshot
from deskhand.tools.base import CallContext, ImageData, ToolError, ToolResult
from deskhand.tools.screenshot import TOOL

needs_xvfb = pytest.mark.skipif(
    not shutil.which("Xvfb") or not find_library("xcb-render"), reason="needs Xvfb (apt install xvfb libxcb-render0)"
)

StartScreen = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def start_screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[StartScreen]:
    """Start a real X server with a screen of a size, and make it the one of this environment."""
    servers: list[subprocess.Popen[bytes]] = []

    def start(size: str) -> subprocess.Popen[bytes]:
        reading, writing = os.pipe()
        command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", f"{size}x24", "-nolisten", "tcp", "-br"]
        servers.append(subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL))
        os.close(writing)
        with os.fdopen(reading) as told:  # up to the newline: a pipe that closes early ends the server
            assert select.select([told], [], [], 30)[0]
            number = told.readline()
        assert number.endswith("\n"), "Xvfb did not start"
        monkeypatch.setenv("DISPLAY", f":{number.strip()}")
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        return servers[-1]

    yield start
    for server in servers:
        server.send_signal(signal.SIGCONT)
        server.terminate()
        server.wait(30)


def looked(folder: Path, monitor: int = 1) -> ToolResult:
    context = CallContext(session=uuid4().hex, call="c1", cwd=folder, outputs=folder)
    try:
        return asyncio.run(screenshot.run(TOOL.parse({"monitor": monitor}), context))
    finally:
        assert list(folder.iterdir()) == [], "no file is left"


@needs_xvfb
def test_the_screen_is_a_picture_that_fits(start_screen: StartScreen, tmp_path: Path) -> None:
    start_screen("3136x400")
    result = looked(tmp_path)
    assert result.content[0] == "Monitor 1 of 1, 3136 × 400 pixels."
    picture = result.content[1]
    assert isinstance(picture, ImageData)
    assert picture.media_type == "image/png"
    image = Image.open(io.BytesIO(picture.data))
    assert image.size == (SIDE, 200)
    assert image.getpixel((5, 5)) == (0, 0, 0), "the server was started with a black root window"
    assert result.outside


@needs_xvfb
def test_a_monitor_that_is_not_there_is_a_sentence(start_screen: StartScreen, tmp_path: Path) -> None:
    start_screen("200x100")
    with pytest.raises(ToolError, match=r"no monitor 7: there are 1"):
        looked(tmp_path, monitor=7)


@needs_xvfb
def test_a_server_that_hangs_is_left_at_once_when_the_call_is_ended(start_screen: StartScreen, tmp_path: Path) -> None:
    start_screen("200x100").send_signal(signal.SIGSTOP)
    spawned: list[int] = []
    context = CallContext(
        session=uuid4().hex, call="c1", cwd=tmp_path, outputs=tmp_path, spawned=lambda pid, started: spawned.append(pid)
    )

    async def stopped() -> float:
        task = asyncio.ensure_future(screenshot.run(TOOL.parse({}), context))
        await asyncio.sleep(1)
        begin = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - begin

    assert asyncio.run(stopped()) < 5
    with pytest.raises(ProcessLookupError):
        os.kill(spawned[0], 0)


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has a screen of its own")
@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "DISPLAY is not set"),
        ({"DISPLAY": ":59000"}, "DISPLAY=:59000 gives no picture"),
        ({"DISPLAY": ":0", "WAYLAND_DISPLAY": "wayland-0"}, "Wayland"),
    ],
)
def test_without_a_screen_that_can_be_seen_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ToolError, match=words) as raised:
        looked(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_picture_waits_for_the_calls_before_it_and_is_cheap_to_describe(tmp_path: Path) -> None:
    arguments = TOOL.parse({})
    assert Path("/") in TOOL.resources(arguments, tmp_path).reads
    assert TOOL.risk(arguments, tmp_path).klass == "read"
    assert len(TOOL.description) + len(msgspec.json.encode(TOOL.schema)) <= 800
