"""One process advances a session at a time, and a dead process holds nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deskhand.home import HomeError
from deskhand.journal.locks import lock_session

HOLD = """
import sys
from pathlib import Path
from deskhand.journal.locks import lock_session
print(lock_session(Path(sys.argv[1]), sys.argv[2]) is not None, flush=True)
sys.stdin.read()
"""


def test_a_session_is_locked_once_in_a_process(tmp_path: Path) -> None:
    lock = lock_session(tmp_path, "s")
    assert lock is not None
    assert lock_session(tmp_path, "s") is None
    other = lock_session(tmp_path, "another")
    assert other is not None, "sessions do not stand in each other's way"
    other.release()
    assert lock_session(tmp_path, "s") is None, "to release one is not to release all"
    lock.release()
    again = lock_session(tmp_path, "s")
    assert again is not None
    lock.release()
    assert lock_session(tmp_path, "s") is None, "a lock that was released is nobody's to release"
    again.release()


def test_a_session_is_locked_once_among_processes_and_freed_by_a_kill(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), "s"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"True\n"
    assert lock_session(tmp_path, "s") is None
    holder.kill()
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()
    lock = lock_session(tmp_path, "s")
    assert lock is not None
    lock.release()


def test_no_session_leaves_a_file_of_its_own(tmp_path: Path) -> None:
    for number in range(20):
        lock = lock_session(tmp_path, f"s{number}")
        assert lock is not None
        lock.release()
    assert [file.name for file in tmp_path.iterdir()] == ["sessions.lock"]


def test_any_session_id_can_be_locked(tmp_path: Path) -> None:
    for session in ("", "日本", "a/b\n", "\udcff", "x" * 100_000):
        lock = lock_session(tmp_path, session)
        assert lock is not None
        lock.release()


def test_a_lock_file_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    """As another user's would be, after a run under sudo."""
    (tmp_path / "sessions.lock").mkdir()
    with pytest.raises(HomeError, match=r"sessions\.lock"):
        lock_session(tmp_path, "s")
