"""The first step of a call: find the tool, and fit the arguments to its parameters."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from deskhand import log
from deskhand.calls.clock import Limits, limits_for
from deskhand.journal.blocks import ToolUse
from deskhand.seam.risk import Risk
from deskhand.settings import LimitSettings
from deskhand.tools.base import Resources, Tool, ToolError
from deskhand.tools.text import head_and_tail, visible

MALFORMED_SHOWN = 400
"""Characters of arguments that are not JSON; the model wrote them, and knows the rest."""

_REASON_SHOWN = 300
"""Characters of what is wrong with an argument; a name that the model made up can be of any length."""

_TOO_DEEP = "they are nested too deeply."


class Prepared(msgspec.Struct, frozen=True):
    """A call that can be decided and run: its tool, its arguments as the tool's own type, what follows from them."""

    use: ToolUse
    tool: Tool[Any]
    arguments: Any
    risk: Risk
    resources: Resources
    limits: Limits


class Rejected(msgspec.Struct, frozen=True):
    """A call that cannot run, and the sentence that tells the model why."""

    use: ToolUse
    sentence: str


def prepare(use: ToolUse, tools: Mapping[str, Tool[Any]], cwd: Path, settings: LimitSettings) -> Prepared | Rejected:
    """Return the call of `use`, ready to be decided, or why it cannot be made."""
    tool = tools.get(use.name)
    if tool is None:
        return Rejected(use, _no_such_tool(use.name, tools))
    if use.malformed is not None:
        return Rejected(use, _not_json(use.name, use.malformed))
    try:
        arguments = tool.parse(use.input)
        return Prepared(
            use,
            tool,
            arguments,
            tool.risk(arguments, cwd),
            tool.resources(arguments, cwd),
            limits_for(tool.limits, settings, tool.timeout(arguments)),
        )
    except msgspec.ValidationError as error:
        reason = visible(head_and_tail(str(error), _REASON_SHOWN)[0])
        return Rejected(use, f"Invalid arguments for {tool.name}: {reason}. {_signature(tool)}")
    except ToolError as error:
        return Rejected(use, str(error))
    except Exception as fault:  # a bug of ours costs this call, not the turn
        log.write("".join(traceback.format_exception(fault)))
        return Rejected(
            use, f"{tool.name} could not judge this call ({type(fault).__name__}: {fault}); it did not run."
        )


def _no_such_tool(name: str, tools: Iterable[str]) -> str:
    return f"There is no tool named {name[:80]!r}. The tools are: {', '.join(tools)}."


def _not_json(name: str, text: str) -> str:
    """Say what was wrong with the arguments and what came, so that a cut call is not sent again as it was."""
    shown = text if len(text) <= MALFORMED_SHOWN else f"{text[:MALFORMED_SHOWN]} … ({len(text):,} characters)"
    return f"The arguments of {name} were not run: {_problem(text)} What came: {visible(shown)}"


def _problem(text: str) -> str:
    try:
        value = msgspec.json.decode(text)
    except RecursionError:
        return _TOO_DEEP
    except msgspec.DecodeError as error:
        if _has_half_character(text):
            return "they hold one half of a surrogate pair (\\ud800 to \\udfff), which is no character."
        reason = str(error).rstrip(".")
        return f"they are not valid JSON ({reason}). If they were cut short, send less in one call."
    if isinstance(value, dict):
        return _TOO_DEEP
    return f"they are {'an array' if isinstance(value, list) else 'a single value'}, not a JSON object."


def _has_half_character(text: str) -> bool:
    """Tell whether a lone surrogate is all that is wrong; Python's own parser lets it through."""
    try:
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except (ValueError, RecursionError):
        return False
    return False


def _signature(tool: Tool[Any]) -> str:
    """Return the tool's parameters in one line: `Parameters: path (string), limit (integer, optional).`"""
    return f"Parameters: {_fields(tool.schema) or 'none'}."


def _fields(schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    return ", ".join(
        f"{name} ({_type_name(field)}{'' if name in required else ', optional'})"
        for name, field in schema.get("properties", {}).items()
    )


def _type_name(schema: Mapping[str, Any]) -> str:
    """Return a parameter's type in words, with what is in it where the type alone would not do."""
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if "items" in schema:
        return f"array of {_type_name(schema['items'])}"
    if "properties" in schema:
        return f"object: {_fields(schema)}"
    alternatives = [_type_name(part) for part in schema.get("anyOf", ())]
    return schema.get("type") or " or ".join(name for name in alternatives if name != "null") or "any"
