"""`screenshot`: a picture of the screen, taken by a program of its own (see `grab`)."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import msgspec

from deskhand import processes
from deskhand.images import media_type_of
from deskhand.seam.risk import READ
from deskhand.tools.base import CallContext, ImageData, Resources, ToolError, ToolResult, built_in
from deskhand.tools.text import clean

SECONDS = 20.0
"""For the picture; an X server that is stopped, or a question for permission, can take for ever."""

AFTER_WRITERS = Resources(reads=frozenset({Path("/")}))
"""A picture shows what the calls before it did, so it waits for them."""


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    monitor: Annotated[int, msgspec.Meta(ge=1)] = 1


async def run(arguments: Parameters, context: CallContext) -> ToolResult:
    """Take the picture; what it shows may come from anywhere, so it counts as outside."""
    picture = context.outputs / f"{context.call}.png"
    words = context.outputs / f"{context.call}.txt"
    try:
        code = await _grab(arguments.monitor, picture, words, context)
        said = clean(words.read_bytes()).strip()
        if code != 0:
            raise ToolError(said.rpartition("\n")[2] or f"The picture failed with exit code {code}.")
        data = picture.read_bytes()
    except OSError as error:
        raise ToolError(f"The picture cannot be taken: {error.strerror} ({error.filename}).") from None
    finally:
        for path in (picture, words):
            with suppress(OSError):
                path.unlink()
    return ToolResult((said, ImageData(data, media_type_of(data) or "image/png")), outside=True)


async def _grab(monitor: int, picture: Path, words: Path, context: CallContext) -> int:
    process = processes.start(
        # -P: the folder it runs in must not lend it modules.
        [sys.executable, "-P", "-m", "deskhand.tools.grab", str(monitor), str(picture)],
        cwd=context.outputs,
        environment=os.environ,
        output=words,
        mark=(context.session, context.call),
    )
    context.spawned(process.pid, process.started)
    try:
        async with asyncio.timeout(SECONDS):
            return await process.wait()
    except TimeoutError:
        raise ToolError(
            f"The screen gave no picture within {SECONDS:.0f} s: it may be locked, or want a permission. Ask the user."
        ) from None
    finally:
        await process.end()


TOOL = built_in(
    __file__,
    Parameters,
    kind="read",
    run=run,
    risk=lambda arguments, cwd: READ,
    resources=lambda arguments, cwd: AFTER_WRITERS,
    title=lambda arguments: f"Look at the screen (monitor {arguments.monitor})",
)
