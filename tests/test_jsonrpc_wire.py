"""The JSON-RPC peer under whatever the other side sends, however slowly it reads, and however it goes."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deskhand import log
from deskhand.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    PARSE_ERROR,
    Peer,
    RpcError,
)
from jsonrpc_support import Desk, Wire, paired, play, until, wired


@pytest.fixture
def logged(tmp_path: Path) -> Path:
    log.open_log(tmp_path)
    path = tmp_path / "daemon.log"
    path.touch()
    return path


# What cannot be understood


@pytest.mark.parametrize(
    ("line", "code", "request_id"),
    [
        (b"{", PARSE_ERROR, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"echo"', PARSE_ERROR, None),
        (b"hello", PARSE_ERROR, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"ech\xff"}', PARSE_ERROR, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}', PARSE_ERROR, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"echo","params":[NaN]}', PARSE_ERROR, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"echo","params":[1e999]}', PARSE_ERROR, None),
        (b'{"jsonrpc":"2.0","id":' + b"1" * 5000 + b',"method":"echo"}', PARSE_ERROR, None),
        (b"[" * 200_000, PARSE_ERROR, None),
        (b'{"a":' * 200_000, PARSE_ERROR, None),
        (b"\xef\xbb\xbf\x00\x01", PARSE_ERROR, None),
        (b"1", INVALID_REQUEST, None),
        (b"null", INVALID_REQUEST, None),
        (b'"text"', INVALID_REQUEST, None),
        (b"{}", INVALID_REQUEST, None),
        (b"[]", INVALID_REQUEST, None),
        (b'[{"jsonrpc":"2.0","id":1,"method":"echo"},{"jsonrpc":"2.0","method":"note"}]', INVALID_REQUEST, None),
        (b'{"id":1,"method":"echo"}', INVALID_REQUEST, None),
        (b'{"jsonrpc":"1.0","id":1,"method":"echo"}', INVALID_REQUEST, None),
        (b'{"jsonrpc":2.0,"id":1,"method":"echo"}', INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":1}', INVALID_REQUEST, 1),
        (b'{"jsonrpc":"2.0","id":1,"method":1}', INVALID_REQUEST, 1),
        (b'{"jsonrpc":"2.0","id":1,"method":null}', INVALID_REQUEST, 1),
        (b'{"jsonrpc":"2.0","id":"a","method":"echo","params":"text"}', INVALID_REQUEST, "a"),
        (b'{"jsonrpc":"2.0","method":"echo","params":1}', INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":true,"method":"echo"}', INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"echo"}', INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":{},"method":"echo"}', INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":[1],"method":"echo"}', INVALID_REQUEST, None),
    ],
)
def test_a_line_that_cannot_be_understood_gets_one_error_and_the_connection_goes_on(
    line: bytes, code: int, request_id: Any
) -> None:
    async def scenario() -> None:
        async with wired() as (wire, desk, _):
            wire.send(line)
            assert await wire.receive_error() == (request_id, code)
            await wire.check_alive()
            assert desk.seen == [("echo", ["yes"])]

    play(scenario)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\r",
        b" \t ",
        b'{"jsonrpc":"2.0","id":99,"result":1}',
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"what?"}}',
        b'{"jsonrpc":"2.0","id":[1],"result":1}',
        b'{"jsonrpc":"1.0","error":{}}',
        b'{"result":1}',
    ],
)
def test_blank_lines_and_answers_to_nothing_are_ignored(line: bytes) -> None:
    async def scenario() -> None:
        async with wired() as (wire, _, _):
            wire.send(line)
            await wire.check_alive()

    play(scenario)


def test_lines_may_end_as_on_windows() -> None:
    async def scenario() -> None:
        async with wired() as (wire, _, _):
            wire.writer.write(b'{"jsonrpc":"2.0","id":1,"method":"echo","params":[1]}\r\n\r\n')
            assert await wire.receive() == {"id": 1, "result": [1]}

    play(scenario)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"result": 1, "error": {"code": 5, "message": "both"}}, 5),
        ({"error": {"code": 5, "message": "only"}}, 5),
        ({"error": None}, INTERNAL_ERROR),
        ({"error": "text"}, INTERNAL_ERROR),
        ({"error": {}}, INTERNAL_ERROR),
        ({"error": {"code": "5", "message": "text"}}, INTERNAL_ERROR),
        ({"error": {"code": 5, "message": None}}, INTERNAL_ERROR),
    ],
)
def test_an_answer_that_is_an_error_or_none_fails_the_request(answer: dict[str, Any], code: int) -> None:
    async def scenario() -> None:
        async with wired() as (wire, _, peer):
            asking = asyncio.create_task(peer.request("question", timeout=20))
            wire.send({"jsonrpc": "2.0", "id": (await wire.receive())["id"], **answer})
            with pytest.raises(RpcError) as caught:
                await asking
            assert caught.value.code == code

    play(scenario)


def test_the_first_of_two_answers_counts() -> None:
    async def scenario() -> None:
        async with wired() as (wire, _, peer):
            asking = asyncio.create_task(peer.request("question", timeout=20))
            await wire.receive()
            wire.send({"jsonrpc": "2.0", "id": 1, "result": None, "error": None})
            wire.send({"jsonrpc": "2.0", "id": 1, "result": "second"})
            assert await asking is None
            await wire.check_alive()

    play(scenario)


def test_a_line_above_the_cap_costs_an_error_and_nothing_else() -> None:
    async def scenario() -> None:
        async with wired(frame_cap=100_000) as (wire, _, _):
            wire.call(1, "echo", ["x" * 1_000_000])
            assert await wire.receive_error() == (None, INVALID_REQUEST)
            wire.call(2, "echo", ["x" * 90_000])
            assert (await wire.receive())["id"] == 2

    play(scenario)


_ALMOST = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.sampled_from(["2.0", "2.0", "2.0", "1.0", 2, None]),
        "id": st.sampled_from([1, "a", None, True, 1.5, [], {}, 2**80]),
        "method": st.sampled_from(["echo", "note", "refuse", "$/cancel_request", "", 1, None]),
        "params": st.sampled_from([None, [], {}, {"requestId": 1}, {"requestId": []}, 1, "x"]),
        "result": st.sampled_from([None, 1, {}]),
        "error": st.sampled_from([None, 1, {}, {"code": 1, "message": "m"}]),
    },
).map(msgspec.json.encode)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=40), _ALMOST, st.lists(_ALMOST).map(b",".join)), max_size=30))
def test_no_bytes_end_the_connection(lines: list[bytes]) -> None:
    async def scenario() -> None:
        async with wired() as (wire, _, peer):
            asking = asyncio.create_task(peer.request("question", timeout=20))
            await wire.receive()
            wire.send(*lines)
            wire.call("end of it", "echo", ["yes"])
            while (await wire.receive()).get("id") != "end of it":
                pass
            peer.close()
            with suppress(RpcError, ConnectionError):
                await asking

    play(scenario)


# Floods, large lines, slow readers


def test_a_line_of_60_megabytes_passes_in_linear_time() -> None:
    """A quadratic reader takes many times the limit; ours about a second, there and back."""

    async def scenario() -> None:
        async with paired() as (here, _, _, _):
            started = time.monotonic()
            answer = await here.request("echo", ["x" * 60_000_000], timeout=50)
            assert len(answer[0]) == 60_000_000
            assert time.monotonic() - started < 30

    play(scenario)


def test_a_side_that_does_not_read_grows_the_backlog_and_slows_nobody() -> None:
    """Lesson 45: the caller sees the backlog and can stop before it grows too large."""

    async def scenario() -> None:
        async with wired() as (wire, _, slow), paired() as (here, _, _, _):
            started = time.monotonic()
            while slow.backlog < 8_000_000:
                slow.notify("note", ["x" * 1000])
            assert time.monotonic() - started < 10
            with pytest.raises(TimeoutError):
                await slow.drain(timeout=0.05)
            assert await here.request("echo", [1], timeout=10) == [1]
            wire.call(1, "echo", ["still served"])
            message = await wire.receive()
            while message.get("id") != 1:
                message = await wire.receive()
            assert message["result"] == ["still served"]
            await slow.drain(timeout=10)
            assert slow.backlog < 100_000

    play(scenario)


def test_a_side_that_never_reads_is_given_up() -> None:
    async def scenario() -> None:
        async with wired(backlog_cap=1_000_000) as (wire, _, peer):
            asking = asyncio.create_task(peer.request("question", timeout=50))
            await asyncio.sleep(0)
            sending = asyncio.create_task(_send_without_reading(wire))
            with pytest.raises(ConnectionError):
                await asking
            with pytest.raises(ConnectionError):
                await peer.drain()
            sending.cancel()
            await asyncio.wait({sending})

    play(scenario)


async def _send_without_reading(wire: Wire) -> None:
    with suppress(OSError):
        while True:
            wire.send(*[b"garbage"] * 1000)
            await wire.writer.drain()


def test_a_flood_for_a_slow_handler_makes_the_sender_wait_and_loses_nothing() -> None:
    """Lesson 45: what waits is bounded."""

    async def scenario() -> None:
        async with paired() as (here, _, _, desk):
            here.notify("block")
            for number in range(5000):
                here.notify("note", [number, "x" * 1000])
            await asyncio.sleep(0.3)
            assert here.backlog > 1_000_000
            desk.gate.set()
            await until(lambda: len(desk.seen) == 10_002)
            assert [params[0] for method, params in desk.seen if method == "note" and params != "handled"] == list(
                range(5000)
            )

    play(scenario)


def test_a_flood_of_one_connection_leaves_the_event_loop_to_the_others() -> None:
    async def scenario() -> None:
        async with wired() as (wire, desk, _), paired() as (here, _, _, _):
            line = msgspec.json.encode({"jsonrpc": "2.0", "method": "note", "params": [1]}) + b"\n"
            wire.writer.write(line * 100_000)
            served = 0
            while len(desk.seen) < 200_000:
                await here.request("echo", [1], timeout=10)
                served += 1
            assert served > 50

    play(scenario)


# The end


def test_when_the_other_side_goes_our_requests_fail_and_theirs_are_cancelled() -> None:
    async def scenario() -> None:
        async with paired() as (here, mine, there, desk):
            asking = [asyncio.create_task(here.request("wait", [n], timeout=None)) for n in range(3)]
            theirs = asyncio.create_task(there.request("wait", ["x"], timeout=None))
            await until(lambda: len(desk.seen) == 3 and mine.seen)
            there.close()
            for task in (*asking, theirs):
                with pytest.raises(ConnectionError):
                    await task
            assert sorted(desk.seen[3:]) == [("cancelled", [n]) for n in range(3)]
            await until(lambda: ("cancelled", ["x"]) in mine.seen)
            with pytest.raises(ConnectionError):
                await there.request("echo", timeout=1)
            there.notify("note")
            with pytest.raises(ConnectionError):
                await there.drain()

    play(scenario)


def test_a_script_that_closes_its_end_still_gets_the_answers() -> None:
    async def scenario() -> None:
        async with wired() as (wire, _, _):
            wire.tell("slow")
            wire.call(1, "echo", [1])
            wire.writer.write(b'{"jsonrpc":"2.0","id":2,"method":"echo"}')  # cut off: it is not known to be whole
            wire.writer.write_eof()
            assert await wire.receive() == {"id": 1, "result": [1]}
            assert await wire.reader.read() == b""

    play(scenario)


def test_an_answer_that_came_just_before_the_end_is_delivered() -> None:
    async def scenario() -> None:
        async with wired() as (wire, _, peer):
            first = asyncio.create_task(peer.request("first", timeout=20))
            second = asyncio.create_task(peer.request("second", timeout=20))
            await wire.receive()
            await wire.receive()
            wire.tell("slow")
            wire.send({"jsonrpc": "2.0", "id": 1, "result": "here"})
            wire.writer.close()
            assert await first == "here"
            with pytest.raises(ConnectionError):
                await second

    play(scenario)


def test_handlers_that_ask_a_side_that_goes_end_at_once_and_are_no_mistake_of_ours(logged: Path) -> None:
    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        desk = Desk()
        desk.peer = peer = Peer(*await asyncio.open_unix_connection(sock=ours), desk)
        running = asyncio.create_task(peer.run())
        theirs.send(b'{"jsonrpc":"2.0","id":1,"method":"ask back"}\n')
        theirs.send(b'{"jsonrpc":"2.0","method":"ask back"}\n')
        await until(lambda: len(desk.seen) == 2)
        theirs.close()
        await asyncio.wait_for(running, 10)
        assert desk.seen[2:] == ["nobody there", "nobody there"], "they waited for answers that cannot come"

    play(scenario)
    assert logged.read_text() == ""


def test_a_handler_that_does_not_end_is_named_and_left_behind(logged: Path) -> None:
    """Lesson 6: never awaited for ever."""

    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        desk = Desk()
        peer = Peer(*await asyncio.open_unix_connection(sock=ours), desk)
        running = asyncio.create_task(peer.run())
        theirs.send(b'{"jsonrpc":"2.0","id":1,"method":"stubborn"}\n')
        await until(lambda: desk.seen)
        peer.close()
        await asyncio.wait_for(running, 10)
        theirs.close()
        desk.gate.set()
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})

    play(scenario)
    assert "stubborn goes on 2 s after its connection has ended." in logged.read_text()


def test_what_was_sent_before_close_still_goes_out() -> None:
    async def scenario() -> None:
        async with wired() as (wire, _, peer):
            for number in range(2000):
                peer.notify("note", [number, "x" * 1000])
            peer.close()
            assert [(await wire.receive())["params"][0] for _ in range(2000)] == list(range(2000))
            assert await wire.reader.read() == b""

    play(scenario)


def test_close_before_run_and_close_twice_do_no_harm() -> None:
    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        peer = Peer(reader, writer, Desk())
        peer.close()
        peer.close()
        await asyncio.wait_for(peer.run(), 5)
        assert theirs.recv(1) == b""
        theirs.close()

    play(scenario)


def test_cancelling_run_ends_the_connection() -> None:
    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        peer = Peer(*await asyncio.open_unix_connection(sock=ours), Desk())
        running = asyncio.create_task(peer.run())
        asking = asyncio.create_task(peer.request("question", timeout=None))
        await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        with pytest.raises(ConnectionError):
            await asking
        theirs.close()

    play(scenario)


def test_a_broken_pipe_ends_this_connection_without_a_spin() -> None:
    """Lesson 14 (T): the reading end of our output is closed while its writing end to us stays open."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        to_us, from_them = os.pipe()
        to_them, from_us = os.pipe()
        reader = asyncio.StreamReader()
        incoming, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(to_us, "rb", 0)
        )
        transport, protocol = await loop.connect_write_pipe(
            lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(from_us, "wb", 0)
        )
        peer = Peer(reader, asyncio.StreamWriter(transport, protocol, None, loop), Desk())
        running = asyncio.create_task(peer.run())
        os.close(to_them)
        cpu = time.process_time()
        for _ in range(1000):
            peer.notify("note", ["x" * 1000])
            await asyncio.sleep(0)
        await asyncio.wait_for(running, 10)
        assert time.process_time() - cpu < 5
        incoming.close()
        os.close(from_them)
        await asyncio.sleep(0)

    play(scenario)


