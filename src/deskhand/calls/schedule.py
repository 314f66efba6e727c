"""Which calls of one message may run side by side: those that touch nothing of each other's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from deskhand.tools.base import Resources


def conflict(one: Resources, other: Resources) -> bool:
    """Tell whether the order of two calls matters: one writes what the other reads or writes."""
    return _overlap(one.writes, other.writes) or _overlap(one.writes, other.reads) or _overlap(one.reads, other.writes)


def predecessors(resources: Sequence[Resources]) -> list[list[int]]:
    """Return, for each call, the earlier calls that must end before it begins."""
    return [
        [earlier for earlier in range(index) if conflict(resources[earlier], own)]
        for index, own in enumerate(resources)
    ]


def _overlap(paths: Iterable[Path], others: Iterable[Path]) -> bool:
    return any(path == other or path in other.parents or other in path.parents for path in paths for other in others)
