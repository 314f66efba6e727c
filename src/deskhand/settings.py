"""The user's settings: `settings.toml`, typed, with an error that names the line or the key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class SettingsError(Exception):
    """The settings cannot be used; the message is one sentence for the user."""


class EndpointSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[endpoint]`: where the model lives, where the environment does not say."""

    base_url: str | None = None
    api_key: str | None = None
    auth_token: str | None = None
    model: str | None = None
    max_output_tokens: Count = 16_000
    thinking_tokens: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Ask the model to think, within so many tokens (at least 1,024); 0 asks for nothing."""
    first_byte: Seconds = 600.0
    """How long a request may stay unanswered; a local server reads a long prompt for minutes."""
    idle: Seconds = 120.0
    """How long a stream may be silent between two events."""


class LimitSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[limits]`: the clock's table in seconds, and the bounds of one turn."""

    shell_quiet: Seconds = 300.0
    shell_total: Seconds = 3600.0
    mcp_quiet: Seconds = 120.0
    mcp_total: Seconds = 1800.0
    internal: Seconds = 10.0
    turn_requests: Count = 2_000
    turn_tokens: Count | None = None
    """Tokens of one turn, input and output together; None: no limit."""


class DaemonSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[daemon]`: the process that outlives editors and terminals."""

    idle_exit: Annotated[float, msgspec.Meta(ge=0)] = 3600.0
    """Seconds with nothing running and nobody attached after which it ends; 0: never."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything in `settings.toml`."""

    mode: Literal["plan", "ask", "auto"] = "auto"
    """What runs unasked. `bypass` is no setting: whoever wants it types it, each time."""
    endpoint: EndpointSettings = EndpointSettings()
    limits: LimitSettings = LimitSettings()
    daemon: DaemonSettings = DaemonSettings()


def load_settings(path: Path) -> Settings:
    """Read the settings at `path`; a missing file gives the defaults.

    Raises `SettingsError` where the file is not TOML, or says something that no setting means.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        raise SettingsError(f"Cannot read {path}: {error.strerror}.") from None

    import tomllib  # 20 ms that only users with a settings file pay

    try:
        return msgspec.convert(tomllib.loads(data.decode("utf-8")), Settings)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}. Mend that line, or move the file away.") from None
    except msgspec.ValidationError as error:
        raise SettingsError(f"{path}: {error}. See docs/settings.md for what it may hold.") from None
