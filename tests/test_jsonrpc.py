"""The JSON-RPC peer: requests, order, cancellation."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deskhand import log
from deskhand.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    MAX_RUNNING,
    METHOD_NOT_FOUND,
    REQUEST_CANCELLED,
    TOO_MANY_REQUESTS,
    Peer,
    RpcError,
)
from jsonrpc_support import paired, play, until, wired


@pytest.fixture
def logged(tmp_path: Path) -> Path:
    log.open_log(tmp_path)
    path = tmp_path / "daemon.log"
    path.touch()
    return path


# Requests


def test_requests_are_answered_under_their_id_whatever_kind_it_is() -> None:
    async def scenario() -> None:
        async with wired() as (wire, _, _):
            for request_id in (0, 7, -1, 2**70, "a", "", "ü"):
                wire.call(request_id, "echo", {"x": [1, None, "é\n"]})
                assert await wire.receive() == {"id": request_id, "result": {"x": [1, None, "é\n"]}}
            wire.send(b'{"jsonrpc":"2.0","id":null,"method":"echo"}')
            assert await wire.receive() == {"id": None, "result": None}

    play(scenario)


def test_both_sides_ask_at_once_by_the_thousand_and_nothing_deadlocks() -> None:
    async def ask(peer: Peer, number: int) -> None:
        assert await peer.request("ask back", [number, "x" * 1000], timeout=50) == [number, "x" * 1000]

    async def scenario() -> None:
        async with paired() as (here, _, there, _):
            for start in range(0, 2000, 100):
                await asyncio.gather(*(ask(peer, start + n) for n in range(100) for peer in (here, there)))

    play(scenario)


def test_thousands_of_quick_requests_in_flight_are_all_answered() -> None:
    async def scenario() -> None:
        async with paired() as (here, _, _, _):
            answers = await asyncio.gather(*(here.request("echo", [n], timeout=50) for n in range(5000)))
            assert answers == [[n] for n in range(5000)]

    play(scenario)


def test_requests_run_side_by_side_and_their_answers_come_in_any_order() -> None:
    async def scenario() -> None:
        async with wired() as (wire, desk, _):
            wire.call(1, "wait", [1])
            wire.call(2, "echo", [2])
            assert await wire.receive() == {"id": 2, "result": [2]}
            desk.gate.set()
            assert await wire.receive() == {"id": 1, "result": [1]}

    play(scenario)


def test_more_requests_than_may_run_are_refused_and_the_rest_goes_on() -> None:
    async def scenario() -> None:
        async with wired() as (wire, desk, _):
            for number in range(MAX_RUNNING + 10):
                wire.call(number, "wait", [])
            for number in range(MAX_RUNNING, MAX_RUNNING + 10):
                assert await wire.receive_error() == (number, TOO_MANY_REQUESTS)
            wire.tell("note")
            await until(lambda: ("note", "handled") in desk.seen)
            desk.gate.set()
            assert sorted([(await wire.receive())["id"] for _ in range(MAX_RUNNING)]) == list(range(MAX_RUNNING))
            await wire.check_alive()

    play(scenario)


def test_an_error_that_a_handler_raises_reaches_the_one_who_asked() -> None:
    async def scenario() -> None:
        async with paired() as (here, _, _, _):
            with pytest.raises(RpcError, match=r"Not like this\.") as caught:
                await here.request("refuse", timeout=10)
            assert (caught.value.code, caught.value.data) == (INVALID_PARAMS, {"field": "x"})
            with pytest.raises(RpcError, match="no method nonsense") as caught:
                await here.request("nonsense", timeout=10)
            assert (caught.value.code, caught.value.data) == (METHOD_NOT_FOUND, None)

    play(scenario)


@pytest.mark.parametrize("method", ["fail", "unsayable"])
def test_a_mistake_of_a_handler_is_one_sentence_to_the_other_side_and_a_traceback_in_the_log(
    logged: Path, method: str
) -> None:
    async def scenario() -> None:
        async with wired() as (wire, _, _):
            wire.call(1, method)
            error = (await wire.receive())["error"]
            assert error["code"] == INTERNAL_ERROR
            assert error["message"] == f"{method} failed through a fault of ours; the log has the details."
            assert "data" not in error
            await wire.check_alive()

    play(scenario)
    assert "Traceback" in logged.read_text()


def test_an_id_that_is_in_use_is_refused_and_free_again_after_the_answer() -> None:
    async def scenario() -> None:
        async with wired() as (wire, desk, _):
            wire.call(1, "wait", ["first"])
            wire.call(1, "wait", ["second"])
            assert await wire.receive_error() == (1, INVALID_REQUEST)
            wire.call("1", "echo", ["a string is another id"])
            assert (await wire.receive())["id"] == "1"
            desk.gate.set()
            assert await wire.receive() == {"id": 1, "result": ["first"]}
            wire.call(1, "echo", ["third"])
            assert await wire.receive() == {"id": 1, "result": ["third"]}
            assert ("wait", ["second"]) not in desk.seen

    play(scenario)


def test_params_and_results_may_be_structs_and_raw_json_even_with_newlines() -> None:
    class Point(msgspec.Struct):
        x: int
        kind: str = "point"

    async def scenario() -> None:
        async with paired() as (here, _, _, _):
            assert await here.request("echo", Point(3), timeout=10) == {"x": 3, "kind": "point"}
            raw = msgspec.Raw(b'{\n  "a": [1,\r\n 2], "b": "c\\nd"\n}')
            assert await here.request("echo", raw, timeout=10) == {"a": [1, 2], "b": "c\nd"}
            with pytest.raises(TypeError):
                here.notify("note", {"x": object()})
            with pytest.raises(TypeError):
                await here.request("echo", {"x": object()}, timeout=10)
            assert await here.request("echo", timeout=10) is None

    play(scenario)


# Order


def test_notifications_are_handled_one_after_another_in_order() -> None:
    """Lesson 47's neighbour: a handler that awaits must not let the next one overtake it."""

    async def scenario() -> None:
        async with wired() as (wire, desk, _):
            for number in range(20):
                wire.tell("slow" if number % 5 == 0 else "note", [number])
            await until(lambda: len(desk.seen) == 40)
            names = ["slow" if number % 5 == 0 else "note" for number in range(20)]
            assert desk.seen == [
                entry for number, name in enumerate(names) for entry in ((name, [number]), (name, "handled"))
            ]

    play(scenario)


