"""`edit` changes what it was asked to, and not one byte more (lessons, rows 24 and 25)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deskhand.journal.events import FileSeen
from deskhand.tools.base import CallContext, ToolError, ToolResult
from deskhand.tools.edit import TOOL, Parameters
from deskhand.tools.files import digest
from deskhand.tools.text import detect


def edit(path: Path, old: str, new: str, *, every: bool = False, seen: dict[str, str] | None = None) -> ToolResult:
    context = CallContext(session="s", call="c", cwd=path.parent, outputs=path.parent, seen=seen or {})
    return asyncio.run(TOOL.run(Parameters(path.name, old, new, every), context))


def edited(tmp_path: Path, data: bytes, old: str, new: str, *, every: bool = False) -> bytes:
    path = tmp_path / "file"
    path.write_bytes(data)
    result = edit(path, old, new, every=every)
    after = path.read_bytes()
    (change,) = result.changes
    assert (change.path, change.before, change.after) == (path, data, after)
    assert result.seen == (FileSeen(str(path), digest(after)),)
    return after


MARKS = {"utf-8-sig": b"\xef\xbb\xbf", "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}
CODECS = ["utf-8", "utf-8-sig", "latin-1", "utf-16-le", "utf-16-be"]
bytes_around = st.one_of(st.binary(max_size=40), st.text("aé€\r\n\n😀", max_size=20).map(str.encode))


def encoded(text: str, codec: str) -> bytes:
    return text.encode("utf-8" if codec == "utf-8-sig" else codec)


@given(
    before=bytes_around,
    after=bytes_around,
    codec=st.sampled_from(CODECS),
    newline=st.sampled_from(["\n", "\r\n"]),
    new=st.text("xyé\n", max_size=8),
)
@settings(max_examples=100, deadline=None)
def test_every_byte_outside_the_span_is_identical_row_24(
    tmp_path_factory: pytest.TempPathFactory, before: bytes, after: bytes, codec: str, newline: str, new: str
) -> None:
    if codec.startswith("utf-16"):
        before = before[: len(before) // 2 * 2]
    before = MARKS.get(codec, b"") + before
    data = before + encoded(f"OLD{newline}TEXT", codec) + after
    encoding = detect(data)
    if encoding is None or encoding.codec != codec.replace("-sig", "").replace("latin-1", "iso-8859-1"):
        return  # these bytes make it a file of another encoding, or a binary
    result = edited(tmp_path_factory.mktemp("edit"), data, "OLD\nTEXT", new)
    assert result == before + encoded(new.replace("\n", newline), codec) + after


@given(around=st.text("abé\n", max_size=20), codec=st.sampled_from(CODECS), crlf=st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_file_on_disk_is_the_old_one_with_the_span_replaced_row_24(
    tmp_path_factory: pytest.TempPathFactory, around: str, codec: str, crlf: bool
) -> None:
    def on_disk(text: str) -> bytes:
        return MARKS.get(codec, b"") + encoded(text.replace("\n", "\r\n") if crlf else text, codec)

    folder = tmp_path_factory.mktemp("edit")
    # One é at least: without any, latin-1 cannot be told from UTF-8.
    after = edited(folder, on_disk(f"é{around}OLD\nTEXT{around}"), "OLD\nTEXT", "é\nnew")
    assert after == on_disk(f"é{around}é\nnew{around}")


def test_crlf_is_matched_and_kept(tmp_path: Path) -> None:
    assert edited(tmp_path, b"a\r\nb\r\nc\r\n", "a\nb", "x\ny\nz") == b"x\r\ny\r\nz\r\nc\r\n"
    assert edited(tmp_path, b"a\r\nb\r\nc", "c", "d\ne") == b"a\r\nb\r\nd\r\ne"
    assert edited(tmp_path, b"a\r\nb\r\n", "a\r\nb", "c\r\nd") == b"c\r\nd\r\n"


def test_new_lines_get_the_newline_of_their_place_in_a_mixed_file(tmp_path: Path) -> None:
    data = b"unix\nunix\ndos\r\ndos end\r\n"
    assert edited(tmp_path, data, "dos end", "1\n2") == b"unix\nunix\ndos\r\n1\r\n2\r\n"
    assert edited(tmp_path, b"first\nunix\ndos\r\n", "first", "1\n2") == b"1\n2\nunix\ndos\r\n"


def test_old_macintosh_newlines_are_kept(tmp_path: Path) -> None:
    assert edited(tmp_path, b"a\rb\rc", "a\nb", "x\ny") == b"x\ry\rc"


def test_a_file_without_a_final_newline_stays_without(tmp_path: Path) -> None:
    assert edited(tmp_path, b"a\nb", "b", "c") == b"a\nc"


def test_invalid_bytes_elsewhere_are_left_alone(tmp_path: Path) -> None:
    data = "naïve é café\n".encode() + b"\xff\xfe broken \x80\nend\n"
    assert edited(tmp_path, data, "café", "thé") == data.replace("café".encode(), "thé".encode())


def test_latin_1_stays_latin_1(tmp_path: Path) -> None:
    assert edited(tmp_path, b"prix \xe9lev\xe9\n", "élevé", "bas, été") == b"prix bas, \xe9t\xe9\n"


def test_a_character_that_the_encoding_lacks_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"prix \xe9\n")
    with pytest.raises(ToolError, match=r"new has € \(U\+20AC\), which x, being latin-1, cannot hold"):
        edit(path, "prix", "€")
    assert path.read_bytes() == b"prix \xe9\n"


def test_utf_16_is_matched_at_whole_characters_only(tmp_path: Path) -> None:
    # The bytes of "a" in UTF-16-LE, 61 00, lie across the two characters U+6100 U+0000+0x7A00.
    data = b"\xff\xfe" + "\u6141\u7a00a".encode("utf-16-le")
    assert edited(tmp_path, data, "a", "b") == b"\xff\xfe" + "\u6141\u7a00b".encode("utf-16-le")


def test_several_places_need_a_choice(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"a = 1\nb = 2\na = 1\n")
    with pytest.raises(ToolError, match="occurs 2 times in x, at lines 1, 3"):
        edit(path, "a = 1", "a = 3")
    result = edit(path, "a = 1", "a = 3", every=True)
    assert path.read_bytes() == b"a = 3\nb = 2\na = 3\n"
    assert result.content == ("Edited x: 2 replacements, the first at line 1.",)


def test_places_that_overlap_are_several(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"aaa")
    with pytest.raises(ToolError, match="occurs 2 times"):
        edit(path, "aa", "b")
    assert edited(tmp_path, b"aaaaa", "aa", "b", every=True) == b"bba"


def test_a_lone_newline_is_found_once_in_crlf(tmp_path: Path) -> None:
    assert edited(tmp_path, b"a\r\nb", "\n", " ") == b"a b"


@pytest.mark.parametrize(
    ("old", "expected"),
    [
        ("\tdef run(self):\n\t\treturn 1", "other whitespace.*\n2\t    def run\\(self\\):\n3\t        return 1"),
        ("2\t    def run(self):", "Without the line numbers"),
        ("    def runs(self):\n        return 2", "nearest lines are:\n2\t    def run\\(self\\):\n3\t        return 1"),
        ("nothing of the kind at all", "Nothing in it is much like it"),
    ],
)
def test_a_miss_says_what_is_nearest(tmp_path: Path, old: str, expected: str) -> None:
    path = tmp_path / "x.py"
    path.write_bytes(b"class A:\n    def run(self):\n        return 1\n")
    with pytest.raises(ToolError, match=f"(?s)old is not in x.py.*{expected}"):
        edit(path, old, "")


def test_bytes_shown_as_escapes_are_explained(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes("é è ".encode() + b"\xff end\n")
    with pytest.raises(ToolError, match="shows what is no text"):
        edit(path, "\\xff end", "")


def test_a_miss_in_a_big_file_is_told_soon(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("".join(f"value_{number} = compute(something, {number})\n" for number in range(300_000)))
    start = time.monotonic()
    with pytest.raises(ToolError, match="nearest lines"):
        edit(path, "value_1 = compute(other things, 1)", "")
    assert time.monotonic() - start < 20


def test_many_replacements_in_one_long_line_do_not_take_for_ever(tmp_path: Path) -> None:
    assert len(edited(tmp_path, b"ab" * 200_000, "a", "c\nd", every=True)) == 800_000


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [("", "x", "old is empty"), ("a", "a", "are the same"), ("a\n", "a\r\n", "only in newlines")],
)
def test_edits_that_are_none_are_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"a\r\n")
    with pytest.raises(ToolError, match=expected):
        edit(path, old, new)


def test_a_file_changed_since_it_was_read_is_not_edited_row_25(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"theirs")
    with pytest.raises(ToolError, match="changed on disk"):
        edit(path, "theirs", "mine", seen={str(path): digest(b"as it was")})
    assert path.read_bytes() == b"theirs"
    edit(path, "theirs", "mine", seen={str(path): digest(b"theirs")})


def test_binaries_and_missing_files_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\x7fELF\0")
    with pytest.raises(ToolError, match="is binary"):
        edit(tmp_path / "x", "E", "F")
    with pytest.raises(ToolError, match="does not exist"):
        edit(tmp_path / "y", "E", "F")


def test_the_change_is_shown_as_it_reads(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\xef\xbb\xbf" + b"".join(b"%d\r\n" % number for number in range(1, 30)))
    result = edit(path, "10\n11", "ten\neleven")
    (hunk,) = result.changes[0].hunks
    assert (hunk.line, hunk.old) == (7, "7\n8\n9\n10\n11\n12\n13\n14\n")
    assert hunk.new == "7\n8\n9\nten\neleven\n12\n13\n14\n"
    assert result.locations[0].line == 10


def test_the_class_follows_the_place(tmp_path: Path) -> None:
    assert TOOL.risk(Parameters("a", "b", "c"), tmp_path).klass == "write"
    assert TOOL.risk(Parameters("/etc/hosts", "b", "c"), tmp_path).klass == "confirm"
    assert TOOL.resources(Parameters("a", "b", "c"), tmp_path).writes == {tmp_path / "a"}


@pytest.mark.parametrize("every", [False, True])
def test_text_that_repeats_itself_takes_no_longer_than_other_text(tmp_path: Path, every: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * 5_000_000)
    started = time.monotonic()
    if every:
        edit(path, "a" * 100_000, "b", every=True)
        assert path.read_bytes() == b"b" * 50
    else:
        with pytest.raises(ToolError, match="1,000 times or more"):
            edit(path, "a" * 100_000, "b")
    assert time.monotonic() - started < 20


def test_lines_that_repeat_themselves_take_no_longer_than_others(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"same\r\n" * 200_000)
    started = time.monotonic()
    with pytest.raises(ToolError, match="is not in"):
        edit(path, "same\n" * 5_000 + "other", "x")
    assert time.monotonic() - started < 20
