from __future__ import annotations

import io
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader, PdfWriter

from deskhand.tools.base import ToolError
from deskhand.tools.pdf import PAGES, pdf_text
from pdfs import make_pdf


def failure(data: bytes, *pages: int) -> str:
    with pytest.raises(ToolError) as raised:
        pdf_text(data, *pages)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def encrypted(data: bytes, password: str) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(data)))
    writer.encrypt(password, algorithm="RC4-128")
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def test_pages_come_under_their_numbers() -> None:
    assert pdf_text(make_pdf("first", "second")) == "--- page 1 of 2 ---\nfirst\n--- page 2 of 2 ---\nsecond"


def test_only_the_pages_asked_for_come_and_the_rest_is_counted() -> None:
    text = pdf_text(make_pdf("a", "b", "c", "d"), 2, 3)
    assert text == "--- page 2 of 4 ---\nb\n--- page 3 of 4 ---\nc\n--- 1 more pages, from page 4 ---"


def test_a_long_document_comes_in_parts() -> None:
    text = pdf_text(make_pdf(*(["words"] * (PAGES + 5))))
    assert text.count("words") == PAGES
    assert text.endswith(f"--- 5 more pages, from page {PAGES + 1} ---")


@pytest.mark.parametrize("pages", [(0,), (3,), (2, 1), (-1, 1)])
def test_pages_that_are_none_are_said_so(pages: tuple[int, ...]) -> None:
    failure(make_pdf("a", "b"), *pages)


def test_a_scan_has_no_text_and_that_is_said() -> None:
    assert "no text" in failure(make_pdf("", ""))


def test_a_password_is_asked_for_where_there_is_one() -> None:
    assert "password" in failure(encrypted(make_pdf("secret"), "open sesame"))
    assert "secret" in pdf_text(encrypted(make_pdf("secret"), "")), "an empty one is no obstacle"


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_broken_file_is_text_or_one_sentence(data: st.DataObject) -> None:
    whole = make_pdf("hello", "world")
    start = data.draw(st.integers(0, len(whole)))
    rubbish = data.draw(st.binary(max_size=40))
    end = data.draw(st.integers(start, len(whole)))
    with suppress(ToolError):
        assert pdf_text(whole[:start] + rubbish + whole[end:])
