"""A daemon without sessions: it echoes lines, and does what some of them say.

Arguments: VERSION IDLE_EXIT (0: never).
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

from deskhand.daemon.lifetime import Lifetime
from deskhand.daemon.record import DaemonError
from deskhand.home import HomeError, find_home


class Echo:
    """The state of the daemon, and what it answers."""

    def __init__(self, version: str) -> None:
        self.lifetime = Lifetime(find_home(), version)
        self.has_work = False
        self.writers: set[asyncio.StreamWriter] = set()

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer each line with a line."""
        self.writers.add(writer)
        while line := await reader.readline():
            answer = await self.answer(line.decode().strip(), writer)
            writer.write(answer.encode() + b"\n")
            await writer.drain()

    async def answer(self, word: str, writer: asyncio.StreamWriter) -> str:
        """Do what the word says, and answer it."""
        match word:
            case "busy" | "free":
                self.has_work = word == "busy"
            case "flood":
                writer.write(b"x" * 50_000_000)
            case "flood and raise":
                writer.write(b"x" * 50_000_000)
                raise RuntimeError("this connection is at fault")
            case "raise":
                raise RuntimeError("this connection is at fault")
            case "hold on":
                while True:
                    try:
                        await asyncio.sleep(1)
                    except asyncio.CancelledError:
                        self.has_work = True
            case "stop":
                self.lifetime.stop()
            case "pid":
                return str(os.getpid())
            case "about":
                return json.dumps(about())
        return word

    def busy(self) -> bool:
        """Tell whether there is work; a machine that is overloaded may take a while to say so."""
        time.sleep(float(os.environ.get("DOZE", "0")))
        return self.has_work

    async def stop(self) -> None:
        """Say goodbye to all who listen."""
        for writer in self.writers:
            if not writer.is_closing():
                writer.write(b"goodbye\n")


def about() -> object:
    """Return what a detached process should have got rid of."""
    ignored = subprocess.run(["grep", "SigIgn", "/proc/self/status"], capture_output=True, text=True, check=True)
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "session": os.getsid(0),
        "cwd": str(Path.cwd()),
        "environment": dict(os.environ),
        "streams": [str(Path(f"/proc/self/fd/{number}").readlink()) for number in range(3)],
        "ignored by its programs": int(ignored.stdout.split()[1], 16),
    }


async def main(version: str, idle_exit: float) -> None:
    """Be the daemon."""
    echo = Echo(version)
    echo.lifetime.claim(**({"patience": 0.2} if "IMPATIENT" in os.environ else {}))
    await echo.lifetime.serve(
        echo.connection,
        busy=echo.busy,
        idle_exit=idle_exit or None,
        on_dump=lambda: print("dumped", file=sys.stderr, flush=True),
        on_stop=echo.stop,
    )


if __name__ == "__main__":
    try:
        asyncio.new_event_loop().run_until_complete(main(sys.argv[1], float(sys.argv[2])))
    except (DaemonError, HomeError) as error:
        print(error, file=sys.stderr, flush=True)
        os._exit(1)
    except BaseException:
        traceback.print_exc()
        os._exit(2)
    os._exit(0)