def test_a_request_starts_after_the_notifications_before_it_and_before_those_after_it() -> None:
    async def scenario() -> None:
        async with wired() as (wire, desk, _):
            wire.tell("slow", [1])
            wire.call(1, "wait", [2])
            wire.call(2, "wait", [3])
            wire.tell("note", [4])
            wire.call(3, "echo", [5])
            assert (await wire.receive())["id"] == 3
            assert desk.seen == [
                ("slow", [1]),
                ("slow", "handled"),
                ("wait", [2]),
                ("wait", [3]),
                ("note", [4]),
                ("note", "handled"),
                ("echo", [5]),
            ]

    play(scenario)


def test_an_answer_is_delivered_after_the_notifications_that_came_before_it() -> None:
    """Lesson 46: whoever has the answer to a prompt has seen the whole of its turn."""

    async def scenario() -> None:
        async with wired() as (wire, desk, peer):
            asking = asyncio.create_task(peer.request("prompt", timeout=20))
            assert (await wire.receive())["id"] == 1
            for number in range(5):
                wire.tell("slow", [number])
            wire.send({"jsonrpc": "2.0", "id": 1, "result": "end_turn"})
            assert await asking == "end_turn"
            assert desk.seen.count(("slow", "handled")) == 5

    play(scenario)


def test_a_notification_whose_handler_asks_back_gets_its_answer_at_once() -> None:
    async def scenario() -> None:
        async with paired() as (here, _, _, desk):
            here.notify("ask back", [1])
            here.notify("ask back", [2])
            await until(lambda: desk.seen.count(("ask back", "handled")) == 2)
            assert [entry for entry in desk.seen if isinstance(entry, list)] == [[1], [2]]

    play(scenario)


def test_what_is_sent_keeps_its_order() -> None:
    async def scenario() -> None:
        async with wired() as (wire, _, peer):
            for number in range(3000):
                peer.notify("note", [number, "x" * 100])
            asking = asyncio.create_task(peer.request("question", timeout=20))
            await asyncio.sleep(0)
            peer.notify("note", ["last"])
            assert [(await wire.receive())["params"][0] for _ in range(3000)] == list(range(3000))
            assert (await wire.receive())["method"] == "question"
            assert (await wire.receive())["params"] == ["last"]
            wire.send({"jsonrpc": "2.0", "id": 1, "result": 1})
            await asking

    play(scenario)


def test_a_notification_that_fails_or_hangs_holds_up_the_next_one_no_longer_than_its_limit(logged: Path) -> None:
    async def scenario() -> None:
        async with wired(notification_limit=0.2) as (wire, desk, _):
            for method in ("fail", "unknown", "cancelled inside", "hang", "hang", "slow", "note"):
                wire.tell(method)
            await until(lambda: ("note", "handled") in desk.seen)
            assert ("slow", "handled") in desk.seen
            assert ("hang", "handled") not in desk.seen
            await wire.check_alive()

    play(scenario)
    text = logged.read_text()
    assert "The notification fail failed" in text
    assert text.count("The notification hang was given up after 0.2 s.") == 2
    assert "unknown" not in text


