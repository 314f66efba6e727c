from __future__ import annotations

import asyncio
import gzip
import io
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from deskhand.images import SIDE
from deskhand.tools import fetch
from deskhand.tools.base import CallContext, ImageData, ToolError, ToolResult
from deskhand.tools.fetch import EXCERPT, SIZE, TEXT, TOOL
from pdfs import make_pdf

Answer = Callable[[BaseHTTPRequestHandler], None]


class Site:
    """A real server on loopback: what is at each path, and what it was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                site.headers.append(dict(self.headers))
                site.pages.get(self.path.partition("?")[0], answer(404, body=b"nothing here"))(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients here hang up early
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def put(self, path: str, body: bytes, media_type: str | None = "text/plain", **headers: str) -> str:
        self.pages[path] = answer(200, body, media_type, **headers)
        return self.url + path


def answer(status: int, body: bytes = b"", media_type: str | None = "text/plain", **headers: str) -> Answer:
    def send(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        if media_type is not None:
            request.send_header("Content-Type", media_type)
        request.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return send


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    thread = threading.Thread(target=site.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield site
    site.server.shutdown()
    site.server.server_close()
    thread.join(10)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path


def fetched(folder: Path, url: str, *, seconds: float = 60.0, **arguments: Any) -> ToolResult:
    context = CallContext(session="s", call="c1", cwd=folder, outputs=folder, call_limits=(seconds, seconds))
    result = asyncio.run(fetch.run(TOOL.parse({"url": url, **arguments}), context))
    assert result.outside, "all that comes from the net is data"
    return result


def text_of(folder: Path, url: str, **arguments: Any) -> str:
    """Return the text below the line with the URL."""
    text = fetched(folder, url, **arguments).content[0]
    assert isinstance(text, str)
    return text.partition("\n\n")[2]


def failure(folder: Path, url: str, **arguments: Any) -> str:
    with pytest.raises(ToolError) as raised:
        fetched(folder, url, **arguments)
    assert "\n" not in str(raised.value)
    return str(raised.value)


PAGE = b"""<!doctype html><html><head><title>The  Title</title><style>p {}</style></head><body>
<nav><a href="/">Home</a></nav><main><h2>Usage</h2>
<p>Some <b>bold</b> text &amp; a <a href="/next">link</a>, an <a href="#x">anchor</a>. <script>alert(1)</script></p>
<ul><li>one</li><li>two</li></ul><pre><code>x = 1
y = 2</code></pre><img src="data:image/png;base64,AAAA" alt="a chart">
<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table><p>%s</p></main><footer>imprint</footer></body></html>
""" % (b"long enough to be the content. " * 8)


def test_a_page_is_markdown_of_its_content_under_its_title(site: Site, folder: Path) -> None:
    text = text_of(folder, site.put("/page", PAGE, "text/html; charset=utf-8"))
    assert text.startswith("# The Title\n\n## Usage\n\nSome **bold** text & a [link](/next), an anchor.")
    assert "- one\n- two" in text
    assert "```\nx = 1\ny = 2\n```" in text
    assert "a chart" in text
    assert "| 1 | 2 |" in text
    for noise in ("alert", "Home", "imprint", "base64", "p {}"):
        assert noise not in text


def test_raw_gives_the_page_as_it_is(site: Site, folder: Path) -> None:
    assert text_of(folder, site.put("/page", PAGE, "text/html"), raw=True) == PAGE.decode()


@pytest.mark.parametrize(
    "media_type", ["application/json", "text/xml", "application/x-yaml", "application/octet-stream", None]
)
def test_text_of_any_type_is_given_as_it_is(site: Site, folder: Path, media_type: str | None) -> None:
    assert text_of(folder, site.put("/data", b'{"a": [1, 2]}\n', media_type)) == '{"a": [1, 2]}\n'


def test_a_page_without_a_content_type_is_known_by_its_beginning(site: Site, folder: Path) -> None:
    assert text_of(folder, site.put("/page", b"\n<HTML><body><p>hello</p>", None)) == "hello"


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        ("café".encode("latin-1"), "text/plain; charset=ISO-8859-1"),
        ("café".encode("latin-1"), "text/plain; charset=utf-8"),
        ("café".encode(), 'text/plain; charset="UTF-8"'),
        ("café".encode(), "text/plain; charset=nonsense"),
        ("café".encode(), "text/plain"),
        ("café".encode("utf-16"), "text/plain"),
        ("café".encode("utf-8-sig"), "text/plain; charset=utf-8"),
        ("<meta charset=windows-1252>café".encode("cp1252"), "text/html"),
        ("<meta charset=utf-8><p>café".encode("latin-1"), "text/html"),
    ],
)
def test_the_charset_is_right_even_where_the_server_is_wrong(
    site: Site, folder: Path, body: bytes, media_type: str
) -> None:
    assert text_of(folder, site.put("/page", body, media_type)) == "café"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"just words",
        b"<div>" * 3_000 + b"deep",
        b"<p>a<table><td>b</p></table></div></body></html><p>c",
        b"<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'><body>x</body></html>",
        b"http://looks.like/a/url",
    ],
)
def test_broken_and_odd_html_is_read_too(site: Site, folder: Path, body: bytes) -> None:
    text_of(folder, site.put("/page", body, "text/html"))


def test_a_huge_page_is_read_in_part_and_says_so(site: Site, folder: Path) -> None:
    result = fetched(folder, site.put("/page", b"<p>" + b"words " * 300_000, "text/html"))
    assert result.output is not None
    assert "`raw` shows all of its 1,800,003 characters" in result.output.read_text(encoding="utf-8")


def test_a_packed_page_is_unpacked(site: Site, folder: Path) -> None:
    url = site.put("/page", gzip.compress(b"hello"), Content_Encoding="gzip")
    assert text_of(folder, url) == "hello"
    assert site.headers[-1]["Accept-Encoding"] == "gzip"


def test_a_packed_bomb_is_cut_not_unpacked(site: Site, folder: Path) -> None:
    bomb = gzip.compress(b"a" * 60_000_000, compresslevel=1)
    result = fetched(folder, site.put("/bomb", bomb, Content_Encoding="gzip"))
    assert result.size < SIZE + 1_000


@pytest.mark.parametrize(("encoding", "words"), [("br", "packed its answer as br"), ("gzip", "but it is not")])
def test_wrong_packing_is_a_sentence(site: Site, folder: Path, encoding: str, words: str) -> None:
    assert words in failure(folder, site.put("/page", b"hello", Content_Encoding=encoding))


def test_a_long_page_is_cut_and_kept_whole_in_a_file(site: Site, folder: Path) -> None:
    page = "".join(f"line {number}\n" for number in range(20_000))
    result = fetched(folder, site.put("/long", page.encode()))
    text = result.content[0]
    assert isinstance(text, str)
    assert len(text) < TEXT + 500
    assert result.output is not None
    assert result.output.read_text(encoding="utf-8") == page
    assert result.size == len(page)
    cut = int(text.rpartition("from line ")[2].split()[0])
    assert str(result.output) in text
    assert abs(len("".join(page.splitlines(keepends=True)[:cut])) - TEXT) < 20


def test_a_body_without_end_is_read_up_to_the_size(site: Site, folder: Path) -> None:
    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "text/plain")
        request.end_headers()
        while True:
            request.wfile.write(b"abcdefghijklmno\n" * 4096)

    site.pages["/endless"] = endless
    result = fetched(folder, site.url + "/endless")
    assert result.output is not None
    assert result.output.read_text(encoding="utf-8").endswith("these 5.0 MB; the rest was not read …]")


def test_a_body_that_drips_ends_with_the_deadline(site: Site, folder: Path) -> None:
    over = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not over.wait(0.05):
            request.wfile.write(b"x")
            request.wfile.flush()

    site.pages["/drip"] = drip
    begin = time.monotonic()
    assert "took longer than 1 s" in failure(folder, site.url + "/drip", seconds=1.0)
    assert time.monotonic() - begin < 15
    over.set()


def test_an_error_page_is_an_error_with_its_status_and_some_of_its_words(site: Site, folder: Path) -> None:
    site.pages["/broken"] = answer(500, b"<p>Traceback: division by zero</p>" + b" x" * 9_000, "text/html")
    result = fetched(folder, site.url + "/broken")
    assert result.error
    text = result.content[0]
    assert isinstance(text, str)
    assert text.startswith(f"{site.url}/broken (500 Internal Server Error)\n\nTraceback: division by zero")
    assert len(text) < EXCERPT + 500
    assert fetched(folder, site.url + "/missing").content == (f"{site.url}/missing (404 Not Found)\n\nnothing here",)


def test_redirects_are_followed_and_the_last_url_is_named(site: Site, folder: Path) -> None:
    site.pages["/old"] = answer(301, Location="/older")
    site.pages["/older"] = answer(307, Location=f"{site.url}/new")
    site.put("/new", b"here")
    assert fetched(folder, site.url + "/old").content == (f"{site.url}/new\n\nhere",)


def test_a_redirect_in_a_circle_ends(site: Site, folder: Path) -> None:
    site.pages["/round"] = answer(302, Location="/round")
    assert "more than 5 times" in failure(folder, site.url + "/round")
    assert len(site.asked) == 6


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://x.example/", "http://", "http://[::1", "//169.254.169.254/latest"]
)
def test_a_redirect_to_what_is_not_fetched_is_a_sentence(site: Site, folder: Path, location: str) -> None:
    site.pages["/away"] = answer(302, Location=location)
    failure(folder, site.url + "/away")


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[fe80::1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://100.100.100.200/",
    ],
)
def test_metadata_services_are_not_reached_however_they_are_written(folder: Path, url: str) -> None:
    assert "not fetched" in failure(folder, url)


def test_a_page_outside_cannot_lead_inside(site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy plays the outside world: it answers for any host."""
    secret = site.put("/secret", b"the router's password")
    proxy = Site()
    thread = threading.Thread(target=proxy.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        monkeypatch.setenv("http_proxy", proxy.url)
        proxy.pages["http://outside.example/"] = answer(302, Location=secret)
        proxy.pages["http://outside.example/page"] = answer(200, b"through the proxy")
        assert text_of(folder, "http://outside.example/page") == "through the proxy"
        assert "inside this network" in failure(folder, "http://outside.example/")
        assert site.asked == []
        assert text_of(folder, secret) == "the router's password", "asked for directly it is fetched, without the proxy"
        assert [path for path in proxy.asked if "outside" not in path] == []
    finally:
        proxy.server.shutdown()
        proxy.server.server_close()
        thread.join(10)


def test_localhost_is_reached_by_whichever_address_answers(site: Site, folder: Path) -> None:
    site.put("/page", b"hello")
    url = site.url.replace("127.0.0.1", "localhost") + "/page"
    assert text_of(folder, url) == "hello"
    assert site.headers[-1]["Host"] == url.split("/")[2], "the server is asked by its name"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "file:///etc/passwd",
        "http://",
        "https://[",
        "ftp://a.b/",
        "http://a b/",
        "\0",
        "http://a.b:99999/",
        "http://a.b:0/",
    ],
)
def test_what_is_no_url_is_a_sentence(folder: Path, url: str) -> None:
    failure(folder, url)


