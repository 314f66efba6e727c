"""`write` replaces whole files, and keeps what a reader of the old one relies on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from deskhand.tools.base import CallContext, ToolError, ToolResult
from deskhand.tools.files import digest
from deskhand.tools.write import TOOL, Parameters


def write(path: Path, content: str, seen: dict[str, str] | None = None) -> ToolResult:
    context = CallContext(session="s", call="c", cwd=path.parent, outputs=path.parent, seen=seen or {})
    return asyncio.run(TOOL.run(Parameters(path.name, content), context))


def test_a_new_file_is_written_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "new\nfolder" / "a b.txt"
    result = write(path, "one\ntwo")
    assert path.read_bytes() == b"one\ntwo"
    assert result.content == ("Wrote 2 lines to a b.txt (a new file).",)
    (change,) = result.changes
    assert (change.path, change.before, change.after) == (path, None, b"one\ntwo")
    assert [hunk.new for hunk in change.hunks] == ["one\ntwo"]


def test_a_file_never_read_is_replaced_and_its_bytes_kept(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"1\n2\n3\n")
    result = write(path, "4\n")
    assert result.content == ("Wrote 1 line to x (replaced 3).",)
    assert result.changes[0].before == b"1\n2\n3\n"


def test_a_file_changed_since_it_was_read_is_not_written_row_25(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"theirs")
    with pytest.raises(ToolError, match="changed on disk"):
        write(path, "mine", seen={str(path): digest(b"as it was")})
    assert path.read_bytes() == b"theirs"
    result = write(path, "mine", seen={str(path): digest(b"theirs")})
    assert result.seen[0].digest == digest(b"mine")


@pytest.mark.parametrize(
    ("before", "content", "after", "note"),
    [
        (b"a\r\nb\r\n", "c\nd\n", b"c\r\nd\r\n", "CRLF newlines were kept"),
        (b"a\r\nb\n", "c\nd\n", b"c\nd\n", "replaced 2"),
        (b"a\r\nb\r\n", "c\r\nd\n", b"c\r\nd\n", "replaced 2"),
        (b"\xef\xbb\xbfa\n", "é\n", b"\xef\xbb\xbf\xc3\xa9\n", "byte order mark, as it was"),
        (b"\xef\xbb\xbfa\n", "\ufeffb\n", b"\xef\xbb\xbfb\n", "byte order mark, as it was"),
        ("\ufeffa\n".encode("utf-16-le"), "é\n", "\ufeffé\n".encode("utf-16-le"), "UTF-16-LE, as it was"),
        (b"\xe9t\xe9\n", "é\n", b"\xe9\n", "latin-1, as it was"),
        (b"\xe9t\xe9\n", "€\n", "€\n".encode(), "latin-1, which lacks €: it is UTF-8 now"),
        (b"\x7fELF\0\0", "text\n", b"text\n", "replaced 6 bytes"),
    ],
)
def test_encoding_and_newlines_of_the_old_file_are_kept(
    tmp_path: Path, before: bytes, content: str, after: bytes, note: str
) -> None:
    path = tmp_path / "x"
    path.write_bytes(before)
    result = write(path, content)
    assert path.read_bytes() == after
    assert note in str(result.content[0])


def test_the_same_content_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"same")
    stamp = path.stat().st_mtime_ns
    result = write(path, "same")
    assert not result.changes
    assert path.stat().st_mtime_ns == stamp


def test_half_a_character_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"surrogate U\+D800"):
        write(tmp_path / "x", "a\ud800")
    assert not (tmp_path / "x").exists()


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(ToolError, match="is a folder"):
        write(tmp_path / "x", "a")


def test_a_link_is_written_through_and_counts_as_its_target(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"old\n")
    (tmp_path / "link").symlink_to("target")
    result = write(tmp_path / "link", "new\n")
    assert (tmp_path / "target").read_bytes() == b"new\n"
    assert result.changes[0].path == tmp_path / "target"
    assert TOOL.resources(Parameters("link", ""), tmp_path).writes == {tmp_path / "target"}


def test_a_big_file_is_written_without_showing_the_change(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x\n" * 2_000_000)
    assert write(path, "y\n").changes[0].hunks == ()


def test_the_name_of_a_folder_is_no_name_for_a_file(tmp_path: Path) -> None:
    context = CallContext(session="s", call="c", cwd=tmp_path, outputs=tmp_path)
    with pytest.raises(ToolError, match="ends in a slash"):
        asyncio.run(TOOL.run(Parameters("new/", "x"), context))
    assert not list(tmp_path.iterdir())
