"""Bytes to text: encodings are told apart, and nothing a program writes can upset a request."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deskhand.tools.text import (
    clean,
    detect,
    file_head_and_tail,
    head_and_tail,
    human_size,
    is_mixed,
    newline_of,
    visible,
)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"", "UTF-8"),
        ("naïve".encode(), "UTF-8"),
        (b"\xef\xbb\xbfhello", "UTF-8 with a byte order mark"),
        ("\ufeffhé".encode("utf-16-le"), "UTF-16-LE"),
        ("\ufeffhé".encode("utf-16-be"), "UTF-16-BE"),
        ("\ufeffhé".encode("utf-32-le"), "UTF-32-LE"),
        ("prix élevé".encode("latin-1"), "latin-1"),
        ("prix: 5 €, “élevé”".encode("cp1252"), "windows-1252"),
        ("àéîõü".encode() + b"\xff", "UTF-8 with invalid bytes, shown as \\xNN"),
    ],
)
def test_each_encoding_is_told_by_its_bytes(data: bytes, name: str) -> None:
    encoding = detect(data)
    assert encoding is not None
    assert encoding.name == name


@pytest.mark.parametrize(
    "data",
    [
        b"a\0b",
        b"\x89PNG\r\n\x1a\n....",
        b"PK\x03\x04rest",
        b"%PDF-1.7\n",
        bytes(range(1, 256)),
        "hé".encode("utf-16-le"),
    ],
)
def test_binaries_are_not_text(data: bytes) -> None:
    assert detect(data) is None


def test_a_sample_that_ends_inside_a_character_is_still_utf_8() -> None:
    sample = "é".encode()[:1]
    assert detect(b"text " + sample, whole=False) == detect(b"text")
    assert detect(b"text " + sample) != detect(b"text")


@given(st.text(), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]))
@settings(max_examples=60, deadline=None)
def test_text_in_any_unicode_encoding_is_read_back(text: str, codec: str) -> None:
    data = text.encode(codec)
    encoding = detect(data)
    if encoding is not None and not text.startswith("\ufeff"):
        assert encoding.decode(data) == text


def test_newlines_are_counted_not_guessed() -> None:
    assert newline_of("a\r\nb\r\nc\n") == "\r\n"
    assert newline_of("a\nb\r\n c\n") == "\n"
    assert newline_of("a\rb") == "\r"
    assert newline_of("") == "\n"
    assert is_mixed("a\r\nb\n")
    assert not is_mixed("a\r\nb\r\n")


def test_output_is_cleaned_to_what_a_terminal_would_show() -> None:
    assert clean(b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07done\x1b(B\r\n") == "red done\n"
    assert clean(b"10%\r50%\r100%\r\nok\n") == "100%\nok\n"
    assert clean(b"10%\r20%\r") == "20%"
    assert clean(b"a\0b\xffc\x08d\te") == "a\\x00b\\xffc\\x08d\te"
    assert clean(b"no newline") == "no newline"
    assert clean(b"\x1b]0;never ended\nnext") == "0;never ended\nnext"


@given(st.binary(max_size=400))
@settings(max_examples=100, deadline=None)
def test_cleaned_output_holds_nothing_a_request_cannot_carry(data: bytes) -> None:
    text = clean(data)
    json.dumps(text).encode()
    text.encode("utf-8")
    assert not any(ord(character) < 32 and character not in "\n\t" for character in text)


def test_cleaning_is_quick_on_hostile_lines() -> None:
    begun = time.monotonic()
    for data in (b"\x1b" * 300_000, b"\x1b[" * 200_000, b"\x1b]" * 200_000, b"x" * 2_000_000, b"x\r" * 500_000):
        clean(data)
    assert time.monotonic() - begun < 20


def test_a_short_text_is_left_alone() -> None:
    assert head_and_tail("abc\n", 200) == ("abc\n", False)


def test_a_long_text_keeps_whole_lines_of_head_and_tail() -> None:
    text = "".join(f"line {number}\n" for number in range(1_000))
    cut, was_cut = head_and_tail(text, 500)
    lines = cut.splitlines()
    assert was_cut
    assert len(cut) <= 500
    assert lines[0] == "line 0"
    assert lines[-1] == "line 999"
    marker = next(line for line in lines if line.startswith("[…"))
    kept = sum(len(line) + 1 for line in lines if line != marker)
    assert marker == f"[… {len(text) - kept:,} characters left out …]"
    assert set(lines) - {marker} <= set(text.splitlines())


@given(st.text(alphabet="ab\n", max_size=900), st.integers(200, 400))
@settings(max_examples=100, deadline=None)
def test_a_cut_text_is_within_its_limit_and_true_to_both_ends(text: str, limit: int) -> None:
    cut, was_cut = head_and_tail(text, limit)
    assert len(cut) <= limit
    assert was_cut == (len(text) > limit)
    if was_cut:
        head, _, rest = cut.partition("[…")
        tail = rest.partition("…]\n")[2]
        assert text.startswith((head, head.removesuffix("\n")))
        assert text.endswith(tail)


def test_one_huge_line_is_cut_inside() -> None:
    cut, was_cut = head_and_tail("x" * 200_000, 1_000)
    assert was_cut
    assert 800 < len(cut) <= 1_000


def test_a_big_file_is_read_at_its_ends_only(tmp_path: Path) -> None:
    path = tmp_path / "output"
    with path.open("wb") as file:
        file.write("début\n".encode() * 1_000)
        file.seek(3 * 10**9)
        file.write("é".encode() * 5_000 + b"\nend\n")
    text, was_cut = file_head_and_tail(path, 2_000)
    assert was_cut
    assert text.startswith("début\n")
    assert text.endswith("é\nend\n")
    assert "[… about 3.0 GB left out …]" in text
    assert len(text) <= 2_000


@pytest.mark.parametrize("size", [0, 100, 1_999, 2_000, 3_999, 4_000, 5_000, 8_001, 20_000])
def test_a_file_of_any_size_keeps_both_ends_once(tmp_path: Path, size: int) -> None:
    path = tmp_path / "output"
    data = "".join(f"{number:07d}\n" for number in range(size // 8 + 1))[:size]
    path.write_text(data)
    text, was_cut = file_head_and_tail(path, 2_000)
    assert was_cut == (size > 2_000)
    assert text[:100] == data[:100]
    assert text[-100:] == data[-100:]
    assert was_cut or text == data


def test_nuls_in_a_big_file_stay_within_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "output"
    path.write_bytes(b"\0" * 1_000_000)
    text, was_cut = file_head_and_tail(path, 1_000)
    assert was_cut
    assert len(text) <= 1_000


def test_sizes_and_control_characters_are_put_in_words() -> None:
    assert [human_size(size) for size in (0, 1, 999, 1_500, 48_200_000)] == [
        "0 bytes",
        "1 byte",
        "999 bytes",
        "1.5 kB",
        "48.2 MB",
    ]
    assert visible("a\x1bb\rc\td\n\x9b") == "a\\x1bb\\rc\td\n\\x9b"
