"""Odd surroundings: closed streams, full disks, folders that are gone, names that are no text: a sentence, no fault."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support import Deskhand, RunningRehearsal, ScriptSource

Rehearse = Callable[[ScriptSource], RunningRehearsal]

NOT_UTF_8 = os.fsdecode(b"\xff")
FAULTS = ("fault", "Traceback", "Error")


def in_shell(deskhand: Deskhand, command: str, url: str) -> subprocess.CompletedProcess[str]:
    """Run `command`, in which `$deskhand` is Deskhand."""
    environment = {**deskhand.environment, "ANTHROPIC_BASE_URL": url}
    script = command.replace("$deskhand", f"{shlex.quote(sys.executable)} -P -m deskhand")
    return subprocess.run(
        ["bash", "-c", script],
        env=environment,
        cwd=deskhand.cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("$deskhand run x <&-", 0),
        ("$deskhand run <&-", 2),
        ("$deskhand run x >&-", 0),
        ("$deskhand run --output json x >&- <&-", 0),
        ("$deskhand run x 2>&-", 0),
        ("$deskhand run x <&- >&- 2>&-", 0),
        ("$deskhand sessions >&-", 0),
        ("$deskhand --help >&-", 0),
    ],
)
def test_closed_streams_are_no_fault(rehearsal: Rehearse, deskhand: Deskhand, command: str, code: int) -> None:
    ran = in_shell(deskhand, command, rehearsal([{"say": "Done."}]).url)
    assert ran.returncode == code, ran.stderr
    assert not any(word in ran.stderr for word in FAULTS)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a file that is always full")
@pytest.mark.parametrize("output", ["text", "json", "stream-json"])
def test_an_output_that_cannot_be_written_is_told_once_and_fails(
    rehearsal: Rehearse, deskhand: Deskhand, output: str
) -> None:
    model = rehearsal([{"say": "Going.", "call": {"tool": "bash", "arguments": {"command": "true"}}}, {"say": "Done."}])
    ran = in_shell(deskhand, f"$deskhand run --output {output} x > /dev/full", model.url)
    assert ran.returncode == 1
    assert ran.stderr == "deskhand: The output cannot be written: No space left on device.\n"
    assert len(model.messages) == 2, "the turn goes on: what it does is not for the output alone"


def test_a_folder_that_is_gone_is_one_sentence(rehearsal: Rehearse, deskhand: Deskhand, project: Path) -> None:
    url = rehearsal([{"say": "Done."}]).url
    for arguments in ("x", "--continue x"):
        ran = in_shell(deskhand, f"mkdir gone; cd gone; rmdir ../gone; $deskhand run {arguments}", url)
        assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
        assert "not there any more" in ran.stderr
    assert (
        in_shell(deskhand, f"mkdir gone; cd gone; rmdir ../gone; $deskhand run --cwd {project} x", url).returncode == 0
    )


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has only names that are UTF-8")
@pytest.mark.parametrize("variable", ["DESKHAND_HOME", "ANTHROPIC_MODEL", "PWD"])
def test_a_name_that_is_not_utf_8_is_one_sentence_and_no_fault(
    rehearsal: Rehearse, deskhand: Deskhand, project: Path, variable: str
) -> None:
    """The journal takes text only; where such a name enters is where it must be refused."""
    folder = project / NOT_UTF_8
    folder.mkdir()
    command = Deskhand({**deskhand.environment, variable: str(folder)}, folder if variable == "PWD" else project)
    ran = command("run", "x", endpoint=rehearsal([{"say": "x"}]).url)
    assert (ran.code, ran.stderr.count("\n")) == (1, 1)
    assert "not UTF-8" in ran.stderr


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has only names that are UTF-8")
def test_a_prompt_and_a_user_home_that_are_not_utf_8_are_borne(
    rehearsal: Rehearse, deskhand: Deskhand, home: Path
) -> None:
    model = rehearsal([{"say": "Done."}])
    ran = deskhand("run", f"read {NOT_UTF_8}", endpoint=model.url, HOME=f"/{NOT_UTF_8}", DESKHAND_HOME=str(home))
    assert (ran.code, ran.stderr) == (0, "")
    assert "read \\\\xff" in json.dumps(model.messages[0].body)


def test_a_prompt_in_utf_8_is_one_in_the_plainest_of_locales(rehearsal: Rehearse, deskhand: Deskhand) -> None:
    model = rehearsal([{"say": "Zo\u00eb."}])
    url = model.url
    ran = deskhand("run", "Zo\u00eb?", endpoint=url, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (ran.code, ran.stdout, ran.stderr) == (0, "Zo\\xeb.\n", "")
    assert model.messages[0].body["messages"][0]["content"][0]["text"] == "Zo\u00eb?"


def test_no_user_home_at_all_is_one_sentence(deskhand: Deskhand) -> None:
    ran = deskhand("run", "x", DESKHAND_HOME="~nobody-of-that-name/state")
    assert (ran.code, ran.stderr.count("\n")) == (1, 1)
    assert "DESKHAND_HOME" in ran.stderr


@pytest.mark.parametrize("columns", ["0", "1", "wide"])
def test_an_odd_width_is_borne(deskhand: Deskhand, project: Path, columns: str) -> None:
    ran = deskhand("demo", "--rehearsal", COLUMNS=columns, TERM="dumb", TMPDIR=str(project))
    assert ran.code == 0, ran.stderr
    assert ran.stderr == ""
