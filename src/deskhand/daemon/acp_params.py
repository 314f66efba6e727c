"""The parameters of the ACP requests that we answer, as far as we read them.

https://agentclientprotocol.com/protocol/v1/schema. Unknown fields are ignored: the protocol grows by adding some.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Params(msgspec.Struct, frozen=True, rename="camel"):
    """What all parameters share: the protocol's camel case."""


class Initialize(Params, frozen=True):
    """`initialize`"""

    protocol_version: int


class NewSession(Params, frozen=True):
    """`session/new`"""

    cwd: str
    mcp_servers: tuple[dict[str, Any], ...] = ()


class OpenSession(Params, frozen=True):
    """`session/load` and `session/resume`"""

    session_id: str
    cwd: str
    mcp_servers: tuple[dict[str, Any], ...] = ()


class ListSessions(Params, frozen=True):
    """`session/list`"""

    cwd: str | None = None
    cursor: str | None = None


class NamedSession(Params, frozen=True):
    """`session/close`, `session/delete`, `session/cancel`"""

    session_id: str


class SetMode(Params, frozen=True):
    """`session/set_mode`"""

    session_id: str
    mode_id: str


class SetConfigOption(Params, frozen=True):
    """`session/set_config_option`"""

    session_id: str
    config_id: str
    value: str


class Environment(Params, frozen=True):
    """`_deskhand/environment`: the client's own variables, which name its endpoint."""

    variables: dict[str, str]

    def over(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return `environment` with the client's endpoint in place of the one that is named there."""
        others = {name: value for name, value in environment.items() if not name.startswith("ANTHROPIC_")}
        return others | {name: value for name, value in self.variables.items() if name.startswith("ANTHROPIC_")}


class TextContent(Params, frozen=True, tag="text"):
    """Plain text."""

    text: str


class ImageContent(Params, frozen=True, tag="image"):
    """An image, in base64."""

    data: str
    mime_type: str


class AudioContent(Params, frozen=True, tag="audio"):
    """Sound, which we do not announce and do not take."""

    mime_type: str


class ResourceLink(Params, frozen=True, tag="resource_link"):
    """The name of something that the agent can read itself."""

    uri: str
    name: str


class Resource(Params, frozen=True):
    """The content of something: text, or base64 in `blob`."""

    uri: str
    text: str | None = None
    blob: str | None = None
    mime_type: str | None = None


class EmbeddedResource(Params, frozen=True, tag="resource"):
    """Something that the editor sends along, as an unsaved buffer."""

    resource: Resource


ContentBlock = TextContent | ImageContent | AudioContent | ResourceLink | EmbeddedResource


class Prompt(Params, frozen=True):
    """`session/prompt`"""

    session_id: str
    prompt: tuple[ContentBlock, ...]
