"""The OpenAPI document is true: what it describes is what is answered."""

import json
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from api_kit import ACCESS, KEY, OAUTH, REFRESH, SECRETS, Api, add_oauth, exchange, running
from ccflare.api import ROUTES
from ccflare.client_keys import digest_of
from ccflare.records import Secret
from ccflare.store import Batch, Store
from key_kit import BOSS, KEYS, WORKER


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    async with running(tmp_path, monkeypatch, client_id="a-client-of-mine") as made:
        for secret in (BOSS, WORKER):
            await made.store(partial(add_key, secret))
        made.app.client_keys.load(await made.store(lambda store: store.client_keys.admission()))
        made.client.headers["x-api-key"] = BOSS.reveal()
        await fill(made)
        yield made


def add_key(secret: Secret, store: Store) -> None:
    store.client_keys.add(KEYS[secret], digest_of(secret))


async def fill(api: Api) -> None:
    """Make sure that there is an account and a history."""
    if OAUTH.name not in await api.accounts():
        await add_oauth(api)
    exchanges = [exchange(1), exchange(2, status_code=500, success=False)]
    await api.store(lambda store: store.write(Batch(exchanges=exchanges)))


async def document(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get("/api/openapi.json")).json()
    return found


def check(document: dict[str, Any], schema: dict[str, Any], instance: object) -> None:
    """Assert that a value is what a schema of the document says."""
    whole = {**schema, "components": document["components"]}
    jsonschema_rs.validator_for(whole, validate_formats=True).validate(instance)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


CALLS: dict[str, tuple[str, object]] = {
    "show_health": ("", None),
    "show_readiness": ("", None),
    "show_metrics": ("", None),
    "list_accounts": ("", None),
    "add_account": ("", {"name": "one", "api_key": KEY}),
    "pause_account": (OAUTH.id, {"reason": "why not"}),
    "resume_account": (OAUTH.id, {}),
    "rename_account": (OAUTH.id, {"name": OAUTH.name}),
    "set_priority": (OAUTH.id, {"priority": 2}),
    "remove_account": (OAUTH.id, {"confirm": OAUTH.name}),
    "begin_sign_in": ("", {"name": "new"}),
    "begin_sign_in_again": (OAUTH.id, {}),
    "complete_sign_in": ("", {"code": "abc#def"}),
    "show_session": ("", None),
    "begin_session": ("", {"key": BOSS.reveal()}),
    "end_session": ("", {}),
    "list_keys": ("", None),
    "create_key": ("", {"name": "new"}),
    "revoke_key": ("key-worker", {"confirm": "worker"}),
    "show_stats": ("", None),
    "reset_stats": ("", {}),
    "list_requests": ("", None),
    "list_running": ("", None),
    "show_request": ("x000001", None),
    "clear_requests": ("", {"confirm": "clear"}),
    "analyse": ("", None),
    "show_settings": ("", None),
    "change_settings": ("", {"retry_attempts": 2, "port": 8123}),
    "show_strategy": ("", None),
    "change_strategy": ("", {"strategy": "session"}),
    "list_strategies": ("", None),
    "show_log": ("", None),
    "clean_up": ("", {}),
}
"""A good call of every operation that is no stream: the id in its path, and its body."""
REFUSED_HERE = {"complete_sign_in"}
"""What needs another party; its refusal is checked instead."""


def test_every_operation_is_called_here() -> None:
    """No route is left out of the checks below."""
    assert {route.function.__name__ for route in ROUTES if not route.streams} == set(CALLS)


async def test_every_answer_is_what_the_document_says(api: Api) -> None:
    """Each operation's answer has a status that is documented for it, and validates against that answer's schema."""
    described = await document(api)
    await api.send("POST", "/api/accounts", {"name": "two", "api_key": KEY})
    for method, path, operation in operations(described):
        name = operation["operationId"]
        if name not in CALLS:
            continue
        key, body = CALLS[name]
        target = path.replace("{id}", key)
        answer = await (api.get(target) if body is None else api.send(method, target, body))
        assert answer.is_success != (name in REFUSED_HERE), (name, answer.text)
        content = operation["responses"][str(answer.status_code)]["content"]
        media_type = answer.headers["content-type"].partition(";")[0]
        is_json = media_type == "application/json"
        check(described, content[media_type]["schema"], answer.json() if is_json else answer.text)
        await fill(api)


async def test_every_refusal_is_what_the_document_says(api: Api) -> None:
    """An unknown parameter is refused everywhere, with the documented status and shape."""
    described = await document(api)
    for method, path, operation in operations(described):
        answer = await api.send(method, f"{path.replace('{id}', 'x')}?no_such=1")
        assert answer.status_code == 400
        check(described, operation["responses"]["400"]["content"]["application/json"]["schema"], answer.json())


