"""`python -m deskhand` is the same program as `deskhand`."""

from __future__ import annotations

from deskhand.cli.main import entry

if __name__ == "__main__":
    entry()
