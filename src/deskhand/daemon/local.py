"""One turn in this very process: what `deskhand run` and `deskhand demo` do.

Opens the home, the journal, the endpoint and the session, runs the turn with the stop keys armed, and closes
everything again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from deskhand import log
from deskhand.daemon.hub import Hub, SessionBusy
from deskhand.daemon.session import Session, TurnWanted, Watcher
from deskhand.home import Home
from deskhand.journal.blocks import PromptBlock
from deskhand.journal.events import Mode, TurnEnded
from deskhand.journal.sessions import find_session, latest_session
from deskhand.journal.store import Journal
from deskhand.model.discovery import find_endpoint
from deskhand.model.endpoint import Endpoint
from deskhand.processes import end_all
from deskhand.settings import Settings, load_settings
from deskhand.stop_keys import StopKeys, armed_stop_keys
from deskhand.tools.base import Tool

T = TypeVar("T")


class CannotStart(Exception):
    """The turn cannot begin; the message is one sentence for the user."""


class Wanted(msgspec.Struct, frozen=True):
    """What the user asked for. None: whatever the session, the settings or the default says."""

    prompt: tuple[PromptBlock, ...]
    cwd: Path | None = None
    session: str | None = None
    latest: bool = False
    model: str | None = None
    mode: Mode | None = None
    max_requests: int | None = None


class Setting(msgspec.Struct, frozen=True):
    """What a turn is about to run with, for a front end to show."""

    session: Session
    endpoint: Endpoint
    model: str
    mode: Mode
    tools: Mapping[str, Tool[Any]]
    journal: Journal


Attend = Callable[[Setting], Watcher]
"""A front end: is told the setting before the turn begins, and returns what watches it."""


async def run_turn(wanted: Wanted, home: Home, attend: Attend, endpoint: Endpoint | None = None) -> TurnEnded:
    """Run one turn to its end, on `endpoint` or on the one that the environment and the settings name.

    Raises `CannotStart`, `HomeError`, `SettingsError`, `EndpointError` (where the endpoint cannot even be asked) or
    `JournalError`, each with one sentence for the user. The stop keys end the turn as `cancelled`; its number is 0
    where it had not begun.
    """
    task = asyncio.current_task()
    assert task is not None
    with armed_stop_keys(task.cancel) as keys:
        keys.abandon = end_all
        try:
            return await _run_turn(wanted, home, attend, endpoint, keys)
        except asyncio.CancelledError:
            return TurnEnded(0, "cancelled")


async def _run_turn(wanted: Wanted, home: Home, attend: Attend, endpoint: Endpoint | None, keys: StopKeys) -> TurnEnded:
    hub = Hub(home)
    try:
        settings = load_settings(home.settings)
        if wanted.max_requests is not None:
            settings = _with_max_requests(settings, wanted.max_requests)
        session_id = _existing(wanted, hub.journal)
        endpoint = endpoint or await find_endpoint(os.environ, settings.endpoint, wanted.model)
        log.keep_secret(endpoint.api_key, endpoint.auth_token)
        session = await _open_session(wanted, settings, hub, session_id)
        model = wanted.model or session.model or endpoint.model
        mode = wanted.mode or session.mode
        session.watch(attend(Setting(session, endpoint, model, mode, hub.tools, hub.journal)))
        keys.cancel = session.cancel
        return await session.prompt(TurnWanted(wanted.prompt, endpoint, model, mode, settings))
    except SessionBusy as busy:
        raise CannotStart(str(busy)) from None
    finally:
        await hub.shut()


def _with_max_requests(settings: Settings, max_requests: int) -> Settings:
    limits = msgspec.structs.replace(settings.limits, turn_requests=max_requests)
    return msgspec.structs.replace(settings, limits=limits)


def complete(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on an event loop of its own, and do not wait, as `asyncio.run` does, for threads that hang."""
    return asyncio.new_event_loop().run_until_complete(work)


def _existing(wanted: Wanted, journal: Journal) -> str | None:
    """Return the id of the session to resume; None: a new one."""
    if wanted.session is not None:
        return find_session(journal, wanted.session)
    if not wanted.latest:
        return None
    latest = latest_session(journal, str(_folder(wanted.cwd))) or latest_session(journal, None)
    if latest is None:
        raise CannotStart("There is no session to continue yet: leave --continue out to begin one.")
    return latest


async def _open_session(wanted: Wanted, settings: Settings, hub: Hub, session_id: str | None) -> Session:
    if session_id is None:
        return hub.create(_folder(wanted.cwd), wanted.mode or settings.mode)
    session = await hub.open(session_id)
    if wanted.session is not None and wanted.cwd is not None:
        session.move(_folder(wanted.cwd))
    _folder(session.cwd)
    return session


def _folder(path: Path | None) -> Path:
    """Return the folder that is meant, by default this one, in full."""
    try:
        folder = path or Path.cwd()
        folder = folder.absolute()
    except FileNotFoundError:
        raise CannotStart("This folder is not there any more: go to another one, or name one with --cwd.") from None
    if not os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises where we may not look
        raise CannotStart(f"{folder} is not a folder: give one with --cwd.")
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise CannotStart(
            f"The name of the folder {str(folder)!r} is not UTF-8, as it must be here: rename it."
        ) from None
    return folder
