"""One peer of JSON-RPC 2.0, a message a line: it carries ACP, and could carry MCP on pipes.

https://www.jsonrpc.org/specification. What it leaves open is settled so:

- Notifications are handled one after another, in order. A request starts when those before it have been handled, and
  before the next one is; requests run side by side. An answer is delivered when the notifications before it have been
  handled (with the answer to a prompt, nothing of its turn is still to come), or at once if one of them waits for it.
- What cannot be understood is answered with an error and costs nothing else. The error has the id of the message if
  that is JSON-RPC 2.0 and has a usable one, else null. Answers are never answered.
- Batches are refused, with one error: neither ACP v1 nor MCP since 2025-06-18 has them.
- `"params": null` means none; of an answer with a result and an error, the error counts.
- When the other side ends its stream, what it has sent is worked on for `GRACE` seconds more: scripts write their
  requests into a pipe, close it, and read the answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import msgspec

from deskhand import log
from deskhand.lines import Frames, Outbox, Writer

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
REQUEST_CANCELLED = -32800
"""As the Language Server Protocol, and after it ACP, has it; those above are of JSON-RPC itself."""
TOO_MANY_REQUESTS = -32000

MAX_RUNNING = 256
"""How many requests of the other side run at once; more are refused."""
GRACE = 2.0
"""Seconds to end in: for what runs when the other side has ended its stream, and for what has been cancelled."""

_CHUNK = 64 * 1024
_INBOX_CAP = 1024 * 1024
"""Bytes of messages that may wait for a slow notification before them; beyond, reading pauses."""
_STEPS = 64
"""Messages that are handled before the rest of the process has its turn."""
_MIB = 1024 * 1024

Id = int | str
Step = Callable[[], Coroutine[Any, Any, None] | None]


class RpcError(Exception):
    """An error as an answer: from the other side, or, raised by a handler, for it."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


class Handler(Protocol):
    """What the other side can ask for. `params` is a dict, a list or None."""

    async def request(self, method: str, params: Any) -> Any:
        """Return a result that msgspec can encode, or raise `RpcError`.

        Cancelled when the other side withdraws its request or is gone; it may still return what it has.
        """

    async def notification(self, method: str, params: Any) -> None:
        """Take note, soon: nothing that came later is handled before this returns.

        What asks the other side in turn is better a task of its own: two sides that do so here wait for each other.
        """


@dataclass(eq=False, slots=True)
class _Request:
    id: Id | None
    method: str
    task: asyncio.Task[Any] | None = None
    answered: bool = False


