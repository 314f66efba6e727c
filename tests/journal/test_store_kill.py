"""`kill -9` at any instant costs nothing that was acknowledged."""

from __future__ import annotations

import random
import subprocess
import sys
import textwrap
from pathlib import Path

from deskhand.journal.blocks import Text
from deskhand.journal.events import CallFinished, CallSpawned
from deskhand.journal.store import Journal

ROUNDS = 25

APPEND_UNTIL_KILLED = textwrap.dedent("""
    import asyncio, itertools, sys
    from pathlib import Path
    from deskhand.journal.blocks import Image, Text
    from deskhand.journal.events import CallFinished, CallSpawned
    from deskhand.journal.store import Journal

    async def main():
        journal = Journal.open(Path(sys.argv[1]))
        for number in itertools.count():
            journal.append("s", CallSpawned(1, f"c{number}", number, "0"))
            content = (Text("x" * (number * 997 % 9000)), Image("image/png", f"d{number}"))
            event = CallFinished(1, f"c{number}", "bash", "ok", content)
            entry = await journal.append("s", event, {f"d{number}": ("image/png", b"y" * 500)})
            print(entry.seq, flush=True)

    asyncio.run(main())
""")


def test_no_acknowledged_event_is_lost_by_a_kill(path: Path) -> None:
    """lessons.md 19, on one journal that is killed and taken up again and again."""
    chance = random.Random(19)
    acknowledged: list[int] = []
    for _ in range(ROUNDS):
        acknowledged += _append_and_kill(path, chance.randint(0, 40))
        journal = Journal.open(path)
        entries = {entry.seq: entry.event for entry in journal.entries("s")}
        for seq in acknowledged:
            event = entries[seq]
            assert isinstance(event, CallFinished)
            assert isinstance(event.content[0], Text)
            assert journal.blob(f"d{event.call[1:]}") == ("image/png", b"y" * 500)
            before = entries[seq - 1]
            assert isinstance(before, CallSpawned), "what was appended before it is there too"
        journal.close_now()


def _append_and_kill(path: Path, after: int) -> list[int]:
    """Kill the writer after so many acknowledgements; return the numbers of those that arrived."""
    process = subprocess.Popen([sys.executable, "-c", APPEND_UNTIL_KILLED, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(after)]
    process.kill()
    lines += process.stdout.read().splitlines(keepends=True)
    process.wait()
    process.stdout.close()
    return [int(line) for line in lines if line.endswith(b"\n")]
