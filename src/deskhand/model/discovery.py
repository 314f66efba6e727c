"""What answers where: the models of an endpoint, and the model servers on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from deskhand.model.connect import TransportError
from deskhand.model.endpoint import LOCAL_SERVERS, Endpoint, LocalServer, named_model, resolve
from deskhand.model.errors import EndpointError, quote
from deskhand.model.http import ConnectionPool
from deskhand.settings import EndpointSettings

_LOCAL_CONNECT = 0.2
_LOCAL_ANSWER = 1.0
_LIST_CONNECT = 3.0
_LIST_ANSWER = 5.0
_LIST_CAP = 4 * 1024 * 1024
"""Seconds, and bytes: gateways list thousands of models."""


class NoEndpoint(EndpointError):
    """Nothing was chosen, and nothing answers on this machine."""

    def __init__(self) -> None:
        super().__init__(
            "no_endpoint",
            "There is no model to ask: set ANTHROPIC_API_KEY for the hosted one, set ANTHROPIC_BASE_URL to a server of "
            "yours, or start one here (for example `ollama serve`); `deskhand demo` needs none.",
        )


async def find_endpoint(
    environment: Mapping[str, str], settings: EndpointSettings, model_override: str | None = None
) -> Endpoint:
    """Return the endpoint that the user chose, else a server on this machine that answers.

    Raises `NoEndpoint`, or `EndpointError` of the kind `misconfigured`.
    """
    endpoint = resolve(environment, settings, model_override)
    if endpoint is None:
        endpoint = await find_local(named_model(environment, settings, model_override))
    return endpoint


async def find_local(model: str | None = None, servers: Sequence[LocalServer] = LOCAL_SERVERS) -> Endpoint:
    """Return the first of the `servers` that lists models, one with `model` before others. Takes about a second.

    Raises `NoEndpoint` where none does.
    """
    asked = (list_models(Endpoint(server.url), _LOCAL_CONNECT, _LOCAL_ANSWER) for server in servers)
    found = [(server, models) for server, models in zip(servers, await asyncio.gather(*asked), strict=True) if models]
    if not found:
        raise NoEndpoint
    server, models = next((pair for pair in found if model in pair[1]), found[0])
    return Endpoint(server.url, model=model or _first_that_talks(models), source=f"{server.name} answers here")


async def list_models(endpoint: Endpoint, connect: float = _LIST_CONNECT, answer: float = _LIST_ANSWER) -> list[str]:
    """Return the names of the models that the endpoint lists; none where it does not, for whatever reason.

    `connect` and `answer` are limits in seconds.
    """
    pool = ConnectionPool(endpoint.base_url, connect=connect)
    try:
        async with pool.request("GET", endpoint.models_target, endpoint.headers(), first_byte=answer) as response:
            if response.status != 200:
                return []
            body = await response.read(answer, _LIST_CAP)
    except TransportError:
        return []
    finally:
        pool.close()
    return _names(body, endpoint.secrets)


def _names(body: bytes, secrets: tuple[str, ...]) -> list[str]:
    try:
        listed = msgspec.json.decode(body)["data"]
        names = [entry["id"] for entry in listed]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []
    return [quote(name, secrets) for name in names if isinstance(name, str) and name]


def _first_that_talks(models: list[str]) -> str:
    """Return the first model that is not made for embeddings, which some servers list beside the others."""
    return next((model for model in models if "embed" not in model.lower()), models[0])
