"""Server-sent events: bytes in any split to events, as the HTML standard has it.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation. `id` and `retry`
serve reconnection, which a model's answer does not know; they are ignored.
"""

from __future__ import annotations

from typing import NamedTuple

EVENT_CAP = 64 * 1024 * 1024
"""Bytes of one event."""


class EventTooLargeError(Exception):
    """An event has more bytes than the cap."""


class ServerEvent(NamedTuple):
    """One event: its name (`message` where the server gave none) and its data, lines joined by newlines."""

    name: str
    data: str


class EventParser:
    """Feed it bytes as they come; it gives the events that they complete. What is incomplete at the end is void."""

    def __init__(self, cap: int = EVENT_CAP) -> None:
        self._cap = cap
        self._size = 0
        self._partial: list[bytes] = []
        self._after_cr = False
        self._first_line = True
        self._name = ""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """Return the events that end within `chunk`.

        Raises `EventTooLargeError`.
        """
        if self._after_cr and chunk.startswith(b"\n"):  # the second half of a CRLF
            chunk = chunk[1:]
            self._after_cr = False
        if chunk:
            self._after_cr = chunk.endswith(b"\r")
        events = []
        for piece in chunk.splitlines(keepends=True):
            self._size += len(piece)
            if self._size > self._cap:
                raise EventTooLargeError(f"an event of more than {self._cap} bytes")
            self._partial.append(piece)
            if not piece.endswith((b"\n", b"\r")):
                break
            # Joined once, when it is whole: a line of megabytes in small pieces stays linear.
            line = b"".join(self._partial).rstrip(b"\r\n")
            self._partial.clear()
            if (event := self._line(line)) is not None:
                events.append(event)
        return events

    def _line(self, line: bytes) -> ServerEvent | None:
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
        return None

    def _dispatch(self) -> ServerEvent | None:
        name, data = self._name, self._data
        self._name, self._data, self._size = "", [], 0
        if not data:
            return None
        return ServerEvent(name or "message", b"\n".join(data).decode("utf-8", "replace"))
