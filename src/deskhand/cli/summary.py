"""What a turn comes to, in the words of `--output json`, and the words for a retry."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from deskhand.journal.blocks import Text, plain_text
from deskhand.journal.events import CallFinished, Entry, MessageReceived, RequestRetried, TurnEnded, Usage

if TYPE_CHECKING:
    from deskhand.agent.live import Live
    from deskhand.daemon.local import Setting


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
        summary: dict[str, Any] = {
            "session_id": self.session_id,
            "stop_reason": ended.stop_reason if ended else "failed",
            "text": self.text,
            "usage": msgspec.structs.asdict(ended.usage if ended else Usage()),
            "cost": None,
            "calls": self.calls,
            "denied": self.denied,
        }
        if sentence is not None:
            summary["error"] = {"kind": _kind(ended), "message": sentence}
        return summary


def retry_sentence(news: Entry | Live) -> str | None:
    """Return the words for a retry; None where the news is something else."""
    if not isinstance(news, Entry) or not isinstance(news.event, RequestRetried):
        return None
    retried = news.event
    return f"{retried.failure.message} Trying again in {retried.wait:.1f} s (retry {retried.attempt})."


def _kind(ended: TurnEnded | None) -> str:
    if ended is None:
        return "not_started"
    return ended.error.kind if ended.error else ended.stop_reason
