"""The script of a rehearsal: what the scripted model answers, step by step, read from TOML.

docs/rehearsal.md says how to write one. A script is checked whole when it is read, so that a mistake in
step 40 is told before step 1 is played.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

PLACEHOLDER = re.compile(r"\{\{(step|result:(.+?))\}\}", re.DOTALL)
"""`{{step}}` is the step's number; `{{result:REGEX}}` what REGEX finds in the results that the step answers."""

Delay = Annotated[float, msgspec.Meta(ge=0)]
Size = Annotated[int, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Repeat = Annotated[int, msgspec.Meta(ge=1, le=100_000)]


class ScriptError(Exception):
    """The script cannot be played; the message is one sentence that names the file, the step and the key."""


class Call(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One tool call. `raw` is sent as the text of the arguments as it stands, JSON or not."""

    tool: str
    arguments: dict[str, Any] = {}
    raw: str | None = None
    id: str | None = None


class Expect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the request must show before the step is answered; `prompt`, `result` and `system` are searched for."""

    prompt: str | None = None
    result: str | tuple[str, ...] = ()
    error: bool | None = None
    system: str | None = None
    tools: tuple[str, ...] = ()

    @property
    def results(self) -> tuple[str, ...]:
        """The expressions that must each be found in the results."""
        return (self.result,) if isinstance(self.result, str) else self.result

    def expressions(self) -> Iterator[tuple[str, str]]:
        """Yield each regular expression with its key."""
        if self.prompt is not None:
            yield "prompt", self.prompt
        for expression in self.results:
            yield "result", expression
        if self.system is not None:
            yield "system", self.system


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What goes wrong with an answer; delays in seconds, `*_after` in bytes of the answer's body.

    `times` is how many attempts at the same request meet it; None: all of them.
    """

    times: Count | None = None
    first_byte_delay: Delay | None = None
    token_delay: Delay | None = None
    status: Annotated[int, msgspec.Meta(ge=400, le=599)] | None = None
    type: str | None = None
    message: str | None = None
    retry_after: float | str | None = None
    body: str | None = None
    content_type: str | None = None
    empty: bool = False
    malformed: bool = False
    stream_error: str | None = None
    drop_after: Size | None = None
    end_after: Size | None = None
    stall_after: Size | None = None
    hang: bool = False


NO_FAULT = Fault()


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One answer of the scripted model, what it expects first, and what goes wrong with it."""

    say: str = ""
    think: str = ""
    call: Call | tuple[Call, ...] = ()
    stop_reason: str | None = None
    usage: dict[str, int] = {}
    expect: Expect = Expect()
    fault: Fault | tuple[Fault, ...] = ()
    repeat: Repeat = 1

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls, several of them in parallel."""
        return (self.call,) if isinstance(self.call, Call) else self.call

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults, in the order in which attempts meet them."""
        return (self.fault,) if isinstance(self.fault, Fault) else self.fault

    def fault_of(self, attempt: int) -> Fault:
        """Return the fault that the attempt meets, counted from 1; `NO_FAULT` where it meets none."""
        for fault in self.faults:
            if fault.times is None or attempt <= fault.times:
                return fault
            attempt -= fault.times
        return NO_FAULT


class Manner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[script]`: what holds for every step. `loop` begins again after the last one."""

    model: str = "rehearsal"
    loop: bool = False
    first_byte_delay: Delay = 0.0
    token_delay: Delay = 0.0


@dataclass(frozen=True, slots=True)
class Script:
    """A script that can be played: its steps, with repeated ones written out."""

    name: str
    manner: Manner
    steps: tuple[Step, ...]

    def step(self, number: int) -> Step | None:
        """Return the step of that number, counted from 1; None before the first and after the last."""
        if number < 1:
            return None
        if self.manner.loop:
            number = (number - 1) % len(self.steps) + 1
        return self.steps[number - 1] if number <= len(self.steps) else None


def load_script(path: Path) -> Script:
    """Read the script at `path`.

    Raises `ScriptError` where it cannot be read, is not TOML, or says something that no key means.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ScriptError(f"Cannot read the script {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ScriptError(f"{path} is not a script: it is not text in UTF-8.") from None
    return parse_script(text, str(path))


def parse_script(text: str, name: str = "script") -> Script:
    """Return the script that the TOML in `text` writes; `name` stands for its file in errors."""
    import tomllib  # 20 ms that nothing but a rehearsal pays

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScriptError(f"{name} is not valid TOML: {error}.") from None
    return build_script(document, name)


def build_script(document: Mapping[str, Any], name: str = "script") -> Script:
    """Return the script of a document that is already parsed."""
    unknown = sorted(set(document) - {"script", "step"})
    if unknown:
        raise ScriptError(f"{name}: {unknown[0]}: no such key; a script has [script] and [[step]].")
    tables = document.get("step")
    if not isinstance(tables, list) or not tables:
        raise ScriptError(f"{name}: step: a script needs at least one [[step]].")
    manner = _convert(document.get("script", {}), Manner, f"{name}: [script]")
    steps: list[Step] = []
    for number, table in enumerate(tables, 1):
        where = f"{name}: step {number}"
        step = _convert(table, Step, where)
        _check_step(step, where)
        steps += [step] * step.repeat
    return Script(name, manner, tuple(steps))


def _convert(table: Any, kind: type[Any], where: str) -> Any:
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise ScriptError(f"{where}, {_in_words(str(error))}") from None


def _in_words(reason: str) -> str:
    """Turn msgspec's "Expected `str`, got `int` - at `$.say`" into "say: expected `str`, got `int`."."""
    what, _, place = reason.partition(" - at `$")
    key = place.rstrip("`").lstrip(".")
    if field := re.fullmatch(r"Object contains unknown field `(.+)`", what):
        return f"{key + '.' if key else ''}{field[1]}: no such key."
    if field := re.fullmatch(r"Object missing required field `(.+)`", what):
        return f"{key + '.' if key else ''}{field[1]}: this key is missing."
    return f"{key or 'as a whole'}: {what[:1].lower()}{what[1:]}."


def _check_step(step: Step, where: str) -> None:
    """Check what types cannot say."""
    if not (step.say or step.think or step.calls or step.faults):
        raise ScriptError(f"{where}, say: the step answers nothing; give it `say`, `think`, `call` or `fault`.")
    for call in step.calls:
        if call.raw is not None and call.arguments:
            raise ScriptError(f"{where}, call.raw: a call has `arguments` or `raw`, not both.")
    for fault in step.faults[:-1]:
        if fault.times is None:
            raise ScriptError(f"{where}, fault.times: every fault but the last needs it, or the next is never met.")
    for fault in step.faults:
        for key, value in (("retry_after", fault.retry_after), ("content_type", fault.content_type)):
            if not re.fullmatch(r"[ -~]*", str(value)):
                raise ScriptError(f"{where}, fault.{key}: {value!r} cannot stand in an HTTP header.")
    for key, expression in _expressions(step):
        try:
            re.compile(expression)
        except re.error as error:
            raise ScriptError(f"{where}, {key}: {expression!r} is not a regular expression: {error}.") from None


def _expressions(step: Step) -> Iterator[tuple[str, str]]:
    for key, expression in step.expect.expressions():
        yield f"expect.{key}", expression
    texts = [("say", step.say), ("think", step.think)]
    for call in step.calls:
        texts += [("call.raw", call.raw or ""), *(("call.arguments", text) for text in _strings(call.arguments))]
    for key, text in texts:
        for found in PLACEHOLDER.finditer(text):
            if found[2]:
                yield key, found[2]


def _strings(value: Any) -> Iterator[str]:
    """Yield every string in the arguments of a call."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
