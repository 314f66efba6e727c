"""The three ways in which `deskhand run` tells what happened: for people, for scripts, for programs that follow."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Protocol

from deskhand.cli.summary import Summary, retry_sentence
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
        """The turn is over; `sentence` says what a user should know beyond the answer.

        Raises `OutputError` where not all of it could be told.
        """

    def failed(self, sentence: str) -> None:
        """The turn could not begin, or could not be recorded."""


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
        self._out.check()

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
        self._out.check()

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
