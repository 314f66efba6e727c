"""A turn as people watch it: words as they come, a line for each call, diffs in colour, a clock while one runs."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deskhand.agent.live import Live, Restarted, Said, Thought
from deskhand.cli.summary import Summary, retry_sentence
from deskhand.cli.terminal import Terminal, complain, safe
from deskhand.daemon.updates import title
from deskhand.journal.blocks import Text, ToolUse
from deskhand.journal.events import (
    CallFinished,
    CallStarted,
    Entry,
    FileChange,
    MessageReceived,
    PlanChanged,
    TurnEnded,
    TurnStarted,
)

if TYPE_CHECKING:
    from deskhand.daemon.local import Setting
    from deskhand.daemon.session import Watcher
    from deskhand.tools.base import Tool

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_TICK = 0.1
_PREVIEW_LINES = 8
_DIFF_LINES = 40
_MARKS = {"pending": "○", "in_progress": "◐", "completed": "●"}


class ScreenOutput:
    """Shows a turn on a terminal. The last line is a status that moves, and is gone when something is said."""

    def __init__(self, terminal: Terminal) -> None:
        self.summary = Summary()
        self.terminal = terminal
        self.tools: Mapping[str, Tool[Any]] = {}
        self._text = _Wrapped(terminal)
        self._titles: dict[str, str] = {}
        self._running: dict[str, float] = {}
        self._waiting_since: float | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._status_shown = False
        self._section = ""

    def attend(self, setting: Setting) -> Watcher:
        """See `Output`."""
        self.summary.begin(setting)
        self.tools = setting.tools
        mode = self.terminal.paint(setting.mode, *(("red", "bold") if setting.mode == "bypass" else ("dim",)))
        facts = safe(f"{setting.model} · {setting.endpoint.source} · {setting.session.cwd} ·")
        self._line(f"{self.terminal.paint('deskhand', 'bold')} {self.terminal.paint(facts, 'dim')} {mode}")
        self._ticker = asyncio.get_running_loop().create_task(self._tick())
        return self.news

    def ended(self, ended: TurnEnded, sentence: str | None) -> None:
        """See `Output`."""
        self._clear_status()
        self._text.close()
        self._breathe("end")
        usage = ended.usage
        cached = f", {usage.cache_read_input_tokens:,} of them cached" if usage.cache_read_input_tokens else ""
        read = usage.total - usage.output_tokens
        calls = len(self.summary.calls)
        self._line(
            self.terminal.paint(
                f"{calls} call{'' if calls == 1 else 's'} · {read:,} tokens read{cached} · "
                f"{usage.output_tokens:,} written · session {self.summary.session_id}",
                "dim",
            )
        )
        if sentence is not None:
            complain(sentence)

    def failed(self, sentence: str) -> None:
        """See `Output`."""
        self._clear_status()
        self._text.close()
        complain(sentence)

    def news(self, news: Entry | Live) -> None:
        """Show what happens in the turn."""
        self.summary.add(news)
        self._clear_status()
        match news:
            case Said(_, text):
                self._waiting_since = None
                self._breathe("text")
                self._text.write(safe(text))
            case Thought():
                pass  # the status says that the model is at work
            case Restarted():
                self._text.close()
            case Entry():
                self._entry(news)

    def _entry(self, entry: Entry) -> None:
        match entry.event:
            case TurnStarted():
                self._waiting_since = time.monotonic()
            case MessageReceived() as message:
                self._waiting_since = None
                self._text.close()
                for block in message.content:
                    if isinstance(block, ToolUse):
                        self._titles[block.id] = safe(title(block, self.tools.get(block.name))).replace("\n", " ")
            case CallStarted() as started:
                self._running[started.call] = time.monotonic()
            case CallFinished() as finished:
                self._running.pop(finished.call, None)
                self._finished(finished)
                self._waiting_since = None if self._running else time.monotonic()
            case PlanChanged(_, entries):
                for step in entries:
                    done = step.status == "completed"
                    mark = self.terminal.paint(_MARKS[step.status], "green" if done else "yellow")
                    words = _cut(safe(step.content).replace("\n", " "), self.terminal.width - 5)
                    self._line(f"  {mark} {self.terminal.paint(words, *(('dim',) if done else ()))}")
            case _:
                retry = retry_sentence(entry)
                if retry is not None:
                    self._line(self.terminal.paint(safe(retry), "yellow"))

    def _finished(self, finished: CallFinished) -> None:
        paint = self.terminal.paint
        good = finished.outcome == "ok"
        mark = paint("●", "green" if good else "red")
        seconds = f"{finished.seconds:.2f} s" if finished.seconds < 10 else f"{finished.seconds:.0f} s"
        words = _cut(self._titles.get(finished.call, finished.tool), self.terminal.width - len(seconds) - 6)
        gap = " " * max(1, self.terminal.width - len(words) - len(seconds) - 4)
        self._breathe("calls")
        self._line(f"{mark} {paint(words, 'bold')}{gap}{paint(seconds, 'dim')}")
        for change in finished.changes:
            self._diff(change)
        if finished.tool == "bash" or not good:
            self._preview(finished)

    def _breathe(self, section: str) -> None:
        """Leave a blank line between what is said and what is done."""
        if self._section not in ("", section):
            self.terminal.line()
        self._section = section

    def _preview(self, finished: CallFinished) -> None:
        """Show the end of a result: what a command says last is mostly what it comes to."""
        text = "\n".join(block.text for block in finished.content if isinstance(block, Text))
        lines = [line for line in safe(text).splitlines() if line.strip()]
        if len(lines) > _PREVIEW_LINES:
            self._line(self.terminal.paint(f"  │ … {len(lines) - _PREVIEW_LINES} lines", "dim"))
        for line in lines[-_PREVIEW_LINES:]:
            self._line(self.terminal.paint("  │ ", "dim") + self._verdict(_cut(line, self.terminal.width - 5)))

    def _verdict(self, line: str) -> str:
        """Colour what test runners call passed and failed."""
        if re.search(r"\b[1-9]\d* (failed|errors?)\b|^(FAILED|ERROR|E  )|\bFAILED\b", line):
            return self.terminal.paint(line, "red")
        if re.search(r"\b\d+ passed\b", line):
            return self.terminal.paint(line, "green")
        return self.terminal.paint(line, "dim")

    def _diff(self, change: FileChange) -> None:
        import difflib  # 10 ms that a turn without edits does not pay

        left = _DIFF_LINES
        for hunk in change.hunks:
            lines = difflib.unified_diff(hunk.old.splitlines(), hunk.new.splitlines(), lineterm="", n=2)
            number = hunk.line
            for line in list(lines)[2:]:
                if line.startswith("@@"):
                    number = hunk.line + int(line.split("+", 1)[1].split(",")[0].split(" ")[0]) - 1
                    continue
                if left == 0:
                    self._line(self.terminal.paint("  │ …", "dim"))
                    return
                left -= 1
                self._line(self._diff_line(line, number))
                number += not line.startswith("-")

    def _diff_line(self, line: str, number: int) -> str:
        text = _cut(safe(line[1:]).replace("\t", "    "), self.terminal.width - 12)
        shown = f"  {'' if line[0] == '-' else number:>5} {line[0]} {text}"
        style = {"+": "green", "-": "red"}.get(line[0], "dim")
        return self.terminal.paint(shown, style)

    def _line(self, text: str) -> None:
        self._clear_status()
        self.terminal.line(text)

    async def _tick(self) -> None:
        frame = 0
        while True:
            await asyncio.sleep(_TICK)
            frame += 1
            self._show_status(_FRAMES[frame % len(_FRAMES)])

    def _show_status(self, frame: str) -> None:
        if not self.terminal.interactive or self._text.open:
            return
        now = time.monotonic()
        if self._running:
            call, since = next(iter(self._running.items()))
            more = f" (+{len(self._running) - 1})" if len(self._running) > 1 else ""
            words = f"{self._titles.get(call, call)}{more}"
        elif self._waiting_since is not None:
            since, words = self._waiting_since, "waiting for the model"
        else:
            return
        status = _cut(f"{frame} {words}", self.terminal.width - 12)
        self.terminal.write(f"\r\x1b[2K{self.terminal.paint(f'{status}  {now - since:.1f} s', 'cyan')}")
        self._status_shown = True

    def _clear_status(self) -> None:
        if self._status_shown:
            self.terminal.write("\r\x1b[2K")
            self._status_shown = False


class _Wrapped:
    """Text that arrives in pieces, broken at words."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._column = 0
        self._word = ""
        self.open = False

    def write(self, text: str) -> None:
        self.open = self.open or bool(text)
        for part in re.split(r"(\s)", text):
            if part.isspace():
                self._flush()
                self._space(part)
            else:
                self._word += part

    def close(self) -> None:
        """End the paragraph, so that the next line begins at the left."""
        self._flush()
        if self.open and self._column:
            self._terminal.write("\n")
        self.open = False
        self._column = 0

    def _flush(self) -> None:
        if not self._word:
            return
        if self._column and self._column + len(self._word) > self._terminal.width:
            self._terminal.write("\n")
            self._column = 0
        self._terminal.write(self._word)
        self._column += len(self._word)
        self._word = ""

    def _space(self, space: str) -> None:
        if space == "\n":
            self._terminal.write("\n")
            self._column = 0
        elif self._column < self._terminal.width:
            self._terminal.write(" ")
            self._column += 1


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(1, width - 1)] + "…"
