"""What .gitignore excludes, judged by git itself."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deskhand.tools.walk import Glob, alternatives, path_filter, walk


def found(root: Path) -> list[str]:
    return [os.path.relpath(entry.path, root) for entry in walk(root)]


def make(root: Path, *names: str, text: str = "x\n") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def git(root: Path, *arguments: str) -> bytes:
    environment = {"PATH": os.environ["PATH"], "HOME": str(root), "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(["git", *arguments], cwd=root, env=environment, check=True, capture_output=True).stdout


def kept_by_git(root: Path) -> list[str]:
    listed = git(root, "ls-files", "--others", "--exclude-standard", "-z")
    return [os.fsdecode(name) for name in listed.split(b"\0") if name]


RULES = """
# comment
*.log
!keep.log
/build
out/
docs/*.html
**/cache
a/**/z
trailing/**
\\!literal
\\#hash
[ab]?.tmp
[!c]*.bak
spaced\x20\x20
nested/sub/
"""

NAMES = [
    "x.log",
    "keep.log",
    "deep/keep.log",
    "build/x",
    "deep/build/x",
    "out/x",
    "deep/out/x",
    "docs/a.html",
    "docs/sub/a.html",
    "cache/x",
    "deep/er/cache/x",
    "a/z",
    "a/b/c/z",
    "trailing/x/y",
    "!literal",
    "#hash",
    "a1.tmp",
    "c1.tmp",
    "cx.bak",
    "dx.bak",
    "spaced",
    "nested/sub/x",
    "sub/nested/sub/x",
    ".hidden/file",
    "new\nline",
]


def test_the_rules_are_those_of_git(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    make(tmp_path, *NAMES)
    make(tmp_path, ".gitignore", text=RULES)
    make(tmp_path, "deep/.gitignore", text="!x.log\n/er\n")
    make(tmp_path, "deep/x.log", "er/y", "deep/er/y")
    make(tmp_path, ".git/info/exclude", text="excluded\n")
    make(tmp_path, "excluded", "deep/excluded")
    assert sorted(found(tmp_path)) == sorted(kept_by_git(tmp_path))


# Without empty parts, and slashes in brackets: nobody means anything by them.
pattern = st.text(alphabet="ab*?/[]!.\\-", min_size=1, max_size=7).filter(
    lambda text: "//" not in text and re.search(r"\[[^\]]*/", text) is None
)


@given(st.lists(pattern, min_size=1, max_size=4))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_rules_are_those_of_git(tmp_path_factory: pytest.TempPathFactory, rules: list[str]) -> None:
    root = tmp_path_factory.mktemp("repository")
    git(root, "init", "-q")
    make(root, "a", "b.a", "ab/a", "ab/b/a.b", "ba/ab", "aa/bb/ab/b", ".a/b")
    make(root, ".gitignore", text="\n".join(rules) + "\n")
    assert sorted(found(root)) == sorted(kept_by_git(root))


def test_rules_above_the_folder_count_up_to_the_repository_s_root(tmp_path: Path) -> None:
    make(tmp_path, ".gitignore", text="*.py\n")
    git(tmp_path, "init", "-q", "repo")
    make(tmp_path / "repo", ".gitignore", text="/src/gen\n*.o\n")
    make(tmp_path / "repo", "src/a.py", "src/a.o", "src/gen/b.py")
    assert found(tmp_path / "repo/src") == ["a.py"]


def test_a_repository_within_has_its_own_rules(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    make(tmp_path, ".gitignore", text="*.o\n")
    git(tmp_path, "init", "-q", "inner")
    make(tmp_path, "a.o", "inner/b.o")
    assert found(tmp_path) == [".gitignore", "inner/b.o"]


def test_without_a_repository_gitignore_counts_all_the_same(tmp_path: Path) -> None:
    make(tmp_path, ".gitignore", text="node_modules/\n")
    make(tmp_path, "node_modules/x", "a")
    assert found(tmp_path) == [".gitignore", "a"]


def test_links_are_not_followed_so_that_loops_end(tmp_path: Path) -> None:
    make(tmp_path, "sub/file")
    (tmp_path / "sub/up").symlink_to(tmp_path)
    (tmp_path / "broken").symlink_to("nowhere")
    assert found(tmp_path) == ["broken", "sub/file", "sub/up"]


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A folder with one file, below more folders than Python has stack frames."""
    root = tmp_path / "deep"
    root.mkdir()
    folder = os.open(root, os.O_RDONLY)
    for _ in range(1_200):
        os.mkdir("d", dir_fd=folder)
        inner = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    yield root
    subprocess.run(["rm", "-rf", root], check=True)  # shutil.rmtree, which pytest uses, recurses


def test_a_very_deep_tree_is_walked(deep: Path) -> None:
    assert found(deep) == ["d/" * 1_200 + "file"]


def test_a_walk_stops_when_it_is_told(tmp_path: Path) -> None:
    make(tmp_path, "a", "b")
    assert list(walk(tmp_path, lambda: True)) == []


@pytest.mark.parametrize(
    ("glob", "fitting", "other"),
    [
        ("*.py", ["a.py", "x/y/a.py"], ["a.pyc", "a.py/x"]),
        ("src/**/*.{ts,tsx}", ["src/a.ts", "src/x/y/a.tsx"], ["a.ts", "lib/src/a.ts", "src/a.js"]),
        ("**/test_*.py", ["test_a.py", "x/test_b.py"], ["x/a_test.py"]),
        ("src/**", ["src/a", "src/b/c"], ["src", "lib/a"]),
        ("/top.txt", ["top.txt"], ["x/top.txt"]),
        ("{a,b{c,d}}.x", ["a.x", "bc.x", "bd.x"], ["b.x", "c.x"]),
        ("[!a-c]x", ["dx"], ["ax", "bx"]),
        ("[z-a]", ["z"], ["a", "m"]),
        ("[!]", [], ["!", "x"]),
        ("a.b", ["a.b"], ["aXb"]),
        ("[", ["["], ["x"]),
    ],
)
def test_globs_fit_what_they_say(glob: str, fitting: list[str], other: list[str]) -> None:
    fits = path_filter(glob)
    assert all(fits(path) for path in fitting)
    assert not any(fits(path) for path in other)


def test_no_pattern_takes_long() -> None:
    start = time.monotonic()
    assert not Glob("*a" * 60 + "b").matches("a" * 250)
    assert not Glob("**/a/" * 30 + "b").matches("/".join("a" * 200))
    assert len(alternatives("{a,b}" * 30)) <= 128
    assert time.monotonic() - start < 20
