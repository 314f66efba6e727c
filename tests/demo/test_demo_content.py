"""The demo's program has a real bug, and the script's cure is a real one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import deskhand
from deskhand.model.rehearsal_script import load_script
from support import Deskhand, RunningRehearsal, ScriptSource

CONTENT = Path(deskhand.__file__).parent / "demo"


@pytest.fixture
def repository(project: Path) -> Path:
    """A copy of the program."""
    ignored = shutil.ignore_patterns("__pycache__", ".pytest_cache")
    shutil.copytree(CONTENT / "repository", project, dirs_exist_ok=True, ignore=ignored)
    return project


def _verdict(repository: Path) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # the plugins of our own environment take longer to load than the demo's tests take to run
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    ran = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, timeout=60)
    return ran.stdout.splitlines()[-1]


def _prompt() -> str:
    return (CONTENT / "prompt.md").read_text(encoding="utf-8").strip()


def test_two_tests_fail_until_the_scripts_edit_is_made(repository: Path) -> None:
    assert "2 failed, 5 passed" in _verdict(repository)
    calls = [call for step in load_script(CONTENT / "rehearsal.toml").steps for call in step.calls]
    (edit,) = [call.arguments for call in calls if call.tool == "edit"]
    broken = repository / edit["path"]
    text = broken.read_text(encoding="utf-8")
    assert text.count(edit["old"]) == 1
    broken.write_text(text.replace(edit["old"], edit["new"]), encoding="utf-8")
    assert _verdict(repository).startswith("7 passed")


def test_the_agent_plays_the_script_to_its_end(
    rehearsal: Callable[[ScriptSource], RunningRehearsal], deskhand: Deskhand, repository: Path
) -> None:
    model = rehearsal((CONTENT / "rehearsal.toml").read_text(encoding="utf-8"))
    ran = deskhand("run", _prompt(), endpoint=model.url, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert ran.code == 0, ran.stderr
    assert [exchange.status for exchange in model.messages] == [200] * len(
        load_script(CONTENT / "rehearsal.toml").steps
    )
    assert _verdict(repository).startswith("7 passed")


def test_the_script_fails_where_the_work_was_not_done(
    rehearsal: Callable[[ScriptSource], RunningRehearsal], deskhand: Deskhand, project: Path
) -> None:
    model = rehearsal((CONTENT / "rehearsal.toml").read_text(encoding="utf-8"))
    ran = deskhand("run", _prompt(), endpoint=model.url, cwd=project)
    assert ran.code == 1
    assert "expected a tool result that matches" in ran.stderr
