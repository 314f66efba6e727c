"""Bytes to text, for a model to read: encodings, newlines, control characters, and what to leave out."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Literal

import msgspec

SAMPLE = 8_000
"""Bytes at the start of a file in which a NUL tells a binary, as in git (`buffer_is_binary`)."""

Newline = Literal["\n", "\r\n", "\r"]


class Encoding(msgspec.Struct, frozen=True):
    """How a file's bytes stand for text. `damaged`: it is UTF-8, but some bytes are not."""

    codec: str
    bom: bytes = b""
    damaged: bool = False

    @property
    def name(self) -> str:
        """The encoding in words for a reader."""
        names = {"utf-8": "UTF-8", "iso-8859-1": "latin-1", "cp1252": "windows-1252"}
        name = names.get(self.codec, self.codec.upper())
        if self.damaged:
            return f"{name} with invalid bytes, shown as \\xNN"
        return f"{name} with a byte order mark" if self.bom and self.codec == "utf-8" else name

    def decode(self, data: bytes) -> str:
        """Return the text of `data` without its byte order mark; bytes that are no text become `\\xNN`."""
        return data.removeprefix(self.bom).decode(self.codec, "backslashreplace")

    def encode(self, text: str) -> bytes:
        """Return `text` as bytes, without a byte order mark. Raises `UnicodeEncodeError`."""
        return text.encode(self.codec)


UTF_8 = Encoding("utf-8")

# The UTF-32 marks first: the little-endian one begins with that of UTF-16.
_MARKS = (
    Encoding("utf-8", codecs.BOM_UTF8),
    Encoding("utf-32-le", codecs.BOM_UTF32_LE),
    Encoding("utf-32-be", codecs.BOM_UTF32_BE),
    Encoding("utf-16-le", codecs.BOM_UTF16_LE),
    Encoding("utf-16-be", codecs.BOM_UTF16_BE),
)

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive, or a document made of one"),
    (b"\x1f\x8b", "gzip data"),
    (b"BZh", "bzip2 data"),
    (b"\xfd7zXZ\x00", "xz data"),
    (b"\x28\xb5\x2f\xfd", "Zstandard data"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"SQLite format 3\x00", "an SQLite database (the sqlite tool reads it)"),
    (b"\x7fELF", "an ELF program or library"),
    (b"\xcf\xfa\xed\xfe", "a Mach-O program or library"),
    (b"\xca\xfe\xba\xbe", "a Java class or a universal Mach-O program"),
    (b"\x00asm", "a WebAssembly module"),
    (b"OggS", "Ogg audio or video"),
    (b"fLaC", "FLAC audio"),
    (b"ID3", "MP3 audio"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"wOFF", "a web font"),
    (b"wOF2", "a web font"),
)
# These begin with letters that text may begin with too: without a second sign they do not make a binary.
_TEXT_LIKE = (b"BZh", b"ID3", b"OggS", b"fLaC", b"wOFF", b"wOF2")


def binary_type(start: bytes) -> str | None:
    """Say what kind of binary begins with `start`, by its magic number; None where nothing tells."""
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "a WebP image"
    if start[4:8] == b"ftyp":
        return "an MP4 or similar media file"
    return next((kind for magic, kind in _MAGIC if start.startswith(magic)), None)


def detect(data: bytes, *, whole: bool = True) -> Encoding | None:
    """Return the encoding of a file that holds (or, unless `whole`, begins with) `data`; None for a binary.

    In this order: a byte order mark, a NUL or a magic number (binary), UTF-8, UTF-8 with some invalid bytes,
    windows-1252 where its own characters occur, latin-1. UTF-16 without a mark has NULs, and counts as binary.
    """
    marked = next((encoding for encoding in _MARKS if data.startswith(encoding.bom)), None)
    if marked is not None:
        if marked.codec == "utf-8" and not _is_utf8(data, whole):
            return Encoding("utf-8", marked.bom, damaged=True)
        return marked
    if b"\0" in data[:SAMPLE] or _has_magic(data):
        return None
    if _is_utf8(data, whole):
        return UTF_8
    if _looks_random(data[:SAMPLE]):
        return None
    return _single_byte_or_damaged(data)


def _is_utf8(data: bytes, whole: bool) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, final=whole)
    except UnicodeDecodeError:
        return False
    return True


def _has_magic(data: bytes) -> bool:
    return binary_type(data[:16]) is not None and not data.startswith(_TEXT_LIKE)


_CONTROLS = bytes(byte for byte in range(0x20) if byte not in b"\t\n\r\f\x1b") + b"\x7f"


def _looks_random(sample: bytes) -> bool:
    """Compressed or encrypted bytes hold a control character in ten; no single-byte text has one in twenty."""
    return (len(sample) - len(sample.translate(None, _CONTROLS))) * 20 > len(sample)


