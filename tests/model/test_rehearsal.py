"""The rehearsal endpoint: it answers as the Messages API does, refuses what that refuses, and fails as asked."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deskhand.model.rehearsal_request import sign
from support import RunningRehearsal, ScriptSource, make_script, running_rehearsal

Start = Callable[[ScriptSource], RunningRehearsal]
Message = dict[str, Any]

VERSION = {"anthropic-version": "2023-06-01"}
PROMPT: Message = {"role": "user", "content": "Do it."}
TOOL = {"name": "bash", "input_schema": {"type": "object"}}
PNG = b64encode(b"\x89PNG\r\n\x1a\n").decode()


class Client:
    """One connection to a rehearsal."""

    def __init__(self, server: RunningRehearsal) -> None:
        self.http = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *ending: object) -> None:
        self.http.close()

    def send(self, messages: list[Message] | None = None, **fields: Any) -> http.client.HTTPResponse:
        """Ask for a message."""
        body = {"model": "m", "max_tokens": 2000, "messages": messages or [PROMPT], **fields}
        self.http.request("POST", "/v1/messages", json.dumps(body), VERSION)
        return self.http.getresponse()

    def ask(self, messages: list[Message] | None = None, **fields: Any) -> tuple[int, Any]:
        """Ask for a message that is not streamed, and decode the answer."""
        response = self.send(messages, **fields)
        return response.status, json.load(response)

    def stream(self, messages: list[Message] | None = None) -> list[dict[str, Any]]:
        """Ask for a message that is streamed, and decode its events."""
        return decode_events(self.send(messages, stream=True).read())


def decode_events(data: bytes) -> list[dict[str, Any]]:
    events = []
    for block in data.decode().split("\n\n"):
        if block:
            name, payload = block.split("\n")
            event = json.loads(payload.removeprefix("data: "))
            assert name == f"event: {event['type']}"
            events.append(event)
    return events


def called(*identities: str) -> Message:
    """Return the model's message that calls a tool under these ids."""
    return {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": identity, "name": "bash", "input": {}} for identity in identities],
    }


def result(identity: str, content: Any = "fine", **fields: Any) -> Message:
    return {"type": "tool_result", "tool_use_id": identity, "content": content, **fields}


def answered(*results: Message) -> Message:
    return {"role": "user", "content": list(results)}


# What it answers


