"""Servers on this machine are found by what they answer, quickly, and nothing else is mistaken for one."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from deskhand.model.discovery import NoEndpoint, find_endpoint, find_local, list_models
from deskhand.model.endpoint import Endpoint, LocalServer
from deskhand.settings import EndpointSettings
from raw_server import Asked, Handler, answer, answer_json, answering, listening


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


def listing(*models: object) -> Handler:
    return answering(answer_json({"object": "list", "data": [{"id": model} for model in models]}))


def found(*handlers: Handler, model: str | None = None) -> Endpoint:
    async def main() -> Endpoint:
        async with AsyncExitStack() as stack:
            ports = [await stack.enter_async_context(listening(handler)) for handler in handlers]
            servers = [LocalServer(f"server {number}", port, "start") for number, port in enumerate(ports)]
            return await find_local(model, servers)

    return asyncio.run(main())


def test_the_first_server_that_lists_models_is_used() -> None:
    endpoint = found(answering(answer("<html>")), hang, listing("llama", "qwen"), listing("other"))
    assert endpoint.model == "llama"
    assert endpoint.source == "server 2 answers here"
    assert endpoint.base_url.startswith("http://127.0.0.1:")
    assert endpoint.api_key is None


def test_a_named_model_chooses_the_server_that_has_it() -> None:
    assert found(listing("llama"), listing("qwen"), model="qwen").source == "server 1 answers here"
    endpoint = found(listing("llama"), listing("qwen"), model="unheard-of")
    assert (endpoint.source, endpoint.model) == ("server 0 answers here", "unheard-of")


def test_a_model_that_only_embeds_is_not_the_first_choice() -> None:
    assert found(listing("nomic-embed-text", "llama")).model == "llama"
    assert found(listing("nomic-embed-text")).model == "nomic-embed-text"


@pytest.mark.parametrize(
    "handler",
    [
        hang,
        listing(),
        listing(None, 3),
        answering(answer("hello")),
        answering(answer_json({"data": None})),
        answering(answer_json({"data": {"id": "x"}})),
        answering(answer_json([])),
        answering(answer_json({"data": [{"id": "x"}]}, "404 Not Found")),
        answering(b"SSH-2.0-x\r\n"),
        answering(answer(b"[" * 100_000)),
        answering(b"", close=True),
    ],
)
def test_whatever_else_listens_is_not_an_endpoint(handler: Handler) -> None:
    began = time.monotonic()
    with pytest.raises(NoEndpoint) as caught:
        found(handler)
    assert time.monotonic() - began < 15
    assert caught.value.kind == "no_endpoint"
    for way in ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "ollama serve", "deskhand demo"):
        assert way in caught.value.message


def test_what_the_user_chose_is_not_asked_for_anything() -> None:
    asked: list[Asked] = []

    async def main() -> Endpoint:
        async with listening(answering(answer(), asked=asked)) as port:
            environment = {"ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}"}
            return await find_endpoint(environment, EndpointSettings(), "m")

    assert asyncio.run(main()).model == "m"
    assert not asked


def test_models_are_listed_below_the_base_url_with_the_credentials() -> None:
    asked: list[Asked] = []

    async def main() -> list[str]:
        handler = answering(answer_json({"data": [{"id": "a\nb"}, {"id": "x" * 5_000}]}), asked=asked)
        async with listening(handler) as port:
            return await list_models(Endpoint(f"http://127.0.0.1:{port}/prefix", auth_token="token"))

    names = asyncio.run(main())
    assert names[0] == "a b"
    assert len(names[1]) == 300
    assert asked[0].line == "GET /prefix/v1/models HTTP/1.1"
    assert asked[0].headers["authorization"] == "Bearer token"
