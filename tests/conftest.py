"""Fixtures for all tests: a rehearsed model, a home, and Deskhand as a process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support import MARK, Deskhand, RunningRehearsal, ScriptSource, clean_environment, make_script, running_rehearsal
from support import survivors as find_survivors


@pytest.fixture
def rehearsal() -> Iterator[Callable[[ScriptSource], RunningRehearsal]]:
    """Start rehearsals: give a script (TOML, steps, or a document), get the running endpoint."""
    with ExitStack() as open_ones:
        yield lambda source: open_ones.enter_context(running_rehearsal(make_script(source)))


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment with a home of its own; whatever has it must be gone when the test is over."""
    variables = clean_environment(tmp_path)
    yield variables
    assert not find_survivors(variables[MARK]), "processes outlived the test"


@pytest.fixture
def home(environment: dict[str, str]) -> Path:
    """The state folder of `deskhand`; it is not made yet."""
    return Path(environment["DESKHAND_HOME"])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty folder to work in."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def deskhand(environment: dict[str, str], project: Path) -> Iterator[Deskhand]:
    """The command line, in `project`."""
    command = Deskhand(environment, project)
    yield command
    command.close()
