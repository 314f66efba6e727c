"""`deskhand demo`: a real bug in a scratch repository, found and fixed before the user's eyes."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from deskhand.cli.screen import ScreenOutput
from deskhand.cli.terminal import Terminal
from deskhand.daemon.local import CannotStart, Wanted, complete, run_turn
from deskhand.home import HomeError, find_home
from deskhand.journal.blocks import Text
from deskhand.journal.store import JournalError
from deskhand.model.discovery import NoEndpoint, find_endpoint
from deskhand.model.endpoint import Endpoint
from deskhand.model.errors import EndpointError
from deskhand.settings import SettingsError, load_settings
from deskhand.stop_keys import STOPPED, leave_when_stopped

if TYPE_CHECKING:
    from deskhand.journal.events import TurnEnded

_CONTENT = Path(__file__).parent.parent / "demo"
_GIT = ("git", "-c", "user.name=Deskhand", "-c", "user.email=demo@localhost", "-c", "commit.gpgsign=false")
_GIT_LIMIT = 30.0
_REHEARSAL = "a rehearsal plays the model: its words are scripted; HTTP, tools, files and tests are real."


def run(arguments: list[str]) -> int:
    """Run the demo; 0 when the bug is fixed, 1 when not."""
    import argparse

    leave_when_stopped()
    parser = argparse.ArgumentParser(
        prog="deskhand demo",
        description="Fix a real bug in a scratch repository, with the best endpoint found, else with a scripted model.",
    )
    parser.add_argument("--rehearsal", action="store_true", help="use the scripted model in any case")
    parser.add_argument("--model", metavar="M", help="the model, by the endpoint's name for it")
    options = parser.parse_args(arguments)

    output = ScreenOutput(Terminal(sys.stdout))
    try:
        return complete(_demo(options.rehearsal, options.model, output))
    except (CannotStart, HomeError, SettingsError, JournalError, EndpointError) as error:
        output.failed(str(error))
        return 1


async def _demo(rehearsal: bool, model: str | None, output: ScreenOutput) -> int:
    if importlib.util.find_spec("pytest") is None:
        raise CannotStart("The demo's tests need pytest: install Deskhand with its extra `demo`, as the README shows.")
    own_name = _own_name()
    _put_our_python_first()
    endpoint = None if rehearsal else await _best_endpoint(model)
    repository = await asyncio.to_thread(_scratch_repository)
    terminal = output.terminal
    terminal.paragraph(f"A small program with a bug and a failing test is in {repository}.")
    prompt = (_CONTENT / "prompt.md").read_text(encoding="utf-8").strip()
    wanted = Wanted(prompt=(Text(prompt),), cwd=repository, model=model)
    if endpoint is not None:
        terminal.paragraph(f"The model is {endpoint.model} at {endpoint.base_url} ({endpoint.source}).")
        _show_prompt(terminal, prompt)
        return _farewell(await run_turn(wanted, find_home(), output.attend, endpoint), repository, own_name, output)

    from deskhand.model.rehearsal import Rehearsal
    from deskhand.model.rehearsal_script import load_script

    why = "As asked" if rehearsal else "No model endpoint was found, so"
    terminal.paragraph(f"{why} {_REHEARSAL}")
    _show_prompt(terminal, prompt)
    async with Rehearsal(load_script(_CONTENT / "rehearsal.toml")) as server:
        endpoint = Endpoint(server.url, model="rehearsal", source="scripted")
        return _farewell(await run_turn(wanted, find_home(), output.attend, endpoint), repository, own_name, output)


async def _best_endpoint(model: str | None) -> Endpoint | None:
    """Return the endpoint that the user chose, else a local server that answers, else None."""
    try:
        return await find_endpoint(os.environ, load_settings(find_home().settings).endpoint, model)
    except NoEndpoint:
        return None


def _own_name() -> str:
    """Return what the user types to run us: the bare name, where the shell finds us by it."""
    started_as = Path(sys.argv[0])
    if shutil.which("deskhand"):
        return "deskhand"
    return str(started_as) if started_as.name == "deskhand" else f"{sys.executable} -m deskhand"


def _put_our_python_first() -> None:
    """Let `python -m pytest` in the agent's shell be the Python that has it: the one that runs us."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"


def _scratch_repository() -> Path:
    try:
        repository = Path(tempfile.mkdtemp(prefix="deskhand-demo-")) / "repository"
        shutil.copytree(_CONTENT / "repository", repository, ignore=shutil.ignore_patterns("__pycache__"))
        for arguments in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "A program with a bug")):
            subprocess.run(
                [*_GIT, *arguments], cwd=repository, check=True, timeout=_GIT_LIMIT, capture_output=True, text=True
            )
    except FileNotFoundError:
        raise CannotStart("The demo needs git: install it, and run the demo again.") from None
    except subprocess.SubprocessError as error:
        detail = getattr(error, "stderr", None) or str(error)
        raise CannotStart(f"The scratch repository could not be made: {detail.strip()}") from None
    except OSError as error:
        raise CannotStart(f"The scratch repository could not be made in {tempfile.gettempdir()}: {error}.") from None
    return repository


def _show_prompt(terminal: Terminal, prompt: str) -> None:
    terminal.line()
    terminal.paragraph(f"> {prompt}", "bold")
    terminal.line()


def _farewell(ended: TurnEnded, repository: Path, own_name: str, output: ScreenOutput) -> int:
    """End with what to type next; return the exit code, which is the tests' verdict and not the model's."""
    sentence = f"{ended.error.message} `{own_name} demo --rehearsal` needs no model." if ended.error else None
    output.ended(ended, sentence)
    if ended.stop_reason == "cancelled":
        return STOPPED
    if ended.stop_reason != "end_turn":
        return 1
    terminal = output.terminal
    fixed = _tests_pass(repository)
    verdict = terminal.paint("The tests pass.", "green") if fixed else terminal.paint("The tests still fail.", "red")
    terminal.line(f"\n{verdict} What to type next:\n")
    for command, what in (
        (f"git -C {repository} diff", "what was changed"),
        (f"{own_name} sessions show {output.summary.session_id}", "the whole conversation"),
        (f'{own_name} run "explain this project"', "the same, in a folder of yours (needs a model)"),
    ):
        terminal.line(f"  {terminal.paint(command, 'bold')}\n      {terminal.paint(what, 'dim')}")
    return 0 if fixed else 1


def _tests_pass(repository: Path) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    try:
        return subprocess.run(command, cwd=repository, timeout=120, capture_output=True).returncode == 0
    except subprocess.TimeoutExpired:
        return False
