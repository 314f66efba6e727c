"""`deskhand acp`, driven by the official Python client: a peer that others wrote, over real pipes."""

from __future__ import annotations

import asyncio
import json
import sys
from base64 import b64encode
from collections.abc import Awaitable, Callable
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import acp
import pytest
from acp import schema

from support import Deskhand, RunningRehearsal, ScriptSource

Rehearse = Callable[[ScriptSource], RunningRehearsal]
Work = Callable[["Editor", Any], Awaitable[None]]


class Editor:
    """An editor as the SDK has it: it collects updates, and answers questions as told."""

    def __init__(self, answer: str = "yes") -> None:
        self.updates: list[Any] = []
        self.questions: list[Any] = []
        self.answer = answer

    async def session_update(self, session_id: str, update: Any, **kwargs: Any) -> None:
        self.updates.append(update)

    async def request_permission(
        self, session_id: str, tool_call: Any, options: Any, **kwargs: Any
    ) -> schema.RequestPermissionResponse:
        self.questions.append(tool_call)
        outcome = schema.AllowedOutcome(option_id=self.answer, outcome="selected")
        return schema.RequestPermissionResponse(outcome=outcome)

    def kinds(self) -> list[str]:
        return [update.session_update for update in self.updates]

    def said(self, kind: str = "agent_message_chunk") -> str:
        return "".join(update.content.text for update in self.updates if update.session_update == kind)


def drive(deskhand: Deskhand, endpoint: str, work: Work, editor: Editor | None = None) -> None:
    """Start `deskhand acp` under the SDK's client, and do `work` with it."""
    environment = {**deskhand.environment, "ANTHROPIC_BASE_URL": endpoint}
    editor = editor or Editor()

    async def run() -> None:
        command = (sys.executable, "-m", "deskhand", "acp", "--no-daemon")
        async with acp.spawn_agent_process(cast("Any", editor), *command, env=environment, cwd=deskhand.cwd) as (
            agent,
            _,
        ):
            await agent.initialize(protocol_version=acp.PROTOCOL_VERSION)
            await work(editor, agent)

    asyncio.run(asyncio.wait_for(run(), 60))


def text(words: str) -> list[Any]:
    return [acp.text_block(words)]


def test_a_turn_is_streamed_with_its_calls(rehearsal: Rehearse, deskhand: Deskhand, project: Path) -> None:
    (project / "a.txt").write_text("one\n")
    model = rehearsal(
        [
            {
                "think": "Hm.",
                "say": "I edit.",
                "call": {"tool": "edit", "arguments": {"path": "a.txt", "old": "one", "new": "1"}},
            },
            {"say": "Done."},
        ]
    )

    async def work(editor: Editor, agent: Any) -> None:
        session = await agent.new_session(cwd=str(project), mcp_servers=[])
        assert session.modes.current_mode_id == "auto"
        response = await agent.prompt(session_id=session.session_id, prompt=text("make it a number"))
        assert response.stop_reason == "end_turn"
        assert editor.said() == "I edit.Done."
        assert editor.said("agent_thought_chunk") == "Hm."
        assert "user_message_chunk" not in editor.kinds(), "the editor knows its own prompt"
        finished = [update for update in editor.updates if update.session_update == "tool_call_update"][-1]
        assert finished.status == "completed"
        diff = next(part for part in finished.content if part.type == "diff")
        assert (diff.path, diff.old_text, diff.new_text) == (str(project / "a.txt"), "one\n", "1\n")

    drive(deskhand, model.url, work)


def test_a_session_is_listed_loaded_with_its_history_and_gone_on_with(
    rehearsal: Rehearse, deskhand: Deskhand, project: Path
) -> None:
    model = rehearsal([{"say": "First answer."}, {"say": "Second answer."}])
    ids: list[str] = []

    async def begin(editor: Editor, agent: Any) -> None:
        session = await agent.new_session(cwd=str(project), mcp_servers=[])
        ids.append(session.session_id)
        await agent.prompt(session_id=session.session_id, prompt=text("first"))

    async def go_on(editor: Editor, agent: Any) -> None:
        listed = await agent.list_sessions(cwd=str(project))
        assert [each.session_id for each in listed.sessions] == ids
        await agent.load_session(session_id=ids[0], cwd=str(project), mcp_servers=[])
        assert editor.said("user_message_chunk") == "first"
        assert editor.said() == "First answer."
        await agent.prompt(session_id=ids[0], prompt=text("second"))
        assert editor.said() == "First answer.Second answer."

    drive(deskhand, model.url, begin)
    drive(deskhand, model.url, go_on)
    assert len(model.messages[-1].body["messages"]) == 3


