"""The text of a PDF, page by page: what `read` and `fetch` show of one."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING

from deskhand.tools.base import ToolError
from deskhand.tools.text import visible

if TYPE_CHECKING:
    from pypdf import PdfReader

PAGES = 20
"""The most pages that one call gives."""

SECONDS = 20.0
"""After so long no further page is begun; a hostile page can take minutes."""


def pdf_text(data: bytes, first_page: int = 1, last_page: int | None = None) -> str:
    """Return the text of pages `first_page` to `last_page` (from 1, both included), at most `PAGES` of them.

    Each page is under a line of its own, and a last line says how many pages are left. It may take seconds:
    call it in a thread. Raises `ToolError` where the PDF is encrypted, broken, or has no text on these pages.
    """
    reader = _open(data)
    total = _count(reader)
    if not 1 <= first_page <= total:
        raise ToolError(f"The PDF has {total} pages, and {first_page} is none of them: ask for pages 1 to {total}.")
    last = min(total, first_page + PAGES - 1, total if last_page is None else last_page)
    if last < first_page:
        raise ToolError(f"Pages {first_page} to {last_page} are none: the first page must not come after the last.")
    pages = _pages(reader, first_page, last)
    if not any(pages):
        raise ToolError(
            f"Pages {first_page} to {first_page + len(pages) - 1} of {total} have no text: they may be scans. "
            "Convert them to images (pdftoppm -png) and look at those."
        )
    parts = [f"--- page {number} of {total} ---\n{text}" for number, text in enumerate(pages, first_page)]
    following = first_page + len(pages)
    if following <= total:
        parts.append(f"--- {total - following + 1} more pages, from page {following} ---")
    return "\n".join(parts)


def _open(data: bytes) -> PdfReader:
    import logging

    from pypdf import PasswordType, PdfReader  # 400 ms, and few sessions meet a PDF
    from pypdf.errors import DependencyError

    # It warns of every irregularity, and without a handler that goes to the user's terminal.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and reader.decrypt("") == PasswordType.NOT_DECRYPTED:
            raise ToolError("The PDF is encrypted and opens only with a password: decrypt it first (qpdf --decrypt).")
    except ToolError:
        raise
    except DependencyError:
        raise ToolError("The PDF is encrypted with AES: decrypt it first (qpdf --decrypt IN OUT).") from None
    except Exception as error:  # a broken file surfaces as nearly any exception, RecursionError among them
        raise _broken(error) from None
    return reader


def _count(reader: PdfReader) -> int:
    try:
        return len(reader.pages)
    except Exception as error:  # as in _open
        raise _broken(error) from None


def _pages(reader: PdfReader, first: int, last: int) -> list[str]:
    """Return the text of the pages, fewer where they take too long; a broken page says so in its place."""
    end = time.monotonic() + SECONDS
    pages: list[str] = []
    for number in range(first, last + 1):
        if pages and time.monotonic() > end:
            break
        try:
            text = reader.pages[number - 1].extract_text().strip()
            # Its fonts may map to half a surrogate pair, which no JSON can hold.
            pages.append(visible(text.encode("utf-8", "replace").decode()))
        except Exception as error:  # one broken page must not hide the others
            pages.append(f"[this page cannot be read: {_short(error)}]")
    return pages


def _broken(error: Exception) -> ToolError:
    return ToolError(f"The file is not a PDF that can be read: {_short(error)}.")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