def test_a_streamed_answer_has_the_events_of_the_api_in_their_order(rehearsal: Start) -> None:
    step: Message = {
        "think": "Hm, so.",
        "say": "Two words.",
        "call": {"tool": "bash", "arguments": {"command": "true"}},
    }
    with Client(rehearsal([step])) as client:
        response = client.send(stream=True)
        assert response.getheader("content-type") == "text/event-stream; charset=utf-8"
        events = decode_events(response.read())
    assert [event["type"] for event in events if event["type"] != "content_block_delta"] == [
        "message_start",
        "content_block_start",
        "ping",
        *["content_block_stop", "content_block_start"] * 2,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    deltas: dict[int, list[dict[str, str]]] = {0: [], 1: [], 2: []}
    for event in events:
        if event["type"] == "content_block_delta":
            deltas[event["index"]].append(event["delta"])
    assert "".join(delta.get("thinking", "") for delta in deltas[0]) == "Hm, so."
    assert deltas[0][-1] == {"type": "signature_delta", "signature": sign("Hm, so.")}
    assert [delta["text"] for delta in deltas[1]] == ["Two", " words."]
    assert json.loads("".join(delta["partial_json"] for delta in deltas[2])) == {"command": "true"}
    assert events[-2]["delta"]["stop_reason"] == "tool_use"
    assert events[0]["message"]["usage"]["input_tokens"] > 0


def test_an_answer_that_is_not_streamed_is_one_message(rehearsal: Start) -> None:
    calls = [{"tool": "bash", "arguments": {"command": "true"}}, {"tool": "read", "id": "mine"}]
    with Client(rehearsal([{"say": "Hi.", "call": calls, "usage": {"input_tokens": 7}}])) as client:
        status, message = client.ask()
    assert status == 200
    text, first, second = message["content"]
    assert text == {"type": "text", "text": "Hi."}
    assert first["input"] == {"command": "true"}
    assert second["id"] == "mine" != first["id"]
    assert message["usage"]["input_tokens"] == 7


def test_the_number_of_the_models_messages_decides_the_step_whoever_asks(rehearsal: Start) -> None:
    server = rehearsal([{"call": {"tool": "bash"}}, {"say": "second"}])
    later = [PROMPT, called("a"), answered(result("a"))]
    with Client(server) as one, Client(server) as other:
        assert other.ask(later)[1]["content"][0]["text"] == "second"
        assert one.ask()[1]["stop_reason"] == "tool_use"
        assert one.ask(later)[1]["content"][0]["text"] == "second"
    assert [exchange.step for exchange in server.requests] == [2, 1, 2]


def test_the_arguments_of_a_call_can_be_no_json(rehearsal: Start) -> None:
    with Client(rehearsal([{"call": {"tool": "bash", "raw": '{"command": "tr'}}])) as client:
        pieces = [event["delta"]["partial_json"] for event in client.stream() if "delta" in event and "index" in event]
    assert "".join(pieces) == '{"command": "tr'


def test_huge_arguments_come_whole_and_in_a_bounded_number_of_events(rehearsal: Start) -> None:
    content = "0123456789é" * 200_000
    with Client(rehearsal([{"call": {"tool": "write", "arguments": {"content": content}}}])) as client:
        pieces = [event["delta"]["partial_json"] for event in client.stream() if "delta" in event and "index" in event]
    assert json.loads("".join(pieces)) == {"content": content}
    assert len(pieces) < 3000


def test_placeholders_give_the_step_and_what_a_result_held(rehearsal: Start) -> None:
    steps: list[Message] = [
        {"call": {"tool": "bash", "arguments": {"command": "true {{step}}"}}},
        {"say": "Job {{result:job (\\d+)}} in step {{step}}: {{result:d.ne}}, {{this}} stays."},
    ]
    with Client(rehearsal(steps)) as client:
        assert client.ask()[1]["content"][0]["input"] == {"command": "true 1"}
        answer = client.ask([PROMPT, called("a"), answered(result("a", "job 42 is done"))])[1]
        assert answer["content"][0]["text"] == "Job 42 in step 2: done, {{this}} stays."
        status, error = client.ask([PROMPT, called("a"), answered(result("a", "nothing"))])
    assert status == 400
    assert "step 2 expected a tool result that matches 'job" in error["error"]["message"]


def test_after_the_last_step_the_answer_is_an_error_that_says_so(rehearsal: Start) -> None:
    with Client(rehearsal([{"call": {"tool": "bash"}}])) as client:
        status, error = client.ask([PROMPT, called("a"), answered(result("a"))])
    assert status == 400
    assert "the script has ended" in error["error"]["message"]


def test_the_other_addresses_answer_too(rehearsal: Start) -> None:
    server = rehearsal({"script": {"model": "actor"}, "step": [{"say": "a"}]})
    with Client(server) as client:
        for method, path, status, words in (
            ("GET", "/", 200, b"rehearsal"),
            ("HEAD", "/", 200, b""),
            ("GET", "/v1/models?limit=1000", 200, b'"id":"actor"'),
            ("POST", "/v1/messages/count_tokens", 200, b'"input_tokens":'),
            ("POST", "/v1/messages?beta=true", 400, b"anthropic-version"),
            ("GET", "/v1/messages", 404, b"not_found_error"),
        ):
            client.http.request(method, path, "{}" if method == "POST" else None)
            response = client.http.getresponse()
            body = response.read()
            assert response.status == status, path
            assert words in body


# What it expects


@pytest.mark.parametrize(
    ("expect", "met"),
    [
        ({"prompt": "^Do it"}, True),
        ({"prompt": "undo"}, False),
        ({"result": "2 failed"}, True),
        ({"result": ["2 failed", "5 passed"]}, True),
        ({"result": ["2 failed", "6 passed"]}, False),
        ({"error": True}, True),
        ({"error": False}, False),
        ({"system": "careful"}, True),
        ({"system": "careless"}, False),
        ({"tools": ["bash"]}, True),
        ({"tools": ["bash", "fetch"]}, False),
    ],
)
def test_a_step_looks_at_the_request_before_it_answers(rehearsal: Start, expect: dict[str, Any], met: bool) -> None:
    shown = result("a", [{"type": "text", "text": "2 failed, 5 passed"}], is_error=True)
    with Client(rehearsal([{"say": "a"}, {"say": "well done", "expect": expect}])) as client:
        status, answer = client.ask([PROMPT, called("a"), answered(shown)], system="Be careful.", tools=[TOOL])
    assert status == (200 if met else 400)
    if not met:
        assert answer["error"]["type"] == "invalid_request_error"
        assert "step 2 expected" in answer["error"]["message"]
        assert len(answer["error"]["message"]) < 1000


# What it refuses: our stand-in for the real API (lesson 7)

THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": sign("Hm.")}
SAID = {"type": "text", "text": "So."}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
BREAKPOINT = {"cache_control": {"type": "ephemeral"}}


@pytest.mark.parametrize(
    ("messages", "fields", "words"),
    [
        ([], {}, "at least one message"),
        ([called("a")], {}, 'first message must use the "user" role'),
        ([PROMPT, PROMPT], {}, "roles must alternate"),
        ([PROMPT, {"role": "assistant", "content": "So"}], {}, "must end with a user message"),
        ([{"role": "system", "content": "a"}], {}, "system"),
        ([{"role": "user", "content": ""}], {}, "non-whitespace"),
        ([{"role": "user", "content": " \n"}], {}, "non-whitespace"),
        ([{"role": "user", "content": []}], {}, "non-empty content"),
        ([PROMPT], {"system": [{"type": "text", "text": ""}]}, "non-whitespace"),
        ([PROMPT, called("a"), PROMPT], {}, "without `tool_result` blocks immediately after: a"),
        ([PROMPT, called("a", "b"), answered(result("b"))], {}, "without `tool_result` blocks immediately after: a"),
        ([answered(result("a"))], {}, "unexpected `tool_use_id`"),
        ([PROMPT, called("a"), answered(result("a"), result("a"))], {}, "a single result"),
        ([PROMPT, called("a"), answered(SAID, result("a"))], {}, "must come first"),
        ([PROMPT, called("a", "a"), answered(result("a"))], {}, "ids must be unique"),
        ([PROMPT, called("a"), answered(result("a")), called("a"), answered(result("a"))], {}, "ids must be unique"),
        ([PROMPT, called("a b"), answered(result("a b"))], {}, "matching regex"),
        ([PROMPT, called("a"), answered(result("a", [{"type": "text", "text": ""}]))], {}, "must be non-empty"),
        ([PROMPT, called("a"), answered(result("a", [IMAGE], is_error=True))], {}, "type `text`"),
        ([{"role": "user", "content": [{**IMAGE, "source": {**IMAGE["source"], "data": "AA"}}]}], {}, "base64"),  # type: ignore[dict-item]
        ([{"role": "user", "content": [{**IMAGE, "source": {**IMAGE["source"], "data": "AAAA"}}]}], {}, "media type"),  # type: ignore[dict-item]
        ([PROMPT, {"role": "assistant", "content": [THOUGHT]}, PROMPT], {}, "final block"),
        ([PROMPT, {"role": "assistant", "content": [SAID, THOUGHT, SAID]}, PROMPT], {}, "first block must be"),
        ([PROMPT, {"role": "assistant", "content": [{**THOUGHT, "thinking": "Ha."}, SAID]}, PROMPT], {}, "`signature`"),
        ([PROMPT], {"max_tokens": 0}, "max_tokens"),
        ([PROMPT], {"max_tokens": None}, "max_tokens"),
        ([PROMPT], {"temprature": 1}, "temprature"),
        ([PROMPT], {"tools": [TOOL, TOOL]}, "Tool names must be unique"),
        ([PROMPT], {"tools": [{**TOOL, "name": "a.b"}]}, "matching regex"),
        ([PROMPT], {"tools": [{**TOOL, "input_schema": {}}]}, "input_schema.type"),
        ([PROMPT], {"tool_choice": {"type": "any"}}, "while providing tools"),
        ([PROMPT], {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "b"}}, "'b' not found"),
        ([PROMPT], {"thinking": {"type": "enabled", "budget_tokens": 10}}, "budget_tokens"),
        ([PROMPT], {"thinking": {"type": "enabled", "budget_tokens": 2000}}, "budget_tokens"),
        ([PROMPT], {"tools": [{**TOOL, "name": str(n), **BREAKPOINT} for n in range(5)]}, "Found 5"),
        ([{"role": "user", "content": [{**SAID, **BREAKPOINT}] * 5}], {}, "Found 5"),
        ([PROMPT, called("a"), answered(result("a", [{**SAID, **BREAKPOINT}] * 5))], {}, "Found 5"),
    ],
)
def test_what_the_api_refuses_is_refused(
    rehearsal: Start, messages: list[Message], fields: dict[str, Any], words: str
) -> None:
    """Lesson 7: above all, a call without its one result."""
    with Client(rehearsal({"script": {"loop": True}, "step": [{"say": "a"}]})) as client:
        body = {"model": "m", "max_tokens": 2000, "messages": messages, **fields}
        client.http.request("POST", "/v1/messages", json.dumps(body), VERSION)
        response = client.http.getresponse()
        answer = json.load(response)
    assert response.status == 400, answer
    assert answer["error"]["type"] == "invalid_request_error"
    assert words in answer["error"]["message"]


