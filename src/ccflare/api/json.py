"""JSON answers."""

from typing import Any

import msgspec
from starlette.responses import Response

from ccflare.records import refuse_secrets


class JsonResponse(Response):
    """Encodes with msgspec; a secret has no JSON form and makes the answer fail instead of leak."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return msgspec.json.encode(content, enc_hook=refuse_secrets)
