"""The command line itself: help, version, typos."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deskhand import __version__
from deskhand.cli.main import COMMANDS
from support import Deskhand


@pytest.mark.parametrize("arguments", [[], ["--help"], ["help"]])
def test_help_names_every_command(deskhand: Deskhand, arguments: list[str]) -> None:
    ran = deskhand(*arguments)
    assert ran.code == 0
    assert all(f"deskhand {name}" in ran.stdout for name in COMMANDS)


def test_version(deskhand: Deskhand) -> None:
    assert deskhand("--version").stdout == f"deskhand {__version__}\n"


def test_a_typo_is_met_with_a_guess(deskhand: Deskhand) -> None:
    ran = deskhand("sesions")
    assert ran.code == 2
    assert (
        ran.stderr
        == "deskhand: there is no command 'sesions'; did you mean 'sessions'? `deskhand --help` lists them.\n"
    )


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(deskhand: Deskhand, name: str) -> None:
    ran = deskhand(name, "--help")
    assert ran.code == 0
    assert f"deskhand {name}" in ran.stdout


def test_a_reader_that_goes_away_is_no_traceback(deskhand: Deskhand) -> None:
    """lessons.md 14."""
    ran = subprocess.run(
        f"{sys.executable} -m deskhand --help | true",
        shell=True,
        env=deskhand.environment,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in ran.stderr


def test_the_path_to_the_first_request_imports_nothing_heavy() -> None:
    """The budget of a cold start: these cost 10 to 1,000 ms each, and `run` needs none before it asks."""
    heavy = [
        "argparse",
        "httpx2",
        "PIL",
        "pypdf",
        "mss",
        "markdownify",
        "rich",
        "tomllib",
        "multiprocessing",
        "difflib",
    ]
    program = (
        "import sys, deskhand.daemon.local, deskhand.cli.run;"
        "from deskhand.tools.built_in import built_in_tools; built_in_tools();"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
