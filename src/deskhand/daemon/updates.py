"""From what happens in a session to the updates of the Agent Client Protocol, version 1.

https://agentclientprotocol.com/protocol/prompt-turn
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from deskhand.agent.live import Live, Restarted, Said, Thought
from deskhand.journal.blocks import Image, Text, Thinking, ToolUse
from deskhand.journal.events import (
    CallFinished,
    CallStarted,
    Entry,
    FileChange,
    MessageReceived,
    PlanChanged,
    RequestRetried,
    SessionChanged,
    TurnStarted,
    Usage,
)
from deskhand.journal.projection import Blobs
from deskhand.tools.base import Tool

Update = dict[str, Any]


class Updates:
    """The ACP updates of one session, for one client.

    A message is told once, whether its text came in deltas, at once from the journal, or partly so. `is_own` tells
    the turns whose prompt the client knows, since it sent it.
    """

    def __init__(
        self, session: str, tools: Mapping[str, Tool[Any]], blobs: Blobs, is_own: Callable[[TurnStarted], bool]
    ) -> None:
        self._session = session
        self._tools = tools
        self._blobs = blobs
        self._is_own = is_own
        self._said = self._thought = 0

    def notifications(self, news: Entry | Live) -> Iterator[Update]:
        """Yield `news` as JSON-RPC notifications `session/update`."""
        updates = self._recorded(news) if isinstance(news, Entry) else self._live(news)
        for update in updates:
            yield {
                "jsonrpc": "2.0",
                "method": "session/update",
                "params": {"sessionId": self._session, "update": update},
            }

    def _live(self, news: Live) -> Iterator[Update]:
        match news:
            case Said(_, text):
                self._said += len(text)
                yield _chunk("agent_message_chunk", text)
            case Thought(_, text):
                self._thought += len(text)
                yield _chunk("agent_thought_chunk", text)
            case Restarted():
                self._said = self._thought = 0  # the entry that follows, `request.retried`, tells why

    def _recorded(self, entry: Entry) -> Iterator[Update]:
        match entry.event:
            case SessionChanged(mode=mode, title=title):
                if mode is not None:
                    yield {"sessionUpdate": "current_mode_update", "currentModeId": mode}
                if title is not None:
                    yield {"sessionUpdate": "session_info_update", "title": title}
            case TurnStarted() as started if not self._is_own(started):
                for block in started.prompt:
                    yield {"sessionUpdate": "user_message_chunk", "content": self._content(block)}
            case MessageReceived() as message:
                yield from self._untold(message)
                yield from (self._call(block) for block in message.content if isinstance(block, ToolUse))
                # ACP's own `usage_update` must give the size of the context, which no endpoint has told us.
                yield {"sessionUpdate": "session_info_update"} | _meta(usage=_usage(message.usage))
            case CallStarted() as started:
                yield {
                    "sessionUpdate": "tool_call_update",
                    "toolCallId": started.call,
                    "status": "in_progress",
                } | _meta(klass=started.klass)
            case CallFinished() as finished:
                yield self._result(finished)
            case PlanChanged(_, entries):
                plan = [{"content": e.content, "priority": e.priority, "status": e.status} for e in entries]
                yield {"sessionUpdate": "plan", "entries": plan}
            case RequestRetried() as retried:
                yield {"sessionUpdate": "session_info_update"} | _meta(
                    retry={
                        "attempt": retried.attempt,
                        "kind": retried.failure.kind,
                        "message": retried.failure.message,
                        "wait": retried.wait,
                    }
                )

    def _untold(self, message: MessageReceived) -> Iterator[Update]:
        """Yield what of the message's words no delta has told."""
        thought = "".join(block.thinking for block in message.content if isinstance(block, Thinking))[self._thought :]
        said = "".join(block.text for block in message.content if isinstance(block, Text))[self._said :]
        self._said = self._thought = 0
        if thought:
            yield _chunk("agent_thought_chunk", thought)
        if said:
            yield _chunk("agent_message_chunk", said)

    def _call(self, use: ToolUse) -> Update:
        tool = self._tools.get(use.name)
        return {
            "sessionUpdate": "tool_call",
            "toolCallId": use.id,
            "title": title(use, tool),
            "kind": tool.kind if tool else "other",
            "status": "pending",
            "rawInput": use.input,
        } | _meta(tool=use.name)

    def _result(self, finished: CallFinished) -> Update:
        content: list[Update] = [{"type": "content", "content": self._content(block)} for block in finished.content]
        content += [diff for change in finished.changes for diff in _diffs(change)]
        return {
            "sessionUpdate": "tool_call_update",
            "toolCallId": finished.call,
            "status": "completed" if finished.outcome == "ok" else "failed",
            "content": content,
            "locations": [
                {"path": place.path} | ({} if place.line is None else {"line": place.line})
                for place in finished.locations
            ],
        } | _meta(outcome=finished.outcome, seconds=finished.seconds)

    def _content(self, block: Text | Image) -> Update:
        if isinstance(block, Text):
            return {"type": "text", "text": block.text}
        media_type, data = self._blobs(block.blob)
        return {"type": "image", "mimeType": media_type, "data": b64encode(data).decode("ascii")}


def title(use: ToolUse, tool: Tool[Any] | None) -> str:
    """Return a call in a few words, whatever its arguments are."""
    if tool is None or use.malformed is not None:
        return use.name
    try:
        return tool.title(tool.parse(use.input))
    except Exception:  # arguments that do not fit: the call's result will say so
        return use.name


def _diffs(change: FileChange) -> Iterator[Update]:
    for hunk in change.hunks:
        yield {
            "type": "diff",
            "path": change.path,
            "oldText": None if change.before is None and not hunk.old else hunk.old,
            "newText": hunk.new,
        }


def _chunk(kind: str, text: str) -> Update:
    return {"sessionUpdate": kind, "content": {"type": "text", "text": text}}


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_creation_input_tokens": usage.cache_creation_input_tokens,
        "cache_read_input_tokens": usage.cache_read_input_tokens,
    }


def _meta(**values: Any) -> Update:
    """Return what ACP has no field for, where the protocol lets an implementation put it."""
    return {"_meta": {"deskhand": values}}
