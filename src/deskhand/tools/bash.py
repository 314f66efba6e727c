"""`bash`: run a shell command, and come back from it whatever it does.

A command that fails (an exit code other than 0, a signal) is an error to the model, as in Anthropic's own tools;
its output is there all the same. How long it took is not in the text: two equal results must look equal.
"""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import msgspec

from deskhand import processes
from deskhand.processes import Process, Survivor
from deskhand.seam.risk import Risk
from deskhand.tools.base import EVERYTHING, CallContext, Resources, ToolError, ToolResult, built_in
from deskhand.tools.text import file_head_and_tail, human_size

SHOWN = 24_000
"""Characters of output that the model gets."""

OUTPUT_CAP = 256_000_000
"""Bytes of output at which a command is ended, so that it does not fill the disk."""

_ARGUMENT_CAP = 128 * 1024 - 1
"""Bytes that Linux takes in one argument (MAX_ARG_STRLEN, execve(2)), without the closing NUL."""

_LOOK = 0.25
"""Seconds between two looks at the size of the output. A quicker command is never looked at."""

_SHORT = 80
"""Characters of a command in a title or a remark."""

_NAMED = 5
"""Processes of a remark that are named."""

SECRETS = frozenset({"ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"})
"""The agent's own keys, which commands do not get: anything that a model reads may ask it to print or send them,
and every result is journalled. A program that needs a key of its own reads it from where the user keeps it."""

FORCED = {
    "TERM": "dumb",
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "MANPAGER": "cat",
    "EDITOR": "true",
    "VISUAL": "true",
    "GIT_EDITOR": "true",
    "GIT_TERMINAL_PROMPT": "0",
    "PYTHONUNBUFFERED": "1",
}
"""Nobody can page, edit, or answer a prompt. Python holds back what it writes to a file, and a command that
shows nothing for long is taken to hang. NO_COLOR is absent: it would change what a user's tests see."""


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    command: Annotated[str, msgspec.Meta(min_length=1)]
    timeout: Annotated[float, msgspec.Meta(gt=0)] | None = None


class _FloodError(Exception):
    """The output has passed `OUTPUT_CAP`."""


async def run(arguments: Parameters, context: CallContext) -> ToolResult:
    """Run the command to its end, or to that of the call: then its output so far is the result.

    Raises `ToolError` where it cannot be started.
    """
    output = context.outputs / f"{context.call}.txt"
    script = context.outputs / f"{context.call}.sh"
    try:
        process = _start(arguments.command, context, output, script)
        try:
            context.spawned(process.pid, process.started)
            code = await _wait(process, output, context)
            return _result(output, code != 0, _exit_remark(code), survivors=await process.survivors())
        except _FloodError:
            left = await process.end()
            with suppress(OSError):  # the command may have removed the file
                os.truncate(output, OUTPUT_CAP)
            return _result(output, True, f"[ended: its output passed {human_size(OUTPUT_CAP)}]", _left_remark(left))
        except asyncio.CancelledError:
            left = await process.end()
            if context.ending is None:
                raise
            return _result(output, True, context.ending.sentence, _left_remark(left))
        except Exception:  # the call could not be put on record, say: nobody would own the process
            await process.end()
            raise
    finally:
        script.unlink(missing_ok=True)


def _start(command: str, context: CallContext, output: Path, script: Path) -> Process:
    try:
        return processes.start(
            [_find_shell(), *_shell_arguments(command, script)],
            cwd=context.cwd,
            environment=_environment(os.environ, context.cwd),
            output=output,
            mark=(context.session, context.call),
        )
    except ValueError:
        raise ToolError(
            "The command holds a NUL or half of a surrogate pair, which no shell takes: "
            "write such bytes as escapes, with printf for example."
        ) from None
    except OSError as error:
        if not context.cwd.is_dir():
            raise ToolError(f"The working folder {context.cwd} is not there any more: make it again first.") from None
        raise ToolError(f"The command cannot be started: {error.strerror} ({error.filename or output}).") from None


