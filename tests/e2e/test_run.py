"""`deskhand run`, as scripts and people use it, against a real endpoint."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support import Deskhand, RunningRehearsal, ScriptSource

Rehearse = Callable[[ScriptSource], RunningRehearsal]


def bash(command: str, **arguments: Any) -> dict[str, Any]:
    return {"tool": "bash", "arguments": {"command": command, **arguments}}


def test_a_task_is_done_for_real(rehearsal: Rehearse, deskhand: Deskhand, project: Path) -> None:
    (project / "a.txt").write_text("one\ntwo\n")
    model = rehearsal(
        [
            {"call": {"tool": "read", "arguments": {"path": "a.txt"}}},
            {
                "expect": {"result": "two", "error": False},
                "call": {"tool": "edit", "arguments": {"path": "a.txt", "old": "two", "new": "2"}},
            },
            {"expect": {"error": False}, "call": bash("cat a.txt")},
            {"expect": {"result": "one\n2"}, "say": "Done."},
        ]
    )
    ran = deskhand("run", "make two a number", endpoint=model.url)
    assert (ran.code, ran.stdout, ran.stderr) == (0, "Done.\n", "")
    assert (project / "a.txt").read_text() == "one\n2\n"


def test_json_is_one_object_with_the_promised_keys(rehearsal: Rehearse, deskhand: Deskhand) -> None:
    model = rehearsal([{"call": bash("echo hi")}, {"say": "Said hi."}])
    ran = deskhand("run", "--output", "json", "say hi", endpoint=model.url)
    (summary,) = ran.lines
    assert set(summary) == {"session_id", "stop_reason", "text", "usage", "cost", "calls", "denied"}
    assert (summary["stop_reason"], summary["text"], summary["denied"]) == ("end_turn", "Said hi.", [])
    assert summary["calls"][0]["tool"] == "bash"
    assert summary["usage"]["output_tokens"] > 0


def test_stream_json_gives_each_update_and_then_the_object(rehearsal: Rehearse, deskhand: Deskhand) -> None:
    entries = [{"content": "look", "status": "in_progress"}, {"content": "act", "status": "pending"}]
    model = rehearsal(
        [
            {"think": "I should look.", "say": "Looking.", "call": {"tool": "todo", "arguments": {"entries": entries}}},
            {"call": bash("echo hi")},
            {"say": "Done."},
        ]
    )
    ran = deskhand("run", "--output", "stream-json", "look", endpoint=model.url)
    *updates, summary = ran.lines
    assert summary["text"] == "Done."
    assert {update["method"] for update in updates} == {"session/update"}
    assert {update["params"]["sessionId"] for update in updates} == {summary["session_id"]}
    kinds = [update["params"]["update"]["sessionUpdate"] for update in updates]
    assert {"agent_thought_chunk", "agent_message_chunk", "tool_call", "tool_call_update", "plan"} <= set(kinds)
    said = [
        update["params"]["update"]["content"]["text"]
        for update in updates
        if update["params"]["update"]["sessionUpdate"] == "agent_message_chunk"
    ]
    assert "".join(said) == "Looking.Done."


def test_the_prompt_comes_from_standard_input_where_asked(rehearsal: Rehearse, deskhand: Deskhand) -> None:
    model = rehearsal([{"say": "ok"}])
    assert deskhand("run", stdin="from a pipe", endpoint=model.url).code == 0
    assert deskhand("run", "review:", "-", stdin="the diff", endpoint=model.url).code == 0
    prompts = [exchange.body["messages"][0]["content"][-1]["text"] for exchange in model.messages]
    assert prompts == ["from a pipe", "review:\n\nthe diff"]


def test_a_pipe_that_nobody_closes_does_not_hold_the_turn_up(rehearsal: Rehearse, deskhand: Deskhand) -> None:
    model = rehearsal([{"say": "ok"}])
    process = deskhand.start("run", "hello", endpoint=model.url, stdin=True)
    assert process.wait(timeout=30) == 0


@pytest.mark.parametrize(
    "arguments",
    [["run", "--output", "xml", "x"], ["run", "--max-turns", "0", "x"], ["run", "--nope"], ["nope"], ["run", ""]],
)
def test_wrong_usage_exits_with_2_and_says_why(deskhand: Deskhand, arguments: list[str]) -> None:
    ran = deskhand(*arguments)
    assert ran.code == 2
    assert ran.stderr
    assert "Traceback" not in ran.stderr


def test_without_an_endpoint_one_sentence_says_how_to_get_one(deskhand: Deskhand) -> None:
    ran = deskhand("run", "hello")
    assert ran.code == 1
    assert ran.stdout == ""
    assert ran.stderr.count("\n") == 1
    assert "ANTHROPIC_BASE_URL" in ran.stderr


def test_a_folder_that_is_not_there_is_one_sentence(rehearsal: Rehearse, deskhand: Deskhand) -> None:
    ran = deskhand("run", "--cwd", "/nowhere/at/all", "hello", endpoint=rehearsal([{"say": "ok"}]).url)
    assert (ran.code, ran.stderr.count("\n")) == (1, 1)
    assert "/nowhere/at/all is not a folder" in ran.stderr


def test_the_limit_of_requests_stops_the_turn_with_3(rehearsal: Rehearse, deskhand: Deskhand) -> None:
    model = rehearsal({"script": {"loop": True}, "step": [{"call": bash("date +%N")}]})
    ran = deskhand("run", "--max-turns", "3", "--output", "json", "go on", endpoint=model.url)
    assert ran.code == 3
    assert ran.lines[0]["stop_reason"] == "max_turn_requests"
    assert len(model.messages) == 3


def test_a_limit_of_tokens_stops_the_turn_with_3(rehearsal: Rehearse, deskhand: Deskhand, home: Path) -> None:
    home.mkdir()
    (home / "settings.toml").write_text("[limits]\nturn_tokens = 100\n")
    step = {"call": bash("date +%N"), "usage": {"input_tokens": 60, "output_tokens": 1}}
    ran = deskhand("run", "x", endpoint=rehearsal({"script": {"loop": True}, "step": [step]}).url)
    assert ran.code == 3


def test_a_model_in_circles_is_paused_with_3(rehearsal: Rehearse, deskhand: Deskhand) -> None:
    model = rehearsal({"script": {"loop": True}, "step": [{"call": bash("echo same")}]})
    ran = deskhand("run", "--output", "json", "go", endpoint=model.url)
    assert (ran.code, ran.lines[0]["stop_reason"]) == (3, "repetition")
    assert len(model.messages) == 6
    assert "Nothing new in 3 calls" in json.dumps(model.messages[3].body)


def test_an_answer_cut_at_its_limit_exits_with_3(rehearsal: Rehearse, deskhand: Deskhand) -> None:
    ran = deskhand("run", "x", endpoint=rehearsal([{"say": "half of", "stop_reason": "max_tokens"}]).url)
    assert (ran.code, ran.stdout) == (3, "half of\n")


def test_a_declined_answer_exits_with_1(rehearsal: Rehearse, deskhand: Deskhand) -> None:
    ran = deskhand("run", "x", endpoint=rehearsal([{"say": "No.", "stop_reason": "refusal"}]).url)
    assert ran.code == 1
    assert "declined" in ran.stderr


def test_what_cannot_be_undone_is_refused_and_exits_with_4(
    rehearsal: Rehearse, deskhand: Deskhand, project: Path
) -> None:
    (project / "tree").mkdir()
    model = rehearsal([{"call": bash("rm -rf tree")}, {"expect": {"result": "^Refused: "}, "say": "I may not."}])
    ran = deskhand("run", "--output", "json", "delete the tree", endpoint=model.url)
    assert ran.code == 4
    assert ran.lines[0]["denied"][0]["tool"] == "bash"
    assert (project / "tree").is_dir()


def test_bypass_does_it(rehearsal: Rehearse, deskhand: Deskhand, project: Path) -> None:
    (project / "tree").mkdir()
    model = rehearsal([{"call": bash("rm -rf tree")}, {"say": "Gone."}])
    assert deskhand("run", "--mode", "bypass", "delete the tree", endpoint=model.url).code == 0
    assert not (project / "tree").exists()


def test_plan_mode_changes_nothing(rehearsal: Rehearse, deskhand: Deskhand, project: Path) -> None:
    calls = [
        {"tool": "write", "arguments": {"path": "new.txt", "content": "x"}},
        bash("touch other.txt"),
        bash("ls"),
    ]
    model = rehearsal([{"call": calls}, {"expect": {"result": "^Refused: "}, "say": "A plan."}])
    assert deskhand("run", "--mode", "plan", "plan it", endpoint=model.url).code == 0
    assert list(project.iterdir()) == []


def test_continue_and_session_resume_with_the_original_folder_and_model(
    rehearsal: Rehearse, deskhand: Deskhand, project: Path, tmp_path: Path
) -> None:
    """lessons.md 21."""
    model = rehearsal([{"say": "first"}, {"call": bash("pwd")}, {"expect": {"result": str(project)}, "say": "third"}])
    first = deskhand("run", "--model", "special", "--output", "json", "one", endpoint=model.url)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    second = deskhand("run", "--continue", "--output", "json", "two", endpoint=model.url, cwd=elsewhere)
    assert (second.code, second.lines[0]["session_id"]) == (0, first.lines[0]["session_id"])
    assert {exchange.body["model"] for exchange in model.messages} == {"special"}
    session = first.lines[0]["session_id"]
    roles = [message["role"] for message in model.messages[1].body["messages"]]
    assert roles == ["user", "assistant", "user"]
    third = deskhand("run", "--session", session[-6:], "three", endpoint=model.url, cwd=elsewhere)
    assert third.code == 1, "the script has ended: its 400 is the proof that the whole history was sent"


def test_a_session_that_does_not_exist_is_one_sentence(rehearsal: Rehearse, deskhand: Deskhand) -> None:
    for flags in (["--continue"], ["--session", "nope"]):
        ran = deskhand("run", *flags, "x", endpoint=rehearsal([{"say": "ok"}]).url)
        assert (ran.code, ran.stderr.count("\n")) == (1, 1)


def test_parallel_calls_are_answered_in_order_in_one_message(
    rehearsal: Rehearse, deskhand: Deskhand, project: Path
) -> None:
    for name in "abc":
        (project / name).write_text(f"content of {name}")
    calls = [{"tool": "read", "arguments": {"path": name}} for name in "abc"]
    model = rehearsal([{"call": calls}, {"say": "Read."}])
    assert deskhand("run", "read them", endpoint=model.url).code == 0
    results = model.messages[1].body["messages"][-1]["content"]
    assert ["content of " + name in json.dumps(result) for name, result in zip("abc", results, strict=True)]
    assert len(results) == 3


def test_calls_with_the_same_id_get_their_own(rehearsal: Rehearse, deskhand: Deskhand) -> None:
    """The rehearsal refuses a request in which two calls share an id; some servers number them anew in each answer."""
    twice = [{**bash("echo a"), "id": "call_0"}, {**bash("echo b"), "id": "call_0"}]
    model = rehearsal([{"call": twice}, {"call": {**bash("echo c"), "id": "call_0"}}, {"say": "ok"}])
    assert deskhand("run", "x", endpoint=model.url).code == 0


def test_malformed_arguments_are_answered_and_the_turn_goes_on(rehearsal: Rehearse, deskhand: Deskhand) -> None:
    cut = {"tool": "write", "raw": '{"path": "a.txt", "content": "half of'}
    model = rehearsal(
        [
            {"call": cut, "stop_reason": "max_tokens"},
            {"expect": {"result": "not valid JSON.*half of", "error": True}, "call": {"tool": "read", "arguments": {}}},
            {"expect": {"result": "missing required field `path`.*Parameters: path"}, "say": "I see."},
        ]
    )
    ran = deskhand("run", "x", endpoint=model.url)
    assert (ran.code, ran.stdout) == (0, "I see.\n")


def test_the_first_request_is_small(rehearsal: Rehearse, deskhand: Deskhand) -> None:
    """At most 12 KB, since a local model reads it before its first word."""
    model = rehearsal([{"say": "ok"}])
    deskhand("run", "x", endpoint=model.url)
    assert len(json.dumps(model.messages[0].body)) < 12_000


def test_the_prefix_of_each_request_is_the_bytes_of_the_one_before(rehearsal: Rehearse, deskhand: Deskhand) -> None:
    steps: list[dict[str, Any]] = [{"call": bash(f"echo {number}")} for number in range(5)]
    model = rehearsal([*steps, {"say": "ok"}])
    deskhand("run", "x", endpoint=model.url)

    def bare(body: dict[str, Any]) -> str:
        return json.dumps(body).replace(', "cache_control": {"type": "ephemeral"}', "")

    bodies = [bare(exchange.body) for exchange in model.messages]
    for before, after in itertools.pairwise(bodies):
        assert after.startswith(before.removesuffix("]}"))
    first = model.messages[0].body
    assert first["system"][-1]["cache_control"]
    assert first["messages"][-1]["content"][-1]["cache_control"]


def test_settings_that_mean_nothing_are_one_sentence(deskhand: Deskhand, home: Path) -> None:
    home.mkdir()
    for text in ("nonsense = 1\n", "mode = 'fast'\n", "[limits\n", "\xff"):
        (home / "settings.toml").write_bytes(text.encode("latin-1"))
        ran = deskhand("run", "x")
        assert (ran.code, ran.stderr.count("\n")) == (1, 1)
        assert "settings.toml" in ran.stderr
