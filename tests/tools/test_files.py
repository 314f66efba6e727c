"""Replacing files: all or nothing, and everything but the content stays (lessons, rows 24 and 25)."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deskhand.tools.base import ToolError
from deskhand.tools.files import (
    HUNK_LIMIT,
    Stopped,
    check_searchable,
    check_seen,
    digest,
    hunks,
    open_regular,
    pieces_between,
    read_whole,
    real,
    replace,
    stoppable,
    to_the_end,
)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_new_file_is_made_with_its_folders_and_the_umask_s_mode(tmp_path: Path) -> None:
    script = "import os, pathlib, sys\nfrom deskhand.tools.files import replace\nos.umask(0o027)\n"
    path = tmp_path / "a/b/c.txt"
    subprocess.run([sys.executable, "-c", f"{script}replace(pathlib.Path(sys.argv[1]), b'x')", path], check=True)
    assert path.read_bytes() == b"x"
    assert path.stat().st_mode & 0o777 == 0o640
    assert names(path.parent) == ["c.txt"]


@pytest.mark.parametrize("mode", [0o755, 0o600, 0o664])
def test_the_mode_is_kept(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "run.sh"
    path.write_bytes(b"old")
    path.chmod(mode)
    replace(path, b"new")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", mode)


def test_a_symlink_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target = tmp_path / "real/file"
    target.write_bytes(b"old")
    (tmp_path / "first").symlink_to(target)
    (tmp_path / "second").symlink_to("first")
    replace(tmp_path / "second", b"new")
    assert target.read_bytes() == b"new"
    assert (tmp_path / "second").is_symlink()
    assert (tmp_path / "first").is_symlink()
    assert names(tmp_path) == ["first", "real", "second"]


def test_a_dangling_symlink_gets_its_target(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("missing")
    replace(tmp_path / "link", b"x")
    assert (tmp_path / "missing").read_bytes() == b"x"
    assert (tmp_path / "link").is_symlink()


def test_hard_links_go_on_being_one_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"long old content")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    replace(tmp_path / "a", b"new")
    assert (tmp_path / "b").read_bytes() == b"new"
    assert (tmp_path / "a").samefile(tmp_path / "b")


def test_a_file_that_nobody_may_write_is_refused_even_to_root(tmp_path: Path) -> None:
    path = tmp_path / "locked"
    path.write_bytes(b"old")
    path.chmod(0o444)
    with pytest.raises(ToolError, match=r"write-protected \(-r--r--r--\)"):
        replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["locked"]


@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "device"])
def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "it"
    listener = socket.socket(socket.AF_UNIX)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        listener.bind(os.path.relpath(path))
    else:
        path = Path("/dev/zero")
    for operation in (lambda: replace(path, b""), lambda: open_regular(path)):
        with pytest.raises(ToolError, match=kind):
            operation()
    listener.close()


def test_a_part_of_the_path_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ToolError, match="is a file, not a folder"):
        replace(tmp_path / "file/below", b"x")
    with pytest.raises(ToolError, match="name is too long"):
        replace(tmp_path / ("x" * 300), b"x")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ToolError, match="circle"):
        replace(tmp_path / "loop", b"x")


FAILING = """
import pathlib, resource, sys
from deskhand.tools.base import ToolError
from deskhand.tools.files import replace
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    replace(pathlib.Path(sys.argv[1]), b"new" * 100_000)
except ToolError as error:
    print(error)
"""


@pytest.mark.parametrize("linked", [False, True])
def test_a_write_that_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path, linked: bool) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"old" * 20_000)
    if linked:
        (tmp_path / "other").hardlink_to(path)
    done = subprocess.run([sys.executable, "-c", FAILING, path], check=True, capture_output=True, text=True)
    assert "larger than a file may be" in done.stdout
    assert path.read_bytes() == b"old" * 20_000
    assert names(tmp_path) == (["data", "other"] if linked else ["data"])


FULL_DISK = """
import os, pathlib, subprocess, sys
from deskhand.tools.base import ToolError
from deskhand.tools.files import replace
folder = pathlib.Path(sys.argv[1])
if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True).returncode:
    sys.exit(9)
for name in ("a", "b"):
    (folder / name).write_bytes(b"old" * 5_000)
