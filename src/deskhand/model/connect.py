"""Connections to one origin: name, proxy, TLS, all within one limit, and a clear reason where it fails."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import msgspec

from deskhand.model.proxies import Proxy, ProxyError, find_proxy, is_local

if TYPE_CHECKING:
    import ssl

CONNECT = 10.0
"""Seconds for name, connection, proxy and TLS together."""
HEAD_CAP = 64 * 1024
"""Bytes of an answer's status and headers."""

# Where distributions keep their certificates, for interpreters that were built to look elsewhere.
_CERTIFICATE_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)

TransportKind = Literal[
    "refused", "dns", "unreachable", "tls", "proxy", "dropped", "first_byte", "idle", "not_http", "encoding"
]


class TransportError(Exception):
    """No usable answer came over the wire. `kind` says where it failed, the message is a clause that says why."""

    def __init__(self, kind: TransportKind, reason: str) -> None:
        super().__init__(reason)
        self.kind: TransportKind = kind


class Origin(msgspec.Struct, frozen=True):
    """Scheme, host and port of a URL; the host in lower case and ASCII."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The value of `Host`: without the port where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"


def parse_origin(url: str) -> Origin:
    """Return the origin of an http or https URL.

    Raises `ValueError` where there is no host, the port is no port, or the host no name that can be looked up.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("no http:// or https:// URL")
    host = parts.hostname
    if not host.isascii():
        host = host.encode("idna").decode("ascii")  # 10 ms of imports for those who need it
    if not host.isprintable() or " " in host:
        raise ValueError("no host name")
    port = (443 if parts.scheme == "https" else 80) if parts.port is None else parts.port
    return Origin(parts.scheme, host, port)


class Connector:
    """Opens connections to `origin`, through the proxy that `environment` names, within `limit` seconds each."""

    def __init__(self, origin: Origin, environment: Mapping[str, str], limit: float) -> None:
        self._origin = origin
        self._environment = environment
        self._limit = limit
        self._context: ssl.SSLContext | None = None

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Proxy | None]:
        """Return a new connection, and the proxy that must be told where each request goes.

        Raises `TransportError`.
        """
        origin = self._origin
        try:
            proxy = find_proxy(origin.scheme, origin.host, origin.port, self._environment)
        except ProxyError as error:
            raise TransportError("proxy", f"the configured proxy cannot be used: {error}") from None
        try:
            async with asyncio.timeout(self._limit):
                if proxy is None:
                    reader, writer = await self._dial(origin.host, origin.port, tls=origin.scheme == "https")
                else:
                    reader, writer = await self._dial_through(proxy)
        except OSError as error:
            raise _connect_failure(error, self._limit, proxy) from None
        except ValueError as error:  # a host name that no resolver takes
            raise TransportError("dns", f"its name cannot be looked up: {error}") from None
        _detect_dead_peers(writer)
        return reader, writer, proxy if origin.scheme == "http" else None

    async def _dial(self, host: str, port: int, *, tls: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(
            host,
            port,
            limit=HEAD_CAP,
            ssl=self._tls() if tls else None,
            server_hostname=host if tls else None,
            # A public host may have an IPv6 address that this network cannot reach (RFC 8305).
            happy_eyeballs_delay=None if is_local(host) else 0.25,
        )

    async def _dial_through(self, proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await self._dial(proxy.host, proxy.port, tls=False)
        if self._origin.scheme == "http":
            return reader, writer
        try:
            await _tunnel(reader, writer, proxy, self._origin)
            await writer.start_tls(self._tls(), server_hostname=self._origin.host)
        except BaseException:
            writer.transport.abort()
            raise
        return reader, writer

    def _tls(self) -> ssl.SSLContext:
        """Return the TLS settings: the system's certificates, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`."""
        if self._context is None:
            import ssl  # with its context 20 ms, which a local endpoint must not pay

            self._context = ssl.create_default_context()
            if not self._context.cert_store_stats()["x509_ca"] and not os.environ.get("SSL_CERT_FILE"):
                file = next((file for file in _CERTIFICATE_FILES if Path(file).exists()), None)
                if file:
                    self._context.load_verify_locations(file)
        return self._context


async def _tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, proxy: Proxy, origin: Origin) -> None:
    """Ask the proxy for a connection to `origin` (RFC 9110, 9.3.6)."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    request = f"CONNECT {host}:{origin.port} HTTP/1.1\r\nHost: {host}:{origin.port}\r\n"
    if proxy.authorization:
        request += f"Proxy-Authorization: {proxy.authorization}\r\n"
    writer.write(request.encode("ascii") + b"\r\n")
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise TransportError("proxy", f"the proxy {proxy.url} did not answer in HTTP") from None
    status = head.split(b"\r\n", 1)[0].decode("ascii", "replace").split(" ")
    code = status[1] if len(status) > 1 else "?"
    if code == "407":
        raise TransportError("proxy", f"the proxy {proxy.url} wants a user name and password (407)")
    if code in ("502", "503", "504"):
        raise TransportError("unreachable", f"the proxy {proxy.url} cannot reach it now ({code})")
    if not code.startswith("2"):
        raise TransportError("proxy", f"the proxy {proxy.url} refused the connection ({code})")


def _connect_failure(error: OSError, limit: float, proxy: Proxy | None) -> TransportError:
    import ssl  # asyncio has it loaded by now

    if isinstance(error, ssl.SSLCertVerificationError):
        reason = f"its certificate is not trusted: {error.verify_message or error.reason}"
        file = os.environ.get("SSL_CERT_FILE", "")
        if file and not Path(file).exists():  # which OpenSSL does not mention
            reason += f"; SSL_CERT_FILE names {file}, which does not exist"
        return TransportError("tls", reason)
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        hint = "; it may be an http:// server" if "wrong version" in reason or "record layer" in reason else ""
        return TransportError("tls", f"no TLS connection could be made: {reason}{hint}")
    where = "it" if proxy is None else f"the proxy {proxy.url}"
    if isinstance(error, TimeoutError):
        return TransportError("unreachable", f"no connection to {where} within {limit:g} s")
    if isinstance(error, socket.gaierror):
        name = "its name" if proxy is None else f"the name of the proxy {proxy.url}"
        return TransportError("dns" if proxy is None else "proxy", f"{name} cannot be looked up: {error.strerror}")
    # Of several addresses that all fail, asyncio makes one error without a number.
    if isinstance(error, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in str(error):
        return TransportError("refused" if proxy is None else "proxy", f"{where} refused the connection")
    if isinstance(error, ConnectionError):
        return TransportError("dropped", f"{where} closed the connection while it was being made")
    return TransportError("unreachable", f"no way to {where}: {words(error)}")


def words(error: OSError) -> str:
    """Return what the system says of `error`."""
    return error.strerror or str(error) or type(error).__name__


def _detect_dead_peers(writer: asyncio.StreamWriter) -> None:
    """Let the system notice, within two minutes, a server that vanished while we wait for its first byte."""
    connected = writer.get_extra_info("socket")
    idle = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)  # Linux, macOS
    with contextlib.suppress(OSError):
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if idle is not None:
            connected.setsockopt(socket.IPPROTO_TCP, idle, 60)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 6)
