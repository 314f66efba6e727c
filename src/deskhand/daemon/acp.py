"""The agent's side of the Agent Client Protocol, version 1, for one connection.

https://agentclientprotocol.com. Sessions are the hub's, and outlive the connection; several connections may attend
to one session, and each hears everything. A prompt that finds a turn running waits for its end.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec

from deskhand import __version__, log
from deskhand.agent.live import Live
from deskhand.daemon.acp_content import UnusableContent, read_prompt
from deskhand.daemon.acp_params import (
    Environment,
    Initialize,
    ListSessions,
    NamedSession,
    NewSession,
    OpenSession,
    Params,
    Prompt,
    SetConfigOption,
    SetMode,
)
from deskhand.daemon.hub import Hub, SessionBusy
from deskhand.daemon.pipe import ENVIRONMENT_METHOD
from deskhand.daemon.session import Session, TurnWanted
from deskhand.daemon.subscription import Subscription
from deskhand.daemon.updates import Updates
from deskhand.home import HomeError
from deskhand.journal.blocks import PromptBlock
from deskhand.journal.database import JournalError
from deskhand.journal.events import Entry, Mode, TurnEnded, TurnStarted
from deskhand.journal.sessions import UnknownSessionError, summaries
from deskhand.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, Peer, RpcError
from deskhand.model.discovery import find_endpoint
from deskhand.model.errors import EndpointError
from deskhand.seam.question import Question
from deskhand.settings import SettingsError, load_settings

PROTOCOL_VERSION = 1
NOT_FOUND = -32002
"""ACP's code for a resource, such as a session, that is not there."""

PAGE = 100
"""Sessions of one answer to `session/list`."""

MODES: dict[Mode, str] = {
    "plan": "Looks and thinks; changes nothing.",
    "ask": "Asks before it changes anything.",
    "auto": "Asks before what cannot be undone.",
    "bypass": "Never asks.",
}

_STOP_REASONS = {"repetition": "max_turn_requests", "interrupted": "cancelled"}
"""What ACP calls the reasons that it has no name for."""

P = TypeVar("P", bound=Params)
Answer = Coroutine[Any, Any, dict[str, Any]]


@dataclass(slots=True)
class _Attendance:
    """What a connection needs of one session that it attends to."""

    session: Session
    subscription: Subscription
    ask: Callable[[Question], Coroutine[Any, Any, bool | None]]


