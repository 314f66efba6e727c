"""The decision on a call: what its class means under the session's mode."""

from __future__ import annotations

from typing import Literal

from deskhand.journal.events import Class, Mode

Verdict = Literal["run", "ask", "refuse"]

_WHY: dict[Class, str] = {
    "read": "it reads",
    "write": "it changes something",
    "confirm": "it cannot be undone, or reaches others",
}

_TABLE: dict[Mode, dict[Class, Verdict]] = {
    "plan": {"read": "run", "write": "refuse", "confirm": "refuse"},
    "ask": {"read": "run", "write": "ask", "confirm": "ask"},
    "auto": {"read": "run", "write": "run", "confirm": "ask"},
    "bypass": {"read": "run", "write": "run", "confirm": "run"},
}

SAID_NO = "Refused: the user said no. Do not try it another way; ask what to do instead."


def decide(klass: Class, mode: Mode) -> Verdict:
    """Return what to do with a call of class `klass` in a session of mode `mode`."""
    return _TABLE[mode][klass]


def refusal(verdict: Verdict, klass: Class, mode: Mode, reason: str) -> str:
    """Return the words with which the model is told that its call was not run, and what it can do instead."""
    why = reason or _WHY[klass]
    if verdict == "refuse":
        return f"Refused: the session is in plan mode, where nothing is changed, and {why}. Describe the step instead."
    return (
        f"Refused: {why}. In {mode} mode this needs the user's yes, and nobody is here to give it. "
        "Reach the goal another way, or end and say what the user should run."
    )
