"""What a user sees when the endpoint fails: retries that are shown, or one sentence; never half a call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support import Deskhand, RunningRehearsal, ScriptSource

Rehearse = Callable[[ScriptSource], RunningRehearsal]

ACT = {"tool": "bash", "arguments": {"command": "echo x >> ran.txt"}}


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        ({"status": 529}, "overloaded"),
        ({"status": 500}, "500"),
        ({"status": 429, "retry_after": 0.1}, "0."),
        ({"drop_after": 0}, "Trying again"),
        ({"drop_after": 300}, "Trying again"),
        ({"end_after": 400}, "Trying again"),
        ({"malformed": True}, "Trying again"),
        ({"empty": True}, "nothing"),
        ({"stream_error": "overloaded_error"}, "overloaded"),
    ],
)
def test_what_can_pass_is_tried_again_and_shown(
    rehearsal: Rehearse, deskhand: Deskhand, project: Path, fault: dict[str, Any], shown: str
) -> None:
    """lessons.md 8, 9: the call of the broken answer has not run; the one of the whole answer has, once."""
    model = rehearsal([{"say": "I act.", "call": ACT, "fault": {**fault, "times": 1}}, {"say": "Done."}])
    ran = deskhand("run", "act", endpoint=model.url)
    assert (ran.code, ran.stdout) == (0, "Done.\n"), ran.stderr
    assert shown in ran.stderr
    assert (project / "ran.txt").read_text() == "x\n"
    assert len(model.messages) == 3


def test_reasoning_without_an_answer_is_none(rehearsal: Rehearse, deskhand: Deskhand) -> None:
    """Else a turn could end well without having said or done anything."""
    ran = deskhand("run", "x", endpoint=rehearsal([{"think": "Hm.", "stop_reason": "end_turn"}]).url)
    assert ran.code == 1
    assert ran.stderr.count("Trying again") == 2
    assert "answered with nothing" in ran.stderr


def test_a_refusal_without_a_word_is_a_refusal(rehearsal: Rehearse, deskhand: Deskhand) -> None:
    model = rehearsal([{"say": "x", "stop_reason": "refusal", "fault": {"empty": True}}])
    ran = deskhand("run", "x", endpoint=model.url)
    assert (ran.code, ran.stdout) == (1, "")
    assert "declined" in ran.stderr
    assert len(model.messages) == 1


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413])
def test_what_cannot_pass_is_one_sentence_and_no_retry(rehearsal: Rehearse, deskhand: Deskhand, status: int) -> None:
    """lessons.md 8."""
    model = rehearsal([{"say": "x", "fault": {"status": status}}])
    ran = deskhand("run", "act", endpoint=model.url, ANTHROPIC_API_KEY="sk-secret-secret-secret")
    assert ran.code == 1
    assert ran.stderr.count("\n") == 1
    assert "secret" not in ran.stderr
    assert len(model.messages) == 1


def test_a_page_instead_of_an_api_is_one_sentence(rehearsal: Rehearse, deskhand: Deskhand) -> None:
    fault = {"content_type": "text/html", "status": 403, "message": "<html>Log in</html>"}
    ran = deskhand("run", "x", endpoint=rehearsal([{"say": "x", "fault": fault}]).url)
    assert (ran.code, ran.stderr.count("\n")) == (1, 1)


def test_a_stream_of_the_wrong_content_type_is_still_a_stream(rehearsal: Rehearse, deskhand: Deskhand) -> None:
    ran = deskhand("run", "x", endpoint=rehearsal([{"say": "Fine.", "fault": {"content_type": "text/plain"}}]).url)
    assert (ran.code, ran.stdout) == (0, "Fine.\n")


def test_a_failed_turn_is_kept_and_the_next_prompt_goes_on(rehearsal: Rehearse, deskhand: Deskhand) -> None:
    """lessons.md 8: one failure poisons nothing."""
    broken = rehearsal([{"say": "x", "fault": {"status": 401}}])
    assert deskhand("run", "first", endpoint=broken.url).code == 1
    model = rehearsal([{"say": "Now it works."}])
    ran = deskhand("run", "--continue", "second", endpoint=model.url)
    assert (ran.code, ran.stdout) == (0, "Now it works.\n")
    texts = [block["text"] for block in model.messages[-1].body["messages"][0]["content"]]
    assert texts == ["first", "second"]


def test_nothing_listens_there_is_one_sentence(deskhand: Deskhand) -> None:
    ran = deskhand("run", "x", endpoint="http://127.0.0.1:1")
    assert ran.code == 1
    assert "Traceback" not in ran.stderr
    assert "127.0.0.1:1" in ran.stderr.splitlines()[-1]


def test_a_silent_stream_has_a_limit(rehearsal: Rehearse, deskhand: Deskhand, home: Path) -> None:
    home.mkdir()
    (home / "settings.toml").write_text("[endpoint]\nidle = 0.5\nfirst_byte = 5\n")
    model = rehearsal([{"say": "one two three four", "fault": {"stall_after": 500, "times": 1}}])
    ran = deskhand("run", "x", endpoint=model.url)
    assert (ran.code, ran.stdout) == (0, "one two three four\n")


def test_an_endpoint_that_never_answers_has_a_limit(rehearsal: Rehearse, deskhand: Deskhand, home: Path) -> None:
    home.mkdir()
    (home / "settings.toml").write_text("[endpoint]\nfirst_byte = 0.5\n")
    model = rehearsal([{"say": "x", "fault": {"hang": True}}])
    ran = deskhand("run", "x", endpoint=model.url)
    assert ran.code == 1
    assert len(model.messages) == 2
