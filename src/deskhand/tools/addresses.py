"""Which addresses a fetch may reach, and by which way: a page from outside must not lead the agent inside."""

from __future__ import annotations

import asyncio
import socket

import msgspec

from deskhand.tools.base import ToolError

_METADATA = {"fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"}
"""Where clouds hand out the machine's own credentials, beside the link-local 169.254.169.254."""

_MOST = 4
"""Addresses of one host that are tried."""


class Route(msgspec.Struct, frozen=True):
    """How to reach a host: at one of `addresses`, or by its name through `proxy`. `outside`: it is on the open net."""

    outside: bool
    addresses: tuple[str, ...]
    proxy: str | None = None


async def route_to(scheme: str, host: str, port: int, *, from_outside: bool) -> Route:
    """Find the way to `host`: a proxy of the environment for hosts outside, never for this machine and its network.

    `from_outside` says that a page outside led here. The addresses are resolved once, and the caller connects
    to these: a name that changes its address between check and use gains nothing. Raises `ToolError` where
    the host is not found, is a metadata service, or is inside and was led to from outside.
    """
    # A name without a dot is of this machine or its network.
    if "." in host.rstrip(".") and not _is_literal(host) and not host.endswith((".localhost", ".local")):
        proxy = await asyncio.to_thread(_proxy, scheme, host)
        if proxy:
            return Route(outside=True, addresses=(host,), proxy=proxy)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ToolError(f"There is no host named {host}, or the name cannot be resolved now.") from None
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))[:_MOST]
    if any(_is_metadata(address) for address in addresses):
        raise ToolError(f"{host} is a link-local or metadata address, which is not fetched.")
    outside = all(_is_outside(address) for address in addresses)
    if from_outside and not outside:
        raise ToolError(f"A page from outside redirects to {host}, inside this network: that is not followed.")
    return Route(outside=outside, addresses=addresses)


def _proxy(scheme: str, host: str) -> str | None:
    from urllib.request import getproxies, proxy_bypass  # 60 ms; on macOS it asks the system's settings

    proxies = getproxies()
    return None if proxy_bypass(host) else proxies.get(scheme) or proxies.get("all")


def _is_literal(host: str) -> bool:
    import ipaddress  # 6 ms, in the functions below too

    try:
        ipaddress.ip_address(host)
    except ValueError:
        # All of these are addresses to a resolver: 127.1, 0x7f000001, 2130706433.
        return host.rpartition(".")[2][:1].isdigit()
    return True


def _is_metadata(address: str) -> bool:
    import ipaddress

    ip = ipaddress.ip_address(_embedded(address))
    return ip.is_link_local or str(ip) in _METADATA


def _is_outside(address: str) -> bool:
    import ipaddress

    return ipaddress.ip_address(_embedded(address)).is_global


def _embedded(address: str) -> str:
    """Return the IPv4 address in an IPv6 one (mapped, RFC 4291; NAT64, RFC 6052; 6to4, RFC 3056), else the address."""
    import ipaddress

    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip in ipaddress.ip_network("64:ff9b::/96"):
        return str(ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF))
    return str(ip.ipv4_mapped or ip.sixtofour or ip)
