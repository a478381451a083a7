"""The OpenAPI 3.1 document, made of the route table: nothing in it is written a second time."""

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, TypeAlias

import msgspec

from ccflare import __version__
from ccflare.api.reading import CONTROLS, LONGEST_PARAMETER
from ccflare.api.refusals import Refusal
from ccflare.api.route import Route
from ccflare.records import SESSION_COOKIE, Secret

Json: TypeAlias = dict[str, Any]

_REF = "#/components/schemas/{name}"
_ANY = (400, 403, 500)
"""What every route may refuse with: a bad request, a foreign web site, a defect."""
_WITH_BODY = (413, 415)
_MEANINGS = {
    400: "The request is not what the route takes; `details` names the part to blame.",
    401: "A client key is needed, and there is none, or none that is valid.",
    403: "The request came from another web site, for another host, or with a key of another role.",
    404: "What the request names does not exist.",
    409: "The request clashes with what exists.",
    413: "The body is too long.",
    415: "The body is not JSON, or its content type does not say so.",
    500: "A defect; the log has more.",
    502: "The provider's endpoint gave no usable answer.",
    503: "The database, or a place for a stream, is not free; try again.",
}

_SECURITY: Json = {
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "A client key."},
    "bearer": {"type": "http", "scheme": "bearer", "description": "The same."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": SESSION_COOKIE,
        "description": "Of `POST /api/session`; with the port behind it where there is one.",
    },
}
"""How callers prove themselves, once client keys are needed."""

_LAST_EVENT_ID: Json = {
    "name": "last-event-id",
    "in": "header",
    "required": False,
    "description": "Go on behind the event with this id; browsers send it by themselves.",
    "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"},
}


def document(routes: Sequence[Route]) -> Json:
    """Return the document for the routes, in their order."""
    kinds = _kinds(routes)
    found, components = msgspec.json.schema_components(kinds, schema_hook=_schema_of, ref_template=_REF)
    schemas = dict(zip(map(id, kinds), found, strict=True))
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas, components)
    for kind in {route.parameters for route in routes}:
        components.pop(kind.__name__, None)
    return {
        "openapi": "3.1.0",
        "info": {"title": "ccflare", "version": __version__, "description": "The API for people and tools."},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": _SECURITY},
    }


def _kinds(routes: Sequence[Route]) -> list[Any]:
    kinds: list[Any] = [Refusal]
    for route in routes:
        kinds += [route.parameters, route.answer]
        if route.body is not None:
            kinds.append(route.body)
    return kinds


def _schema_of(kind: type) -> Json:
    if kind is Secret:
        return {"type": "string", "format": "password", "pattern": "^[!-~]+$", "writeOnly": True}
    raise TypeError(f"{kind.__name__} has no JSON form")


def _operation(route: Route, schemas: dict[int, Json], components: dict[str, Json]) -> Json:
    summary, _, more = route.description.partition("\n")
    operation: Json = {
        "operationId": route.function.__name__,
        "tags": [route.tag],
        "summary": summary.removesuffix("."),
        "parameters": list(_parameters(route, components[route.parameters.__name__])),
        "responses": _responses(route, schemas),
    }
    if route.access != "anyone":
        operation["security"] = [{}, *({name: []} for name in _SECURITY)]
    if more.strip():
        operation["description"] = more.strip()
    if route.body is not None:
        schema = schemas[id(route.body)]
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _parameters(route: Route, schema: Json) -> Iterable[Json]:
    for name, described in schema["properties"].items():
        inner = _without_null(described)
        place = "path" if name in route.path_names else "query"
        yield {
            "name": name,
            "in": place,
            "required": name in schema["required"],
            "description": inner.pop("description", described.get("description", "")),
            "schema": inner,
        }
    if route.streams:
        yield _LAST_EVENT_ID


def _without_null(schema: Json) -> Json:
    """Return the schema of a parameter: one that is left out is null in the struct, but no text means null."""
    schema = dict(schema)
    if schema.get("default", 0) is None:
        del schema["default"]
    choices = [choice for choice in schema.pop("anyOf", []) if choice != {"type": "null"}]
    for choice in choices:
        schema = {**choice, **schema}
    if "enum" in schema:
        schema["enum"] = [choice for choice in schema["enum"] if choice is not None]
    elif schema.get("type") == "string":
        schema = {"minLength": 1, "maxLength": LONGEST_PARAMETER, "pattern": f"^[^{CONTROLS}]+$", **schema}
    return schema


def _responses(route: Route, schemas: dict[int, Json]) -> Json:
    media_types = ("text/event-stream",) if route.streams else route.media_types
    content: Json = {media_type: {"schema": schemas[id(route.answer)]} for media_type in media_types}
    summary = route.description.partition("\n")[0]
    answers: Json = {str(route.status): {"description": summary, "content": content}}
    refusal = {"application/json": {"schema": schemas[id(Refusal)]}}
    needs_key = () if route.access == "anyone" else (401,)
    for status in sorted({*_ANY, *needs_key, *(_WITH_BODY if route.body else ()), *route.refusals}):
        meaning = _MEANINGS.get(status, HTTPStatus(status).phrase)
        answers[str(status)] = {"description": meaning, "content": refusal}
    if route.status_if_not is not None:
        answers[str(route.status_if_not)] = {"description": "It is not so; the answer says why.", "content": content}
    return answers