async def test_the_document_is_an_openapi_document(api: Api) -> None:
    """It is version 3.1, every reference leads somewhere, every operation has a name of its own and a summary."""
    described = await document(api)
    assert described["openapi"].startswith("3.1")
    text = json.dumps(described)
    for reference in {part.split('"')[0] for part in text.split('"$ref": "#/components/schemas/')[1:]}:
        assert reference in described["components"]["schemas"]
    names = [operation["operationId"] for _, _, operation in operations(described)]
    assert len(names) == len(set(names)) == len(ROUTES)
    assert all(operation["summary"] for _, _, operation in operations(described))


async def test_parameters_are_described_as_they_are_taken(api: Api) -> None:
    """Names, places, bounds and choices of parameters come from the structs that validate them."""
    described = await document(api)
    parameters = {each["name"]: each for each in described["paths"]["/api/requests"]["get"]["parameters"]}
    assert parameters["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 50}
    assert parameters["from"]["in"] == "query"
    [key] = described["paths"]["/api/accounts/{id}/pause"]["post"]["parameters"]
    assert (key["in"], key["required"]) == ("path", True)


@pytest.mark.parametrize(
    "instant",
    ["2028-02-29", "1899-12-31", "2026-01-31T12:00:00.123456789Z", "-1000", "2026-02-29", "1900-02-29", "20260131T12"],
)
async def test_an_instant_is_taken_when_the_document_has_it(api: Api, instant: str) -> None:
    """What `from` and `to` may be is what the description says, in leap years and other centuries too."""
    described = await document(api)
    parameters = {each["name"]: each for each in described["paths"]["/api/requests"]["get"]["parameters"]}
    for name in ("from", "to"):
        validator = jsonschema_rs.validator_for(parameters[name]["schema"])
        answer = await api.get(f"/api/requests?{name}={instant}")
        assert answer.status_code == (200 if validator.is_valid(instant) else 400), answer.text


async def test_every_choice_is_named_when_it_is_missed(api: Api) -> None:
    """The refusal of a word that is none of a parameter's names all that the document has."""
    described = await document(api)
    found = set()
    for method, path, operation in operations(described):
        for parameter in operation["parameters"] if method == "GET" else ():
            if words := parameter["schema"].get("enum"):
                refused = await api.get(f"{path.replace('{id}', 'x')}?{parameter['name']}=nonsense")
                problem = refused.json()["details"]["problem"]
                assert (refused.status_code, problem.split(" one of ")[0]) == (400, "expected")
                assert sorted(problem.removeprefix("expected one of ").split(", ")) == sorted(words)
                found.add(parameter["name"])
    assert found == {"range", "mode", "level"}


@pytest.mark.parametrize(
    ("method", "path", "body", "field", "problem"),
    [
        ("POST", "/api/keys", {"name": "x", "role": "boss"}, "role", "expected one of admin, proxy"),
        ("POST", "/api/oauth/init", {"name": "x", "mode": "min"}, "mode", "expected one of console, max"),
        ("DELETE", "/api/requests", {"confirm": "yes"}, "confirm", "expected clear"),
    ],
)
async def test_a_choice_in_a_body_is_named(
    api: Api, method: str, path: str, body: dict[str, str], field: str, problem: str
) -> None:
    """As those of parameters are, also where there is one only."""
    answer = await api.send(method, path, body)
    assert answer.status_code == 400
    words = answer.json()["details"]["problem"].removeprefix("expected one of ").split(", ")
    assert sorted(words) == problem.removeprefix("expected one of ").split(", ")
    assert answer.json()["error"].startswith(f"{field}: expected ")


async def test_no_answer_holds_a_secret(api: Api) -> None:
    """Whatever is asked, and whatever is refused, no key and no token is in any answer."""
    await api.add("with-key")
    texts = []
    for name, (key, body) in CALLS.items():
        route = next(route for route in ROUTES if route.function.__name__ == name)
        if route.method == "DELETE":
            continue
        target = route.path.replace("{id}", key)
        answer = await (api.get(target) if body is None else api.send(route.method, target, body))
        texts.append(answer.text + str(answer.headers))
    bad = {"name": "x", "api_key": f"{KEY} {ACCESS} {REFRESH}"}
    texts.append((await api.send("POST", "/api/accounts", bad)).text)
    assert not [secret for secret in SECRETS if secret in "".join(texts)]