def _single_byte_or_damaged(data: bytes) -> Encoding:
    """Tell UTF-8 with some wrong bytes from text in a single-byte encoding, where UTF-8 hardly occurs by chance."""
    text = data.decode("utf-8", "surrogateescape")
    invalid = sum(1 for _ in re.finditer("[\udc80-\udcff]", text))
    valid = sum(1 for _ in re.finditer("[\u0080-\ud7ff\ue000-\U0010ffff]", text))
    if valid >= invalid:
        return Encoding("utf-8", damaged=True)
    if re.search(rb"[\x80-\x9f]", data) and not re.search(rb"[\x81\x8d\x8f\x90\x9d]", data):
        return Encoding("cp1252")
    return Encoding("iso-8859-1")


def newline_of(text: str) -> Newline:
    """Return the newline that `text` uses most: CR only where it has no other."""
    crlf = text.count("\r\n")
    lf = text.count("\n") - crlf
    if not crlf and not lf and "\r" in text:
        return "\r"
    return "\r\n" if crlf > lf else "\n"


def is_mixed(text: str) -> bool:
    """Tell whether `text` has both LF and CRLF newlines."""
    crlf = text.count("\r\n")
    return 0 < crlf < text.count("\n")


_VISIBLE = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in (0x09, 0x0A)}
_VISIBLE[0x0D] = "\\r"


def visible(text: str) -> str:
    """Return `text` with its control characters, but for newline and tab, as `\\xNN`."""
    return text.translate(_VISIBLE)


# ECMA-48: control sequences (CSI), control strings (OSC, DCS, SOS, PM, APC, ended by BEL or ST), two-byte escapes.
_ANSI = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)"
    r"|\x1b[ -/]*[0-~]"
)


def clean(data: bytes) -> str:
    """Return what a program wrote as text for a model: about what a terminal would show in the end.

    Escape sequences are gone, CRLF is LF, a progress line that overwrote itself is its last state, and what is
    no text (invalid UTF-8, NULs, control characters) is visible as `\\xNN`.
    """
    text = _ANSI.sub("", data.decode("utf-8", "backslashreplace"))
    if "\r" in text:
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return visible(text)


def human_size(size: int) -> str:
    """Return a number of bytes in words, with decimal units."""
    if size < 1_000:
        return f"{size} bytes" if size != 1 else "1 byte"
    for factor, unit in ((10**9, "GB"), (10**6, "MB")):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size / 1_000:.1f} kB"


_MARKER_ROOM = 60


def head_and_tail(text: str, limit: int) -> tuple[str, bool]:
    """Return `text`, or its head and tail in at most `limit` characters, and whether something was left out.

    The cuts are at line ends, except in a line so long that too little would be left. `limit` is at least 200.
    """
    if len(text) <= limit:
        return text, False
    half = (limit - _MARKER_ROOM) // 2
    head, tail = _head(text, half), _tail(text, half)
    left_out = len(text) - len(head) - len(tail)
    return _join(head, f"[… {left_out:,} characters left out …]", tail), True


def file_head_and_tail(path: Path, limit: int) -> tuple[str, bool]:
    """Return the cleaned text of the file at `path` as `head_and_tail` does, without reading all of a big file.

    Raises `OSError`.
    """
    window = 2 * limit
    with path.open("rb") as file:
        start = file.read(window)
        size = file.seek(0, 2)
        file.seek(max(size - window, len(start)))
        end = file.read(window)
    if size <= len(start) + len(end):
        return head_and_tail(clean(start + end), limit)
    half = (limit - _MARKER_ROOM) // 2
    head = _head(clean(_without_cut_end(start)), half)
    tail = _tail(clean(_without_cut_start(end)), half)
    left_out = human_size(size - len(head.encode()) - len(tail.encode()))
    return _join(head, f"[… about {left_out} left out …]", tail), True


def _head(text: str, room: int) -> str:
    """Return the first `room` characters, without a last line that is cut unless it is most of them."""
    if len(text) <= room:
        return text
    border = text.rfind("\n", room * 3 // 4, room)
    return text[: border + 1] if border >= 0 else text[:room]


def _tail(text: str, room: int) -> str:
    """Return the last `room` characters, without a first line that is cut unless it is most of them."""
    if len(text) <= room:
        return text
    start = len(text) - room
    border = text.find("\n", start - 1, start + room // 4)
    return text[border + 1 :] if border >= 0 else text[start:]


def _join(head: str, marker: str, tail: str) -> str:
    gap = "" if not head or head.endswith("\n") else "\n"
    return f"{head}{gap}{marker}\n{tail}"


def _without_cut_end(data: bytes) -> bytes:
    """Drop a UTF-8 character that the end of `data` cuts in two."""
    for back in range(1, min(4, len(data)) + 1):
        lead = data[-back]
        if lead >= 0xC0:
            needed = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return data[:-back] if back < needed else data
        if lead < 0x80:
            break
    return data


def _without_cut_start(data: bytes) -> bytes:
    """Drop the rest of a UTF-8 character that the start of `data` cuts in two."""
    begin = 0
    while begin < min(3, len(data)) and 0x80 <= data[begin] < 0xC0:
        begin += 1
    return data[begin:]
