"""docs/rehearsal.md: its examples are scripts, the complete one plays, and its tables have every key."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from deskhand.model.rehearsal_script import Expect, Fault, Manner, Step, parse_script
from support import Deskhand, RunningRehearsal, ScriptSource

PAGE = (Path(__file__).parents[2] / "docs" / "rehearsal.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_a_script(example: str) -> None:
    assert parse_script(example).steps


def test_the_complete_example_plays(
    rehearsal: Callable[[ScriptSource], RunningRehearsal], deskhand: Deskhand, project: Path
) -> None:
    model = rehearsal(EXAMPLES[0])
    ran = deskhand("run", "Write a program that greets people.", endpoint=model.url)
    assert ran.code == 0, ran.stderr
    assert "It works: it said “Hello, Moon!”" in ran.stdout
    assert [exchange.status for exchange in model.messages] == [200, 529, 200, 200]
    assert (project / "greet.sh").read_text(encoding="utf-8") == "echo Hello, $1!\n"


@pytest.mark.parametrize(
    ("heading", "table"),
    [("## `[script]`", Manner), ("## `[[step]]`", Step), ("### `expect`", Expect), ("### `fault`", Fault)],
)
def test_the_tables_have_every_key(heading: str, table: type[msgspec.Struct]) -> None:
    section = PAGE.split(f"{heading}\n")[1].split("\n## ")[0].split("\n### ")[0]
    for field in msgspec.structs.fields(table):
        assert f"`{field.name}`" in section, field.name
