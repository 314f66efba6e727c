"""`search` gives the same answer with ripgrep and without, and cannot be made to hang."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from deskhand.tools.base import CallContext, Ending, ToolError, ToolResult
from deskhand.tools.search import MOST_MATCHES, TOOL, WIDEST, find_ripgrep

CAP = 40_000


def context_for(folder: Path) -> CallContext:
    return CallContext(session="s", call="c", cwd=folder, outputs=folder)


def search(folder: Path, pattern: str, **arguments: object) -> str:
    result: ToolResult = asyncio.run(TOOL.run(TOOL.parse({"pattern": pattern, **arguments}), context_for(folder)))
    (text,) = result.content
    assert isinstance(text, str)
    assert len(text) <= CAP
    return text


@pytest.fixture(params=["ripgrep", "python"])
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Search with either program: without ripgrep, a Python and a PATH beside which there is no `rg`."""
    if request.param == "ripgrep":
        if find_ripgrep() is None:
            pytest.skip("ripgrep is not installed")
        return "ripgrep"
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin/python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert find_ripgrep() is None
    return "python"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "the project"
    folder.mkdir()
    return folder


def make(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def test_matches_come_by_path_with_their_lines(program: str, folder: Path) -> None:
    make(folder, {"b.py": b"x\nneedle one\n", "a/z.py": b"needle\n", "a.txt": b"no\nneedle", "c": b"Needle\n"})
    assert search(folder, "needle") == "a/z.py:1:needle\na.txt:2:needle\nb.py:2:needle one"
    assert search(folder, "needle", path="a") == "a/z.py:1:needle"
    assert search(folder, "needle", path="b.py") == "b.py:2:needle one"
    assert search(folder, "NEEDLE", ignore_case=True, path="c") == "c:1:Needle"
    assert search(folder, r"^needle$", files_only=True) == "a/z.py\na.txt"
    assert search(folder, r"need\w+ (?P<n>one)") == "b.py:2:needle one"
    assert search(folder, r"(?<=needle )one") == "b.py:2:needle one"
    assert search(folder.parent, "one", path=str(folder)) == "the project/b.py:2:needle one"


def test_context_lines_are_marked_and_parted(program: str, folder: Path) -> None:
    make(folder, {"a": b"1\n2\nhit\n4\n5\n6\n7\nhit\n9\n", "b": b"hit\n"})
    shown = search(folder, "hit", context=1)
    assert shown == "a-2-2\na:3:hit\na-4-4\n--\na-7-7\na:8:hit\na-9-9\n--\nb:1:hit"


def test_globs_narrow_without_bringing_ignored_files_back(program: str, folder: Path) -> None:
    make(folder, {".gitignore": b"*.log\n!keep.log\n", "a.log": b"hit\n", "src/a.ts": b"hit\n", "lib/a.tsx": b"hit\n"})
    make(folder, {"keep.log": b"hit\n"})
    assert search(folder, "hit", glob="*.log") == "keep.log:1:hit"
    assert search(folder, "hit", glob="*.{ts,tsx}") == "lib/a.tsx:1:hit\nsrc/a.ts:1:hit"
    assert search(folder, "hit", glob="src/**/*.{ts,tsx}") == "src/a.ts:1:hit"
    assert search(folder, "hit", glob="src/**") == "src/a.ts:1:hit"
    assert search(folder, "hit", glob="*.py").startswith("No match in files like *.py under ")


def test_ignored_files_and_git_s_own_are_not_searched_hidden_ones_are(program: str, folder: Path) -> None:
    make(folder, {".git/HEAD": b"hit\n", ".git/info/exclude": b"secret\n", "secret": b"hit\n", ".env": b"hit\n"})
    make(folder, {".gitignore": b"/out/\n*.o\n!keep.o\n", "out/x": b"hit\n", "x.o": b"hit\n", "sub/keep.o": b"hit\n"})
    make(folder, {"sub/.gitignore": b"!x.o\nlocal\n", "sub/x.o": b"hit\n", "sub/local": b"hit\n", "local": b"hit\n"})
    assert search(folder, "hit") == ".env:1:hit\nlocal:1:hit\nsub/keep.o:1:hit\nsub/x.o:1:hit"
    assert search(folder, "hit", path="out/x") == "out/x:1:hit"


def test_binaries_are_passed_over_and_other_encodings_searched(program: str, folder: Path) -> None:
    make(folder, {"bin": b"hit\n" + b"x\n" * 50_000 + b"\0\n", "utf16": "\ufeffhit é\r\n".encode("utf-16-le")})
    make(folder, {"latin": b"hit \xe9\n", "bom": b"\xef\xbb\xbfhit\n", "crlf": b"hit\r\n"})
    assert search(folder, "^hit") == "bom:1:hit\ncrlf:1:hit\nlatin:1:hit \\xe9\nutf16:1:hit é"
    assert search(folder, "hit$") == "bom:1:hit\ncrlf:1:hit"


def test_names_with_spaces_newlines_and_wrong_bytes_survive(program: str, folder: Path) -> None:
    make(folder, {"a b:1:.txt": b"hit\n", "new\nline": b"hit\n"})
    Path(os.fsdecode(os.fsencode(folder) + b"/wrong\xff")).write_bytes(b"hit\n")
    assert search(folder, "hit") == "a b:1:.txt:1:hit\nnew\\nline:1:hit\nwrong\\xff:1:hit"


def test_a_long_line_is_shown_around_its_match(program: str, folder: Path) -> None:
    make(folder, {"a.min.js": "é".encode() * 100_000 + b"needle" + b"y" * 100_000 + b"\n", "b": b"needle\n"})
    first, second = search(folder, "needle").split("\n")
    assert "needleyyy" in first
    assert len(first) <= WIDEST + 20
    assert second == "b:1:needle"


def test_a_line_of_megabytes_does_no_harm(program: str, folder: Path) -> None:
    make(folder, {"a": b"x" * 9_000_000 + b"needle\n", "b": b"needle\n"})
    assert search(folder, "needle").endswith("b:1:needle")


def test_many_matches_are_cut_and_say_so(program: str, folder: Path) -> None:
    make(folder, {"a": b"hit\n" * 150, "b": b"hit\n" * 100_000})
    lines = search(folder, "hit").split("\n")
    assert len(lines) == MOST_MATCHES + 1
    assert lines[-1] == "[Stopped after 200 matches in 2 files: narrow the pattern, path or glob.]"
    make(folder, {"a": (b"hit" + b"x" * 5_000 + b"\n") * 1_000})
    assert "Stopped after" in search(folder, "hit", context=20)


@pytest.mark.parametrize("pattern", ["foo(", "[a", "*", "a{2,1}"])
def test_a_bad_regex_is_one_sentence(program: str, folder: Path, pattern: str) -> None:
    make(folder, {"a": b"x\n"})
    with pytest.raises(ToolError, match=r"^The pattern is not a valid regex: .*") as caught:
        search(folder, pattern)
    assert "\n" not in str(caught.value)


def test_a_pattern_that_looks_like_an_option_is_a_pattern(program: str, folder: Path) -> None:
    make(folder, {"a": b"--files\n"})
    assert search(folder, "--files") == "a:1:--files"


def test_what_cannot_be_searched_is_said(program: str, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to(".")
    make(folder, {"a": b"hit\n"})
    assert search(folder, "hit") == "a:1:hit"
    with pytest.raises(ToolError, match="named pipe"):
        search(folder, "hit", path="pipe")
    with pytest.raises(ToolError, match="does not exist"):
        search(folder, "hit", path="nowhere")
    with pytest.raises(ToolError, match="empty"):
        search(folder, "")
    assert search(folder, "absent").startswith("No match under ")


def test_the_folder_s_own_modules_are_not_run(program: str, folder: Path) -> None:
    make(folder, {"json.py": b"raise SystemExit('hit: I was imported')\n", "re.py": b"hit\n"})
    assert search(folder, "hit") == "json.py:1:raise SystemExit('hit: I was imported')\nre.py:1:hit"


def searching_children() -> list[str]:
    listed = subprocess.run(["/bin/ps", "-eo", "ppid=,args="], capture_output=True, text=True, check=True).stdout
    return [
        line for line in listed.splitlines() if line.split()[0] == str(os.getpid()) and "deskhand.tools.grep" in line
    ]


@pytest.mark.parametrize("program", ["python"], indirect=True)
def test_a_regex_that_never_ends_is_ended_with_the_call(program: str, folder: Path) -> None:
    """Only our own program has such regexes; ripgrep answers this one at once."""
    make(folder, {"a": b"hit\n", "b": b"a" * 60 + b"!\n"})

    async def stop_it() -> ToolResult:
        context = context_for(folder)
        found = asyncio.Event()
        context.progress = found.set
        task = asyncio.ensure_future(TOOL.run(TOOL.parse({"pattern": "^(a+)+$|hit"}), context))
        await found.wait()
        await asyncio.sleep(0.2)
        assert searching_children()
        context.ending = Ending("interrupted by user after 0.2 s", expired=False)
        task.cancel()
        return await task

    start = time.monotonic()
    result = asyncio.run(stop_it())
    assert result.content == ("a:1:hit\n[interrupted by user after 0.2 s; what was found until then is above.]",)
    assert time.monotonic() - start < 30
    assert not searching_children()


def test_titles_say_what_and_where() -> None:
    assert TOOL.title(TOOL.parse({"pattern": "foo"})) == 'Search "foo"'
    assert TOOL.title(TOOL.parse({"pattern": "foo", "path": "src"})) == 'Search "foo" in src'
    assert TOOL.title(TOOL.parse({"pattern": "foo", "glob": "*.py"})) == 'Search "foo" in *.py'


@pytest.mark.parametrize(
    ("line", "pattern"),
    [("x" * 300_000, "x"), ("q" * 5_000_000 + "needle", "needle"), ("q" * 5_000_000 + '"},"line_number":7,', "number")],
    ids=["matches", "length", "disguise"],
)
def test_a_match_in_a_line_too_long_to_show_is_no_miss(program: str, tmp_path: Path, line: str, pattern: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "before").write_text(f"{pattern}\n")
    (folder / "long").write_text(f"\n{line}\n")
    (folder / "shut").write_text(f"{pattern}\n")
    found = search(folder, pattern).splitlines()
    assert [line.split(":")[:2] for line in found] == [["before", "1"], ["long", "2"], ["shut", "1"]]


def test_a_pattern_or_glob_without_end_is_refused_before_it_costs_anything(tmp_path: Path) -> None:
    for arguments in ({"pattern": "x" * 1_000_000}, {"pattern": "x", "glob": "{a,b}" * 100_000}):
        with pytest.raises(msgspec.ValidationError, match="length"):
            TOOL.parse(arguments)


def test_a_nul_is_in_no_text(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="NUL"):
        search(tmp_path, "a\0b")
