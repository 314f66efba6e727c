"""The built-in tools, in the order in which the model is shown them."""

from __future__ import annotations

from typing import Any

from deskhand.tools import bash, edit, fetch, find_files, read, screenshot, search, sqlite, todo, write
from deskhand.tools.base import Tool

_MODULES = (bash, read, edit, write, search, find_files, sqlite, fetch, screenshot, todo)


def built_in_tools() -> dict[str, Tool[Any]]:
    """Return the built-in tools by name."""
    return {module.TOOL.name: module.TOOL for module in _MODULES}
