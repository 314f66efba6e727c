"""From a step to the bytes of its answer: expectations, placeholders, events and faults. Pure: no socket, no clock."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from deskhand.model.rehearsal_request import RefusalError, Request, Thinking, ThinkingEnabled, sign
from deskhand.model.rehearsal_script import NO_FAULT, PLACEHOLDER, Call, Fault, Manner, Step

MAX_SHOWN = 400
MAX_PIECES = 2_000
ARGUMENT_PIECE = 16

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}

Ending = Literal["complete", "reset", "end", "stall", "hang"]
"""How an answer ends: as it should; by a TCP reset; too early; in silence; or in silence before it began."""


@dataclass(slots=True)
class Reply:
    """An answer as it goes out: `pieces` of the body, with seconds before the first and between them.

    `limit` is the bytes of the body that are sent before a premature `ending`; `what` tells it in the log.
    """

    status: int
    pieces: list[bytes]
    what: str
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    first_byte_delay: float = 0.0
    token_delay: float = 0.0
    ending: Ending = "complete"
    limit: int = 0


def error_reply(status: int, message: str, kind: str | None = None) -> Reply:
    """Return an error in the API's shape."""
    kind = kind or ERROR_TYPES.get(status, "api_error")
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_rehearsal"}
    return Reply(status, [msgspec.json.encode(body)], f"{status} {kind}: {message}")


def json_reply(what: str, body: Any) -> Reply:
    """Return a plain answer."""
    return Reply(200, [msgspec.json.encode(body)], what)


def step_reply(step: Step, request: Request, size: int, fault: Fault, manner: Manner) -> Reply:
    """Return the answer of `step` to a request of `size` bytes.

    Raises `RefusalError` where the request does not show what the step expects.
    """
    _check_expectations(step, request)
    reply = _replacement(fault, request) or _answer(step, request, size, fault)
    reply.content_type = fault.content_type or reply.content_type
    _pace(reply, fault, manner)
    return reply


def _answer(step: Step, request: Request, size: int, fault: Fault) -> Reply:
    message = _message(step, request, size, empty=fault.empty)
    what = _summary(step) if fault is NO_FAULT else f"{_summary(step)}, with {_name(fault)}"
    if request.stream:
        return Reply(200, _damaged(_events(message), fault), what, "text/event-stream; charset=utf-8")
    return json_reply(what, message)


def _replacement(fault: Fault, request: Request) -> Reply | None:
    """Return what is answered in place of the message, if anything is."""
    name = f"step {request.number} with {_name(fault)}"
    if fault.body is not None:
        reply = Reply(fault.status or 200, [fault.body.encode()], name)
    elif fault.status is not None:
        reply = error_reply(fault.status, fault.message or f"This failure is rehearsed, in {name}.", fault.type)
    else:
        return None
    if fault.retry_after is not None:
        wait = f"{fault.retry_after:g}" if isinstance(fault.retry_after, float) else fault.retry_after
        reply.headers = (("retry-after", wait),)
    return reply


def _pace(reply: Reply, fault: Fault, manner: Manner) -> None:
    """Set the delays and the ending."""
    reply.first_byte_delay = manner.first_byte_delay if fault.first_byte_delay is None else fault.first_byte_delay
    reply.token_delay = manner.token_delay if fault.token_delay is None else fault.token_delay
    if fault.hang:
        reply.ending = "hang"
    elif fault.drop_after is not None:
        reply.ending, reply.limit = "reset", fault.drop_after
    elif fault.end_after is not None:
        reply.ending, reply.limit = "end", fault.end_after
    elif fault.stall_after is not None:
        reply.ending, reply.limit = "stall", fault.stall_after


def check_reasoning(previous: Step | None, request: Request) -> None:
    """Check that the reasoning before a call came back with the call's result, as the API wants it.

    `previous` is the step whose calls the request answers. Raises `RefusalError`.
    """
    if previous is None or not (previous.think and previous.calls):
        return
    if not isinstance(request.thinking, ThinkingEnabled) or len(request.messages) < 2:
        return
    first = request.messages[-2].blocks[0]
    if not isinstance(first, Thinking):
        raise RefusalError(
            f"messages.{len(request.messages) - 2}.content.0.type: Expected `thinking` or `redacted_thinking`. "
            "When `thinking` is enabled, a final `assistant` message must start with a thinking block."
        )


def _check_expectations(step: Step, request: Request) -> None:
    expect = step.expect
    shown = "\n".join(result.text for result in request.results)
    if expect.prompt is not None and not re.search(expect.prompt, request.prompt):
        raise _unmet(request, f"a prompt that matches {expect.prompt!r}", request.prompt)
    for expression in expect.results:
        if not re.search(expression, shown):
            raise _unmet(request, f"a tool result that matches {expression!r}", shown)
    if expect.error is not None:
        if not request.results:
            raise _unmet(request, "tool results", "")
        if any(result.is_error != expect.error for result in request.results):
            raise _unmet(request, f"tool results with is_error {str(expect.error).lower()}", shown)
    if expect.system is not None and not re.search(expect.system, request.system_text):
        raise _unmet(request, f"a system prompt that matches {expect.system!r}", request.system_text)
    offered = {tool.name for tool in request.tools}
    if missing := sorted(set(expect.tools) - offered):
        raise _unmet(request, f"the tools {', '.join(missing)}", ", ".join(sorted(offered)))


