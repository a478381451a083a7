"""Writes the OpenAPI document of this version's API to standard output: what the dashboard's types are made of."""

import sys

from ccflare.api import ROUTES
from ccflare.api.json import encode
from ccflare.api.openapi import document


def described() -> bytes:
    """Return the document without the program's version: a release alone changes no type."""
    found = document(ROUTES)
    return encode(found | {"info": found["info"] | {"version": "any"}}) + b"\n"


if __name__ == "__main__":
    sys.stdout.buffer.write(described())
