"""Which hosts a proxy is for."""

from __future__ import annotations

import pytest

from deskhand.model.proxies import Proxy, ProxyError, find_proxy, is_local, is_loopback

PROXY = {"https_proxy": "http://proxy.example:3128"}


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "ollama.localhost", "127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "10.1.2.3", "192.168.0.7"),
        *("172.16.0.1", "169.254.1.1", "fe80::1", "fd00::1", "gpu-box", "mac.local", "nas.lan", "x.home.arpa"),
        "host.docker.internal",
    ],
)
def test_prompts_for_this_machine_or_network_pass_no_proxy(host: str) -> None:
    assert is_local(host)
    assert find_proxy("https", host, 443, {**PROXY, "HTTP_PROXY": "http://p:1", "ALL_PROXY": "http://p:1"}) is None


def test_only_this_machine_is_loopback() -> None:
    assert all(is_loopback(host) for host in ("localhost", "127.0.0.1", "::1", "0.0.0.0"))
    assert not any(is_loopback(host) for host in ("10.0.0.1", "gpu-box", "localhost.example", "1.1.1.1"))


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        (PROXY, Proxy("proxy.example", 3128)),
        ({"HTTPS_PROXY": "proxy.example:3128"}, Proxy("proxy.example", 3128)),
        ({"ALL_PROXY": "http://proxy.example"}, Proxy("proxy.example", 80)),
        ({"https_proxy": "http://a:b%3A@[2001:db8::1]:1"}, Proxy("2001:db8::1", 1, "Basic YTpiOg==")),
        ({**PROXY, "HTTPS_PROXY": "http://other:1"}, Proxy("proxy.example", 3128)),
        ({"HTTP_PROXY": "http://proxy.example"}, None),
        ({"HTTPS_PROXY": " "}, None),
        ({}, None),
    ],
)
def test_the_variables_name_the_proxy(environment: dict[str, str], proxy: Proxy | None) -> None:
    assert find_proxy("https", "api.example.com", 443, environment) == proxy


@pytest.mark.parametrize(
    ("no_proxy", "host", "exempt"),
    [
        ("*", "api.example.com", True),
        ("example.com", "api.example.com", True),
        (".example.com", "api.example.com", True),
        ("*.example.com", "api.example.com", True),
        ("other.org, EXAMPLE.com", "api.example.com", True),
        ("example.com:443", "api.example.com", True),
        ("example.com:8443", "api.example.com", False),
        ("ample.com", "api.example.com", False),
        ("api.example.com.evil", "api.example.com", False),
        ("8.8.0.0/16", "8.8.8.8", True),
        ("8.8.8.8", "8.8.8.8", True),
        ("8.9.0.0/16", "8.8.8.8", False),
        ("2001:4860::/32", "2001:4860::8888", True),
        (",, ,", "api.example.com", False),
    ],
)
def test_no_proxy_exempts_hosts_domains_and_networks(no_proxy: str, host: str, exempt: bool) -> None:
    proxy = find_proxy("https", host, 443, {**PROXY, "NO_PROXY": no_proxy})
    assert (proxy is None) == exempt


@pytest.mark.parametrize("configured", ["socks5://p:1", "https://p:1", "http://", "http://p:port"])
def test_a_proxy_that_we_cannot_speak_to_is_an_error(configured: str) -> None:
    with pytest.raises(ProxyError):
        find_proxy("https", "api.example.com", 443, {"HTTPS_PROXY": configured})


def test_a_proxys_credentials_are_not_shown() -> None:
    proxy = find_proxy("https", "api.example.com", 443, {"HTTPS_PROXY": "http://me:secret@p:1"})
    assert proxy is not None
    assert proxy.url == "http://p:1"
    assert "secret" not in repr(proxy)
    assert proxy.authorization is not None
    assert proxy.authorization not in repr(proxy)
