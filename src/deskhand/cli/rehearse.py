"""`deskhand rehearse SCRIPT`: a scripted model on loopback, until it is stopped."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deskhand.cli.arguments import port_number
from deskhand.cli.terminal import Terminal, complain, safe

if TYPE_CHECKING:
    import argparse

    from deskhand.model.rehearsal import Exchange
    from deskhand.model.rehearsal_script import Script

FAILED = 1


def run(arguments: list[str]) -> int:
    """Serve the script until Ctrl-C or SIGTERM, and return the exit code: 0 stopped, 1 failed, 2 usage."""
    options = _parse(arguments)

    import asyncio

    from deskhand.model.rehearsal import RehearsalError
    from deskhand.model.rehearsal_script import ScriptError, load_script

    try:
        script = load_script(Path(options.script))
        asyncio.run(_serve(script, options.port, Path(options.record) if options.record else None))
    except (ScriptError, RehearsalError) as error:
        complain(str(error))
        return FAILED
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    import argparse

    parser = argparse.ArgumentParser(
        prog="deskhand rehearse",
        description="Serve a scripted model on loopback, in the format of the Anthropic Messages API.",
        epilog="docs/rehearsal.md says how to write a script.",
    )
    parser.add_argument("script", metavar="SCRIPT", help="the script, a TOML file")
    parser.add_argument("--port", type=port_number, default=0, metavar="N", help="the port (default: any that is free)")
    parser.add_argument("--record", metavar="FILE", help="append every request to FILE, as lines of JSON")
    return parser.parse_args(arguments)


async def _serve(script: Script, port: int, record: Path | None) -> None:
    import asyncio

    from deskhand.model.rehearsal import Rehearsal

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    screen, log = Terminal(sys.stdout), Terminal(sys.stderr)
    async with Rehearsal(script, port=port, record=record, observe=lambda done: _tell(log, done), keep=False) as server:
        screen.line(f"export ANTHROPIC_BASE_URL={server.url}")
        log.line(f"Playing {safe(script.name)}, steps: {len(script.steps)}.")
        log.line("Type the line above in another terminal, and use deskhand there; Ctrl-C ends the rehearsal.")
        await stopped.wait()


def _tell(log: Terminal, done: Exchange) -> None:
    step = f" step {done.step}" if done.step else ""
    log.line(f"{done.method} {safe(done.path)}{step}: {safe(done.answer)}")