class AcpAgent:
    """Answers one client. `peer` is set by whoever connects the two."""

    peer: Peer

    def __init__(self, hub: Hub, status: Callable[[], dict[str, Any]] | None = None) -> None:
        self._hub = hub
        self._status = status or hub.status
        self._environment: Mapping[str, str] = os.environ
        self._attended: dict[str, _Attendance] = {}
        self._own_prompts: list[tuple[PromptBlock, ...]] = []

    async def request(self, method: str, params: Any) -> dict[str, Any]:
        """Answer a request of the client. Raises `RpcError`."""
        try:
            return await self._answer(method, params)
        except UnknownSessionError as error:
            raise RpcError(NOT_FOUND, str(error)) from None
        except UnusableContent as error:
            raise RpcError(INVALID_PARAMS, str(error)) from None
        except (EndpointError, HomeError, JournalError, SessionBusy, SettingsError) as error:
            raise RpcError(INTERNAL_ERROR, str(error)) from None

    async def notification(self, method: str, params: Any) -> None:
        """Take a notification; those that we do not know are nothing to us."""
        if method == ENVIRONMENT_METHOD:
            self._environment = _read(params, Environment).over(os.environ)
        elif method == "session/cancel":
            attendance = self._attended.get(_read(params, NamedSession).session_id)
            if attendance is not None:
                attendance.session.cancel()

    def leave(self) -> None:
        """The client is gone: stop telling it. Its sessions and their turns go on."""
        for session_id in list(self._attended):
            self._unattend(session_id)

    async def _answer(self, method: str, params: Any) -> dict[str, Any]:
        if method not in _METHODS:
            raise RpcError(METHOD_NOT_FOUND, f"There is no method {method!r}.")
        kind, answer = _METHODS[method]
        return await answer(self, _read(params, kind))

    async def _initialize(self, params: Initialize) -> dict[str, Any]:
        return {
            "protocolVersion": PROTOCOL_VERSION,
            "agentInfo": {"name": "deskhand", "title": "Deskhand", "version": __version__},
            "agentCapabilities": {
                "loadSession": True,
                "promptCapabilities": {"image": True, "audio": False, "embeddedContext": True},
                "mcpCapabilities": {"http": False, "sse": False},
                "sessionCapabilities": {"list": {}, "resume": {}, "close": {}, "delete": {}},
            },
            "authMethods": [],
        }

    async def _authenticate(self, params: Params) -> dict[str, Any]:
        return {}

    async def _tell_status(self, params: Params) -> dict[str, Any]:
        return self._status()

    async def _new(self, params: NewSession) -> dict[str, Any]:
        mode = load_settings(self._hub.home.settings).mode
        session = self._hub.create(_folder(params.cwd), mode)
        self._attend(session, after=0)
        return {"sessionId": session.id, **_settings_of(session)}

    async def _load(self, params: OpenSession) -> dict[str, Any]:
        return await self._open(params, replay=True)

    async def _resume(self, params: OpenSession) -> dict[str, Any]:
        return await self._open(params, replay=False)

    async def _open(self, params: OpenSession, *, replay: bool) -> dict[str, Any]:
        session = await self._hub.open(params.session_id)
        cwd = _folder(params.cwd)
        if cwd != session.cwd:
            session.move(cwd)
        self._unattend(session.id)
        entries = [] if replay else session.entries()
        attendance = self._attend(session, after=entries[-1].seq if entries else 0)
        await attendance.subscription.caught_up()
        return _settings_of(session)

    async def _list(self, params: ListSessions) -> dict[str, Any]:
        found = [each for each in summaries(self._hub.journal) if each.turns and params.cwd in (None, each.cwd)]
        ids = [each.id for each in found]
        if params.cursor is not None and params.cursor not in ids:
            raise RpcError(INVALID_PARAMS, "The list has changed since that cursor was given: begin again without it.")
        start = ids.index(params.cursor) + 1 if params.cursor is not None else 0
        page = found[start : start + PAGE]
        listed = [
            {"sessionId": each.id, "cwd": each.cwd, "title": each.title, "updatedAt": _iso(each.updated)}
            for each in page
        ]
        more = start + PAGE < len(found)
        return {"sessions": listed} | ({"nextCursor": page[-1].id} if more else {})

    async def _close(self, params: NamedSession) -> dict[str, Any]:
        self._unattend(params.session_id)
        await self._hub.close(params.session_id)
        return {}

    async def _delete(self, params: NamedSession) -> dict[str, Any]:
        self._unattend(params.session_id)
        await self._hub.delete(params.session_id)
        return {}

    async def _set_mode(self, params: SetMode) -> dict[str, Any]:
        await self._session(params.session_id).choose(mode=_mode(params.mode_id))
        return {}

    async def _set_option(self, params: SetConfigOption) -> dict[str, Any]:
        session = self._session(params.session_id)
        if params.config_id == "mode":
            await session.choose(mode=_mode(params.value))
        elif params.config_id == "model":
            await session.choose(model=params.value)
        else:
            raise RpcError(INVALID_PARAMS, f"There is no option {params.config_id!r}: there are mode and model.")
        return {"configOptions": _options_of(session)}

    async def _prompt(self, params: Prompt) -> dict[str, Any]:
        session = self._session(params.session_id)
        prompt, blobs = await read_prompt(params.prompt)
        settings = load_settings(self._hub.home.settings)
        endpoint = await find_endpoint(self._environment, settings.endpoint)
        log.keep_secret(endpoint.api_key, endpoint.auth_token)
        model = session.model or endpoint.model
        self._own_prompts.append(prompt)
        wanted = TurnWanted(prompt, endpoint, model, session.mode, settings, blobs)
        turn = asyncio.ensure_future(session.prompt(wanted))
        try:
            ended = await asyncio.shield(turn)
        except asyncio.CancelledError:
            if not self.peer.leaving:  # the request was withdrawn; a client that is gone leaves its turn running
                turn.cancel()
            raise
        finally:
            self._own_prompts.remove(prompt)
        attendance = self._attended.get(session.id)
        if attendance is not None:
            await attendance.subscription.caught_up()
        return _outcome(ended)

    def _session(self, session_id: str) -> Session:
        attendance = self._attended.get(session_id)
        if attendance is None:
            raise RpcError(NOT_FOUND, f"Session {session_id} is not open here: load or resume it first.")
        return attendance.session

    def _attend(self, session: Session, after: int) -> _Attendance:
        updates = Updates(session.id, self._hub.tools, self._hub.journal.blob, self._is_own)

        async def deliver(news: Entry | Live) -> None:
            for notification in updates.notifications(news):
                self.peer.notify(notification["method"], notification["params"])
            await self.peer.drain()

        async def ask(question: Question) -> bool | None:
            return await self._ask(session.id, question)

        attendance = _Attendance(session, Subscription(session, deliver, after), ask)
        session.askers.append(ask)
        self._attended[session.id] = attendance
        return attendance

    def _unattend(self, session_id: str) -> None:
        attendance = self._attended.pop(session_id, None)
        if attendance is not None:
            attendance.subscription.close()
            attendance.session.askers.remove(attendance.ask)

    def _is_own(self, turn: TurnStarted) -> bool:
        return any(turn.prompt is prompt for prompt in self._own_prompts)

    async def _ask(self, session_id: str, question: Question) -> bool | None:
        """Put the question to the client; None where it has no answer to give."""
        reason = {"type": "content", "content": {"type": "text", "text": question.reason}}
        call = {
            "toolCallId": question.call,
            "title": question.title,
            "kind": question.kind,
            "status": "pending",
            "content": [reason] if question.reason else [],
            "rawInput": question.arguments,
        }
        options = [
            {"optionId": "yes", "name": "Run it once", "kind": "allow_once"},
            {"optionId": "no", "name": "Do not run it", "kind": "reject_once"},
        ]
        try:
            answer = await self.peer.request(
                "session/request_permission",
                {"sessionId": session_id, "toolCall": call, "options": options},
                timeout=None,  # the session limits how long a question waits
            )
            outcome = answer["outcome"]
        except (RpcError, ConnectionError, TypeError, KeyError):
            return None
        if outcome.get("outcome") != "selected":
            return None
        return bool(outcome.get("optionId") == "yes")


