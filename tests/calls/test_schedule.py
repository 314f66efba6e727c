"""Calls that touch the same thing keep the model's order; the others need not wait."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from deskhand.calls.schedule import conflict, predecessors
from deskhand.tools.base import EVERYTHING, NOTHING, Resources

paths = st.frozensets(st.sampled_from([Path(p) for p in ("/", "/a", "/a/b", "/a/b/c", "/d", "/ab")]), max_size=2)
resources = st.builds(Resources, paths, paths)


@given(resources, resources)
def test_conflict_is_symmetric_and_needs_a_writer(one: Resources, other: Resources) -> None:
    assert conflict(one, other) == conflict(other, one)
    if not one.writes and not other.writes:
        assert not conflict(one, other)


@given(st.lists(resources, max_size=6))
def test_each_call_waits_for_exactly_the_earlier_ones_in_conflict(calls: list[Resources]) -> None:
    for index, waits in enumerate(predecessors(calls)):
        assert waits == [earlier for earlier in range(index) if conflict(calls[earlier], calls[index])]


def test_a_folder_stands_for_all_below_it() -> None:
    folder = Resources(reads=frozenset({Path("/a")}))
    inside = Resources(writes=frozenset({Path("/a/b")}))
    beside = Resources(writes=frozenset({Path("/ab")}))
    assert conflict(folder, inside)
    assert not conflict(folder, beside)
    assert conflict(EVERYTHING, folder)
    assert not conflict(EVERYTHING, NOTHING)