class Peer:
    """One end of a connection.

    `cancel_method` withdraws a request, whose id is its parameter `cancel_key` (MCP: "notifications/cancelled"). A
    line of more than `frame_cap` bytes is skipped. A side that leaves more than `backlog_cap` bytes unread is taken
    for dead. A notification is given up when it has taken more than `notification_limit` seconds, or twice that.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: Writer,
        handler: Handler,
        *,
        cancel_method: str = "$/cancel_request",
        cancel_key: str = "requestId",
        frame_cap: int = 64 * _MIB,
        backlog_cap: int = 256 * _MIB,
        notification_limit: float = 30.0,
    ) -> None:
        self._reader = reader
        self._transport = writer.transport
        self._outbox = Outbox(writer, backlog_cap)
        self._handler = handler
        self._cancel_method = cancel_method
        self._cancel_key = cancel_key
        self._frame_cap = frame_cap
        self._notification_limit = notification_limit
        self._ended = False  # nothing comes any more
        self._closed = False  # and nothing goes
        self._last_id = 0
        self._pending: dict[Id | None, asyncio.Future[Any]] = {}  # what we asked
        self._urgent: set[Id | None] = set()  # of that, what a notification's handler waits for
        self._incoming: dict[Id | None, _Request] = {}  # what they asked under an id, until it is answered
        self._running: set[asyncio.Task[Any]] = set()
        self._starting = False
        self._notice: Coroutine[Any, Any, None] | None = None
        self._overdue = False
        self._inbox: deque[tuple[int, Step]] = deque()
        self._inbox_size = 0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._working: asyncio.Task[None] | None = None
        self._own_tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until the other side ends its stream, or `close()`. The writer's transport is closed after it."""
        flushing = asyncio.create_task(self._flush())
        try:
            if not self._closed:
                await self._serve(flushing)
        finally:
            await self._end(flushing)

    async def request(self, method: str, params: Any = None, *, timeout: float | None) -> Any:
        """Ask, and return the result. `timeout` is in seconds; with None the caller sets the limit.

        Raises `RpcError`, `TimeoutError`, and `ConnectionError` when the connection is over. The other side is told
        when its answer is not waited for any more.
        """
        if self._ended or self._closed:
            raise ConnectionError(f"{method} was not sent: the connection is closed.")
        self._last_id += 1
        request_id = self._last_id
        self._pending[request_id] = future = asyncio.get_running_loop().create_future()
        if asyncio.current_task() is self._working:
            self._urgent.add(request_id)
        try:
            self._send(_encode(id=request_id, method=method, **_given("params", params)))
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            self.notify(self._cancel_method, {self._cancel_key: request_id})
            raise TimeoutError(f"{method} was not answered within {timeout:g} s.") from None
        except asyncio.CancelledError:
            self.notify(self._cancel_method, {self._cancel_key: request_id})
            raise
        finally:
            del self._pending[request_id]
            self._urgent.discard(request_id)

    def notify(self, method: str, params: Any = None) -> None:
        """Send a notification, in order with all that is sent. Never waits; does nothing on a closed connection."""
        self._send(_encode(method=method, **_given("params", params)))

    @property
    def backlog(self) -> int:
        """Bytes that were sent here and that the other side is yet to take."""
        return self._outbox.size

    async def drain(self, timeout: float = 30.0) -> None:
        """Wait, at most `timeout` seconds, until the backlog is small. Raises `TimeoutError` and `ConnectionError`."""
        async with asyncio.timeout(timeout):
            try:
                await self._outbox.drain()
            except OSError as error:
                raise ConnectionError(f"The connection is closed: {error}.") from None
        if self._closed:
            raise ConnectionError("The connection is closed.")

    @property
    def leaving(self) -> bool:
        """Whether this connection is over or about to be: the other side has ended its stream, or we have closed."""
        return self._ended or self._closed

    def close(self) -> None:
        """End the connection, and so `run()`. What has been sent still goes out, if it is read within `GRACE`."""
        if self._closed:
            return
        self._closed = True
        self._fail(self._pending)
        _cancel_all({*self._own_tasks, *self._running})

    async def _serve(self, flushing: asyncio.Task[None]) -> None:
        self._working = asyncio.create_task(self._work())
        watching = asyncio.create_task(self._watch(self._working))
        self._own_tasks = {asyncio.create_task(self._read()), self._working, watching}
        await asyncio.wait({*self._own_tasks, flushing}, return_when=asyncio.FIRST_COMPLETED)
        if not self._closed:
            await _wait_for({self._working}, GRACE)
            await _wait_for(self._running, GRACE)

    async def _read(self) -> None:
        frames = Frames(self._frame_cap)
        while chunk := await self._chunk():
            for frame in frames.feed(chunk):
                if frame is None:
                    self._refuse(INVALID_REQUEST, f"This line was skipped: it has more than {self._frame_cap} bytes.")
                elif frame and not frame.isspace():
                    self._receive(frame)
            await asyncio.sleep(0)  # a buffer that is never empty must not keep everybody else waiting
            while self._inbox_size > _INBOX_CAP:
                self._room.clear()
                await self._room.wait()
        self._ended = True
        self._fail(self._urgent)
        self._arrived.set()

    async def _chunk(self) -> bytes:
        try:
            return await self._reader.read(_CHUNK)
        except OSError:
            return b""  # a connection that breaks ends itself and nothing else

    def _receive(self, frame: bytearray) -> None:
        try:
            message = msgspec.json.decode(frame)
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            self._refuse(PARSE_ERROR, f"This line is not JSON that can be read: {error}.")
            return
        if not isinstance(message, dict):
            what = "batches are not taken" if isinstance(message, list) else "this is none"
            self._refuse(INVALID_REQUEST, f"A line must be one object; {what}.")
            return
        request_id = _read_id(message.get("id"))
        if "method" not in message and ("result" in message or "error" in message):
            settle = partial(self._settle, request_id, message)
            if request_id in self._urgent:
                settle()
            elif request_id in self._pending:
                self._put(len(frame), settle)
        elif message.get("jsonrpc") != "2.0":
            self._refuse(INVALID_REQUEST, 'The member "jsonrpc" must be "2.0".')
        elif fault := _find_fault(message):
            self._refuse(INVALID_REQUEST, fault, request_id)
        elif "id" in message:
            self._receive_request(len(frame), _Request(request_id, message["method"]), message.get("params"))
        elif message["method"] == self._cancel_method:
            self._cancel(message.get("params"))
        else:
            self._put(len(frame), partial(self._notify_handler, message["method"], message.get("params")))

    def _receive_request(self, size: int, request: _Request, params: Any) -> None:
        if request.id in self._incoming:
            self._refuse(INVALID_REQUEST, "A request with this id is still being answered.", request.id)
            return
        if request.id is not None:
            self._incoming[request.id] = request
        self._put(size, partial(self._start, request, params))

    def _cancel(self, params: Any) -> None:
        """Cancel what the other side asked; at once, for it may wait behind the very thing that hangs."""
        request_id = _read_id(params.get(self._cancel_key)) if isinstance(params, dict) else None
        request = self._incoming.get(request_id)
        if request is None:
            return
        if request.task is None:
            self._answer(request, _cancelled(request.id))
        else:
            _cancel_all({request.task})
            asyncio.get_running_loop().call_later(GRACE, self._answer, request, _cancelled(request.id))

    def _refuse(self, code: int, message: str, request_id: Id | None = None) -> None:
        self._send(_encode_error(request_id, RpcError(code, message)))

    def _put(self, size: int, step: Step) -> None:
        self._inbox.append((size, step))
        self._inbox_size += size
        self._arrived.set()

    async def _work(self) -> None:
        """Take the steps in the inbox, in order."""
        taken = 0
        while self._inbox or not self._ended:
            if not self._inbox:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            size, step = self._inbox.popleft()
            self._inbox_size -= size
            self._room.set()
            self._notice = step()
            if self._notice is not None:
                await self._notice
                self._notice = None
            taken += 1
            if taken % _STEPS == 0:
                await asyncio.sleep(0)
        self._fail(self._pending)

    async def _watch(self, working: asyncio.Task[None]) -> None:
        """Cancel a notification that takes too long; a timer for each would cost as much as all the rest."""
        while True:
            notice = self._notice
            await asyncio.sleep(self._notification_limit)
            if notice is not None and notice is self._notice:
                self._overdue = True
                working.cancel()

    async def _notify_handler(self, method: str, params: Any) -> None:
        working = self._working
        assert working is not None
        try:
            if self._starting:
                self._starting = False
                await asyncio.sleep(0)  # in which the requests before it start
            await self._handler.notification(method, params)
        except asyncio.CancelledError:
            if self._closed or (working.cancelling() and not self._overdue):
                raise
            # else it took too long, or what it waited for was cancelled, which ends this handler and nothing more
        except RpcError:
            pass  # not even an unknown notification has an answer
        except Exception as error:
            self._log_failure(f"The notification {method[:80]}", error)
        if self._overdue:
            self._overdue = False
            working.uncancel()
            log.write(f"The notification {method[:80]} was given up after {self._notification_limit:g} s.")

    def _start(self, request: _Request, params: Any) -> None:
        if request.answered:  # cancelled while it waited
            return
        if len(self._running) >= MAX_RUNNING:
            error = RpcError(TOO_MANY_REQUESTS, f"{MAX_RUNNING} requests are running: wait until one has ended.")
            self._answer(request, _encode_error(request.id, error))
            return
        request.task = asyncio.create_task(self._handler.request(request.method, params), name=request.method)
        request.task.add_done_callback(partial(self._finish, request))
        self._running.add(request.task)
        self._starting = True

    def _finish(self, request: _Request, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        try:
            try:
                answer = _encode(id=request.id, result=task.result())
            except RpcError as error:
                answer = _encode_error(request.id, error)
        except asyncio.CancelledError:
            answer = _cancelled(request.id)
        except Exception as error:
            self._log_failure(request.method[:80], error)
            message = f"{request.method[:80]} failed through a fault of ours; the log has the details."
            answer = _encode_error(request.id, RpcError(INTERNAL_ERROR, message))
        self._answer(request, answer)

    def _answer(self, request: _Request, answer: bytes) -> None:
        if not request.answered:
            request.answered = True
            self._incoming.pop(request.id, None)
            self._send(answer)

    def _log_failure(self, what: str, error: Exception) -> None:
        if self._ended and isinstance(error, ConnectionError):
            return  # it had asked the other side something
        log.write(f"{what} failed:\n{''.join(traceback.format_exception(error))}")

    def _settle(self, request_id: Id | None, answer: dict[str, Any]) -> None:
        """Give the answer to the one who waits for it, if it still does."""
        future = self._pending.get(request_id)
        if future is None or future.done():
            return
        if answer.get("error") is not None:
            future.set_exception(_decode_error(answer["error"]))
        elif "result" in answer:
            future.set_result(answer["result"])
        else:
            future.set_exception(RpcError(INTERNAL_ERROR, "The answer has neither a result nor an error."))

    def _fail(self, request_ids: Iterable[Id | None]) -> None:
        for request_id in request_ids:
            future = self._pending[request_id]
            if not future.done():
                future.set_exception(ConnectionError("The connection was closed before the answer came."))

    def _send(self, line: bytes) -> None:
        if not self._closed and not self._outbox.put(line):
            self.close()

    async def _flush(self) -> None:
        with contextlib.suppress(OSError):
            await self._outbox.flush()
        self.close()

    async def _end(self, flushing: asyncio.Task[None]) -> None:
        """Cancel all that runs, send what is left, and let go of what does not end."""
        tasks: set[asyncio.Task[Any]] = {*self._own_tasks, *self._running}
        try:
            _cancel_all(tasks)
            await _wait_for(tasks, GRACE)
            for task in tasks:
                if not task.done():
                    log.write(f"{task.get_name()[:80]} goes on {GRACE:g} s after its connection has ended.")
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(GRACE):
                    await self._outbox.drain(to_the_end=True)
        finally:
            self.close()
            flushing.cancel()
            if not self._transport.is_closing():
                self._transport.abort()


def _read_id(value: Any) -> Id | None:
    return value if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def _find_fault(message: dict[str, Any]) -> str | None:
    if not isinstance(message.get("method"), str):
        return 'The member "method" must be a string.'
    if not isinstance(message.get("params"), (dict, list, type(None))):
        return 'The member "params" must be an object or an array.'
    if message.get("id") is not None and _read_id(message["id"]) is None:
        return 'The member "id" must be a whole number or a string.'
    return None


def _encode(**members: Any) -> bytes:
    # A `msgspec.Raw` may have newlines, between its tokens alone: there they mean no more than spaces.
    return msgspec.json.encode({"jsonrpc": "2.0", **members}).replace(b"\n", b" ") + b"\n"


def _encode_error(request_id: Id | None, error: RpcError) -> bytes:
    return _encode(id=request_id, error={"code": error.code, "message": error.message, **_given("data", error.data)})


def _cancelled(request_id: Id | None) -> bytes:
    return _encode_error(request_id, RpcError(REQUEST_CANCELLED, "The request was cancelled."))


def _decode_error(error: Any) -> RpcError:
    code, message = (error.get("code"), error.get("message")) if isinstance(error, dict) else (None, None)
    if isinstance(code, int) and isinstance(message, str):
        return RpcError(code, message, error.get("data"))
    return RpcError(INTERNAL_ERROR, "The answer is an error without a code and a message.", error)


def _given(name: str, value: Any) -> dict[str, Any]:
    return {} if value is None else {name: value}


def _cancel_all(tasks: Iterable[asyncio.Task[Any]]) -> None:
    for task in tasks:
        if not task.cancelling():  # a second time, it would be its tidying up that is cancelled
            task.cancel()


async def _wait_for(tasks: set[asyncio.Task[Any]], timeout: float) -> None:
    if tasks:
        await asyncio.wait(tasks, timeout=timeout)
