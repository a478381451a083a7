"""A kept body as people read it: without its content coding, as text where it is text."""

from base64 import b64encode
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ccflare.coding import decoder
from ccflare.payload import Content

SHOWN_BYTES = 4 * 1024 * 1024
"""Longest body that is shown; a kept one has a quarter of that, unless it is compressed."""


class BodyView(msgspec.Struct, frozen=True, kw_only=True):
    """A body."""

    content: str
    encoding: Annotated[Literal["text", "base64"], Meta(description="How `content` stands for the bytes.")]
    decoded: Annotated[str | None, Meta(description="The content coding that was taken off; null: none.")]
    length: Annotated[int, Meta(description="Bytes on the wire, with the content coding.")]
    kept: Annotated[int, Meta(description="How many of them were kept.")]
    truncated: Annotated[bool, Meta(description="`content` is not the whole body.")]


def body_view(body: Content, headers: Iterable[tuple[str, str]]) -> BodyView:
    """Show a body. What cannot be decoded is shown as it was on the wire."""
    coding = next((value for name, value in headers if name.lower() == "content-encoding"), "identity").strip().lower()
    plain, whole = _decoded(body, coding)
    decoded = coding if plain is not None and coding != "identity" else None
    data = body.data if plain is None else plain
    text = _text(data, cut=body.truncated or not whole)
    return BodyView(
        content=b64encode(data).decode("ascii") if text is None else text,
        encoding="base64" if text is None else "text",
        decoded=decoded,
        length=body.length,
        kept=len(body.data),
        truncated=body.truncated or not whole,
    )


def _decoded(body: Content, coding: str) -> tuple[bytes | None, bool]:
    """Return the body without its coding, None when that cannot be had; and whether that is all of it."""
    found = decoder(coding.encode("latin-1", "replace"), SHOWN_BYTES)
    if found is None:
        return None, True
    plain = found.feed(body.data)
    if not found.broken:
        return plain, True
    return (plain, False) if plain else (None, True)


def _text(data: bytes, *, cut: bool) -> str | None:
    """Return bytes as text, None when they are none. A character that was cut through is left out."""
    for end in range(4 if cut else 1):
        try:
            return data[: len(data) - end].decode("utf-8")
        except UnicodeDecodeError as error:
            if error.start < len(data) - 4:
                return None
    return None
