"""The one writer of logs: plain lines in `logs/daemon.log`, secrets redacted."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

_path: Path | None = None
_secrets: set[str] = set()

_TOKENS = re.compile(
    r"\b(sk-[\w-]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}"
    r"|glpat-[\w-]{16,}|npm_\w{30,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,})"
)


def open_log(folder: Path) -> None:
    """Send log lines to `daemon.log` in `folder`; until then they go nowhere."""
    global _path
    _path = folder / "daemon.log"


def path() -> Path | None:
    """Return where the log is, if it is open."""
    return _path


def keep_secret(*secrets: str | None) -> None:
    """Never let these strings into a log."""
    _secrets.update(secret for secret in secrets if secret and len(secret) >= 6)


def redact(text: str) -> str:
    """Return `text` with known secrets, and what has the form of a well-known token, taken out."""
    for secret in _secrets:
        text = text.replace(secret, "[secret]")
    return _TOKENS.sub("[secret]", text)


def write(text: str) -> None:
    """Append `text` to the log, with the time. A log that cannot be written stops nobody."""
    if _path is None:
        return
    line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {redact(text.rstrip())}\n"
    try:
        descriptor = os.open(_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line.encode("utf-8", "backslashreplace"))
        finally:
            os.close(descriptor)
    except OSError:
        return
