"""Where the model lives: what the user said decides, keys stay with their place, and URLs are taken as meant."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deskhand.model.endpoint import DEFAULT_MODEL, HOSTED, Endpoint, parse_base_url, resolve
from deskhand.model.errors import EndpointError
from deskhand.settings import EndpointSettings

NOTHING = EndpointSettings()


def chosen(environment: dict[str, str], given: EndpointSettings = NOTHING, model: str | None = None) -> Endpoint:
    endpoint = resolve(environment, given, model)
    assert endpoint is not None
    return endpoint


def test_nothing_said_nothing_chosen() -> None:
    assert resolve({}, NOTHING) is None
    assert resolve({"ANTHROPIC_BASE_URL": " ", "ANTHROPIC_API_KEY": ""}, NOTHING) is None
    assert resolve({"ANTHROPIC_MODEL": "m"}, EndpointSettings(model="m"), "m") is None


def test_the_variable_decides_over_the_settings() -> None:
    endpoint = chosen({"ANTHROPIC_BASE_URL": "http://here:1"}, EndpointSettings(base_url="http://there:2"))
    assert endpoint.base_url == "http://here:1"
    assert "ANTHROPIC_BASE_URL" in endpoint.source
    assert endpoint.headers()[-1][0] == "Anthropic-Version", "and no credentials were made up"


def test_a_key_alone_means_the_hosted_endpoint() -> None:
    for environment in ({"ANTHROPIC_API_KEY": "k"}, {"ANTHROPIC_AUTH_TOKEN": "k"}):
        assert chosen(environment).base_url == HOSTED
        assert next(iter(environment)) in chosen(environment).source
    assert chosen({}, EndpointSettings(api_key="k")).base_url == HOSTED


def test_headers_carry_what_there_is() -> None:
    both = {"ANTHROPIC_API_KEY": " key\n", "ANTHROPIC_AUTH_TOKEN": "token"}
    headers = dict(chosen(both).headers())
    assert headers["X-Api-Key"] == "key"
    assert headers["Authorization"] == "Bearer token"
    assert headers["Anthropic-Version"] == "2023-06-01"
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("environment", "given", "key"),
    [
        ({"ANTHROPIC_BASE_URL": "http://here"}, EndpointSettings(api_key="s"), None),
        ({"ANTHROPIC_BASE_URL": "http://here"}, EndpointSettings(base_url="http://there", api_key="s"), None),
        ({"ANTHROPIC_BASE_URL": "http://here/v1"}, EndpointSettings(base_url="http://here/", api_key="s"), "s"),
        ({"ANTHROPIC_BASE_URL": HOSTED}, EndpointSettings(api_key="s"), "s"),
        ({"ANTHROPIC_BASE_URL": "http://here", "ANTHROPIC_API_KEY": "e"}, EndpointSettings(api_key="s"), "e"),
        ({"ANTHROPIC_API_KEY": "e"}, EndpointSettings(base_url="http://there", api_key="s"), "s"),
        ({"ANTHROPIC_API_KEY": "e"}, EndpointSettings(base_url="http://there"), "e"),
        ({"ANTHROPIC_API_KEY": "e"}, EndpointSettings(api_key="s"), "e"),
    ],
)
def test_keys_go_where_they_were_given_for(
    environment: dict[str, str], given: EndpointSettings, key: str | None
) -> None:
    assert chosen(environment, given).api_key == key


def test_the_model_is_the_most_recently_said() -> None:
    here = {"ANTHROPIC_BASE_URL": "http://here"}
    named = {**here, "ANTHROPIC_MODEL": "env"}
    assert chosen(named, EndpointSettings(model="set"), "flag").model == "flag"
    assert chosen(named, EndpointSettings(model="set")).model == "env"
    assert chosen(here, EndpointSettings(model="set")).model == "set"
    assert chosen(here).model == DEFAULT_MODEL


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("http://localhost:11434", "http://localhost:11434"),
        ("http://localhost:11434/", "http://localhost:11434"),
        ("http://localhost:11434/v1", "http://localhost:11434"),
        ("http://localhost:11434/v1/", "http://localhost:11434"),
        ("http://localhost:11434/v1/messages", "http://localhost:11434"),
        ("http://localhost:11434//v1/messages/", "http://localhost:11434"),
        (" HTTPS://API.Example.com:443/Anthropic/v1 ", "https://api.example.com/Anthropic"),
        ("http://gateway/api/v1beta", "http://gateway/api/v1beta"),
        ("http://[::1]:8080/v1", "http://[::1]:8080"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_urls_are_taken_as_they_are_meant(text: str, base: str) -> None:
    assert parse_base_url(text, "X") == base
    endpoint = Endpoint(base)
    assert endpoint.messages_target.endswith("/v1/messages")
    assert (base + "/v1/messages").endswith(endpoint.messages_target)
    assert parse_base_url(base, "X") == base


@pytest.mark.parametrize(
    "text",
    [
        *("localhost:11434", "127.0.0.1:8080", "api.example.com", "//x", "ftp://x", "http://", "http://:80"),
        *("http://x:port", "http://x:99999", "http://[::1", "http://a b", "http://x?y=1", "http://x#y"),
        *("http://x/ä", "http://x/a b"),
    ],
)
def test_what_is_no_url_is_said_with_the_name_of_the_setting(text: str) -> None:
    with pytest.raises(EndpointError) as caught:
        resolve({"ANTHROPIC_BASE_URL": text}, NOTHING)
    assert caught.value.kind == "misconfigured"
    assert caught.value.message.startswith("ANTHROPIC_BASE_URL ")
    with pytest.raises(EndpointError, match=r"^endpoint.base_url in the settings "):
        resolve({}, EndpointSettings(base_url=text))


@pytest.mark.parametrize(
    "text", ["http://me:hunter2@x", "http://hunter2@x", "me:hunter2@x", "http://me:hunter2@x:port"]
)
def test_passwords_in_urls_are_refused_and_not_shown(text: str) -> None:
    with pytest.raises(EndpointError) as caught:
        parse_base_url(text, "ANTHROPIC_BASE_URL")
    assert "hunter2" not in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(st.text() | st.text().map(lambda text: f"http://{text}") | st.text().map(lambda text: f"http://host/{text}"))
def test_any_text_is_a_url_or_an_error(text: str) -> None:
    try:
        base = parse_base_url(text, "X")
    except EndpointError:
        return
    assert parse_base_url(base, "X") == base
    assert base.isascii()


@pytest.mark.parametrize("key", ["a\nX-Evil: 1", "schlüssel", "a\x00b"])
def test_keys_that_no_header_can_hold_are_refused_and_not_shown(key: str) -> None:
    for environment, set_up in (
        ({"ANTHROPIC_API_KEY": key}, NOTHING),
        ({"ANTHROPIC_AUTH_TOKEN": key}, NOTHING),
        ({}, EndpointSettings(api_key=key)),
        ({}, EndpointSettings(auth_token=key)),
    ):
        with pytest.raises(EndpointError) as caught:
            resolve(environment, set_up)
        assert caught.value.kind == "misconfigured"
        assert key not in caught.value.message


def test_keys_are_not_in_the_representation() -> None:
    endpoint = Endpoint("http://x", api_key="secret-1", auth_token="secret-2")
    assert "secret" not in repr(endpoint)
    assert endpoint.secrets == ("secret-1", "secret-2")


def test_the_command_that_starts_a_server_is_known_for_this_machine_alone() -> None:
    assert Endpoint("http://localhost:11434").what_to_start == "`ollama serve`"
    assert Endpoint("http://127.0.0.1:8000").what_to_start == "`vllm serve MODEL`"
    assert Endpoint("http://127.0.0.1:9999").what_to_start == "its server"
    assert Endpoint("http://gpu-box:11434").what_to_start is None
