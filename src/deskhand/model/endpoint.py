"""Where the model lives: the endpoint, and how the environment and the settings choose it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from deskhand import __version__
from deskhand.model.connect import parse_origin
from deskhand.model.errors import EndpointError
from deskhand.model.proxies import is_loopback
from deskhand.settings import EndpointSettings

HOSTED = "https://api.anthropic.com"
DEFAULT_MODEL = "claude-sonnet-4-5"
"""Asked for where nobody named a model. Gateways map it; a server without it says which models it has."""
API_VERSION = "2023-06-01"


@dataclass(frozen=True, slots=True)
class LocalServer:
    """A model server that people run on their own machine, its usual port, and the command that starts it."""

    name: str
    port: int
    command: str

    @property
    def url(self) -> str:
        """Its usual address, by number: a name could resolve to an address where it does not listen."""
        return f"http://127.0.0.1:{self.port}"


LOCAL_SERVERS = (
    LocalServer("Ollama", 11434, "ollama serve"),
    LocalServer("LM Studio", 1234, "lms server start"),
    LocalServer("llama-server", 8080, "llama-server -m MODEL.gguf"),
    LocalServer("vLLM", 8000, "vllm serve MODEL"),
    LocalServer("LiteLLM", 4000, "litellm --config FILE"),
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A place where a model answers. `base_url` has no `/v1` and no slash at its end; `source` says why this one."""

    base_url: str
    api_key: str | None = field(default=None, repr=False)
    auth_token: str | None = field(default=None, repr=False)
    model: str = DEFAULT_MODEL
    source: str = ""

    @property
    def messages_target(self) -> str:
        """What a request line asks for."""
        return f"{urlsplit(self.base_url).path}/v1/messages"

    @property
    def models_target(self) -> str:
        """The list of models."""
        return f"{urlsplit(self.base_url).path}/v1/models"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not appear in any message."""
        return tuple(secret for secret in (self.api_key, self.auth_token) if secret)

    @property
    def what_to_start(self) -> str | None:
        """What starts the server that should be listening here, in words; None: it is not on this machine."""
        origin = parse_origin(self.base_url)
        if not is_loopback(origin.host):
            return None
        return next((f"`{server.command}`" for server in LOCAL_SERVERS if server.port == origin.port), "its server")

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers that every request carries."""
        headers = [
            ("User-Agent", f"deskhand/{__version__}"),
            ("Content-Type", "application/json"),
            ("Anthropic-Version", API_VERSION),
        ]
        if self.api_key:
            headers.append(("X-Api-Key", self.api_key))
        if self.auth_token:
            headers.append(("Authorization", f"Bearer {self.auth_token}"))
        return headers


def resolve(
    environment: Mapping[str, str], settings: EndpointSettings, model_override: str | None = None
) -> Endpoint | None:
    """Return the endpoint that the user chose, or None where nothing was chosen. Nothing is asked of it.

    `ANTHROPIC_BASE_URL` decides; else the settings' `base_url`; else a key means the hosted endpoint. Keys go
    with the place they were given for: a key of the settings is never sent to a place that only the environment names.

    Raises `EndpointError` of the kind `misconfigured` where the URL or a key cannot be used.
    """
    env_url = _set(environment.get("ANTHROPIC_BASE_URL"))
    env_keys = (_key(environment, "ANTHROPIC_API_KEY"), _key(environment, "ANTHROPIC_AUTH_TOKEN"))
    set_keys = (
        _checked(settings.api_key, "endpoint.api_key in the settings"),
        _checked(settings.auth_token, "endpoint.auth_token in the settings"),
    )
    set_url = parse_base_url(settings.base_url, "endpoint.base_url in the settings") if settings.base_url else None
    if env_url:
        url, source = parse_base_url(env_url, "ANTHROPIC_BASE_URL"), "ANTHROPIC_BASE_URL names it"
        keys = env_keys if any(env_keys) or url != (set_url or HOSTED) else set_keys
    elif set_url:
        url, source = set_url, "the settings name it"
        keys = set_keys if any(set_keys) else env_keys
    elif any(env_keys):
        url, source, keys = HOSTED, f"{_names(env_keys)} is set", env_keys
    elif any(set_keys):
        url, source, keys = HOSTED, "the settings have a key for it", set_keys
    else:
        return None
    model = named_model(environment, settings, model_override) or DEFAULT_MODEL
    return Endpoint(url, keys[0], keys[1], model, source)


def named_model(
    environment: Mapping[str, str], settings: EndpointSettings, model_override: str | None = None
) -> str | None:
    """Return the model that the user named: on the command line, in `ANTHROPIC_MODEL`, or in the settings.

    Raises `EndpointError` of the kind `misconfigured` where it cannot be a name.
    """
    name = _set(model_override) or _set(environment.get("ANTHROPIC_MODEL")) or _set(settings.model)
    if name is not None and not name.isprintable():
        problem = "holds bytes that are not UTF-8, or control characters: write it anew"
        raise EndpointError("misconfigured", f"The model's name {problem}.")
    return name


def parse_base_url(text: str, name: str) -> str:
    """Return `text` as a base URL: no slash, `/v1` or `/v1/messages` at its end. `name` says where it was found.

    Raises `EndpointError` of the kind `misconfigured`.
    """
    text = text.strip()
    try:
        parts = urlsplit(text)
        if parts.username is not None or parts.password is not None:
            problem = "holds a user name or password: move it to ANTHROPIC_AUTH_TOKEN or ANTHROPIC_API_KEY"
            raise EndpointError("misconfigured", f"{name} {problem}.")
        origin = parse_origin(text)
    except ValueError:
        shown = "not a URL" if "@" in text else f"{text[:200]!r}, which is no URL"  # what precedes an @ is a secret
        problem = f"is {shown} of a server: write it with its scheme, like http://127.0.0.1:11434"
        raise EndpointError("misconfigured", f"{name} {problem}.") from None
    if parts.query or parts.fragment:
        raise EndpointError("misconfigured", f"{name} has a ? or # part, which a base URL cannot have: remove it.")
    path = parts.path.rstrip("/").removesuffix("/v1/messages").removesuffix("/v1").rstrip("/")
    if not (path.isascii() and path.isprintable()) or " " in path:
        raise EndpointError("misconfigured", f"{name} has a path with characters that must be percent-encoded.")
    return f"{origin.scheme}://{origin.authority}{path}"


def _names(keys: tuple[str | None, str | None]) -> str:
    return "ANTHROPIC_API_KEY" if keys[0] else "ANTHROPIC_AUTH_TOKEN"


def _key(environment: Mapping[str, str], name: str) -> str | None:
    return _checked(environment.get(name), name)


def _checked(key: str | None, name: str) -> str | None:
    key = _set(key)
    if key is not None and not (key.isascii() and key.isprintable()):
        raise EndpointError("misconfigured", f"{name} holds characters that no key has: copy the key anew.")
    return key


def _set(value: str | None) -> str | None:
    return (value or "").strip() or None
