"""The daemon: one for all, found by everyone, ended by nobody's window."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deskhand.journal.locks import lock_session
from deskhand.jsonrpc import GRACE
from support import Deskhand, RunningRehearsal, ScriptSource

Rehearse = Callable[[ScriptSource], RunningRehearsal]


@pytest.fixture
def daemon(deskhand: Deskhand) -> Iterator[Deskhand]:
    """The command line; whatever daemon a test started is stopped after it."""
    yield deskhand
    assert deskhand("daemon", "stop", "--force").code == 0


class Editor:
    """A program that speaks ACP through `deskhand acp`."""

    def __init__(self, deskhand: Deskhand, endpoint: str, *flags: str) -> None:
        self.process = deskhand.start("acp", *flags, endpoint=endpoint, stdin=True)
        self.frames: list[Any] = []
        self._id = 0

    def send(self, method: str, **params: Any) -> int:
        self._id += 1
        self._write({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params})
        return self._id

    def withdraw(self, number: int) -> None:
        self._write({"jsonrpc": "2.0", "method": "$/cancel_request", "params": {"requestId": number}})

    def _write(self, frame: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(frame).encode() + b"\n")
        self.process.stdin.flush()

    def read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read().decode() if self.process.stderr else ""
        frame = json.loads(line)
        self.frames.append(frame)
        return frame

    def call(self, method: str, **params: Any) -> Any:
        number = self.send(method, **params)
        while (frame := self.read()).get("id") != number or "method" in frame:
            pass
        return frame.get("result", frame.get("error"))

    def said(self, kind: str = "agent_message_chunk") -> str:
        updates = [frame["params"]["update"] for frame in self.frames if frame.get("method") == "session/update"]
        return "".join(update["content"]["text"] for update in updates if update["sessionUpdate"] == kind)

    def leave(self) -> None:
        """Die, as an editor that crashes does."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=10)


