"""`fetch`: a URL as something a model can read. Whatever comes back is from outside, and marked as such."""

from __future__ import annotations

import asyncio
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from deskhand import __version__
from deskhand.images import ImageError, fit, media_type_of
from deskhand.seam.risk import READ, Risk
from deskhand.tools.addresses import Route, route_to
from deskhand.tools.base import NOTHING, CallContext, ImageData, ToolError, ToolResult, built_in
from deskhand.tools.pdf import pdf_text
from deskhand.tools.text import binary_type, detect, human_size, visible
from deskhand.tools.webpage import readable

if TYPE_CHECKING:
    from httpx2 import URL, AsyncClient, Response

SECONDS = 30.0
"""For everything: names, connections, redirects, the body and its conversion."""

CONNECT = 6.0
"""Seconds for one address of a host; the next is tried after that."""

REDIRECTS = 5

SIZE = 5_000_000
"""Bytes of a body that are read, unpacked."""

TEXT = 30_000
"""Characters of a page that the model is shown."""

HTML = 1_500_000
"""Characters of HTML that are made into Markdown: it takes some seconds."""

EXCERPT = 2_000
"""Characters of an error page."""

LONG_URL = 2_000
"""Characters of a URL from which on it is taken for a way to carry data out."""


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    raw: bool = False


class Page(msgspec.Struct, frozen=True):
    """What a server answered: the body unpacked, and `whole` unless it went on after `SIZE`."""

    url: str
    status: str
    failed: bool
    media_type: str
    charset: str | None
    body: bytes
    whole: bool


async def run(arguments: Parameters, context: CallContext) -> ToolResult:
    """Get the page and put it into words, within `SECONDS` or the call's own limit."""
    seconds = min(SECONDS, context.call_limits[1])
    try:
        async with asyncio.timeout(seconds):
            url = await asyncio.to_thread(_parse, arguments.url)  # the first one imports the HTTP client
            page = await _get(url, context)
            content = await asyncio.to_thread(_content, page, arguments.raw, context)
            return await asyncio.to_thread(_result, page, content, context)
    except TimeoutError:
        raise ToolError(
            f"{_shown(arguments.url)} took longer than {seconds:.0f} s: try again, or do without."
        ) from None


def _parse(text: str) -> URL:
    import httpx2  # 80–200 ms, and only for who fetches

    try:
        url = httpx2.URL(text.strip())
    except (httpx2.InvalidURL, ValueError) as error:
        raise ToolError(f"{_shown(text)} is not a URL: {str(error).rstrip('.')}.") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ToolError(f"{_shown(text)} is not a URL that can be fetched: write it in full, with http:// or https://.")
    if url.port is not None and not 0 < url.port < 65_536:
        raise ToolError(f"{_shown(text)} is not a URL that can be fetched: ports go from 1 to 65535.")
    return url


def _shown(url: str) -> str:
    """Return the URL for people and logs: without a password, and not too long."""
    clean = re.sub(r"//[^/?#\\]*@", "//", visible(url))
    return clean if len(clean) <= 200 else f"{clean[:200]}…"


async def _get(url: URL, context: CallContext) -> Page:
    """Ask for `url`, and for where it leads to. Each step's address is looked at before it is asked."""
    outside = False
    for _ in range(REDIRECTS + 1):
        port = url.port or (443 if url.scheme == "https" else 80)
        route = await route_to(url.scheme, url.raw_host.decode("ascii"), port, from_outside=outside)
        outside = outside or route.outside
        answer = await _ask(url, route, context)
        if isinstance(answer, Page):
            return answer
        url = _parse(answer)
    raise ToolError(f"{_shown(str(url))} redirects again and again: more than {REDIRECTS} times.")


async def _ask(url: URL, route: Route, context: CallContext) -> Page | str:
    """Return the page, or the URL that it redirects to, from the first address that takes a connection."""
    import httpx2

    name = url.raw_host.decode("ascii")
    reason = ""
    for address in route.addresses:
        try:
            async with (
                _client(route.proxy) as client,
                client.stream(
                    "GET",
                    url.copy_with(host=address),
                    headers={"Host": url.netloc.decode("ascii")},
                    extensions={"sni_hostname": name},
                ) as response,
            ):
                if response.has_redirect_location:
                    return str(url.join(response.headers["location"]))
                return await _page(url, response, context)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            reason = _reason(error)
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            reason = _reason(error)
            break
    raise ToolError(f"Cannot fetch {_shown(str(url))}: {reason}.")


def _client(proxy: str | None) -> AsyncClient:
    import httpx2

    headers = {
        "User-Agent": f"deskhand/{__version__}",
        "Accept": "text/markdown, text/html;q=0.9, */*;q=0.8",
        "Accept-Encoding": "gzip",
    }
    try:
        return httpx2.AsyncClient(
            headers=headers,
            proxy=proxy,
            # The proxy was chosen by the route; of the environment only the certificates are still wanted.
            trust_env=False,
            verify=httpx2.create_ssl_context(),
            timeout=httpx2.Timeout(SECONDS, connect=CONNECT),
        )
    except (ImportError, ValueError) as error:
        raise ToolError(f"The proxy that the environment names cannot be used: {_reason(error)}.") from None


def _reason(error: Exception) -> str:
    import httpx2

    if isinstance(error, httpx2.ConnectTimeout):
        return f"no connection within {CONNECT:.0f} s"
    words = " ".join(re.sub(r"\(_ssl\.c:\d+\)", "", str(error)).split())
    return visible(words)[:300].rstrip(".") or type(error).__name__


