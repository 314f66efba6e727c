"""The three ways in which `deskhand run` tells what happened: for people, for scripts, for programs that follow."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from deskhand.cli.terminal import Terminal, complain, safe

if TYPE_CHECKING:
    from deskhand.agent.live import Live
    from deskhand.daemon.local import Setting
    from deskhand.daemon.session import Watcher
    from deskhand.journal.events import Entry, TurnEnded


class Output(Protocol):
    """A front end of one turn."""

    summary: Summary

    def attend(self, setting: Setting) -> Watcher:
        """The turn is about to begin with `setting`; return what is told its news."""

    def ended(self, ended: TurnEnded, sentence: str | None) -> None:
        """The turn is over; `sentence` says what a user should know beyond the answer."""

    def failed(self, sentence: str) -> None:
        """The turn could not begin, or could not be recorded."""


@dataclass(slots=True)
class Summary:
    """What a turn comes to, collected from its events."""

    session_id: str | None = None
    mode: str = "auto"
    text: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    denied: list[dict[str, Any]] = field(default_factory=list)
    undecided: bool = False
    """The last calls were refused for want of somebody to ask: the task could not be brought to its end."""

    def begin(self, setting: Setting) -> None:
        """Note what the turn begins with."""
        self.session_id = setting.session.id
        self.mode = setting.mode

    def add(self, news: Entry | Live) -> None:
        """Take the turn's next event into account."""
        from deskhand.journal.blocks import Text, plain_text
        from deskhand.journal.events import CallFinished, Entry, MessageReceived

        if not isinstance(news, Entry):
            return
        match news.event:
            case MessageReceived() as message:
                self.text = plain_text(message.content)
            case CallFinished() as call:
                refused = call.outcome == "refused"
                self.undecided = refused and self.mode != "plan"  # in plan mode it is the user who said no, beforehand
                self.calls.append(
                    {"id": call.call, "tool": call.tool, "outcome": call.outcome, "seconds": call.seconds}
                )
                if refused:
                    reason = " ".join(block.text for block in call.content if isinstance(block, Text))
                    self.denied.append({"id": call.call, "tool": call.tool, "reason": reason})

    def as_dict(self, ended: TurnEnded | None, sentence: str | None) -> dict[str, Any]:
        """Return the one object of `--output json`. `cost` is None: no prices are known."""
        usage = ended.usage if ended else None
        summary: dict[str, Any] = {
            "session_id": self.session_id,
            "stop_reason": ended.stop_reason if ended else "failed",
            "text": self.text,
            "usage": {name: getattr(usage, name) for name in usage.__struct_fields__} if usage else {},
            "cost": None,
            "calls": self.calls,
            "denied": self.denied,
        }
        if sentence is not None:
            summary["error"] = {"kind": _kind(ended), "message": sentence}
        return summary


def output_for(name: str) -> Output:
    """Return the output of that name; text for people is live only where people watch."""
    if name == "json":
        return JsonOutput()
    if name == "stream-json":
        return StreamOutput()
    if sys.stdout.isatty():
        from deskhand.cli.screen import ScreenOutput

        return ScreenOutput(Terminal(sys.stdout))
    return TextOutput()


class _Collecting:
    """What the outputs for scripts share: they collect the summary, and tell retries on standard error."""

    def __init__(self) -> None:
        self.summary = Summary()
        self._out = Terminal(sys.stdout)

    def attend(self, setting: Setting) -> Watcher:
        """See `Output`."""
        self.summary.begin(setting)
        return self._news

    def _news(self, news: Entry | Live) -> None:
        self.summary.add(news)
        retry = retry_sentence(news)
        if retry is not None:
            complain(retry)


class TextOutput(_Collecting):
    """The model's last message on standard output, and nothing else there."""

    def ended(self, ended: TurnEnded, sentence: str | None) -> None:
        """See `Output`."""
        if self.summary.text:
            self._out.line(safe(self.summary.text))
        if sentence is not None:
            complain(sentence)

    def failed(self, sentence: str) -> None:
        """See `Output`."""
        complain(sentence)


class JsonOutput(_Collecting):
    """One JSON object on standard output, at the end."""

    def ended(self, ended: TurnEnded, sentence: str | None) -> None:
        """See `Output`."""
        self._object(self.summary.as_dict(ended, sentence))
        if sentence is not None:
            complain(sentence)

    def failed(self, sentence: str) -> None:
        """See `Output`."""
        self._object(self.summary.as_dict(None, sentence))
        complain(sentence)

    def _object(self, value: dict[str, Any]) -> None:
        self._out.line(json.dumps(value, ensure_ascii=False))


class StreamOutput(JsonOutput):
    """Each ACP `session/update` as a line, then the object of `JsonOutput`."""

    def attend(self, setting: Setting) -> Watcher:
        """See `Output`."""
        from deskhand.daemon.updates import Updates

        self._updates = Updates(setting.session.id, setting.tools, setting.journal.blob, is_own=lambda turn: True)
        return super().attend(setting)

    def _news(self, news: Entry | Live) -> None:
        super()._news(news)
        for update in self._updates.notifications(news):
            self._object(update)


def retry_sentence(news: Entry | Live) -> str | None:
    """Return the words for a retry; None where the news is something else."""
    from deskhand.journal.events import Entry, RequestRetried

    if not isinstance(news, Entry) or not isinstance(news.event, RequestRetried):
        return None
    retried = news.event
    return f"{retried.failure.message} Trying again in {retried.wait:.1f} s (retry {retried.attempt})."


def _kind(ended: TurnEnded | None) -> str:
    if ended is None:
        return "not_started"
    return ended.error.kind if ended.error else ended.stop_reason
