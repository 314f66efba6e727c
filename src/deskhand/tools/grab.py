"""A program: `python -m deskhand.tools.grab MONITOR FILE` writes a picture of the screen, as a model takes it.

It is one of its own because an X library can hang, and ends its process when the server goes away; and the
30 MB of a large screen go with it. It prints one line: what the picture shows, or why there is none.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

from deskhand.images import ImageError, fit

SECONDS = 15.0
"""For `screencapture` of macOS."""


class GrabError(Exception):
    """There is no picture; the message is one sentence."""


def main() -> int:
    """Take the picture; return the exit code."""
    monitor, target = int(sys.argv[1]), Path(sys.argv[2])
    try:
        words, picture = _from_macos(monitor, target) if sys.platform == "darwin" else _from_x11(monitor)
        target.write_bytes(fit(picture, "image/png")[0])
    except (GrabError, ImageError, OSError) as error:
        print(error)
        return 1
    print(words)
    return 0


def _from_x11(monitor: int) -> tuple[str, bytes]:
    if os.environ.get("WAYLAND_DISPLAY"):
        raise GrabError(
            "The desktop is Wayland, where only its own tools see the screen: take the picture with one of them "
            "(grim FILE, gnome-screenshot -f FILE, spectacle -bno FILE) and read the file."
        )
    display = os.environ.get("DISPLAY")
    if not display:
        raise GrabError("There is no screen here, since DISPLAY is not set: start the agent from within the desktop.")
    from mss import MSS, ScreenShotError
    from PIL import Image

    try:
        with MSS() as screen:
            monitors = screen.monitors[1:]  # the first entry is all of them together
            if monitor > len(monitors):
                raise GrabError(f"There is no monitor {monitor}: there are {len(monitors)}, counted from 1.")
            shot = screen.grab(monitors[monitor - 1])
    except ScreenShotError as error:
        raise GrabError(f"The X server at DISPLAY={display} gives no picture: {str(error).rstrip('.')}.") from None
    image = Image.frombytes("RGB", (shot.width, shot.height), bytes(shot.bgra), "raw", "BGRX")
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return f"Monitor {monitor} of {len(monitors)}, {shot.width} × {shot.height} pixels.", buffer.getvalue()


def _from_macos(monitor: int, target: Path) -> tuple[str, bytes]:
    if not _may_record():
        raise GrabError(
            "macOS does not let this program see the screen: allow it for your terminal in System Settings, "
            "Privacy & Security, Screen Recording, and start the terminal anew."
        )
    command = ["screencapture", "-x", "-t", "png", "-D", str(monitor), str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise GrabError(f"screencapture gave no picture within {SECONDS:.0f} s.") from None
    if done.returncode != 0 or not target.is_file():
        reason = " ".join(done.stderr.split()).rstrip(".") or f"exit code {done.returncode}"
        raise GrabError(f"screencapture failed: {reason}. Is there a monitor {monitor}?")
    return f"Monitor {monitor}.", target.read_bytes()


def _may_record() -> bool:
    """Ask macOS (10.15 and later) for the permission; without it, it gives the wallpaper and no window."""
    import ctypes

    library = ctypes.CDLL("/System/Library/Frameworks/CoreGraphics.framework/CoreGraphics")
    try:
        allowed = library.CGPreflightScreenCaptureAccess
    except AttributeError:
        return True
    allowed.restype = ctypes.c_bool
    return bool(allowed())


if __name__ == "__main__":
    sys.exit(main())