def test_everything_that_an_agent_may_send_is_accepted(rehearsal: Start) -> None:
    system = [{"type": "text", "text": "Be careful.", **BREAKPOINT}]
    messages: list[Message] = [
        {"role": "user", "content": [SAID, IMAGE]},
        {"role": "assistant", "content": [THOUGHT, SAID, *called("a", "b")["content"]]},
        answered(result("b", [IMAGE, SAID]), result("a", "no", is_error=True), {**SAID, **BREAKPOINT}),
        {"role": "assistant", "content": "Well."},
        PROMPT,
    ]
    thinking = {"type": "enabled", "budget_tokens": 1024}
    with Client(rehearsal({"script": {"loop": True}, "step": [{"say": "a"}]})) as client:
        status, answer = client.ask(messages, system=system, tools=[TOOL], thinking=thinking)
    assert status == 200, answer


def test_reasoning_must_come_back_with_the_results_of_its_calls(rehearsal: Start) -> None:
    server = rehearsal([{"think": "Hm.", "call": {"tool": "bash"}}, {"say": "a"}])
    thinking = {"type": "enabled", "budget_tokens": 1024}
    calls = called("a")["content"]
    with Client(server) as client:
        lost = client.ask([PROMPT, {"role": "assistant", "content": calls}, answered(result("a"))], thinking=thinking)
        kept = [PROMPT, {"role": "assistant", "content": [THOUGHT, *calls]}, answered(result("a"))]
        assert client.ask(kept, thinking=thinking)[0] == 200
    assert lost[0] == 400
    assert "must start with a thinking block" in lost[1]["error"]["message"]


