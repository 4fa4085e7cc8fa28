"""Inspect's chat messages as plain turns with decoded images."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inspect_ai.model import ContentImage, ContentReasoning, ContentText

from defake.errors import BadConfig, BadImage
from defake.images import Picture, read_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inspect_ai.model import ChatMessage


@dataclass(frozen=True, slots=True)
class Turn:
    """One message: its texts in order and how many images stand before them."""

    role: str
    texts: tuple[str, ...]
    images: int = 0


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns and, in order, the encoded images they speak of, each with its SHA-256."""

    turns: tuple[Turn, ...]
    images: tuple[bytes, ...] = ()

    @property
    def digests(self) -> tuple[str, ...]:
        """SHA-256 of each image: what makes two conversations speak of the same ones."""
        return tuple(hashlib.sha256(content).hexdigest() for content in self.images)

    @property
    def question(self) -> str:
        """The text of the last user turn."""
        return next(("\n".join(turn.texts) for turn in reversed(self.turns) if turn.role == "user"), "")


def read_messages(messages: Sequence[ChatMessage]) -> Conversation:
    """The conversation of a list of messages.

    Within a turn images come before text, whatever order they were sent in: most chat templates write them so, and the
    text after an image can then be changed without encoding the image again.

    Raises: BadConfig for audio, video, documents, tool calls and images behind a network address; BadImage for a
    malformed data URI.
    """
    turns, images = [], []
    for message in messages:
        parts = [ContentText(text=message.content)] if isinstance(message.content, str) else message.content
        texts, count = [], 0
        for part in parts:
            if isinstance(part, ContentText):
                texts.append(part.text)
            elif isinstance(part, ContentImage):
                images.append(image_bytes(part.image))
                count += 1
            elif not isinstance(part, ContentReasoning):
                raise BadConfig(f"a local model reads text and images, but got {type(part).__name__} in a message")
        if message.role not in ("system", "user", "assistant"):
            raise BadConfig(f"a local model reads system, user and assistant messages, but got {message.role!r}")
        turns.append(Turn(message.role, tuple(texts), count))
    return Conversation(tuple(turns), tuple(images))


def image_bytes(source: str) -> bytes:
    """The file behind a data URI or a path.

    Raises: BadConfig for a network address; BadImage for a malformed data URI or a file that cannot be read.
    """
    if source.startswith("data:"):
        _, comma, payload = source.partition(",")
        try:
            return base64.b64decode(payload, validate=True) if comma else b""
        except (binascii.Error, ValueError) as error:
            raise BadImage("unreadable", f"an image's data URI is not base64: {error}") from error
    if "://" in source:
        raise BadConfig(f"a local model fetches nothing: give the image as a file or data URI, not {source[:80]!r}")
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise BadImage("missing", f"cannot read the image {source!r}: {error.strerror}") from error


def pictures(conversation: Conversation) -> list[Picture]:
    """The decoded images of a conversation.

    Raises: BadImage.
    """
    return [read_image(content) for content in conversation.images]