def prompt(words: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": words}]


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


def test_a_turn_goes_on_when_its_window_is_gone_and_the_next_one_misses_nothing(
    rehearsal: Rehearse, daemon: Deskhand, project: Path
) -> None:
    """lessons.md 46."""
    call = {"tool": "bash", "arguments": {"command": "touch began; while [ ! -e go ]; do sleep 0.05; done; echo went"}}
    model = rehearsal([{"say": "I wait.", "call": call}, {"expect": {"result": "went"}, "say": "It went."}])
    first = Editor(daemon, model.url)
    first.call("initialize", protocolVersion=1)
    session = first.call("session/new", cwd=str(project), mcpServers=[])["sessionId"]
    first.send("session/prompt", sessionId=session, prompt=prompt("wait"))
    wait_for((project / "began").exists)
    first.leave()
    time.sleep(GRACE + 0.5)  # what a client that is gone had asked for is given up then, but not its turn
    assert "while [ ! -e go ]" in daemon("dump").stdout
    (project / "go").touch()
    wait_for(lambda: len(model.messages) == 2)
    second = Editor(daemon, model.url)
    second.call("initialize", protocolVersion=1)
    second.call("session/load", sessionId=session, cwd=str(project), mcpServers=[])
    wait_for(lambda: "running" not in daemon("daemon", "status").stdout)
    second.call("session/load", sessionId=session, cwd=str(project), mcpServers=[])
    assert second.said().endswith("I wait.It went.")
    assert second.said("user_message_chunk").startswith("wait")
    second.leave()


def test_two_windows_on_one_session_see_the_same(rehearsal: Rehearse, daemon: Deskhand, project: Path) -> None:
    model = rehearsal([{"think": "Hm.", "say": "Hello, both of you."}])
    one, two = Editor(daemon, model.url), Editor(daemon, model.url)
    session = one.call("session/new", cwd=str(project), mcpServers=[])["sessionId"]
    wait_for(lambda: "error" not in two.call("session/load", sessionId=session, cwd=str(project), mcpServers=[]))
    assert one.call("session/prompt", sessionId=session, prompt=prompt("hello"))["stopReason"] == "end_turn"
    while two.said() != "Hello, both of you.":
        two.read()
    assert (one.said(), one.said("user_message_chunk")) == ("Hello, both of you.", "")
    assert two.said("user_message_chunk") == "hello"
    one.leave()
    two.leave()


def test_each_editor_brings_its_own_endpoint(rehearsal: Rehearse, daemon: Deskhand, project: Path) -> None:
    models = [rehearsal([{"say": words}]) for words in ("from the first", "from the second")]
    for model, words in zip(models, ("from the first", "from the second"), strict=True):
        editor = Editor(daemon, model.url)
        session = editor.call("session/new", cwd=str(project), mcpServers=[])["sessionId"]
        editor.call("session/prompt", sessionId=session, prompt=prompt("who are you?"))
        assert editor.said() == words
        editor.leave()


def test_a_stopped_turn_leaves_its_calls_in_the_log(
    rehearsal: Rehearse, daemon: Deskhand, project: Path, home: Path
) -> None:
    call = {"tool": "bash", "arguments": {"command": "touch began; sleep 600"}}
    model = rehearsal([{"call": call}])
    editor = Editor(daemon, model.url)
    session = editor.call("session/new", cwd=str(project), mcpServers=[])["sessionId"]
    editor.send("session/prompt", sessionId=session, prompt=prompt("hang"))
    wait_for((project / "began").exists)
    pid = json.loads((home / "run" / "daemon.json").read_bytes())["pid"]
    os.kill(pid, signal.SIGUSR1)
    assert editor.call("session/close", sessionId=session) == {}
    log = (home / "logs" / "daemon.log").read_text()
    assert "in flight:\nbash (id=" in log
    assert "STUCK on stop: bash (id=" in log
    assert "sleep 600" in log
    editor.leave()


def test_a_withdrawn_prompt_ends_its_turn_and_no_other(rehearsal: Rehearse, daemon: Deskhand, project: Path) -> None:
    call = {"tool": "bash", "arguments": {"command": "touch began; while [ ! -e go ]; do sleep 0.05; done"}}
    model = rehearsal([{"call": call}, {"say": "Done."}])
    one, two = Editor(daemon, model.url), Editor(daemon, model.url)
    session = one.call("session/new", cwd=str(project), mcpServers=[])["sessionId"]
    first = one.send("session/prompt", sessionId=session, prompt=prompt("first"))
    wait_for((project / "began").exists)
    two.call("session/resume", sessionId=session, cwd=str(project), mcpServers=[])
    second = two.send("session/prompt", sessionId=session, prompt=prompt("second"))
    two.withdraw(second)
    while two.read().get("id") != second:
        pass
    assert "error" in two.frames[-1]
    (project / "go").touch()
    while one.read().get("id") != first:
        pass
    assert one.frames[-1]["result"]["stopReason"] == "end_turn"
    one.leave()
    two.leave()


def test_stop_ends_the_turns_and_all_that_they_started(rehearsal: Rehearse, daemon: Deskhand, project: Path) -> None:
    """That no process is left is checked by the fixture."""
    call = {"tool": "bash", "arguments": {"command": "touch began; sleep 600"}}
    editor = Editor(daemon, rehearsal([{"call": call}]).url)
    session = editor.call("session/new", cwd=str(project), mcpServers=[])["sessionId"]
    editor.send("session/prompt", sessionId=session, prompt=prompt("hang"))
    wait_for((project / "began").exists)
    assert daemon("daemon", "stop").stdout == "The daemon has ended.\n"
    assert editor.process.wait(timeout=10) == 0, "an editor's pipe ends with the daemon"


def test_after_kill_9_of_the_daemon_the_session_goes_on(
    rehearsal: Rehearse, daemon: Deskhand, project: Path, home: Path
) -> None:
    """lessons.md 15, 19."""
    call = {"tool": "bash", "arguments": {"command": "touch began; setsid sleep 601 & sleep 600"}}
    unknown = {"result": "may or may not have taken effect"}
    model = rehearsal([{"call": call}, {"expect": unknown, "say": "I see."}])
    editor = Editor(daemon, model.url)
    session = editor.call("session/new", cwd=str(project), mcpServers=[])["sessionId"]
    editor.send("session/prompt", sessionId=session, prompt=prompt("hang"))
    wait_for((project / "began").exists)
    os.kill(json.loads((home / "run" / "daemon.json").read_bytes())["pid"], signal.SIGKILL)
    assert editor.process.wait(timeout=10) == 0
    again = Editor(daemon, model.url)
    again.call("session/load", sessionId=session, cwd=str(project), mcpServers=[])
    assert again.call("session/prompt", sessionId=session, prompt=prompt("and?"))["stopReason"] == "end_turn"
    again.leave()


def test_a_full_disk_costs_a_turn_and_not_the_session(rehearsal: Rehearse, daemon: Deskhand, project: Path) -> None:
    """lessons.md 19. A limit on the size of files, lifted later, stands in for the disk."""
    steps: list[Any] = [{"call": {"tool": "bash", "arguments": {"command": f"seq {n} 9000"}}} for n in range(100)]
    model = rehearsal([*steps, {"say": "ok"}])
    editor = Editor(daemon, model.url, "--no-daemon")
    session = editor.call("session/new", cwd=str(project), mcpServers=[])["sessionId"]
    limit = (300_000, resource.RLIM_INFINITY)
    resource.prlimit(editor.process.pid, resource.RLIMIT_FSIZE, limit)
    answer = editor.call("session/prompt", sessionId=session, prompt=prompt("fill the disk"))
    assert "journal" in answer["message"]
    resource.prlimit(editor.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    answer = editor.call("session/prompt", sessionId=session, prompt=prompt("there is room again"))
    assert answer["stopReason"] == "end_turn"
    assert "fill the disk" in json.dumps(model.messages[-1].body)
    editor.leave()


def test_a_deleted_session_takes_its_outputs_along_and_one_at_work_elsewhere_stays(
    rehearsal: Rehearse, daemon: Deskhand, project: Path
) -> None:
    home = Path(daemon.environment["DESKHAND_HOME"])
    editor = Editor(daemon, rehearsal([{"say": "x"}]).url)
    session = editor.call("session/new", cwd=str(project), mcpServers=[])["sessionId"]
    editor.call("session/prompt", sessionId=session, prompt=prompt("hi"))
    output = home / "outputs" / session / "long.txt"
    output.write_text("long")
    editor.call("session/close", sessionId=session)
    lock = lock_session(home / "run", session)
    assert lock is not None
    assert "is at work in another process" in editor.call("session/delete", sessionId=session)["message"]
    lock.release()
    assert output.exists()
    assert [each["sessionId"] for each in editor.call("session/list")["sessions"]] == [session]
    assert editor.call("session/delete", sessionId=session) == {}
    assert not output.parent.exists()
    assert editor.call("session/list")["sessions"] == []
    editor.leave()


def test_start_status_and_stop_say_what_they_find(daemon: Deskhand) -> None:
    assert daemon("daemon", "status").code == 1
    assert daemon("daemon", "stop").stdout == "No daemon runs.\n"
    started = daemon("daemon", "start")
    assert (started.code, daemon("daemon", "start").stdout) == (0, started.stdout)
    assert "No session is open." in daemon("daemon", "status").stdout
    assert daemon("dump").stdout == "Nothing is in flight.\n"
    assert daemon("daemon", "restart").stdout != started.stdout
    assert daemon("daemon").code == 2


def test_a_session_that_the_daemon_has_is_left_to_it(rehearsal: Rehearse, daemon: Deskhand, project: Path) -> None:
    """`run` works in its own process, and two processes must not advance one session."""
    model = rehearsal([{"say": "x", "fault": {"hang": True}}])
    editor = Editor(daemon, model.url)
    session = editor.call("session/new", cwd=str(project), mcpServers=[])["sessionId"]
    editor.send("session/prompt", sessionId=session, prompt=prompt("hang"))
    wait_for(lambda: bool(model.messages))
    ran = daemon("run", "--session", session, "me too", endpoint=model.url)
    assert (ran.code, ran.stderr.count("\n")) == (1, 1)
    assert "another process" in ran.stderr
    editor.leave()


def test_an_editor_whose_pipe_is_closed_ends(rehearsal: Rehearse, daemon: Deskhand) -> None:
    editor = Editor(daemon, rehearsal([{"say": "x"}]).url)
    editor.call("initialize", protocolVersion=1)
    assert editor.process.stdin is not None
    editor.process.stdin.close()
    try:
        assert editor.process.wait(timeout=10) == 0
    except subprocess.TimeoutExpired:
        pytest.fail("it hangs")
