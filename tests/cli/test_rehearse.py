"""`deskhand rehearse`: says where it is, tells what it answers, ends when it is told to, and explains mistakes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from support import Deskhand

SCRIPT = '[[step]]\nsay = "Hello."\n'


def _request(url: str) -> bytes:
    body = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"anthropic-version": "2023-06-01", "x-api-key": "secret"}
    request = urllib.request.Request(f"{url}/v1/messages", json.dumps(body).encode(), headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=20) as response:
        answer: bytes = response.read()
    return answer


def _url(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().decode().rstrip("\n")
    assert line.startswith("export ANTHROPIC_BASE_URL=http://127.0.0.1:")
    return line.partition("=")[2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_stop(deskhand: Deskhand, project: Path, number: signal.Signals) -> None:
    (project / "script.toml").write_text(SCRIPT)
    process = deskhand.start("rehearse", "script.toml", "--record", "record.jsonl")
    assert b"Hello." in _request(_url(process))
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 0
    assert stdout == b""
    assert b"POST /v1/messages step 1: 6 characters" in stderr
    record = (project / "record.jsonl").read_text()
    assert json.loads(record)["body"]["model"] == "m"
    assert "secret" not in record


def test_it_ends_at_once_with_an_answer_still_open(deskhand: Deskhand, project: Path) -> None:
    (project / "script.toml").write_text("[[step]]\nfault.hang = true\n")
    process = deskhand.start("rehearse", "script.toml")
    port = int(_url(process).rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n{")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_a_mistake_in_the_script_is_told_in_one_line(deskhand: Deskhand, project: Path) -> None:
    (project / "script.toml").write_text("[[step]]\nsya = 'Hello.'\n")
    wrong = deskhand("rehearse", "script.toml")
    assert (wrong.code, wrong.stdout) == (1, "")
    assert wrong.stderr == "deskhand: script.toml: step 1, sya: no such key.\n"
    missing = deskhand("rehearse", "none.toml")
    assert missing.code == 1
    assert missing.stderr == "deskhand: Cannot read the script none.toml: No such file or directory.\n"


def test_a_port_in_use_is_told_in_one_line(deskhand: Deskhand, project: Path) -> None:
    (project / "script.toml").write_text(SCRIPT)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = deskhand("rehearse", "script.toml", "--port", str(port))
    assert ran.code == 1
    assert ran.stderr == f"deskhand: Cannot listen on 127.0.0.1:{port}: Address already in use. Choose another port.\n"


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["a", "--port", "x"], ["a", "--port", "70000"], ["a", "--por"]])
def test_a_wrong_usage_exits_with_2(deskhand: Deskhand, arguments: list[str]) -> None:
    ran = deskhand("rehearse", *arguments)
    assert ran.code == 2
    assert "usage: deskhand rehearse" in ran.stderr
