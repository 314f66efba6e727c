"""Which requests go through a proxy: those to public hosts, as the environment says, and no others.

A prompt for a model on this machine or in this network must not leave it because a proxy is configured for
the web, so loopback and private hosts are always reached directly.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit

_LOCAL_SUFFIXES = (".localhost", ".local", ".lan", ".internal", ".home.arpa")


class ProxyError(ValueError):
    """The configured proxy cannot be used; the message is a clause that says why."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy, and the value of `Proxy-Authorization` where it wants one."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The proxy's address, without credentials."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Say whether `host` is this machine, by its name or number alone."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def is_local(host: str) -> bool:
    """Say whether `host` is this machine or one of this network, by its name or number alone."""
    try:
        address = ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(_LOCAL_SUFFIXES)
    return address.is_private or address.is_loopback or address.is_link_local


def find_proxy(scheme: str, host: str, port: int, environment: Mapping[str, str]) -> Proxy | None:
    """Return the proxy that `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` (or lower case) name.

    Raises `ProxyError` where it is not one that we can speak to.
    """
    if is_local(host):
        return None
    configured = _variable(environment, f"{scheme}_proxy") or _variable(environment, "all_proxy")
    if not configured or _is_exempt(host, port, _variable(environment, "no_proxy")):
        return None
    return _parse(configured)


def _variable(environment: Mapping[str, str], name: str) -> str:
    return (environment.get(name) or environment.get(name.upper()) or "").strip()


def _parse(configured: str) -> Proxy:
    parts = urlsplit(configured if "://" in configured else f"http://{configured}")
    try:
        port = parts.port or 80
    except ValueError:
        raise ProxyError("its port is not a number") from None
    if parts.scheme != "http" or not parts.hostname:
        raise ProxyError(f"it is not an http:// proxy but {parts.scheme}://")
    authorization = None
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + b64encode(credentials.encode()).decode("ascii")
    return Proxy(parts.hostname, port, authorization)


def _is_exempt(host: str, port: int, no_proxy: str) -> bool:
    return any(_covers(entry.strip().lower(), host, port) for entry in no_proxy.split(",") if entry.strip())


def _covers(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:  # one of the two is a name
        pass
    name, colon, wanted = entry.rpartition(":")
    if colon and wanted.isdecimal():
        if int(wanted) != port:
            return False
        entry = name
    entry = entry.removeprefix("*").lstrip(".")
    return host == entry or host.endswith(f".{entry}")
