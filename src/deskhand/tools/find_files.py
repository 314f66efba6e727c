"""The `find_files` tool: files by a pattern for their path, the newest first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import msgspec

from deskhand.seam.risk import READ
from deskhand.tools.base import CallContext, ToolError, ToolResult, built_in
from deskhand.tools.files import Stopped, check_searchable, reads, show_path, stoppable
from deskhand.tools.walk import LONGEST_GLOB, path_filter, walk

MOST_FILES = 200


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to find."""

    pattern: Annotated[str, msgspec.Meta(max_length=LONGEST_GLOB)]
    path: Annotated[str, msgspec.Meta(description="folder")] = "."


async def run(parameters: Parameters, context: CallContext) -> ToolResult:
    """Find the files."""
    root = context.path(parameters.path)
    check_searchable(root)
    if not root.is_dir():
        raise ToolError(f"{root} is a file: give the folder to look in.")
    pattern = parameters.pattern.removeprefix(f"{root}/")
    if not pattern.strip("/"):
        raise ToolError("pattern is empty: * is for every file.")
    found = await stoppable(_find, root, pattern)
    if not found:
        text = f"No file fits {parameters.pattern} under {root} (what .gitignore excludes is not looked at)."
        return ToolResult((text,))
    lines = [show_path(path, context.cwd) for path in found[:MOST_FILES]]
    if len(found) > MOST_FILES:
        lines.append(f"[{len(found) - MOST_FILES:,} more, older ones: narrow the pattern or the path.]")
    return ToolResult(("\n".join(lines),))


def _find(stopped: Stopped, root: Path, pattern: str) -> list[str]:
    """Return the paths that fit, newest first, and by name where they are equally new."""
    fits = path_filter(pattern)
    below = len(os.path.join(root, ""))  # noqa: PTH118 - the one slash that a root of / has already
    found = [(-_changed_at(entry), entry.path) for entry in walk(root, stopped) if fits(entry.path[below:])]
    return [path for _, path in sorted(found)]


def _changed_at(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_mtime_ns
    except OSError:  # gone in the meantime
        return 0


def _title(parameters: Parameters) -> str:
    return f"Find {parameters.pattern}" + ("" if parameters.path == "." else f" in {parameters.path}")


TOOL = built_in(
    __file__,
    Parameters,
    kind="search",
    run=run,
    risk=lambda parameters, cwd: READ,
    resources=lambda parameters, cwd: reads(parameters.path, cwd),
    title=_title,
)
