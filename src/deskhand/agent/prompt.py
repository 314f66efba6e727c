"""The system prompt: a text file, and a few lines about where the session is."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from deskhand.journal.replay import SessionState


def system_prompt(state: SessionState) -> str:
    """Return the system prompt of a session: the same bytes for the same session, so that caches hit."""
    text = Path(__file__).with_name("system.md").read_text(encoding="utf-8").strip()
    facts = [
        f"Working folder: {state.cwd}",
        f"System: {platform.system()}, shell: bash, home: {os.path.expanduser('~')}",  # noqa: PTH111 - no KeyError
        f"Session began: {state.began}",
    ]
    if state.mode == "plan":
        facts.append("Mode: plan. Nothing may be changed: look, think, and answer with a plan.")
    prompt = text + "\n\n" + "\n".join(facts)
    return prompt.encode("utf-8", "replace").decode("utf-8")  # the home's name may be no valid text
