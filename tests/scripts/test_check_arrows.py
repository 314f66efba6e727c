"""The import arrows of the house, checked on small trees."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "scripts" / "check_arrows.py"
FUTURE = "from __future__ import annotations\n"


def check(root: Path) -> tuple[int, list[str]]:
    """Run the script on `root`; return its exit code and the faults that it printed."""
    done = subprocess.run([sys.executable, SCRIPT, root], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()[:-1]


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_this_repository_follows_its_own_arrows() -> None:
    assert check(REPOSITORY) == (0, [])


def test_arrows_that_the_table_allows_pass(tmp_path: Path) -> None:
    write(tmp_path, "src/deskhand/__init__.py", '"""Only a docstring."""\n')
    write(tmp_path, "src/deskhand/__main__.py", FUTURE + "from deskhand.cli.main import entry\n")
    write(tmp_path, "src/deskhand/settings.py", FUTURE + "from deskhand.journal.events import Mode\n")
    write(tmp_path, "src/deskhand/journal/__init__.py", "")
    write(tmp_path, "src/deskhand/journal/store.py", FUTURE + "from deskhand import home\nfrom . import events\n")
    write(tmp_path, "src/deskhand/journal/events.py", FUTURE + "import sqlite3, http.client\n")
    write(tmp_path, "src/deskhand/agent/loop.py", FUTURE + "import deskhand.calls.call\nfrom ..model import client\n")
    write(tmp_path, "src/deskhand/cli/main.py", FUTURE + "import argparse\nfrom deskhand import __version__\n")
    write(tmp_path, "src/deskhand/tools/screenshot.py", FUTURE + "def take() -> None:\n    import mss\n")
    assert check(tmp_path) == (0, [])


@pytest.mark.parametrize(
    ("file", "statement", "words"),
    [
        ("journal/a.py", "from deskhand.model import client", "journal may not import model"),
        ("model/a.py", "import deskhand.tools.base", "model may not import tools (it may import journal)"),
        ("seam/a.py", "from deskhand import tools", "seam may not import tools"),
        ("tools/a.py", "from deskhand.calls.call import Call", "tools may not import calls"),
        ("calls/a.py", "from ..agent import loop", "calls may not import agent"),
        ("calls/deep/a.py", "from ...agent import loop", "calls may not import agent"),
        ("agent/a.py", "from deskhand.cli.main import entry", "agent may not import cli"),
        ("agent/a.py", "from deskhand import __main__", "agent may not import cli"),
        ("daemon/a.py", "import deskhand.panel", "daemon may not import panel"),
        ("surfaces/a.py", "from deskhand.journal import events", "surfaces may not import journal"),
        ("home.py", "from deskhand.journal.store import Store", "a support module imports no room"),
        ("agent/a.py", "from argparse import ArgumentParser", "agent belongs to the core"),
        ("model/a.py", "from http import server", "model belongs to the core"),
        ("seam/a.py", "import rich.console", "seam belongs to the core"),
    ],
)
def test_a_wrong_arrow_is_named_with_its_line(tmp_path: Path, file: str, statement: str, words: str) -> None:
    write(tmp_path, f"src/deskhand/{file}", FUTURE + "import json\n" + statement + "\n")
    code, faults = check(tmp_path)
    assert code == 1
    assert len(faults) == 1
    assert faults[0].startswith(f"src/deskhand/{file}:3: ")
    assert words in faults[0]


@pytest.mark.parametrize(
    "lazy",
    [
        "def use() -> None:\n    from deskhand.agent import loop\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from deskhand.agent import loop\n",
        "try:\n    pass\nexcept OSError:\n    import deskhand.agent.loop\n",
        "import importlib\nimportlib.import_module('deskhand.agent.loop')\n",
        "__import__('deskhand.agent')\n",
    ],
)
def test_a_lazy_wrong_arrow_is_a_wrong_arrow(tmp_path: Path, lazy: str) -> None:
    write(tmp_path, "src/deskhand/tools/a.py", FUTURE + lazy)
    code, faults = check(tmp_path)
    assert code == 1
    assert ["tools may not import agent" in fault for fault in faults] == [True]


def test_a_room_that_the_table_does_not_know_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "src/deskhand/attic/a.py", FUTURE)
    write(tmp_path, "src/deskhand/cli/b.py", FUTURE + "import deskhand.attic.a\n")
    code, faults = check(tmp_path)
    assert code == 1
    assert ["the room `attic` is not in the table" in faults[0], "cli may not import attic" in faults[1]] == [
        True,
        True,
    ]


def test_the_program_that_the_demo_mends_is_not_ours_to_check(tmp_path: Path) -> None:
    write(tmp_path, "src/deskhand/demo/repository/lease.py", "import deskhand.cli\n")
    assert check(tmp_path) == (0, [])


def test_the_future_import_comes_first_everywhere_but_in_empty_files(tmp_path: Path) -> None:
    write(tmp_path, "tests/test_a.py", '"""Docstring."""\n\nimport json\n')
    write(tmp_path, "scripts/b.py", "print('first')\n")
    write(tmp_path, "benchmarks/__init__.py", "")
    code, faults = check(tmp_path)
    assert code == 1
    assert [fault.partition(":")[0] for fault in faults] == ["tests/test_a.py", "scripts/b.py"]


def test_a_file_of_ours_over_500_lines_is_refused_and_a_test_may_be_longer(tmp_path: Path) -> None:
    write(tmp_path, "src/deskhand/tools/long.py", FUTURE + "x = 1\n" * 500)
    write(tmp_path, "src/deskhand/tools/enough.py", FUTURE + "x = 1\n" * 499)
    write(tmp_path, "tests/test_long.py", FUTURE + "x = 1\n" * 600)
    assert check(tmp_path) == (1, ["src/deskhand/tools/long.py:501: has 501 lines; 500 are enough for one file"])


def test_a_file_that_is_not_python_is_a_fault_and_not_a_traceback(tmp_path: Path) -> None:
    write(tmp_path, "src/deskhand/tools/a.py", FUTURE + "def (:\n")
    (tmp_path / "src/deskhand/tools/b.py").write_bytes(b"x = '\xff\xfe'\n")
    code, faults = check(tmp_path)
    assert code == 1
    assert ["is not Python" in fault for fault in faults] == [True, True]