os.link(folder / "b", folder / "c")
for name in ("a", "b"):
    try:
        replace(folder / name, b"new" * 50_000)
    except ToolError as error:
        print(error)
    print((folder / name).read_bytes() == b"old" * 5_000, sorted(os.listdir(folder)))
"""


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", FULL_DISK, str(tmp_path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("needs unshare, of Linux")
    if done.returncode in (1, 9) and not done.stdout:
        pytest.skip("may not mount here")
    assert done.stdout.count("the disk is full") == 2, done.stderr
    assert done.stdout.count("True ['a', 'b', 'c']") == 2


def test_a_missing_file_s_error_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_bytes(b"")
    with pytest.raises(ToolError, match=r"does not exist\. Near it: settings\.py"):
        read_whole(tmp_path / "Setings.py")
    with pytest.raises(ToolError, match="nor does its folder"):
        read_whole(tmp_path / "nowhere/x.py")


def test_a_file_that_changed_since_it_was_seen_is_not_written_row_25(tmp_path: Path) -> None:
    path = tmp_path / "x"
    (tmp_path / "link").symlink_to(path)
    seen = {str(real(path)): digest(b"as seen")}
    check_seen(path, b"as seen", seen)
    check_seen(tmp_path / "unseen", b"anything", seen)
    for name in ("x", "link"):
        with pytest.raises(ToolError, match="changed on disk"):
            check_seen(tmp_path / name, b"as it is now", seen)


def test_a_stopped_write_still_tells_its_outcome() -> None:
    running = threading.Event()

    def work() -> str:
        running.set()
        threading.Event().wait(0.1)
        return "written"

    async def stop_it() -> str:
        task = asyncio.ensure_future(to_the_end(work))
        await asyncio.to_thread(running.wait)
        task.cancel()
        return await task

    assert asyncio.run(stop_it()) == "written"


def test_long_work_hears_that_it_is_stopped() -> None:
    running, ended = threading.Event(), threading.Event()

    def work(stopped: Stopped) -> None:
        running.set()
        while not stopped():
            threading.Event().wait(0.01)
        ended.set()

    async def stop_it() -> None:
        task = asyncio.ensure_future(stoppable(work))
        await asyncio.to_thread(running.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(stop_it())
    assert ended.wait(10)


def test_a_hunk_has_three_lines_of_context() -> None:
    before = "".join(f"{number}\n" for number in range(1, 21))
    (hunk,) = hunks(pieces_between(before, before.replace("10\n", "ten\n")))
    assert (hunk.line, hunk.old) == (7, "7\n8\n9\n10\n11\n12\n13\n14\n")
    assert hunk.new == "7\n8\n9\nten\n11\n12\n13\n14\n"


def test_changes_far_apart_are_hunks_of_their_own() -> None:
    same = "".join(f"{number}\n" for number in range(100))
    found = hunks([(same, same), ("a", "b"), (same, same), ("c", "d"), ("x\n", "x\n"), ("e\n", "f\n")])
    assert [hunk.line for hunk in found] == [98, 198]
    assert found[0].new.startswith("97\n98\n99\nb0\n")
    assert found[1].old.endswith("99\ncx\ne\n")


def test_a_huge_change_is_shown_in_part() -> None:
    (hunk,) = hunks(pieces_between("", "line\n" * 100_000))
    assert len(hunk.new) <= HUNK_LIMIT
    assert "left out" in hunk.new


line_lists = st.lists(st.sampled_from(["a\n", "b\n", "c\n", "\n", "d"]), max_size=30)


@given(line_lists, line_lists)
@settings(max_examples=100, deadline=None)
def test_hunks_put_into_the_old_text_give_the_new_one(old: list[str], new: list[str]) -> None:
    before, after = "".join(old), "".join(new)
    rebuilt = before
    for hunk in reversed(hunks(pieces_between(before, after))):
        lines = rebuilt.splitlines(keepends=True)
        head, tail = "".join(lines[: hunk.line - 1]), "".join(lines[hunk.line - 1 :])
        assert tail.startswith(hunk.old)
        rebuilt = head + hunk.new + tail.removeprefix(hunk.old)
    assert rebuilt == after


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("mode", [0, 0o200, 0o300])
def test_what_cannot_be_read_is_no_search_without_a_match(tmp_path: Path, mode: int) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file", tmp_path / "folder"):
        path.chmod(mode)
        with pytest.raises(ToolError, match="Permission denied"):
            check_searchable(path)
        path.chmod(0o700)
