"""What all tools share: paths as the model writes them, and schemas as the model is sent them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deskhand.seam.risk import READ
from deskhand.tools.base import NOTHING, CallContext, ToolError, ToolResult, built_in, resolve
from deskhand.tools.built_in import built_in_tools

CWD = Path("/project/here")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a/b", "/project/here/a/b"),
        ("./a", "/project/here/a"),
        ("../x", "/project/x"),
        ("../../../../x", "/x"),
        ("/a/../b", "/b"),
        ("/", "/"),
        ("~/x", str(Path.home() / "x")),
        (" a ", "/project/here/ a "),
        ("a\nb", "/project/here/a\nb"),
    ],
)
def test_paths_are_resolved_as_a_shell_would(text: str, path: str) -> None:
    assert str(resolve(CWD, text)) == path


@pytest.mark.parametrize("text", ["", "a\0b", "\ud800", "~nobody-of-that-name/x", "a" * 5_000, "\0" + "a" * 5_000])
def test_what_is_no_path_is_one_sentence(text: str) -> None:
    with pytest.raises(ToolError, match=r"^.*[.]$"):
        resolve(CWD, text)


@given(st.text())
def test_any_text_is_a_path_or_a_sentence(text: str) -> None:
    with contextlib.suppress(ToolError):
        assert resolve(CWD, text).is_absolute()


class _Nested(msgspec.Struct, forbid_unknown_fields=True):
    title: str
    default: int = 3


class _Parameters(msgspec.Struct, forbid_unknown_fields=True):
    entries: list[_Nested]
    size: Annotated[int, msgspec.Meta(ge=1, description="How many.")] | None = None


def test_a_schema_is_whole_and_without_noise(tmp_path: Path) -> None:
    """A parameter may be called title or default; the keywords of those names are left out."""
    (tmp_path / "probe.md").write_text("Probes.\n")

    async def run(arguments: _Parameters, context: CallContext) -> ToolResult:
        return ToolResult((str(arguments.size),))

    tool = built_in(
        str(tmp_path / "probe.py"),
        _Parameters,
        kind="other",
        run=run,
        risk=lambda arguments, cwd: READ,
        resources=lambda arguments, cwd: NOTHING,
        title=lambda arguments: "Probe",
    )
    assert (tool.name, tool.description) == ("probe", "Probes.")
    nested = tool.schema["properties"]["entries"]["items"]
    assert set(nested["properties"]) == {"title", "default"}
    assert nested["properties"]["default"] == {"type": "integer"}
    assert "$defs" not in tool.schema


def test_ten_tools_are_told_in_few_words() -> None:
    """They are paid for on every request: the whole first request may have 12 KB."""
    tools = built_in_tools().values()
    assert len(tools) == 10
    assert sum(len(tool.description) + len(msgspec.json.encode(tool.schema)) for tool in tools) < 7_000


@pytest.mark.parametrize("name", sorted(built_in_tools()))
def test_each_schema_is_one(name: str) -> None:
    """Endpoints refuse a request in which one tool's schema is not valid, and with it the whole turn."""
    schema = dict(built_in_tools()[name].schema)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