_METHODS: dict[str, tuple[type[Params], Callable[..., Answer]]] = {
    "initialize": (Initialize, AcpAgent._initialize),
    "authenticate": (Params, AcpAgent._authenticate),
    "session/new": (NewSession, AcpAgent._new),
    "session/load": (OpenSession, AcpAgent._load),
    "session/resume": (OpenSession, AcpAgent._resume),
    "session/list": (ListSessions, AcpAgent._list),
    "session/close": (NamedSession, AcpAgent._close),
    "session/delete": (NamedSession, AcpAgent._delete),
    "session/prompt": (Prompt, AcpAgent._prompt),
    "session/set_mode": (SetMode, AcpAgent._set_mode),
    "session/set_config_option": (SetConfigOption, AcpAgent._set_option),
    "_deskhand/status": (Params, AcpAgent._tell_status),
}
"""What we answer, and with which parameters."""


def _read(params: Any, kind: type[P]) -> P:
    try:
        return msgspec.convert({} if params is None else params, kind)
    except msgspec.ValidationError as error:
        raise RpcError(INVALID_PARAMS, f"{error}.") from None


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute() or "\0" in text or not path.is_dir():
        raise RpcError(INVALID_PARAMS, f"{text!r} is not a folder that is there: cwd must be an absolute path.")
    return path


def _mode(text: str) -> Mode:
    if text not in get_args(Mode):
        raise RpcError(INVALID_PARAMS, f"There is no mode {text!r}: there are {', '.join(MODES)}.")
    mode: Mode = text  # type: ignore[assignment]
    return mode


def _settings_of(session: Session) -> dict[str, Any]:
    available = [{"id": mode, "name": mode.capitalize(), "description": words} for mode, words in MODES.items()]
    return {
        "modes": {"currentModeId": session.mode, "availableModes": available},
        "configOptions": _options_of(session),
    }


def _options_of(session: Session) -> list[dict[str, Any]]:
    modes = [{"value": mode, "name": mode.capitalize(), "description": words} for mode, words in MODES.items()]
    options = [_select("mode", "Mode", session.mode, modes)]
    if session.model is not None:
        options.append(_select("model", "Model", session.model, [{"value": session.model, "name": session.model}]))
    return options


def _select(key: str, name: str, value: str, choices: list[dict[str, str]]) -> dict[str, Any]:
    return {"type": "select", "id": key, "category": key, "name": name, "currentValue": value, "options": choices}


def _outcome(ended: TurnEnded) -> dict[str, Any]:
    if ended.error is not None:
        raise RpcError(INTERNAL_ERROR, ended.error.message, {"kind": ended.error.kind})
    usage = ended.usage
    return {
        "stopReason": _STOP_REASONS.get(ended.stop_reason, ended.stop_reason),
        "usage": {
            "totalTokens": usage.total,
            "inputTokens": usage.input_tokens,
            "outputTokens": usage.output_tokens,
            "cachedReadTokens": usage.cache_read_input_tokens,
            "cachedWriteTokens": usage.cache_creation_input_tokens,
        },
        "_meta": {"deskhand": {"stopReason": ended.stop_reason}},
    }


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