def _shell_arguments(command: str, script: Path) -> list[str]:
    """Give the command as an argument, or in the file `script` where it is too long for one."""
    data = os.fsencode(command)
    if len(data) <= _ARGUMENT_CAP or b"\0" in data:
        return ["-c", "--", command]
    script.write_bytes(data)
    return [str(script)]


@functools.cache
def _find_shell() -> str:
    """Return the full path of bash; of sh where there is no bash."""
    return shutil.which("bash") or shutil.which("sh") or "/bin/sh"


def _environment(own: Mapping[str, str], cwd: Path) -> dict[str, str]:
    """Return the agent's environment as commands get it: without `SECRETS`, with `FORCED`.

    PWD is the name under which the user knows `cwd`; without it, the shell would resolve symlinks.
    """
    return {name: value for name, value in own.items() if name not in SECRETS} | FORCED | {"PWD": str(cwd)}


async def _wait(process: Process, output: Path, context: CallContext) -> int:
    """Return the exit code, reporting the output's growth as progress; raises `_FloodError`."""
    seen = 0
    while True:
        try:
            async with asyncio.timeout(_LOOK):
                return await process.wait()
        except TimeoutError:
            size = _size(output)
            if size > OUTPUT_CAP:
                raise _FloodError from None
            if size != seen:
                seen = size
                context.progress()


def _result(output: Path, error: bool, *remarks: str, survivors: Sequence[Survivor] = ()) -> ToolResult:
    """Return what the command wrote, then the remarks. The file stays where it has more to say, now or later."""
    size = _size(output)
    try:
        text, was_cut = file_head_and_tail(output, SHOWN)
    except OSError as problem:
        text, was_cut = f"(the output cannot be read: {problem.strerror})", False
    lines = [text.removesuffix("\n") if text.strip() else "(no output)", *remarks]
    if was_cut:
        lines.append(f"[all {human_size(size)} of output: {output} - use `read`, grep or sed on it]")
    if survivors:
        lines.append(_survivors_remark(survivors, output))
    if _is_disk_full(output.parent):
        lines.append(f"[the disk of {output.parent} is full: output may be missing]")
    kept = was_cut or bool(survivors)
    if not kept:
        output.unlink(missing_ok=True)
    return ToolResult(("\n".join(filter(None, lines)),), error=error, output=output if kept else None, size=size)


def _exit_remark(code: int) -> str:
    if code >= 0:
        return f"[exit {code}]" if code else ""
    try:
        return f"[killed by {signal.Signals(-code).name}]"
    except ValueError:  # a real-time signal
        return f"[killed by signal {-code}]"


def _left_remark(left: Sequence[int]) -> str:
    return f"[could not be ended: {_pids(left)}]" if left else ""


def _survivors_remark(survivors: Sequence[Survivor], output: Path) -> str:
    named = ", ".join(f"pid {survivor.pid} ({_short(survivor.command)})" for survivor in survivors[:_NAMED])
    more = ", …" if len(survivors) > _NAMED else ""
    runs = "1 process still runs" if len(survivors) == 1 else f"{len(survivors)} processes still run"
    return f"[{runs}: {named}{more}; what they print to the command's output goes to {output}]"


def _pids(pids: Sequence[int]) -> str:
    return ", ".join(f"pid {pid}" for pid in pids)


def _short(text: str) -> str:
    return text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _is_disk_full(folder: Path) -> bool:
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    return disk.f_blocks > 0 and disk.f_bavail == 0


def _risk(arguments: Parameters, cwd: Path) -> Risk:
    from deskhand.seam.shell import classify  # 10 ms of patterns that the first request need not wait for

    return classify(arguments.command, cwd)


def _resources(arguments: Parameters, cwd: Path) -> Resources:
    """What only reads may run beside other reads; of everything else nobody can say what it touches."""
    if _risk(arguments, cwd).klass == "read":
        return Resources(reads=frozenset({Path("/")}))
    return EVERYTHING


TOOL = built_in(
    __file__,
    Parameters,
    kind="execute",
    run=run,
    risk=_risk,
    resources=_resources,
    title=lambda arguments: _short(" ".join(arguments.command.split())),
    timeout=lambda arguments: arguments.timeout,
)
