"""What nobody should send: every answer is a 4xx of ours in JSON, and none tells of the inside."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api_kit import JSON, NOW_MS, Api, exchange, running
from ccflare.api import ROUTES
from ccflare.errors import StoreBusy
from ccflare.store import Batch

BODIED = [route for route in ROUTES if route.body is not None]
PLAIN = [route for route in ROUTES if not route.streams]


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    async with running(tmp_path, monkeypatch) as made:
        yield made


def path_of(route: Any) -> str:
    return str(route.path.replace("{id}", "some-id"))


async def raw(api: Api, method: str, target: str, body: bytes = b"") -> tuple[int, Any, str]:
    """Send bytes as they are, past every client's care, and return status, JSON and text of the answer."""
    path, _, query = target.partition("?")
    answer: dict[str, Any] = {"body": b""}

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        answer["body"] += message.get("body", b"")
        answer.update({key: message[key] for key in ("status", "headers") if key in message})

    scope = {
        "type": "http", "method": method, "path": path, "query_string": query.encode("latin-1"),
        "headers": [(b"content-type", b"application/json")],
    }  # fmt: skip
    await api.app.asgi(scope, receive, send)
    assert dict(answer["headers"])[b"content-type"] == b"application/json"
    return answer["status"], json.loads(answer["body"]), answer["body"].decode()


async def test_unknown_and_unreadable_parameters_are_refused(api: Api) -> None:
    """Every route names a parameter that it does not know, and refuses one that is not text."""
    queries = {"limt=5": "limt", "x=1&x=2": "x", "%00=1": "\\x00", "a=%ff": "", "\xff=1": "", "=": "", "x": "x"}
    for route in PLAIN:
        for query, field in queries.items():
            body = b"{}" if route.body else b""
            status, answer, _ = await raw(api, route.method, f"{path_of(route)}?{query}", body)
            assert (status, answer["details"]["field"]) == (400, field), (route.path, query)


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ("limt=5", "limt", "did you mean limit"),
        ("limit=5&limit=6", "limit", "more than once"),
        ("limit=", "limit", "empty"),
        ("limit=5%00", "limit", "control characters"),
        ("limit=abc", "limit", "expected int"),
        ("limit=" + "9" * 1000, "limit", "expected int <= 1000"),
        ("limit=1e999", "limit", "out of range"),
        ("model=" + "x" * 2000, "model", "longer than"),
        ("model=a%00b", "model", "control characters"),
        ("model=a%0ab", "model", "control characters"),
        ("status=" + "x" * 999, "status", "expected"),
        ("&".join(f"p{number}=1" for number in range(100)), "", "more than"),
    ],
)
async def test_bad_values_are_named(api: Api, query: str, field: str, words: str) -> None:
    """A value that cannot be is a 400 that says which parameter and why; a typing error gets the known name."""
    status, answer, text = await raw(api, "GET", f"/api/requests?{query}")
    assert (status, answer["details"]["field"]) == (400, field)
    assert words in answer["error"]
    assert len(text) < 1000


BAD_BODIES = (
    b"not json", b"[]", b"null", b"5", b'"x"', b"{", b'{"a":1', b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe",
    b'{"\xff":1}', b'{"name":"\xff"}', b'{"name":"\\ud800"}', b'{"name":1e400}', b'{"priority":' + b"9" * 5000 + b"}",
    b'{"nmae":"x"}', b'{"\\u0000":1}', b"\xef\xbb\xbf{}", b'{"name":NaN}',
)  # fmt: skip


async def test_bodies_that_are_no_object_of_ours_are_refused(api: Api) -> None:
    """Every route that takes a body answers 400 to anything but an object with fields that it knows."""
    for route in BODIED:
        for body in BAD_BODIES:
            status, answer, text = await raw(api, route.method, path_of(route), body)
            assert status == 400, (route.path, body[:40], text)
            assert answer["error"]
            assert len(text) < 1000


@pytest.mark.parametrize(
    "segment", ["\0", "a\0b", "a\nb", "x" * 5000, "\ud800".encode("utf-16", "surrogatepass").hex()]
)
async def test_hostile_ids_are_refused_or_not_found(api: Api, segment: str) -> None:
    """No id in a path, however odd, is more than refused or not found."""
    for method, path in (("GET", "/api/requests/{}"), ("POST", "/api/accounts/{}/pause")):
        status, _, _ = await raw(api, method, path.format(segment), b"")
        assert status in {400, 404}


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/api/nothing"), ("POST", "/api/nothing"), ("PUT", "/api/accounts"), ("GET", "/api/accounts/x"),
        ("GET", "/api"), ("GET", "/api/"), ("GET", "/api/accounts/"), ("POST", "/health"), ("TRACE", "/api/stats"),
        ("OPTIONS", "/api/accounts"), ("GET", "/nothing"), ("GET", "/api/docs/../parts.py"),
    ],
)  # fmt: skip
async def test_what_no_route_owns_is_not_found_in_json(api: Api, method: str, target: str) -> None:
    """A path or a method that no route owns is a JSON 404; nothing is forwarded and no page is shown."""
    assert (await raw(api, method, target))[:2] == (404, {"error": "Not Found"})


async def test_a_busy_database_is_a_503_that_says_when_to_try_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A locked database is no defect: 503 with `retry-after`."""

    async def busy(*_: object) -> None:
        raise StoreBusy("the database is locked")

    monkeypatch.setattr(type(api.app.desks[0]), "ask", busy)
    answer = await api.get("/api/accounts")
    assert (answer.status_code, answer.json()) == (503, {"error": "the database is locked"})
    assert answer.headers["retry-after"] == "1"


async def test_a_defect_tells_nothing_of_the_inside(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody foresaw is `Internal error`; where and what stays in the log."""

    async def broken(*_: object) -> None:
        raise RuntimeError("secret place /home/me/x.py")

    monkeypatch.setattr(type(api.app.desks[0]), "ask", broken)
    transport = httpx.ASGITransport(app=api.app.asgi, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get("/api/accounts")
    assert (answer.status_code, answer.json()) == (500, {"error": "Internal error"})


async def test_reads_change_nothing(api: Api) -> None:
    """Every GET leaves accounts, history, settings file and database version as they were."""
    key = await api.add("one")
    await api.store(lambda store: store.write(Batch(exchanges=[exchange(1, account_id=key, timestamp_ms=NOW_MS)])))
    await api.store(lambda store: store.changed())

    def state() -> bytes:
        return (api.directory / "ccflare.json").read_bytes()

    before = state(), await api.accounts()
    for route in PLAIN:
        if route.method == "GET":
            answer = await api.get(route.path.replace("{id}", "x000001"))
            assert answer.status_code == 200, (route.path, answer.text)
    assert (state(), await api.accounts()) == before


async def test_a_body_may_be_left_out_where_nothing_need_be_said(api: Api) -> None:
    """`resume` and `pause` take an empty body; a call that needs something names it."""
    key = await api.add("one")
    assert (await api.client.post(f"/api/accounts/{key}/pause", headers=JSON)).status_code == 200
    assert (await api.client.post(f"/api/accounts/{key}/resume", headers=JSON)).status_code == 200
    refused = await api.client.post(f"/api/accounts/{key}/rename", headers=JSON)
    assert refused.json() == {"error": "name: is required", "details": {"field": "name", "problem": "is required"}}
