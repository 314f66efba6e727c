"""`read` shows any file as a model can use it, in pages, and never waits or fills the memory."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from deskhand.journal.events import FileSeen
from deskhand.tools.base import CallContext, ImageData, ToolError, ToolResult
from deskhand.tools.files import LARGEST_WHOLE, digest
from deskhand.tools.read import LONGEST_LINE, TOOL

CAP = 40_000


def read(path: Path | str, **arguments: object) -> ToolResult:
    folder = path.parent if isinstance(path, Path) else Path.cwd()
    context = CallContext(session="s", call="c", cwd=folder, outputs=folder)
    return asyncio.run(TOOL.run(TOOL.parse({"path": str(path), **arguments}), context))


def shown(path: Path | str, **arguments: object) -> str:
    (text,) = read(path, **arguments).content
    assert isinstance(text, str)
    assert len(text) <= CAP
    return text


def file(folder: Path, data: bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_text_comes_with_line_numbers_and_is_remembered_as_seen(tmp_path: Path) -> None:
    path = file(tmp_path, b"one\n\ttwo\n")
    result = read(path)
    assert result.content == ("1\tone\n2\t\ttwo",)
    assert result.seen == (FileSeen(str(path), digest(b"one\n\ttwo\n")),)


def test_a_link_is_seen_as_the_file_it_leads_to(tmp_path: Path) -> None:
    path = file(tmp_path, b"x")
    (tmp_path / "link").symlink_to(path)
    assert read(tmp_path / "link").seen[0].path == str(path)


def test_a_long_file_says_how_to_go_on(tmp_path: Path) -> None:
    path = file(tmp_path, b"".join(b"%d\n" % number for number in range(1, 5_001)))
    first = shown(path)
    assert first.startswith("1\t1\n2\t2\n")
    assert first.endswith("2000\t2000\n[Lines 1-2,000 of 5,000. Go on with offset=2001.]")
    assert shown(path, offset=10, limit=2) == "10\t10\n11\t11\n[Lines 10-11 of 5,000. Go on with offset=12.]"
    assert shown(path, offset=5_000) == "5000\t5000\n[End of the file, 5,000 lines.]"
    with pytest.raises(ToolError, match="has 5,000 lines; offset 5,001 is past its end"):
        read(path, offset=5_001)


def test_wide_lines_fill_a_page_before_its_2000_lines(tmp_path: Path) -> None:
    path = file(tmp_path, b"".join(b"%04d%s\n" % (number, b"x" * 500) for number in range(1_000)))
    assert "Go on with offset=" in shown(path)


def test_a_huge_line_is_cut_and_says_how_to_see_the_rest(tmp_path: Path) -> None:
    text = shown(file(tmp_path, b"short\n" + b"x" * 200_000 + b"\nend\n"))
    assert f"[… {200_000 - LONGEST_LINE:,} more characters …]\n3\tend" in text
    assert "sed -n 2p FILE | cut -c 2001-4000" in text


def test_control_characters_cannot_swell_a_page(tmp_path: Path) -> None:
    shown(file(tmp_path, (b"x" * 10 + b"\x01" * 1_900 + b"y" * 40_000 + b"\n") * 40))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "[The file is empty.]"),
        (b"\xef\xbb\xbf", "[The file is empty.]"),
        (b"a", "1\ta\n[No newline at the end of the file.]"),
        (b"\n", "1\t"),
        (b"a\r\nb\r\n", "[Newlines: CRLF; edit keeps them.]\n1\ta\n2\tb"),
        (b"a\r\nb\n", "[Newlines: LF and CRLF mixed; edit keeps them.]\n1\ta\n2\tb"),
        (b"a\rb\r", "[Newlines: CR; edit keeps them.]\n1\ta\n2\tb"),
        (b"\xe9t\xe9\n", "[Encoding: latin-1.]\n1\tété"),
        ("\ufeffh€\r\n".encode("utf-16-le"), "[Encoding: UTF-16-LE. Newlines: CRLF; edit keeps them.]\n1\th€"),
        ("é ".encode() + b"\xff\n", "[Encoding: UTF-8 with invalid bytes, shown as \\xNN.]\n1\té \\xff"),
        (b"a\x1b[0mb\x0cc\rd\n", "1\ta\\x1b[0mb\\x0cc\\rd"),
        ("a\u2028b\x0b\n".encode(), "1\ta\u2028b\\x0b"),
    ],
)
def test_encodings_newlines_and_control_characters_are_visible(tmp_path: Path, data: bytes, expected: str) -> None:
    assert shown(file(tmp_path, data)) == expected


def test_a_binary_is_refused_with_its_type_and_size(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"is binary \(an ELF program or library, 8 bytes\)"):
        read(file(tmp_path, b"\x7fELF\0\0\0\0"))
    with pytest.raises(ToolError, match=r"is binary \(unknown type, 3 bytes\)"):
        read(file(tmp_path, b"a\0b"))


def test_a_pipe_or_device_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ToolError, match="named pipe"):
        read(tmp_path / "pipe")
    with pytest.raises(ToolError, match="device"):
        read("/dev/zero")


def test_a_folder_is_listed(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    file(tmp_path, b"", "b\nc")
    file(tmp_path, b"", "a")
    assert shown(tmp_path) == f"[{tmp_path} is a folder of 3 entries.]\na\nb\\nc\nsub/"
    for number in range(400):
        file(tmp_path / "sub", b"", f"{number:03d}")
    assert shown(tmp_path / "sub").endswith("299\n[100 more: find_files narrows it down.]")


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    file(tmp_path, b"", "README.md")
    with pytest.raises(ToolError, match=r"Near it: README\.md"):
        read(tmp_path / "README")


def test_a_name_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="File name too long"):
        read(tmp_path / ("x" * 300))
    with pytest.raises(ToolError, match="Not a directory"):
        read(file(tmp_path, b"") / "below")


PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0..", "image/jpeg"),
        (b"GIF89a..", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
    ],
)
def test_images_are_images_whatever_they_are_called(tmp_path: Path, data: bytes, media_type: str) -> None:
    text, image = read(file(tmp_path, data, "picture.txt")).content
    assert image == ImageData(data, media_type)
    assert str(text).startswith("[picture.txt is a ")


def test_a_notebook_is_shown_by_cells_and_raw_when_asked(tmp_path: Path) -> None:
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["hello\n"]},
        {"output_type": "display_data", "data": {"image/png": "aGk=", "text/plain": "<Figure>"}},
        {"output_type": "execute_result", "data": {"text/plain": ["4", "2"]}},
        {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []},
        {"output_type": "stream", "name": "stdout", "text": "x" * 50_000},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        {"cell_type": "code", "source": "print('hello')", "outputs": outputs},
    ]
    path = file(tmp_path, json.dumps({"nbformat": 4, "cells": cells}, indent=1).encode(), "n.ipynb")
    text = shown(path)
    assert (
        "--- cell 1: markdown ---\n# Title\ntext\n--- cell 2: code ---\nprint('hello')\n--- output ---\nhello" in text
    )
    assert "[image/png, text/plain]" in text
    assert "42" in text
    assert "ValueError: no" in text
    assert len(text) < 3_000
    assert shown(path, offset=1, limit=1).startswith("1\t{\n")


@pytest.mark.parametrize("data", [b"{}", b"not json", b'{"cells": [1]}', b'{"cells": 3}', b"[]"])
def test_a_broken_notebook_is_shown_as_text(tmp_path: Path, data: bytes) -> None:
    assert shown(file(tmp_path, data, "n.ipynb")).startswith("1\t")


def test_a_broken_pdf_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="PDF"):
        read(file(tmp_path, b"%PDF-1.4\nrubbish"))
    with pytest.raises(ToolError, match="no range of pages"):
        read(file(tmp_path, b"%PDF-1.4\nrubbish"), pages="two")


def test_a_pdf_gives_the_pages_asked_for(tmp_path: Path) -> None:
    from pypdf import PdfWriter

    writer = PdfWriter()
    for _ in range(3):
        writer.add_blank_page(100, 100)
    writer.write(tmp_path / "x.pdf")
    with pytest.raises(ToolError, match="2 to 3 of 3 have no text"):
        read(tmp_path / "x.pdf", pages="2-3")


def test_a_file_of_gigabytes_is_paged_through_without_being_held(tmp_path: Path) -> None:
    path = tmp_path / "huge.log"
    with path.open("wb") as log:
        block = b"".join(b"line %d\r\n" % number for number in range(1, 100_001))
        while log.tell() <= LARGEST_WHOLE:
            log.write(block)
        log.truncate(log.tell() + 20)
        log.seek(0, 2)
        log.write(b"\nlast")
    assert shown(path, limit=1).splitlines()[1] == "1\tline 1"
    text = shown(path, offset=150_000, limit=2)
    assert "150000\tline 50000\n150001\tline 50001\n[Lines 150,000-150,001 of a file of 5" in text
    assert read(path).seen == ()
    with pytest.raises(ToolError, match=r"fewer than 10,000,000,000 lines"):
        read(path, offset=10_000_000_000)


def test_titles_say_which_lines(tmp_path: Path) -> None:
    titles = [
        TOOL.title(TOOL.parse({"path": "a.py", **rest})) for rest in ({}, {"offset": 10, "limit": 31}, {"offset": 10})
    ]
    assert titles == ["Read a.py", "Read a.py (lines 10-40)", "Read a.py (from line 10)"]


def test_a_folder_with_a_link_to_itself_is_listed(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "sub").mkdir()
    assert shown(tmp_path) == f"[{tmp_path} is a folder of 2 entries.]\nloop\nsub/"


@pytest.mark.skipif(not Path("/proc/self/pagemap").exists(), reason="Linux has it")
def test_a_file_of_proc_that_hides_its_size_does_not_fill_the_memory() -> None:
    with pytest.raises(ToolError, match="is binary"):
        read("/proc/self/pagemap")
