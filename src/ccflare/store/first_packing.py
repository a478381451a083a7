"""Payloads as they were packed up to the ninth schema: they are read as long as retention keeps them.

Head and bodies were a zstd frame each, head and request compressed with those of an earlier payload as prefix.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import zstandard

from ccflare.payload import MAX_BODY_BYTES, Content, Payload, field_lines

if TYPE_CHECKING:
    from ccflare.store.packing import Packed

_MAX_HEAD_BYTES: Final = 4 * 1024 * 1024


class Head(msgspec.Struct, frozen=True, array_like=True):
    """Everything of a payload but its bodies, as it is stored."""

    session: str | None
    target: str
    request_headers: tuple[tuple[str, str], ...]
    request_length: int
    status: int | None
    response_headers: tuple[tuple[str, str], ...]
    response_length: int


def unpack(chain: Sequence["Packed"]) -> Payload:
    """Return the last payload of a chain. Raises ZstdError, MsgspecError or ValueError when it is damaged."""
    last, encoded, request = chain[-1], b"", b""
    for each in chain:
        encoded = _decompress(each.frame, encoded, _MAX_HEAD_BYTES)
        request = b"" if each.request is None else _decompress(each.request, request, MAX_BODY_BYTES)
    response = b"" if last.response is None else _decompress(last.response, b"", MAX_BODY_BYTES)
    head = msgspec.json.decode(encoded, type=Head)
    return Payload(
        id=last.id,
        timestamp_ms=last.timestamp_ms,
        session=head.session,
        target=head.target,
        request_head=field_lines(head.request_headers),
        request=Content(request, head.request_length),
        status=head.status,
        response_head=field_lines(head.response_headers),
        response=Content(response, head.response_length),
    )


def _decompress(data: bytes, prefix: bytes, at_most: int) -> bytes:
    if not 0 <= zstandard.frame_content_size(data) <= at_most:
        raise ValueError("its size is not known or too large")
    dictionary = zstandard.ZstdCompressionDict(prefix, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if prefix else None
    return zstandard.ZstdDecompressor(dict_data=dictionary).decompress(data)
