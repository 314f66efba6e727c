from __future__ import annotations

import io
import random
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deskhand.images import PIXELS, SIDE, SIZE, ImageError, fit, media_type_of


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def noise(width: int, height: int) -> Image.Image:
    return Image.frombytes("RGB", (width, height), random.Random(7).randbytes(width * height * 3))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_an_image_that_fits_is_passed_on_byte_for_byte(kind: str) -> None:
    data = encoded(Image.new("RGB", (40, 30), "teal"), kind)
    assert media_type_of(data) == f"image/{kind.lower()}"
    assert fit(data, "image/png") == (data, f"image/{kind.lower()}")


def test_text_is_no_image() -> None:
    assert media_type_of(b"hello") is None
    assert media_type_of(b"") is None
    assert media_type_of(b"BM" + bytes(60)) is None


def test_a_large_image_is_shrunk_to_the_side_and_keeps_its_shape() -> None:
    """Lesson 23 (T): an oversized image would poison the context for good."""
    data, media_type = fit(encoded(Image.new("RGB", (4000, 1000), "teal"), "PNG"), "image/png")
    assert media_type == "image/png"
    assert opened(data).size == (SIDE, SIDE // 4)


def test_an_image_with_too_many_bytes_becomes_a_jpeg_within_the_size() -> None:
    """Lesson 23 (T): within the side already, yet 7 MB of PNG."""
    large = encoded(noise(SIDE, SIDE), "PNG")
    assert len(large) > SIZE
    data, media_type = fit(large, "image/png")
    assert media_type == "image/jpeg"
    assert len(data) <= SIZE
    assert opened(data).size == (SIDE, SIDE)


@given(
    size=st.tuples(st.integers(1, 2500), st.integers(1, 2500)),
    mode=st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]),
)
@settings(max_examples=25, deadline=None)
def test_every_png_of_any_mode_and_shape_comes_out_readable_and_within_the_bounds(
    size: tuple[int, int], mode: str
) -> None:
    data, media_type = fit(encoded(Image.new(mode, size), "PNG"), "image/png")
    image = opened(data)
    assert max(image.size) <= SIDE
    assert min(image.size) >= 1
    assert len(data) <= SIZE
    assert media_type == media_type_of(data)


def test_transparency_survives() -> None:
    palette = Image.new("P", (2000, 20), 0)
    data, _ = fit(encoded(palette, "PNG", transparency=0), "image/png")
    assert opened(data).getpixel((5, 5)) == (0, 0, 0, 0)


def test_sixteen_bits_of_grey_are_scaled_not_clipped() -> None:
    grey = Image.new("I;16", (2000, 20), 0x8000)
    data, _ = fit(encoded(grey, "PNG"), "image/png")
    assert opened(data).getpixel((5, 5)) == 0x80


def test_a_cmyk_jpeg_becomes_rgb() -> None:
    data, media_type = fit(encoded(Image.new("CMYK", (30, 20), (255, 0, 0, 0)), "JPEG"), "image/jpeg")
    assert media_type == "image/jpeg"
    assert opened(data).mode == "RGB"


def test_a_photograph_is_turned_upright_and_loses_its_metadata() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a camera's maker"
    data, _ = fit(encoded(Image.new("RGB", (30, 20)), "JPEG", exif=exif), "image/jpeg")
    assert opened(data).size == (20, 30)
    assert not opened(data).getexif()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_shown_by_its_first_frame(kind: str) -> None:
    first, second = Image.new("RGB", (20, 20), "red"), Image.new("RGB", (20, 20), "blue")
    data, _ = fit(encoded(first, kind, save_all=True, append_images=[second]), "image/gif")
    image = opened(data)
    assert getattr(image, "n_frames", 1) == 1
    red, _green, blue = image.convert("RGB").getpixel((10, 10))  # type: ignore[misc]
    assert red > 200
    assert blue < 50


def test_a_bomb_is_refused_unopened() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    side = 60_000
    assert side * side > PIXELS
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    bomb += chunk(b"IDAT", zlib.compress(bytes(100_000))) + chunk(b"IEND", b"")
    with pytest.raises(ImageError, match="60,000 × 60,000"):
        fit(bomb, "image/png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("part", [20, 500, 5000])
def test_a_torn_image_is_one_sentence(kind: str, part: int) -> None:
    torn = encoded(noise(200, 200), kind)[:part]
    with pytest.raises(ImageError) as raised:
        fit(torn, "image/png")
    assert "\n" not in str(raised.value)


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF0000WEBP"])
)
@settings(max_examples=100, deadline=None)
def test_rubbish_is_an_image_error_and_nothing_else(rubbish: bytes, magic: bytes) -> None:
    try:
        data, media_type = fit(magic + rubbish, "image/png")
    except ImageError:
        return
    assert media_type == media_type_of(data)


def test_an_image_of_another_format_is_named_in_the_error() -> None:
    with pytest.raises(ImageError, match=r"image/tiff.*no PNG, JPEG, GIF or WebP"):
        fit(encoded(Image.new("RGB", (4, 4)), "TIFF"), "image/tiff")
