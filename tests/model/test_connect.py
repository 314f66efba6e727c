"""Connections against real sockets: TLS that is trusted or refused, and proxies for the hosts that need one."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
from pathlib import Path

import pytest

from deskhand.model.connect import TransportError
from deskhand.model.http import ConnectionPool
from raw_server import Asked, Handler, answer, answering, chunked, listening, read_request


async def post(pool: ConnectionPool) -> tuple[int, bytes]:
    """Make one request; return status and body."""
    async with pool.request("POST", "/v1/messages", [], b"{}", first_byte=20) as response:
        return response.status, await response.read(20)


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, localhost and model.example, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    names = "subjectAltName=DNS:localhost,DNS:model.example,IP:127.0.0.1"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=test", "-addext", names, "-keyout", "key.pem", "-out", "cert.pem"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=60,
    )
    return folder / "cert.pem", folder / "key.pem"


def server_side(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def test_tls_with_a_certificate_that_the_user_named(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))

    async def main() -> None:
        async with listening(answering(chunked(b"secret", 2)), tls=server_side(certificate)) as port:
            for host in ("127.0.0.1", "localhost"):
                pool = ConnectionPool(f"https://{host}:{port}")
                for _ in range(2):
                    assert await post(pool) == (200, b"secret")
                pool.close()

    asyncio.run(main())


def test_a_certificate_that_nobody_vouches_for_is_refused(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Asked] = []

    async def main() -> str:
        async with listening(answering(answer(), asked=asked), tls=server_side(certificate)) as port:
            with pytest.raises(TransportError) as caught:
                await post(ConnectionPool(f"https://127.0.0.1:{port}"))
            assert caught.value.kind == "tls"
            return str(caught.value)

    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    assert asyncio.run(main()) == "its certificate is not trusted: self-signed certificate"
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    assert "missing.pem, which does not exist" in asyncio.run(main())
    assert not asked


def test_a_certificate_for_another_host_is_refused(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))

    async def main() -> None:
        async with listening(answering(answer()), host="127.0.0.2", tls=server_side(certificate)) as port:
            with pytest.raises(TransportError) as caught:
                await post(ConnectionPool(f"https://127.0.0.2:{port}"))
            assert caught.value.kind == "tls"
            assert "127.0.0.2" in str(caught.value)

    asyncio.run(main())


def test_https_where_there_is_only_http_and_the_reverse(certificate: tuple[Path, Path]) -> None:
    async def main() -> None:
        async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await writer.drain()

        async with listening(plain) as port:
            with pytest.raises(TransportError) as caught:
                await post(ConnectionPool(f"https://127.0.0.1:{port}"))
            assert caught.value.kind == "tls"
            assert "http://" in str(caught.value)
        async with listening(answering(answer()), tls=server_side(certificate)) as port:
            with pytest.raises(TransportError) as caught:
                await post(ConnectionPool(f"http://127.0.0.1:{port}"))
            assert caught.value.kind in ("not_http", "dropped")

    asyncio.run(main())


# Proxies


def tunnelling(target: int, asked: list[Asked], refusal: bytes = b"") -> Handler:
    """A proxy that connects whatever host is asked for to the local port `target`."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await read_request(reader))
        if refusal:
            writer.write(refusal)
            await writer.drain()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        try:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
        finally:
            far_writer.transport.abort()

    return handle


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.transport.abort()


def test_https_to_a_public_host_goes_through_a_tunnel(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))

    async def main() -> None:
        tunnels: list[Asked] = []
        requests: list[Asked] = []
        serve = answering(chunked(b"through", 3), asked=requests)
        async with (
            listening(serve, tls=server_side(certificate)) as port,
            listening(tunnelling(port, tunnels)) as proxy,
        ):
            pool = ConnectionPool("https://model.example", {"HTTPS_PROXY": f"http://me:p%40ss@127.0.0.1:{proxy}"})
            for _ in range(2):
                assert await post(pool) == (200, b"through")
            pool.close()
        (tunnel,) = tunnels
        assert tunnel.line == "CONNECT model.example:443 HTTP/1.1"
        assert tunnel.headers["proxy-authorization"] == "Basic bWU6cEBzcw=="
        assert [request.headers["host"] for request in requests] == ["model.example"] * 2
        assert "proxy-authorization" not in requests[0].headers

    asyncio.run(main())


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "proxy"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "proxy"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "unreachable"),
        (b"what?", "proxy"),
        (b"x" * 200_000, "proxy"),
        (b"HTTP/1.1 200 OK\r\n\r\nnot TLS", "dropped"),
    ],
)
def test_a_proxy_that_refuses_is_named(refusal: bytes, kind: str) -> None:
    async def main() -> None:
        async with listening(tunnelling(0, [], refusal)) as proxy:
            pool = ConnectionPool("https://model.example", {"https_proxy": f"http://me:secret@127.0.0.1:{proxy}"})
            with pytest.raises(TransportError) as caught:
                await post(pool)
            assert caught.value.kind == kind
            assert "secret" not in str(caught.value)

    asyncio.run(main())


def test_a_proxy_that_is_not_there_is_not_the_endpoints_fault() -> None:
    async def main() -> None:
        async with listening(answering(answer())) as port:
            pass
        for url in ("https://model.example", "http://model.example"):
            with pytest.raises(TransportError) as caught:
                await post(ConnectionPool(url, {"ALL_PROXY": f"127.0.0.1:{port}"}))
            assert caught.value.kind == "proxy"
            assert f"the proxy http://127.0.0.1:{port} refused" in str(caught.value)
        with pytest.raises(TransportError) as caught:
            await post(ConnectionPool("https://model.example", {"ALL_PROXY": "socks5://127.0.0.1:1"}))
        assert caught.value.kind == "proxy"

    asyncio.run(main())


def test_plain_http_to_a_public_host_names_it_to_the_proxy() -> None:
    async def main() -> None:
        asked: list[Asked] = []
        async with listening(answering(answer("far"), asked=asked)) as proxy:
            pool = ConnectionPool("http://model.example:8080", {"HTTP_PROXY": f"http://me:you@127.0.0.1:{proxy}"})
            assert await post(pool) == (200, b"far")
            pool.close()
        assert asked[0].line == "POST http://model.example:8080/v1/messages HTTP/1.1"
        assert asked[0].headers["host"] == "model.example:8080"
        assert asked[0].headers["proxy-authorization"].startswith("Basic ")

    asyncio.run(main())


def test_a_local_endpoint_is_never_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)

    async def main() -> None:
        async with listening(answering(answer("near"))) as port:
            for host in ("127.0.0.1", "localhost"):
                pool = ConnectionPool(f"http://{host}:{port}", os.environ)
                assert await post(pool) == (200, b"near")
                pool.close()

    asyncio.run(main())