@pytest.mark.parametrize(("answer", "runs"), [("yes", True), ("no", False)])
def test_what_cannot_be_undone_is_asked(
    rehearsal: Rehearse, deskhand: Deskhand, project: Path, answer: str, runs: bool
) -> None:
    (project / "tree").mkdir()
    call = {"tool": "bash", "arguments": {"command": "rm -rf tree"}}
    model = rehearsal([{"call": call}, {"say": "So be it."}])

    async def work(editor: Editor, agent: Any) -> None:
        session = await agent.new_session(cwd=str(project), mcp_servers=[])
        await agent.prompt(session_id=session.session_id, prompt=text("delete it"))
        (question,) = editor.questions
        assert question.raw_input == {"command": "rm -rf tree"}
        assert (project / "tree").exists() != runs
        result = [update for update in editor.updates if update.session_update == "tool_call_update"][-1]
        assert result.status == ("completed" if runs else "failed")

    drive(deskhand, model.url, work, Editor(answer))


def test_cancel_ends_the_turn_as_cancelled(rehearsal: Rehearse, deskhand: Deskhand, project: Path) -> None:
    call = {"tool": "bash", "arguments": {"command": "touch began; sleep 600"}}
    model = rehearsal([{"call": call}, {"say": "On we go."}])

    async def work(editor: Editor, agent: Any) -> None:
        session = await agent.new_session(cwd=str(project), mcp_servers=[])
        turn = asyncio.create_task(agent.prompt(session_id=session.session_id, prompt=text("wait")))
        while not (project / "began").exists():
            await asyncio.sleep(0.02)
        await agent.cancel(session_id=session.session_id)
        assert (await turn).stop_reason == "cancelled"
        assert (await agent.prompt(session_id=session.session_id, prompt=text("and?"))).stop_reason == "end_turn"

    drive(deskhand, model.url, work)


def test_images_and_buffers_of_the_editor_reach_the_model(
    rehearsal: Rehearse, deskhand: Deskhand, project: Path
) -> None:
    from PIL import Image

    buffer = BytesIO()
    Image.new("RGB", (2000, 10), "green").save(buffer, "PNG")
    picture = b64encode(buffer.getvalue()).decode()
    model = rehearsal([{"say": "Seen."}])

    async def work(editor: Editor, agent: Any) -> None:
        session = await agent.new_session(cwd=str(project), mcp_servers=[])
        resource = acp.embedded_text_resource("file:///a.py", "unsaved = True")
        prompt = [*text("look"), acp.image_block(picture, "image/png"), acp.resource_block(resource)]
        await agent.prompt(session_id=session.session_id, prompt=prompt)

    drive(deskhand, model.url, work)
    content = model.messages[0].body["messages"][0]["content"]
    assert [block["type"] for block in content] == ["text", "image", "text"]
    assert "unsaved = True" in content[2]["text"]


def test_modes_and_options_are_set(rehearsal: Rehearse, deskhand: Deskhand, project: Path) -> None:
    call = {"tool": "write", "arguments": {"path": "x", "content": "x"}}
    model = rehearsal([{"call": call}, {"expect": {"result": "^Refused"}, "say": "A plan."}])

    async def work(editor: Editor, agent: Any) -> None:
        session = await agent.new_session(cwd=str(project), mcp_servers=[])
        await agent.set_session_mode(session_id=session.session_id, mode_id="plan")
        options = await agent.set_config_option(session_id=session.session_id, config_id="model", value="special")
        assert {option.id: option.current_value for option in options.config_options} == {
            "mode": "plan",
            "model": "special",
        }
        await agent.prompt(session_id=session.session_id, prompt=text("plan"))
        with pytest.raises(acp.RequestError, match="no mode 'fast'"):
            await agent.set_session_mode(session_id=session.session_id, mode_id="fast")

    drive(deskhand, model.url, work)
    assert model.messages[0].body["model"] == "special"
    assert not (project / "x").exists()