def test_a_client_that_is_reset_in_mid_message_ends_only_its_own_connection() -> None:
    async def scenario() -> None:
        async with wired() as (wire, _, peer):
            asking = asyncio.create_task(peer.request("question", timeout=20))
            await wire.receive()
            wire.writer.write(b'{"jsonrpc":"2.0","id":1,"res')
            wire.writer.transport.abort()
            with pytest.raises(ConnectionError):
                await asking
            for _ in range(100):
                peer.notify("note")
                await asyncio.sleep(0)

    play(scenario)


_SERVER = """
import asyncio, sys
from deskhand.jsonrpc import Peer
class Handler:
    async def request(self, method, params):
        peer.notify("working", {"on": method})
        return await peer.request("double", params, timeout=10)
    async def notification(self, method, params):
        pass
async def main():
    global peer
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    output = await loop.connect_write_pipe(lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), sys.stdout)
    peer = Peer(reader, asyncio.StreamWriter(*output, None, loop), Handler())
    await peer.run()
asyncio.run(main())
"""


def test_it_works_over_the_pipes_of_a_child() -> None:
    """Lesson 13's other side: a child on pipes that asks back, and ends when its input does."""

    class Doubling(Desk):
        async def request(self, method: str, params: Any) -> Any:
            return [params[0] * 2]

    async def scenario() -> None:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _SERVER, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert child.stdin is not None
        assert child.stdout is not None
        desk = Doubling()
        peer = Peer(child.stdout, child.stdin, desk)
        running = asyncio.create_task(peer.run())
        answers = await asyncio.gather(*(peer.request("work", [n], timeout=30) for n in range(200)))
        assert answers == [[2 * n] for n in range(200)]
        assert desk.seen.count(("working", {"on": "work"})) == 200
        peer.close()
        await asyncio.wait_for(running, 10)
        assert await asyncio.wait_for(child.wait(), 10) == 0

    play(scenario)
