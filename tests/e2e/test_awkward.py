"""Outputs, files and arguments at their most awkward, over the wire, from a scripted model to the disk and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support import Deskhand, RunningRehearsal, ScriptSource

Rehearse = Callable[[ScriptSource], RunningRehearsal]

PYTHON = 'python3 -c "import sys; o=sys.stdout.buffer; {}"'


def last_result(model: RunningRehearsal) -> str:
    content = model.messages[-1].body["messages"][-1]["content"][0]["content"]
    return "\n".join(block.get("text", block["type"]) for block in content)


@pytest.mark.parametrize(
    ("code", "telling"),
    [
        ("o.write(b'x'*200000)", "xxx"),
        ("o.write(b'a\\0b')", "a"),
        ("o.write(bytes(range(256)))", "0123456789"),
        ("o.write(b'no newline')", "no newline"),
        ("[o.write(b'y'*1048576) for _ in range(50)]", "yyy"),
        ("o.write('é'.encode('utf-16'))", ""),
        ("sys.exit(3)", "[exit 3]"),
    ],
)
def test_any_output_of_a_command_reaches_the_model_in_bounds(
    rehearsal: Rehearse, deskhand: Deskhand, code: str, telling: str
) -> None:
    call = {"tool": "bash", "arguments": {"command": PYTHON.format(code)}}
    model = rehearsal([{"call": call}, {"say": "ok"}])
    ran = deskhand("run", "x", endpoint=model.url)
    assert ran.code == 0, ran.stderr
    assert telling in last_result(model)
    assert len(last_result(model)) < 45_000
    assert "\0" not in last_result(model)


@pytest.mark.parametrize("name", ["with space.txt", "new\nline.txt", "-dash.txt", "é.txt", "quote'\".txt"])
def test_names_of_every_kind_are_read_edited_and_written(
    rehearsal: Rehearse, deskhand: Deskhand, project: Path, name: str
) -> None:
    (project / name).write_text("before")
    model = rehearsal(
        [
            {"call": {"tool": "read", "arguments": {"path": name}}},
            {
                "expect": {"result": "before", "error": False},
                "call": {"tool": "edit", "arguments": {"path": name, "old": "before", "new": "after"}},
            },
            {
                "expect": {"error": False},
                "call": {"tool": "write", "arguments": {"path": f"sub/{name}", "content": "new"}},
            },
            {"expect": {"error": False}, "say": "ok"},
        ]
    )
    ran = deskhand("run", "x", endpoint=model.url)
    assert ran.code == 0, ran.stderr
    assert (project / name).read_text() == "after"
    assert (project / "sub" / name).read_text() == "new"


def test_arguments_of_several_megabytes_arrive_whole(rehearsal: Rehearse, deskhand: Deskhand, project: Path) -> None:
    text = "0123456789abcdef" * 200_000
    call = {"tool": "write", "arguments": {"path": "big.txt", "content": text}}
    ran = deskhand("run", "x", endpoint=rehearsal([{"call": call}, {"say": "ok"}]).url)
    assert ran.code == 0, ran.stderr
    assert (project / "big.txt").read_text() == text


def test_an_image_reaches_the_model_as_an_image(rehearsal: Rehearse, deskhand: Deskhand, project: Path) -> None:
    from PIL import Image

    Image.new("RGB", (3000, 20), "blue").save(project / "wide.png")
    model = rehearsal([{"call": {"tool": "read", "arguments": {"path": "wide.png"}}}, {"say": "Blue."}])
    assert deskhand("run", "look", endpoint=model.url).code == 0
    kinds = [block["type"] for block in model.messages[-1].body["messages"][-1]["content"][0]["content"]]
    assert "image" in kinds
    again = deskhand("run", "--continue", "and again", endpoint=model.url)
    assert again.code == 1, "the script has ended"
    assert '"type": "image"' in json.dumps(model.messages[-1].body)


def test_hundreds_of_calls_in_one_turn(rehearsal: Rehearse, deskhand: Deskhand) -> None:
    steps: list[Any] = [{"call": {"tool": "bash", "arguments": {"command": f"echo {n}"}}} for n in range(300)]
    model = rehearsal([*steps, {"expect": {"result": "^299$"}, "say": "Counted."}])
    ran = deskhand("run", "--output", "json", "count", endpoint=model.url, timeout=100)
    assert ran.code == 0, ran.stderr
    assert len(ran.lines[0]["calls"]) == 300
    assert len(model.messages) == 301
