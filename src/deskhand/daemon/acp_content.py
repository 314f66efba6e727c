"""What a prompt of the protocol becomes in the journal: text as it is, images fitted, resources named and quoted."""

from __future__ import annotations

import asyncio
import binascii
import hashlib
from base64 import b64decode

from deskhand.daemon.acp_params import (
    AudioContent,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    Resource,
    ResourceLink,
    TextContent,
)
from deskhand.images import ImageError, fit, media_type_of
from deskhand.journal.blocks import Image, PromptBlock, Text

Blobs = dict[str, tuple[str, bytes]]


class UnusableContent(Exception):
    """A block of the prompt cannot be taken; the message is one sentence for the user."""


async def read_prompt(content: tuple[ContentBlock, ...]) -> tuple[tuple[PromptBlock, ...], Blobs]:
    """Return the prompt as the journal has it, and the blobs that it names. Raises `UnusableContent`."""
    blobs: Blobs = {}
    prompt = [await _block(block, blobs) for block in content]
    if not any(isinstance(block, Image) or block.text.strip() for block in prompt):
        raise UnusableContent("The prompt is empty: send some text or an image.")
    return tuple(prompt), blobs


async def _block(block: ContentBlock, blobs: Blobs) -> PromptBlock:
    match block:
        case TextContent(text):
            return Text(text)
        case ImageContent(data, media_type):
            return await _image(data, media_type, blobs)
        case ResourceLink(uri, name):
            return Text(f"[{name}]({uri})")
        case EmbeddedResource(resource):
            return await _resource(resource, blobs)
        case AudioContent():
            raise UnusableContent("Sound cannot be sent to the model: send text or images.")


async def _resource(resource: Resource, blobs: Blobs) -> PromptBlock:
    """Quote what the editor sent along; it is the user's own choice, and fresher than what is on the disk."""
    if resource.text is not None:
        return Text(f"<attached {resource.uri}>\n{resource.text}\n</attached {resource.uri}>")
    if (resource.mime_type or "").startswith("image/"):
        return await _image(resource.blob or "", resource.mime_type or "", blobs)
    return Text(f"[attached, and not text: {resource.uri}]")


async def _image(data: str, media_type: str, blobs: Blobs) -> PromptBlock:
    try:
        raw = b64decode(data, validate=True)
        fitted, media_type = await asyncio.to_thread(fit, raw, media_type_of(raw) or media_type)
    except (binascii.Error, ImageError) as error:
        raise UnusableContent(f"An image of the prompt cannot be used: {error}") from None
    digest = hashlib.sha256(fitted).hexdigest()
    blobs[digest] = (media_type, fitted)
    return Image(media_type, digest)
