"""JSON answers."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from ccflare.records import refuse_secrets

UNKEPT = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
"""What people see is of the moment and their own: nobody keeps it."""


def encode(content: Any) -> bytes:
    """Return the JSON of an answer. Raises TypeError for what has no JSON form, secrets above all."""
    return msgspec.json.encode(content, enc_hook=refuse_secrets)


class JsonResponse(Response):
    """Encodes with msgspec; a secret has no JSON form and makes the answer fail instead of leak.

    Bytes are JSON already.
    """

    media_type = "application/json"

    def __init__(self, content: Any, status_code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(content, status_code, {**UNKEPT, **(headers or {})})

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return content if isinstance(content, bytes) else encode(content)
