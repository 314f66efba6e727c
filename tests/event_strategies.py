"""Any event that the union allows, for hypothesis: made from the types, so that a new kind is covered unasked."""

from __future__ import annotations

from typing import Any

import msgspec.inspect
from hypothesis import strategies as st

from deskhand.journal.events import Event

_numbers = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False))
_json = st.recursive(
    st.one_of(st.none(), st.booleans(), _numbers, st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)


def _of(node: msgspec.inspect.Type) -> st.SearchStrategy[Any]:
    match node:
        case msgspec.inspect.StructType():
            fields = {field.name: _of(field.type) for field in node.fields}
            return st.builds(node.cls, **fields)
        case msgspec.inspect.UnionType():
            return st.one_of([_of(inner) for inner in node.types])
        case msgspec.inspect.VarTupleType():
            return st.lists(_of(node.item_type), max_size=3).map(tuple)
        case msgspec.inspect.LiteralType():
            return st.sampled_from(node.values)
        case msgspec.inspect.DictType():
            return st.dictionaries(st.text(max_size=5), _of(node.value_type), max_size=3)
        case msgspec.inspect.StrType():
            return st.text(max_size=60)
        case msgspec.inspect.IntType():
            return st.integers(-(2**63), 2**63 - 1)
        case msgspec.inspect.FloatType():
            return st.floats(allow_nan=False, allow_infinity=False)
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.NoneType():
            return st.none()
        case msgspec.inspect.AnyType():
            return _json
    raise AssertionError(f"no strategy for {node}")


events: st.SearchStrategy[Event] = _of(msgspec.inspect.type_info(Event))