def _unmet(request: Request, wanted: str, came: str) -> RefusalError:
    shown = came if len(came) <= MAX_SHOWN else f"{came[: MAX_SHOWN // 2]} […] {came[-MAX_SHOWN // 2 :]}"
    return RefusalError(f"The rehearsal's step {request.number} expected {wanted}; it got {shown or 'none'!r}.")


def _fill(value: Any, request: Request) -> Any:
    """Replace the placeholders in a text, or in every text of a call's arguments."""
    if isinstance(value, str):
        return PLACEHOLDER.sub(lambda found: _filling(found, request), value) if "{{" in value else value
    if isinstance(value, dict):
        return {key: _fill(item, request) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, request) for item in value]
    return value


def _filling(placeholder: re.Match[str], request: Request) -> str:
    if placeholder[2] is None:
        return str(request.number)
    shown = "\n".join(result.text for result in request.results)
    found = re.search(placeholder[2], shown)
    if found is None:
        raise _unmet(request, f"a tool result that matches {placeholder[2]!r}", shown)
    return found[1] if found.re.groups else found[0]


def _message(step: Step, request: Request, size: int, *, empty: bool) -> dict[str, Any]:
    """Return the answer as the API's message object. Arguments that are no JSON stand in it as text."""
    content: list[dict[str, Any]] = [] if empty else _content(step, request)
    stop = "tool_use" if step.calls and not empty else "end_turn"
    usage = {
        "input_tokens": max(1, size // 4),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": max(1, len(msgspec.json.encode(content)) // 4),
    }
    return {
        "id": f"msg_rehearsal_{request.number}",
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": content,
        "stop_reason": step.stop_reason or stop,
        "stop_sequence": None,
        "usage": usage | step.usage,
    }


def _content(step: Step, request: Request) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    if step.think:
        thinking = _fill(step.think, request)
        content.append({"type": "thinking", "thinking": thinking, "signature": sign(thinking)})
    if step.say:
        content.append({"type": "text", "text": _fill(step.say, request)})
    for position, call in enumerate(step.calls, 1):
        content.append(_tool_use(call, position, request))
    return content


def _tool_use(call: Call, position: int, request: Request) -> dict[str, Any]:
    arguments = call.arguments if call.raw is None else call.raw
    identity = call.id or f"toolu_rehearsal_{request.number}_{position}"
    return {"type": "tool_use", "id": identity, "name": call.tool, "input": _fill(arguments, request)}


def _events(message: dict[str, Any]) -> list[bytes]:
    """Return the message as server-sent events, one item each, in the shape and order of the API."""
    usage = message["usage"]
    opening = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    events = [_event("message_start", message=opening)]
    for index, block in enumerate(message["content"]):
        events.append(_event("content_block_start", index=index, content_block=_opened(block)))
        if index == 0:
            events.append(_event("ping"))
        events += [_event("content_block_delta", index=index, delta=delta) for delta in _deltas(block)]
        events.append(_event("content_block_stop", index=index))
    ending = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    events.append(_event("message_delta", delta=ending, usage={"output_tokens": usage["output_tokens"]}))
    events.append(_event("message_stop"))
    return events


def _event(kind: str, **data: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode({"type": kind, **data}))


def _opened(block: dict[str, Any]) -> dict[str, Any]:
    """Return the block as it is before its first delta."""
    if block["type"] == "tool_use":
        return {**block, "input": {}}
    if block["type"] == "thinking":
        return {"type": "thinking", "thinking": "", "signature": ""}
    return {"type": "text", "text": ""}


def _deltas(block: dict[str, Any]) -> Iterable[dict[str, str]]:
    if block["type"] == "text":
        for piece in _tokens(block["text"]):
            yield {"type": "text_delta", "text": piece}
    elif block["type"] == "thinking":
        for piece in _tokens(block["thinking"]):
            yield {"type": "thinking_delta", "thinking": piece}
        yield {"type": "signature_delta", "signature": block["signature"]}
    else:
        arguments = block["input"]
        text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
        for piece in ("", *_cut(text, ARGUMENT_PIECE)):
            yield {"type": "input_json_delta", "partial_json": piece}


def _tokens(text: str) -> list[str]:
    """Cut a text into words, each with the space before it, as a model's tokens come."""
    words = re.findall(r"\s*\S+|\s+$", text)
    return words if len(words) <= MAX_PIECES else _cut(text, 1)


def _cut(text: str, size: int) -> list[str]:
    """Cut a text into pieces of `size`, longer ones where they would be too many."""
    size = max(size, -(-len(text) // MAX_PIECES))
    return [text[start : start + size] for start in range(0, len(text), size)]


def _damaged(events: list[bytes], fault: Fault) -> list[bytes]:
    """Return the events with what the fault does to one of them."""
    middle = len(events) // 2
    if fault.stream_error is not None:
        error = {"type": fault.stream_error, "message": fault.message or "This failure is rehearsed."}
        return [*events[:middle], _event("error", error=error)]
    if fault.malformed:
        broken = events[middle]
        return [*events[:middle], broken[: len(broken) // 2] + b"\n\n", *events[middle + 1 :]]
    return events


def _summary(step: Step) -> str:
    parts = [call.tool for call in step.calls]
    if step.say:
        parts.insert(0, f"{len(step.say)} characters")
    if step.think:
        parts.insert(0, "a thought")
    return ", ".join(parts) or "nothing"


def _name(fault: Fault) -> str:
    """Return the keys of the fault that are set, as the script writes them."""
    set_keys = {key: value for key, value in msgspec.to_builtins(fault).items() if value not in (None, False)}
    return "the fault " + ", ".join(f"{key} = {value}" for key, value in set_keys.items())
