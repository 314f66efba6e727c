"""An HTML page as Markdown for a model to read: its text, headings, lists, tables and links, nothing else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from deskhand.tools.text import visible

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

_UNREAD = (
    *("script", "style", "noscript", "template", "svg", "canvas", "iframe", "object", "audio", "video", "title"),
    *("nav", "footer", "aside", "button", "select", "input", "textarea", "dialog"),
)
_ENOUGH = 200
"""Characters that make a `main` or `article` the page's content, rather than an empty frame."""


def readable(html: str) -> str:
    """Return the content of `html` as Markdown, under its title.

    Broken markup gives what a browser would show, more or less. It may take seconds: call it in a thread.
    """
    import warnings

    from bs4 import BeautifulSoup, UnusualUsageWarning  # with markdownify 240 ms, and only for who fetches a page

    # It warns of markup that looks like something else, into the user's terminal.
    warnings.simplefilter("ignore", UnusualUsageWarning)
    soup = BeautifulSoup(html, "html.parser")
    title = " ".join(soup.title.get_text().split()) if soup.title else ""
    for tag in soup(_UNREAD):
        tag.decompose()
    _shorten(soup)
    text = _tidy(_markdown(_content(soup)))
    if not title or text.split("\n", 1)[0] == f"# {title}":
        return text
    return f"# {visible(title)}\n\n{text}".strip()


def _content(soup: BeautifulSoup) -> Tag:
    """Return the part of the page that is its content, where it says so."""
    for found in (soup("main"), soup(role="main"), soup("article")):
        if len(found) == 1 and len(found[0].get_text(strip=True)) >= _ENOUGH:
            return found[0]
    return soup.body or soup


def _shorten(soup: BeautifulSoup) -> None:
    """Leave of images their description, of links that lead nowhere else their text."""
    for image in soup("img"):
        image.replace_with(str(image.get("alt", "")))
    for link in soup("a"):
        target = str(link.get("href", "")).strip()
        if not link.get_text(strip=True) or not target or target.startswith(("#", "javascript:", "data:")):
            link.unwrap()


def _markdown(content: Tag) -> str:
    from markdownify import MarkdownConverter

    converter = MarkdownConverter(heading_style="ATX", bullets="-", escape_asterisks=False, escape_underscores=False)
    try:
        return str(converter.convert_soup(content))
    except RecursionError:  # some hundred levels of nesting: the text alone must do
        return content.get_text("\n", strip=True)


def _tidy(text: str) -> str:
    text = visible(text.replace("\r\n", "\n").replace("\xa0", " "))
    text = re.sub(r"[ \t]+\n", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()
