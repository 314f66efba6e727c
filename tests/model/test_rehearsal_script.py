"""The script of a rehearsal: what it may say, and how a mistake in it is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deskhand.model.rehearsal_script import NO_FAULT, Fault, ScriptError, Step, build_script, load_script, parse_script


def test_a_script_is_read_with_its_manner_steps_and_calls(tmp_path: Path) -> None:
    file = tmp_path / "script.toml"
    file.write_text("""
        [script]
        token_delay = 0.01
        [[step]]
        think = "Hm."
        call = { tool = "read", arguments = { path = "a" } }
        [[step]]
        say = "Done."
        expect.result = "b"
        """)
    script = load_script(file)
    assert script.name == str(file)
    assert script.manner.token_delay == 0.01
    assert [step.think for step in script.steps] == ["Hm.", ""]
    assert script.steps[0].calls[0].arguments == {"path": "a"}
    assert script.steps[1].expect.results == ("b",)


def test_several_calls_and_several_expectations_are_lists() -> None:
    script = parse_script("""
        [[step]]
        expect.result = ["a", "b"]
        [[step.call]]
        tool = "read"
        [[step.call]]
        tool = "bash"
        raw = "{"
        """)
    assert [call.tool for call in script.steps[0].calls] == ["read", "bash"]
    assert script.steps[0].expect.results == ("a", "b")


def test_repeat_writes_a_step_out() -> None:
    script = build_script({"step": [{"say": "a", "repeat": 50}, {"say": "b"}]})
    assert len(script.steps) == 51
    last = script.step(51)
    assert last is not None
    assert last.say == "b"


def test_after_the_last_step_there_is_none_unless_the_script_loops() -> None:
    steps = [{"say": "a"}, {"say": "b"}]
    assert build_script({"step": steps}).step(3) is None
    looped = build_script({"script": {"loop": True}, "step": steps}).step(3)
    assert looped is not None
    assert looped.say == "a"


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        ("[[step]]\nsay = 3", "s.toml: step 1, say: expected `str`, got `int`."),
        ("[[step]]\nsay = 'a'\n[[step]]\nsya = 'b'", "s.toml: step 2, sya: no such key."),
        ("[[step]]\n[[step.call]]\narguments = {}", "s.toml: step 1, call[0].tool: this key is missing."),
        ("[[step]]\nfault.status = 200", "s.toml: step 1, fault.status: expected `int` >= 400."),
        ("[[step]]\nfault.flood = true", "s.toml: step 1, fault.flood: no such key."),
        ("[[step]]\nsay = 'a'\nexpect.result = '('", "s.toml: step 1, expect.result: '(' is not a regular expression"),
        ("[[step]]\nsay = '{{result:(}}'", "s.toml: step 1, say: '(' is not a regular expression"),
        ("[[step]]\nexpect.error = true", "s.toml: step 1, say: the step answers nothing"),
        ("[[step]]\ncall = { tool = 'a', raw = '', arguments = { b = 1 } }", "s.toml: step 1, call.raw: a call has"),
        ("[[step]]\nfault = [{ hang = true }, { empty = true }]", "s.toml: step 1, fault.times: every fault but"),
        ('[[step]]\nfault = { status = 429, retry_after = "1\\n2" }', "s.toml: step 1, fault.retry_after: "),
        ("[script]\nspeed = 1\n[[step]]\nsay = 'a'", "s.toml: [script], speed: no such key."),
        ("[[steps]]\nsay = 'a'", "s.toml: steps: no such key"),
        ("", "s.toml: step: a script needs at least one [[step]]."),
        ("step = 'a'", "s.toml: step: a script needs at least one [[step]]."),
        ("step = ['a']", "s.toml: step 1, as a whole: expected `object`, got `str`."),
        ("[[step]\n", "s.toml is not valid TOML: "),
    ],
)
def test_a_mistake_is_told_with_file_step_and_key(toml: str, sentence: str) -> None:
    with pytest.raises(ScriptError) as error:
        parse_script(toml, "s.toml")
    assert str(error.value).startswith(sentence)
    assert "\n" not in str(error.value)


def test_a_file_that_is_missing_a_folder_or_binary_is_told(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, words in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory"), (binary, "UTF-8")):
        with pytest.raises(ScriptError, match=words):
            load_script(path)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(1, 4), max_size=4), st.booleans())
def test_each_fault_is_met_as_often_as_it_says_and_in_order(times: list[int], lasting: bool) -> None:
    faults = [Fault(times=count, status=500 + position) for position, count in enumerate(times)]
    if lasting:
        faults.append(Fault(status=599))
    step = Step(say="a", fault=tuple(faults))
    met = [step.fault_of(attempt) for attempt in range(1, sum(times) + 3)]
    expected = [fault for fault in faults[: len(times)] for _ in range(fault.times or 0)]
    assert met == expected + [faults[-1] if lasting else NO_FAULT] * 2