DEEP = b'{"model":"m","max_tokens":1,"metadata":{"a":' + b"[" * 100_000


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model": "\xff"}', b'{"model": "\\ud800"}', b"\0", DEEP])
def test_a_body_that_is_no_request_is_refused(rehearsal: Start, body: bytes) -> None:
    with Client(rehearsal([{"say": "a"}])) as client:
        client.http.request("POST", "/v1/messages", body, VERSION)
        response = client.http.getresponse()
        assert response.status == 400
        assert json.load(response)["error"]["type"] == "invalid_request_error"


def test_what_is_no_http_gets_an_error_and_hurts_nobody(rehearsal: Start) -> None:
    server = rehearsal([{"say": "a"}])
    with Client(server) as client, socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")
        assert client.ask()[0] == 200


# What goes wrong with it, as asked


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        ({"status": 400}, 400, "invalid_request_error"),
        ({"status": 401}, 401, "authentication_error"),
        ({"status": 402}, 402, "billing_error"),
        ({"status": 429, "retry_after": 2}, 429, "rate_limit_error"),
        ({"status": 500}, 500, "api_error"),
        ({"status": 529}, 529, "overloaded_error"),
        ({"status": 403, "type": "odd_error", "message": "Go away."}, 403, "odd_error"),
    ],
)
def test_a_status_fault_is_an_error_in_the_shape_of_the_api(
    rehearsal: Start, fault: dict[str, Any], status: int, kind: str
) -> None:
    with Client(rehearsal([{"say": "a", "fault": fault}])) as client:
        response = client.send(stream=True)
        answer = json.load(response)
    assert (response.status, answer["type"], answer["error"]["type"]) == (status, "error", kind)
    assert fault.get("message", "rehearsed") in answer["error"]["message"]
    wait = fault.get("retry_after")
    assert response.getheader("retry-after") == (str(wait) if wait else None)