# Cancellation and limits of time


def test_a_cancelled_request_is_answered_once_with_that_error() -> None:
    async def scenario() -> None:
        async with wired() as (wire, desk, _):
            wire.call(1, "wait", ["x"])
            await until(lambda: desk.seen)
            for _ in range(3):
                wire.tell("$/cancel_request", {"requestId": 1})
            assert await wire.receive_error() == (1, REQUEST_CANCELLED)
            assert desk.seen == [("wait", ["x"]), ("cancelled", ["x"])]
            wire.tell("$/cancel_request", {"requestId": 1})
            await wire.check_alive()

    play(scenario)


def test_a_second_cancellation_does_not_cut_the_tidying_up_short() -> None:
    async def scenario() -> None:
        async with wired() as (wire, desk, peer):
            wire.call(1, "tidy up")
            await until(lambda: desk.seen)
            for _ in range(3):
                wire.tell("$/cancel_request", {"requestId": 1})
                await wire.check_alive()
            peer.close()
            await until(lambda: "tidied up" in desk.seen)

    play(scenario)


def test_a_request_can_be_cancelled_while_it_waits_behind_a_notification_that_hangs() -> None:
    async def scenario() -> None:
        async with wired() as (wire, desk, _):
            wire.tell("block")
            wire.call(1, "echo", [1])
            wire.tell("$/cancel_request", {"requestId": 1})
            assert await wire.receive_error() == (1, REQUEST_CANCELLED)
            desk.gate.set()
            await wire.check_alive()
            assert ("echo", [1]) not in desk.seen

    play(scenario)


def test_a_request_that_is_cancelled_before_its_first_step_is_answered_all_the_same() -> None:
    async def scenario() -> None:
        async with wired() as (wire, _, _):
            for number in range(100):
                wire.call(number, "wait")
                wire.tell("$/cancel_request", {"requestId": number})
            assert [await wire.receive_error() for _ in range(100)] == [(n, REQUEST_CANCELLED) for n in range(100)]
            await wire.check_alive()

    play(scenario)


def test_a_cancelled_handler_may_answer_with_what_it_has() -> None:
    async def scenario() -> None:
        async with wired() as (wire, desk, _):
            wire.call(1, "partial")
            await until(lambda: desk.seen)
            wire.tell("$/cancel_request", {"requestId": 1})
            assert await wire.receive() == {"id": 1, "result": "as far as it came"}

    play(scenario)


def test_a_handler_that_ignores_its_cancellation_is_answered_for_and_only_once() -> None:
    """Lesson 6: stragglers are disowned."""

    async def scenario() -> None:
        async with wired() as (wire, desk, _):
            wire.call(1, "stubborn")
            await until(lambda: desk.seen)
            wire.tell("$/cancel_request", {"requestId": 1})
            assert await wire.receive_error() == (1, REQUEST_CANCELLED)
            wire.call(1, "echo", ["the id is free"])
            assert await wire.receive() == {"id": 1, "result": ["the id is free"]}
            desk.gate.set()
            await wire.check_alive()

    play(scenario)


@pytest.mark.parametrize("params", [None, [], {}, [1], {"requestId": None}, {"requestId": True}, {"requestId": {}}])
def test_a_cancellation_that_names_nothing_is_ignored(params: Any) -> None:
    async def scenario() -> None:
        async with wired() as (wire, desk, _):
            wire.call(1, "wait")
            wire.tell("$/cancel_request", params)
            wire.tell("$/cancel_request", {"requestId": "1"})
            await wire.check_alive()
            desk.gate.set()
            assert await wire.receive() == {"id": 1, "result": None}

    play(scenario)


def test_a_request_that_takes_too_long_is_withdrawn_and_its_late_answer_ignored() -> None:
    async def scenario() -> None:
        async with wired(cancel_method="notifications/cancelled") as (wire, _, peer):
            with pytest.raises(TimeoutError, match=r"question was not answered within 0\.05 s\."):
                await peer.request("question", timeout=0.05)
            assert await wire.receive() == {"id": 1, "method": "question"}
            assert await wire.receive() == {"method": "notifications/cancelled", "params": {"requestId": 1}}
            wire.send({"jsonrpc": "2.0", "id": 1, "result": "late"})
            await wire.check_alive()

    play(scenario)


def test_a_request_that_nobody_waits_for_any_more_is_withdrawn() -> None:
    async def scenario() -> None:
        async with paired() as (here, _, _, desk):
            asking = asyncio.create_task(here.request("wait", ["x"], timeout=None))
            await until(lambda: desk.seen)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await until(lambda: ("cancelled", ["x"]) in desk.seen)

    play(scenario)
