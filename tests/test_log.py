"""Logs hold no secrets, whoever writes to them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deskhand import log


@pytest.mark.parametrize(
    "secret",
    [
        "sk-ant-api03-abcdefghijklmnopqrstuvwxyz",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "github_pat_11ABCDEFG0abcdefghijklmnop",
        "AKIAIOSFODNN7EXAMPLE",
        "xoxb-123456789012-abcdefghijkl",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abcdefghijklmnop",
    ],
)
def test_what_has_the_form_of_a_token_is_redacted(secret: str) -> None:
    assert log.redact(f"key={secret}, and more") == "key=[secret], and more"


def test_ordinary_words_are_not_redacted() -> None:
    text = "task-runner skipped 3 tests in sk-learn; see AKIA and eyJ"
    assert log.redact(text) == text


def test_a_known_secret_never_reaches_the_file(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; import sys; from deskhand import log; log.write('before it is open');"
        "log.open_log(Path(sys.argv[1])); log.keep_secret('hunter2hunter2', None, '');"
        "log.write('it is hunter2hunter2')"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    text = (tmp_path / "daemon.log").read_text()
    assert text.endswith("it is [secret]\n")
    assert (tmp_path / "daemon.log").stat().st_mode & 0o777 == 0o600


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; import sys; from deskhand import log;"
        "log.open_log(Path(sys.argv[1])); log.write('lost'); print('went on')"
    )
    ran = subprocess.run([sys.executable, "-c", program, str(tmp_path / "no")], capture_output=True, text=True)
    assert ran.stdout == "went on\n"
