"""A call's class, with the reason for it: what the seam decides on."""

from __future__ import annotations

import msgspec

from deskhand.journal.events import Class


class Risk(msgspec.Struct, frozen=True):
    """read: cannot change anything. write: can be brought back. confirm: cannot, or reaches other people."""

    klass: Class
    reason: str = ""


READ = Risk("read")
WRITE = Risk("write")

_ORDER: dict[Class, int] = {"read": 0, "write": 1, "confirm": 2}


def worst(*risks: Risk) -> Risk:
    """Return the gravest of `risks`, the first among equals; `READ` where there is none."""
    return max(risks, key=lambda risk: _ORDER[risk.klass], default=READ)
