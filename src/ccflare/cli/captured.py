"""What was said in an exchange, for people and for programs."""

from typing import TYPE_CHECKING, Any

from ccflare.cli.output import clean

if TYPE_CHECKING:
    from ccflare.payload import Content, Payload

_LONGEST_TEXT = 16 * 1024 * 1024


def payload_object(payload: "Payload") -> dict[str, Any]:
    """Return what was captured as JSON has it: bodies as text where they are text, else in base64."""
    return {
        "target": payload.target,
        "request": _message(payload.request_headers, payload.request),
        "status": payload.status,
        "response": _message(payload.response_headers, payload.response),
    }


def _message(headers: tuple[tuple[str, str], ...], body: "Content") -> dict[str, Any]:
    from base64 import b64encode

    text = _text(headers, body)
    return {
        "headers": [list(each) for each in headers],
        "body": text,
        "body_base64": b64encode(body.data).decode() if text is None else None,
        "body_bytes": body.length,
        "truncated": body.truncated,
    }


def _text(headers: tuple[tuple[str, str], ...], body: "Content") -> str | None:
    """Return a body as text, without its content coding; None when it is no text."""
    from codecs import getincrementaldecoder

    from ccflare.coding import decoder

    coding = next((value for name, value in headers if name.lower() == "content-encoding"), "identity")
    reader = decoder(coding.encode(), _LONGEST_TEXT)
    data = reader.feed(body.data) if reader else b""
    if reader is None or (reader.broken and not data):
        return None
    try:
        return getincrementaldecoder("utf-8")().decode(data, final=not body.truncated)
    except UnicodeDecodeError:
        return None


def print_payload(payload: "Payload") -> None:
    """Print heads and bodies as they were sent, bodies without their content coding."""
    parts = (
        (f"Request to {payload.target}", payload.request_headers, payload.request),
        (f"Answer with status {payload.status or '-'}", payload.response_headers, payload.response),
    )
    for title, headers, body in parts:
        print(f"\n{clean(title)}")
        for name, value in headers:
            print(clean(f"  {name}: {value}"))
        text = _text(headers, body)
        lines = [f"({body.length} bytes that are no text)"] if text is None else text.split("\n")
        print("\n".join(["", *map(clean, lines)]))
        if body.truncated:
            print(f"(cut; there were {body.length} bytes)")