def test_faults_with_times_are_met_in_order_and_then_the_step_is_answered(rehearsal: Start) -> None:
    faults = [{"status": 529, "times": 2}, {"status": 500, "times": 1}]
    with Client(rehearsal([{"say": "at last", "fault": faults}])) as client:
        assert [client.ask()[0] for _ in range(4)] == [529, 529, 500, 200]
        another = {"role": "user", "content": "Something else."}
        assert client.ask([another])[0] == 529
        cached = {"role": "user", "content": [{"type": "text", "text": "Cached."}]}
        assert client.ask([cached])[0] == 529
        cached["content"][0].update(BREAKPOINT)  # type: ignore[attr-defined]
        assert [client.ask([cached])[0] for _ in range(3)] == [529, 500, 200]


def test_an_answer_can_be_empty(rehearsal: Start) -> None:
    with Client(rehearsal([{"fault": {"empty": True}}])) as client:
        assert [event["type"] for event in client.stream()] == ["message_start", "message_delta", "message_stop"]


def test_an_answer_can_be_another_body_of_another_type(rehearsal: Start) -> None:
    page = {"status": 502, "content_type": "text/html", "body": "<h1>Bad Gateway</h1>"}
    with Client(rehearsal([{"say": "a", "fault": page}])) as client:
        response = client.send(stream=True)
        assert (response.status, response.getheader("content-type")) == (502, "text/html")
        assert response.read() == b"<h1>Bad Gateway</h1>"


def test_a_true_answer_can_have_the_wrong_type(rehearsal: Start) -> None:
    with Client(rehearsal([{"say": "a", "fault": {"content_type": "text/plain"}}])) as client:
        response = client.send(stream=True)
        assert response.getheader("content-type") == "text/plain"
        assert decode_events(response.read())[-1]["type"] == "message_stop"


def test_an_event_can_be_broken_json(rehearsal: Start) -> None:
    with Client(rehearsal([{"say": "a b c", "fault": {"malformed": True}}])) as client:
        data = client.send(stream=True).read()
    with pytest.raises(json.JSONDecodeError):
        decode_events(data)
    assert data.endswith(b'data: {"type":"message_stop"}\n\n')


def test_a_stream_can_break_off_with_an_error_event(rehearsal: Start) -> None:
    with Client(rehearsal([{"say": "a b c", "fault": {"stream_error": "overloaded_error"}}])) as client:
        events = client.stream()
    assert events[0]["type"] == "message_start"
    assert events[-1]["error"]["type"] == "overloaded_error"


def test_a_stream_can_be_reset_after_so_many_bytes(rehearsal: Start) -> None:
    with Client(rehearsal([{"say": "a b c", "fault": {"drop_after": 100}}])) as client:
        response = client.send(stream=True)
        assert len(response.read(100)) == 100
        with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
            response.read()


def test_a_connection_can_be_reset_before_the_answer(rehearsal: Start) -> None:
    with Client(rehearsal([{"say": "a", "fault": {"drop_after": 0, "times": 1}}])) as client:
        with pytest.raises(ConnectionResetError):
            client.send()
        client.http.close()
        assert client.ask()[0] == 200


