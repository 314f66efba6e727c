"""Make the README's picture: run `deskhand demo` in a terminal of fixed size, and draw what it showed.

python scripts/picture.py [FILE]      (docs/demo.svg)
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import selectors
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path
from time import monotonic

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

REPOSITORY = Path(__file__).resolve().parent.parent
DESKHAND = Path(sys.executable).with_name("deskhand")
COLUMNS, ROWS = 100, 50
DEADLINE_SECONDS = 120
THEME = TerminalTheme(
    background=(22, 24, 29),
    foreground=(214, 218, 226),
    normal=[
        (22, 24, 29),
        (240, 113, 120),
        (127, 200, 132),
        (229, 192, 123),
        (115, 173, 233),
        (198, 146, 233),
        (102, 199, 199),
        (214, 218, 226),
    ],
)
# A picture fetches nothing: without Rich's web font, a reader's own fixed-width one does.
SVG_FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code", "ui-monospace"
)


def main(arguments: list[str]) -> None:
    """Write the picture to the file that is named, or to where the README looks for it."""
    target = Path(arguments[0]) if arguments else REPOSITORY / "docs" / "demo.svg"
    screen = record([str(DESKHAND), "demo", "--rehearsal"])
    lines = [Text.from_ansi(last_state(line)) for line in screen.split("\n")]
    target.write_text(draw(excerpt(lines)), encoding="utf-8")


def record(command: list[str]) -> str:
    """Run the command at a terminal of its own, and return what it wrote there.

    Ends the program where the command fails, or has not ended in time.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    with tempfile.TemporaryDirectory() as home:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": home,
            "TMPDIR": home,
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
        }
        process = subprocess.Popen(
            command, cwd=home, env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        written = read_all(master, monotonic() + DEADLINE_SECONDS)
        os.close(master)
        try:
            code = process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
    text = written.decode().replace("\r\n", "\n")
    if code != 0:
        sys.exit(f"{' '.join(command)} ended with {code}:\n{text}")
    return text


def read_all(terminal: int, deadline: float) -> bytes:
    """Return everything written to the terminal until nobody holds it any more, or the deadline has passed."""
    written = io.BytesIO()
    os.set_blocking(terminal, False)
    with selectors.DefaultSelector() as selector:
        selector.register(terminal, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - monotonic())):
            try:
                data = os.read(terminal, 65_536)
            except OSError:  # Linux says so (EIO) when the other end is closed
                break
            if not data:
                break
            written.write(data)
    return written.getvalue()


def last_state(line: str) -> str:
    """Return a line as it stood in the end: a status that was written over is gone."""
    return line.rpartition("\r\x1b[2K")[2]


def excerpt(lines: list[Text]) -> list[Text]:
    """Return what fits a picture: from the prompt to the tests that pass."""
    first = next(index for index, line in enumerate(lines) if line.plain.startswith("> "))
    last = max(index for index, line in enumerate(lines) if " passed in " in line.plain)
    return lines[first : last + 1]


def draw(lines: list[Text]) -> str:
    """Return the lines, with their colours, as an SVG of a terminal."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in lines:
        console.print(line, soft_wrap=True)
    return console.export_svg(title="deskhand demo", theme=THEME, code_format=SVG_FORMAT, unique_id="demo")


if __name__ == "__main__":
    main(sys.argv[1:])
