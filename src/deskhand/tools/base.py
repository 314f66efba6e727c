"""What a tool is: a name, a schema, a kind, a risk, limits, and a function that runs it.

A built-in tool is one module and one text file beside it, joined by `built_in`. A tool knows nothing of
the model, the journal or the seam: it is given arguments that fit its parameters and a `CallContext`, and
answers with a `ToolResult` or raises `ToolError` with one sentence.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import msgspec

from deskhand.journal.events import FileSeen, Hunk, Location, PlanEntry
from deskhand.seam.risk import Risk

Kind = Literal["read", "edit", "delete", "move", "search", "execute", "think", "fetch", "other"]
"""The kinds of ACP's `tool_call`."""

LimitsKind = Literal["internal", "mcp", "other"]
"""The row of the settings' limits that a tool falls under."""

_LONGEST_PATH = 4096
"""Characters; Linux takes as many bytes (PATH_MAX), other systems fewer."""

A = TypeVar("A")


class ToolError(Exception):
    """The call failed; the message is the one sentence that the model is told."""


class Resources(msgspec.Struct, frozen=True):
    """The paths that a call touches; a folder stands for all below it. Calls that conflict run in order."""

    reads: frozenset[Path] = frozenset()
    writes: frozenset[Path] = frozenset()


EVERYTHING = Resources(writes=frozenset({Path("/")}))
NOTHING = Resources()


class ImageData(msgspec.Struct, frozen=True):
    """An image as a tool found it: PNG, JPEG, GIF or WebP of any size. The seam of results shrinks it."""

    data: bytes
    media_type: str


class Change(msgspec.Struct, frozen=True):
    """A file that the call changed: its bytes before (None: there was no file) and after (None: it is gone)."""

    path: Path
    before: bytes | None
    after: bytes | None
    hunks: tuple[Hunk, ...] = ()


class ToolResult(msgspec.Struct, frozen=True):
    """What a call gives back.

    `content` is for the model, strings and images in order; `error` says that the tool did not do what was
    asked; `outside` that the content came from beyond this machine. `output` is the file with the whole
    output where `content` has only a part, `size` the whole output's bytes (0: as long as the content).
    """

    content: tuple[str | ImageData, ...]
    error: bool = False
    outside: bool = False
    output: Path | None = None
    size: int = 0
    seen: tuple[FileSeen, ...] = ()
    changes: tuple[Change, ...] = ()
    locations: tuple[Location, ...] = ()
    plan: tuple[PlanEntry, ...] | None = None


class Ending(msgspec.Struct, frozen=True):
    """Why a running call is being ended from outside: the words for its result, and whether the clock did it."""

    sentence: str
    expired: bool


class CallContext(msgspec.Struct):
    """What a running call may know and touch of the agent.

    `cwd` resolves relative paths. `outputs` is an existing private folder for long outputs; name files there
    after `call`, which is unique and safe in a file name. `seen` maps a file's path to the digest of what the
    model last saw in it. `progress` must be called whenever the call visibly moves on. `spawned` records a
    process that the call started: pid and start time. `call_limits` are the quiet and total limits in
    seconds that the clock applies. When the clock or the user ends the call, `ending` is set and then the
    tool's task is cancelled: a tool that has something to show for its time catches `CancelledError`, cleans
    up within a second, and returns its partial result; a tool that does not is answered for.
    """

    session: str
    call: str
    cwd: Path
    outputs: Path
    seen: Mapping[str, str] = msgspec.field(default_factory=dict)
    progress: Callable[[], None] = lambda: None
    spawned: Callable[[int, str], None] = lambda pid, started: None
    call_limits: tuple[float, float] = (300.0, 3600.0)
    ending: Ending | None = None

    def path(self, text: str) -> Path:
        """Return `text` as an absolute path: `~` is the home folder, relative is to the session's cwd.

        Symlinks stay unresolved, `..` is folded. Raises `ToolError` where it can be no path.
        """
        return resolve(self.cwd, text)


def resolve(cwd: Path, text: str) -> Path:
    """Return `text` as an absolute path, relative to `cwd`; see `CallContext.path`."""
    if len(text) > _LONGEST_PATH:
        shown = f"{text[:100]!r}…"
        raise ToolError(f"{shown} is not a path: it has {len(text):,} characters, of at most {_LONGEST_PATH:,}.")
    if not text or "\0" in text or not _is_encodable(text):
        raise ToolError(f"{text!r} is not a path: give a file's name, absolute or relative to {cwd}.")
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise ToolError(f"{text!r} names a user that does not exist: give an absolute path.") from None
    joined = cwd / path
    return Path(*_fold(joined.parts))


def _is_encodable(text: str) -> bool:
    """Half a surrogate pair, which JSON can hold, is in no file's name."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def _fold(parts: tuple[str, ...]) -> list[str]:
    """Remove `..` with what it steps out of, as a shell's `cd` does."""
    folded: list[str] = []
    for part in parts:
        if part == "..":
            if len(folded) > 1:
                folded.pop()
        else:
            folded.append(part)
    return folded


class Tool(msgspec.Struct, Generic[A], frozen=True):
    """A tool as the registry holds it. `title` puts a call into a few words for people."""

    name: str
    description: str
    schema: Mapping[str, Any]
    kind: Kind
    parse: Callable[[Mapping[str, Any]], A]
    run: Callable[[A, CallContext], Coroutine[Any, Any, ToolResult]]
    risk: Callable[[A, Path], Risk]
    resources: Callable[[A, Path], Resources]
    title: Callable[[A], str]
    limits: LimitsKind = "other"
    timeout: Callable[[A], float | None] = lambda arguments: None


def built_in(
    module_file: str,
    parameters: type[A],
    *,
    kind: Kind,
    run: Callable[[A, CallContext], Coroutine[Any, Any, ToolResult]],
    risk: Callable[[A, Path], Risk],
    resources: Callable[[A, Path], Resources],
    title: Callable[[A], str],
    limits: LimitsKind = "other",
    timeout: Callable[[A], float | None] = lambda arguments: None,
) -> Tool[A]:
    """Return the tool of the module in `module_file`: named like it, described by the .md file beside it.

    `parameters` is a `msgspec.Struct` with `forbid_unknown_fields`; its field descriptions are paid for on
    every request. `timeout` reads the model's own limit, in seconds, from the arguments.
    """
    path = Path(module_file)
    return Tool(
        name=path.stem,
        description=path.with_suffix(".md").read_text(encoding="utf-8").strip(),
        schema=_schema(parameters),
        kind=kind,
        parse=lambda arguments: msgspec.convert(arguments, parameters),
        run=run,
        risk=risk,
        resources=resources,
        title=title,
        limits=limits,
        timeout=timeout,
    )


def _schema(parameters: type[Any]) -> dict[str, Any]:
    """Return the JSON Schema of a Struct, without `$ref` (some local servers follow none) and without titles."""
    components = msgspec.json.schema(parameters)
    definitions = components.get("$defs", {})

    def inline(node: Any) -> Any:
        if isinstance(node, list):
            return [inline(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return inline(definitions[node["$ref"].rsplit("/", 1)[-1]])
        return {key: inline(value) for key, value in node.items() if not _is_noise(key, value)}

    schema: dict[str, Any] = inline(components)
    schema.pop("description", None)  # the Struct's docstring, which is for readers of the code
    return schema


def _is_noise(key: str, value: Any) -> bool:
    """Tell the keywords that cost tokens and tell a model nothing from parameters of the same name."""
    return key == "$defs" or (key in ("title", "default") and not isinstance(value, dict))