async def _page(url: URL, response: Response, context: CallContext) -> Page:
    body, whole = await _body(response, context)
    media_type, _, rest = response.headers.get("content-type", "").partition(";")
    charset = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", rest, re.IGNORECASE)
    return Page(
        url=str(url),
        status=f"{response.status_code} {visible(response.reason_phrase)[:100]}".strip(),
        failed=response.is_error,
        media_type=media_type.strip().lower(),
        charset=charset[1] if charset else None,
        body=body,
        whole=whole,
    )


async def _body(response: Response, context: CallContext) -> tuple[bytes, bool]:
    """Read and unpack the body, up to `SIZE`: what is packed may unpack to a thousand times its size."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "x-gzip"):
        raise ToolError(f"The server packed its answer as {visible(encoding)[:40]}, though only gzip was asked for.")
    unpacker = zlib.decompressobj(wbits=31) if encoding.endswith("gzip") else None
    body = bytearray()
    async for chunk in response.aiter_raw():
        context.progress()
        try:
            body += unpacker.decompress(chunk, SIZE + 1 - len(body)) if unpacker else chunk
        except zlib.error:
            raise ToolError("The server says that its answer is gzip, but it is not.") from None
        if len(body) > SIZE:
            return bytes(body[:SIZE]), False
    return bytes(body), True


def _content(page: Page, raw: bool, context: CallContext) -> str | ImageData:
    """Return the page as text or an image. Raises `ToolError` where it is neither."""
    if page.media_type == "application/pdf" or page.body.startswith(b"%PDF-"):
        text = pdf_text(_all_of(page))
        kept = _keep(page.body, context.outputs / f"{context.call}.pdf")
        return f"{text}\n[the PDF is kept as {kept}, where read shows any of its pages]"
    image_type = media_type_of(page.body)
    if image_type:
        try:
            return ImageData(*fit(_all_of(page), image_type))
        except ImageError as error:
            raise ToolError(f"{_shown(page.url)}: {error}") from None
    text = _decode(page)
    if raw or not _is_html(page):
        return visible(text.replace("\r\n", "\n"))
    if len(text) <= HTML:
        return readable(text)
    return f"{readable(text[:HTML])}\n[… the page goes on: `raw` shows all of its {len(text):,} characters …]"


def _all_of(page: Page) -> bytes:
    if not page.whole:
        raise ToolError(f"{_shown(page.url)} is larger than {human_size(SIZE)}: download it with a command (curl -o).")
    return page.body


def _is_html(page: Page) -> bool:
    if page.media_type:
        return page.media_type in ("text/html", "application/xhtml+xml")
    start = page.body[:1000].lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html"))


def _decode(page: Page) -> str:
    """Decode the body as the server or the page itself says, else as its bytes say.

    Raises `ToolError` for a binary.
    """
    declared = re.search(rb"<meta[^>]+charset\s*=\s*[\"']?([\w.:-]+)", page.body[:4096], re.IGNORECASE)
    for charset in (page.charset, declared[1].decode("ascii", "replace") if declared and _is_html(page) else None):
        text = _decode_as(page.body, charset) if charset else None
        if text is not None:
            return text
    encoding = detect(page.body, whole=page.whole)
    if encoding is not None:
        return encoding.decode(page.body)
    if page.failed:
        return ""  # the status says enough
    kind = binary_type(page.body) or page.media_type or "binary data"
    size = human_size(len(page.body)) if page.whole else f"more than {human_size(SIZE)}"
    raise ToolError(f"{_shown(page.url)} is {kind}, {size}, and no text: download it with a command (curl -o).")


def _decode_as(body: bytes, charset: str) -> str | None:
    """Return the text, or None where that charset is unknown or wrong."""
    if charset.lower() in ("iso-8859-1", "latin1", "latin-1", "us-ascii", "ascii"):
        charset = "cp1252"  # the WHATWG's Encoding Standard: this is what pages mean by these
    try:
        text = body.decode(charset)
        text.encode()  # some decoders give half a surrogate pair, which no JSON can hold
    except (LookupError, ValueError):
        return None
    return None if "\0" in text else text.removeprefix("\ufeff")


def _result(page: Page, content: str | ImageData, context: CallContext) -> ToolResult:
    heading = f"{_shown(page.url)} ({page.status})" if page.failed else _shown(page.url)
    if isinstance(content, ImageData):
        return ToolResult((heading, content), error=page.failed, outside=True, size=len(page.body))
    if not page.whole:
        content += f"\n[… the page goes on after these {human_size(SIZE)}; the rest was not read …]"
    limit = EXCERPT if page.failed else TEXT
    size = len(content.encode("utf-8", "replace"))
    if len(content) <= limit:
        return ToolResult((f"{heading}\n\n{content}",), error=page.failed, outside=True, size=size)
    output = _keep(content.encode("utf-8", "replace"), context.outputs / f"{context.call}.txt")
    shown = content[:limit]
    rest = f"[… {len(content) - limit:,} characters more, from line {shown.count(chr(10)) + 1} of {output} …]"
    return ToolResult((f"{heading}\n\n{shown}\n{rest}",), error=page.failed, outside=True, output=output, size=size)


def _keep(data: bytes, path: Path) -> Path:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ToolError(f"Cannot keep the page in {path}: {error.strerror}.") from None
    return path


def _risk(arguments: Parameters, _cwd: Path) -> Risk:
    if len(arguments.url) > LONG_URL:
        return Risk("confirm", f"a URL of {len(arguments.url):,} characters can carry data out")
    return READ


TOOL = built_in(
    __file__,
    Parameters,
    kind="fetch",
    run=run,
    risk=_risk,
    resources=lambda arguments, cwd: NOTHING,
    title=lambda arguments: f"Fetch {_shown(arguments.url)}",
)
