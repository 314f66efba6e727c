"""Images that a model endpoint takes: one of four formats, a bounded side, a bounded size.

The bounds follow Anthropic's guide to vision: a longer side than 1,568 px is only scaled down at the other
end, and more than 5 MB (in Base64) is refused, on this request and on every later one of the session.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFile import ImageFile

SIDE = 1568
"""The longest side of an image, in pixels."""

SIZE = 3_500_000
"""The most bytes of an image."""

PIXELS = 100_000_000
"""A file that unpacks to more pixels than this is refused unopened: a few kB of PNG can ask for gigabytes."""

MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif", "WEBP": "image/webp"}
"""The formats that endpoints take, by their names in Pillow."""

JPEG_QUALITY = 85
"""Pure black-and-white noise of `SIDE` × `SIDE` pixels takes 2.3 MB at this quality, so that all images fit."""


class ImageError(Exception):
    """The image cannot be shown to a model; the message is one sentence."""


def media_type_of(data: bytes) -> str | None:
    """Return the media type of an image that endpoints take, by its first bytes; None: it is none of these."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def fit(data: bytes, media_type: str) -> tuple[bytes, str]:
    """Return the image, and its media type, as an endpoint takes it: unchanged where it already fits.

    `media_type` is what its source calls it; what counts is what it is. An animation is shown by its first
    frame. It may take a second: call it in a thread. Raises `ImageError` where the data is broken,
    of another format, or unpacks to more than `PIXELS`.
    """
    from PIL import Image, UnidentifiedImageError  # 22 ms, and most sessions see no image

    # Its own limit is a warning, printed into the user's terminal; ours is below.
    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(io.BytesIO(data), formats=list(MEDIA_TYPES)) as image:
            if image.width * image.height > PIXELS:
                raise ImageError(f"The image has {image.width:,} × {image.height:,} pixels, more than can be shown.")
            if _fits(image, len(data)):
                image.load()  # a torn image would make the endpoint refuse the whole session
                return data, MEDIA_TYPES[image.format or ""]
            return _encode(_shrink(image), photo=image.format not in ("PNG", "GIF"))
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"The data ({media_type}, {len(data):,} bytes) is no PNG, JPEG, GIF or WebP image.") from None
    except Exception as error:  # a broken file surfaces as nearly any exception of its decoder
        raise ImageError(f"The image is broken: {str(error).rstrip('.') or type(error).__name__}.") from None


def _fits(image: ImageFile, size: int) -> bool:
    return (
        image.format in MEDIA_TYPES
        and max(image.size) <= SIDE
        and size <= SIZE
        and image.mode != "CMYK"
        and getattr(image, "n_frames", 1) == 1
        and _upright(image)
    )


def _upright(image: Image.Image) -> bool:
    from PIL.ExifTags import Base

    orientation: int = image.getexif().get(Base.Orientation, 1)
    return orientation == 1


def _shrink(image: ImageFile) -> Image.Image:
    """Return the first frame: eight bits per channel, grey, RGB or RGBA, upright, within `SIDE`, nothing but pixels."""
    from PIL import Image, ImageOps

    image.draft("RGB", (SIDE, SIDE))  # a JPEG is decoded at a fraction of its size where that is enough
    plain = image.convert(_mode(image)) if image.mode != "I;16" else image.point(lambda value: value / 256).convert("L")
    plain = ImageOps.exif_transpose(plain)
    plain.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    plain.info.clear()  # a profile of CMYK would make a broken RGB image
    return plain


def _mode(image: Image.Image) -> str:
    if image.has_transparency_data:
        return "RGBA"
    return "L" if image.mode in ("1", "L") else "RGB"


def _encode(image: Image.Image, *, photo: bool) -> tuple[bytes, str]:
    """Return the image as PNG, which keeps text sharp; a photograph, or what is too large as PNG, as JPEG."""
    if not photo or image.mode == "RGBA":
        data = _save(image, "PNG")
        if len(data) <= SIZE:
            return data, "image/png"
    return _save(_flat(image), "JPEG", quality=JPEG_QUALITY), "image/jpeg"


def _flat(image: Image.Image) -> Image.Image:
    """Return the image on white, since JPEG has no transparency."""
    if image.mode != "RGBA":
        return image
    from PIL import Image

    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


def _save(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