def test_a_stream_can_end_too_early_as_if_it_were_whole(rehearsal: Start) -> None:
    with Client(rehearsal([{"say": "a b c", "fault": {"end_after": 100}}])) as client:
        assert len(client.send(stream=True).read()) == 100
        assert len(client.send(stream=True).read()) == 100, "the connection lives on"


def test_a_stream_can_stall(rehearsal: Start) -> None:
    with Client(rehearsal([{"say": "a b c", "fault": {"stall_after": 100}}])) as client:
        client.http.timeout = 1
        response = client.send(stream=True)
        assert len(response.read(100)) == 100
        with pytest.raises(TimeoutError):
            response.read()


def test_a_request_can_stay_unanswered(rehearsal: Start) -> None:
    server = rehearsal([{"say": "a", "fault": {"hang": True}}])
    with Client(server) as client:
        client.http.timeout = 1
        with pytest.raises(TimeoutError):
            client.send()
    assert len(server.requests) == 1


def test_delays_come_before_the_first_byte_and_between_tokens(rehearsal: Start) -> None:
    begun = time.monotonic()
    with Client(rehearsal([{"say": "a b c d e f", "fault": {"first_byte_delay": 0.3, "token_delay": 0.05}}])) as client:
        response = client.send(stream=True)
        first = time.monotonic() - begun
        assert decode_events(response.read())[-1]["type"] == "message_stop"
    assert first >= 0.3
    assert time.monotonic() - begun >= first + 0.3


def test_a_silent_answer_holds_up_nobody_else_and_not_the_end() -> None:
    begun = time.monotonic()
    script = make_script([{"say": "a", "fault": {"hang": True}}, {"say": "b"}])
    body = json.dumps({"model": "m", "max_tokens": 1, "messages": [PROMPT]})
    with running_rehearsal(script) as server, Client(server) as silent, Client(server) as other:
        silent.http.request("POST", "/v1/messages", body, VERSION)
        assert other.ask([PROMPT, {"role": "assistant", "content": "a"}, PROMPT])[0] == 200
    assert time.monotonic() - begun < 15


# How it serves


def test_a_connection_is_kept_alive_and_many_are_served_at_once(rehearsal: Start) -> None:
    server = rehearsal([{"say": "a"}])
    failures: list[object] = []

    def talk() -> None:
        with Client(server) as client:
            for _ in range(20):
                status, _ = client.ask()
                if status != 200:
                    failures.append(status)
            connection = client.http.sock
            client.ask()
            if client.http.sock is not connection:
                failures.append("a new connection")

    threads = [threading.Thread(target=talk) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not failures
    assert len(server.requests) == 8 * 21


def test_a_record_has_every_request_in_full_but_no_keys(tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    with running_rehearsal(make_script([{"say": "a"}]), record) as server, Client(server) as client:
        begun = time.time()
        body = {"model": "m", "max_tokens": 1, "messages": [PROMPT]}
        headers = {**VERSION, "x-api-key": "secret-1", "Authorization": "Bearer secret-2"}
        client.http.request("POST", "/v1/messages", json.dumps(body), headers)
        client.http.getresponse().read()
        client.http.request("POST", "/v1/messages", b"{\xff", VERSION)
        client.http.getresponse().read()
    text = record.read_text(encoding="utf-8")
    assert "secret" not in text
    first, second = (json.loads(line) for line in text.splitlines())
    assert first["body"] == body
    assert begun <= first["first_byte_at"] <= first["at"] <= first["answered_at"] <= time.time()
    assert (first["step"], first["status"], first["headers"]["anthropic-version"]) == (1, 200, "2023-06-01")
    assert (second["step"], second["status"], second["body"]) == (0, 400, "{\ufffd")


def test_a_request_beyond_the_apis_size_is_refused_and_not_kept(rehearsal: Start) -> None:
    server = rehearsal([{"say": "a"}])
    with Client(server) as client:
        client.http.request("POST", "/v1/messages", b" " * (33 * 1024 * 1024), VERSION)
        response = client.http.getresponse()
        assert json.load(response)["error"]["type"] == "request_too_large"
    assert response.status == 413