def test_servers_that_are_not_there_or_speak_nonsense_are_a_sentence(site: Site, folder: Path) -> None:
    assert "no host named nowhere.invalid" in failure(folder, "http://nowhere.invalid/")
    site.pages["/nonsense"] = lambda request: request.wfile.write(b"220 hello, this is no HTTP\r\n")  # type: ignore[assignment]
    assert "Cannot fetch" in failure(folder, site.url + "/nonsense")
    assert "Cannot fetch" in failure(folder, site.url.replace("http:", "https:"))
    assert "Cannot fetch" in failure(folder, "http://127.0.0.1:1/")


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl, to make a certificate")
def test_a_certificate_is_checked_for_the_name_in_the_url(
    site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection goes to an address; the name must still be the one that is asked for and proven."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*request, *names], check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    site.server.socket = context.wrap_socket(site.server.socket, server_side=True)
    site.put("/page", b"hello")
    port = site.server.server_port

    assert "certificate verify failed" in failure(folder, f"https://localhost:{port}/page")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert text_of(folder, f"https://localhost:{port}/page") == "hello"
    assert "certificate verify failed" in failure(folder, f"https://127.0.0.1:{port}/page")


def test_an_answer_that_breaks_off_is_a_sentence(site: Site, folder: Path) -> None:
    def broken(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.end_headers()
        request.wfile.write(b"half")

    site.pages["/half"] = broken
    assert "Cannot fetch" in failure(folder, site.url + "/half")


def test_a_password_in_the_url_is_sent_but_never_shown(site: Site, folder: Path) -> None:
    site.put("/page", b"hello")
    url = site.url.replace("//", "//user:hunter2@")
    result = fetched(folder, url + "/page")
    assert site.headers[-1]["Authorization"].startswith("Basic ")
    assert "hunter2" not in str(result.content)
    assert "hunter2" not in TOOL.title(TOOL.parse({"url": url}))
    assert "hunter2" not in failure(folder, "http://user:hunter2@nowhere.invalid/")


def test_an_image_is_shown_and_fits(site: Site, folder: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (3000, 30), "teal").save(buffer, "PNG")
    content = fetched(folder, site.put("/image", buffer.getvalue(), "text/html")).content
    assert isinstance(content[1], ImageData)
    assert Image.open(io.BytesIO(content[1].data)).width == SIDE
    assert "broken" in failure(folder, site.put("/torn", buffer.getvalue()[:60], "image/png"))


def test_a_pdf_is_shown_as_its_text(site: Site, folder: Path) -> None:
    url = site.put("/paper", make_pdf("Dear reader"), "application/octet-stream")
    assert text_of(folder, url).startswith("--- page 1 of 1 ---\nDear reader\n[the PDF is kept as ")
    assert (folder / "c1.pdf").read_bytes().startswith(b"%PDF-"), "so that its other pages can be read"
    assert "not a PDF" in failure(folder, site.put("/torn", b"%PDF-1.4 rubbish", "application/pdf"))


def test_a_binary_is_refused_with_its_kind_and_size(site: Site, folder: Path) -> None:
    words = failure(folder, site.put("/zip", b"PK\x03\x04" + bytes(2_000), "application/zip"))
    assert "a ZIP archive" in words
    assert "2.0 kB" in words
    assert "application/x-thing" in failure(folder, site.put("/thing", bytes(range(256)) * 9, "application/x-thing"))


def test_a_url_that_could_carry_data_out_is_put_to_the_user(folder: Path) -> None:
    def klass(url: str) -> str:
        return TOOL.risk(TOOL.parse({"url": url}), folder).klass

    assert klass("https://docs.example/page?q=words") == "read"
    assert klass("https://evil.example/?" + "x" * 3_000) == "confirm"


def test_the_description_is_cheap() -> None:
    assert len(TOOL.description) + len(msgspec.json.encode(TOOL.schema)) <= 800