def test_mistakes_are_answered_in_a_sentence(rehearsal: Rehearse, deskhand: Deskhand, project: Path) -> None:
    model = rehearsal([{"say": "x", "fault": {"status": 401}}])

    async def work(editor: Editor, agent: Any) -> None:
        with pytest.raises(acp.RequestError, match="absolute path"):
            await agent.new_session(cwd="relative", mcp_servers=[])
        with pytest.raises(acp.RequestError, match="no-such-session"):
            await agent.load_session(session_id="no-such-session", cwd=str(project), mcp_servers=[])
        with pytest.raises(acp.RequestError, match="not open here"):
            await agent.prompt(session_id="no-such-session", prompt=text("x"))
        session = await agent.new_session(cwd=str(project), mcp_servers=[])
        with pytest.raises(acp.RequestError, match="401"):
            await agent.prompt(session_id=session.session_id, prompt=text("x"))
        with pytest.raises(acp.RequestError, match="empty"):
            await agent.prompt(session_id=session.session_id, prompt=text("  "))

    drive(deskhand, model.url, work)


def test_frames_of_every_kind_are_answered_and_nothing_ends_the_connection(
    rehearsal: Rehearse, deskhand: Deskhand, project: Path
) -> None:
    """A client written by hand, for what the SDK cannot be made to send."""
    model = rehearsal([{"say": "Hello."}])
    process = deskhand.start("acp", "--no-daemon", endpoint=model.url, stdin=True)
    assert process.stdin is not None
    assert process.stdout is not None

    def send(line: bytes) -> Any:
        """Send a line, and return the next answer that is no update."""
        process.stdin.write(line + b"\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        while "method" in (frame := json.loads(process.stdout.readline())):  # type: ignore[union-attr]
            assert frame["method"] == "session/update"
        return frame

    def call(method: str, **params: Any) -> Any:
        return send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode())

    for garbage in (
        b"{",
        b"[]",
        b"3",
        b"\xff\xfe",
        b'{"jsonrpc": "2.0", "id": 7}',
        b'{"id": 1, "method": "initialize"}',
    ):
        assert "error" in send(garbage)
    assert call("no/such/method")["error"]["code"] == -32601
    assert call("initialize", protocolVersion="one")["error"]["code"] == -32602
    assert call("initialize", protocolVersion=1, clientCapabilities={})["result"]["protocolVersion"] == 1
    session = call("session/new", cwd=str(project), mcpServers=[])["result"]["sessionId"]
    prompt = [{"type": "text", "text": "hi"}]
    assert call("session/prompt", sessionId=session, prompt=prompt)["result"]["stopReason"] == "end_turn"
    assert call("session/prompt", sessionId=session, prompt=[{"type": "odd"}])["error"]["code"] == -32602
    assert [each["sessionId"] for each in call("session/list")["result"]["sessions"]] == [session]
    assert call("session/delete", sessionId=session)["result"] == {}
    assert call("session/list")["result"]["sessions"] == []
    assert call("session/load", sessionId=session, cwd=str(project), mcpServers=[])["error"]["code"] == -32002
    process.stdin.close()
    assert process.wait(timeout=20) == 0


def test_two_prompts_at_once_are_two_turns_one_after_the_other(
    rehearsal: Rehearse, deskhand: Deskhand, project: Path
) -> None:
    model = rehearsal([{"say": "One.", "fault": {"first_byte_delay": 0.3}}, {"say": "Two."}])

    async def work(editor: Editor, agent: Any) -> None:
        session = await agent.new_session(cwd=str(project), mcp_servers=[])
        both = [agent.prompt(session_id=session.session_id, prompt=text(words)) for words in ("first", "second")]
        assert [answer.stop_reason for answer in await asyncio.gather(*both)] == ["end_turn"] * 2
        assert editor.said() == "One.Two."

    drive(deskhand, model.url, work)
    assert [message["role"] for message in model.messages[1].body["messages"]] == ["user", "assistant", "user"]
