"""`find_files` finds by pattern, newest first, and leaves out what .gitignore does."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from deskhand.tools.base import CallContext, ToolError
from deskhand.tools.find_files import MOST_FILES, TOOL


def find(folder: Path, pattern: str, **arguments: object) -> str:
    context = CallContext(session="s", call="c", cwd=folder, outputs=folder)
    (text,) = asyncio.run(TOOL.run(TOOL.parse({"pattern": pattern, **arguments}), context)).content
    assert isinstance(text, str)
    return text


def make(folder: Path, *names: str) -> None:
    for age, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        os.utime(path, (1_000_000 - age, 1_000_000 - age))


def test_the_newest_comes_first(tmp_path: Path) -> None:
    make(tmp_path, "z.py", "src/m.py", "a.py", "src/x.txt")
    assert find(tmp_path, "*.py") == "z.py\nsrc/m.py\na.py"
    assert find(tmp_path, "src/*") == "src/m.py\nsrc/x.txt"
    assert find(tmp_path, "**/*.txt") == "src/x.txt"
    assert find(tmp_path, "*.py", path="src") == "src/m.py"
    assert find(tmp_path, f"{tmp_path}/src/*.py") == "src/m.py"


def test_ignored_files_are_left_out_and_that_is_said(tmp_path: Path) -> None:
    make(tmp_path, "node_modules/a.js", ".git/x.js")
    (tmp_path / ".gitignore").write_text("node_modules\n")
    assert "what .gitignore excludes is not looked at" in find(tmp_path, "*.js")


def test_links_and_odd_names_are_found(tmp_path: Path) -> None:
    make(tmp_path, "a b", "new\nline")
    (tmp_path / "link").symlink_to("nowhere")
    assert set(find(tmp_path, "*").split("\n")) == {"a b", "new\\nline", "link"}


def test_many_files_are_cut_and_counted(tmp_path: Path) -> None:
    make(tmp_path, *(f"{number:04d}" for number in range(MOST_FILES + 7)))
    lines = find(tmp_path, "*").split("\n")
    assert len(lines) == MOST_FILES + 1
    assert lines[-1] == "[7 more, older ones: narrow the pattern or the path.]"


def test_what_is_no_folder_is_said(tmp_path: Path) -> None:
    make(tmp_path, "file")
    with pytest.raises(ToolError, match="is a file"):
        find(tmp_path, "*", path="file")
    with pytest.raises(ToolError, match=r"does not exist\. Near it: file"):
        find(tmp_path, "*", path="fil")
    with pytest.raises(ToolError, match="empty"):
        find(tmp_path, "")
