"""The settings by HTTP: what is shown, what may be written, and what is refused."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from api_kit import Api, running
from ccflare.settings import TABLE, Settings


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    async with running(tmp_path, monkeypatch) as made:
        yield made


def said(api: Api) -> dict[str, Any]:
    """Return what the settings file says."""
    found: dict[str, Any] = json.loads((api.directory / "ccflare.json").read_text())
    return found


async def setting(api: Api, name: str) -> dict[str, Any]:
    shown = (await api.get("/api/config")).json()
    return next(each for each in shown["settings"] if each["name"] == name)


async def test_every_setting_is_shown_with_its_origin(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows of the table are there; file, variable, flag and default are told apart."""
    monkeypatch.setenv("RETRY_BACKOFF", "3")
    shown = (await api.get("/api/config")).json()
    assert [each["name"] for each in shown["settings"]] == [row.name for row in TABLE]
    sources = {each["name"]: each["source"] for each in shown["settings"]}
    wanted = {"port": "file", "log_dir": "flag", "retry_backoff": "environment", "client_id": "default"}
    assert {name: sources[name] for name in wanted} == wanted


async def test_bounds_and_choices_are_told(api: Api) -> None:
    """A form can be made of what is shown."""
    assert (await setting(api, "port"))["maximum"] == 65535
    assert (await setting(api, "log_format"))["choices"] == ["pretty", "json"]


async def test_a_change_is_written_and_the_rest_of_the_file_stays(api: Api) -> None:
    """Only the named keys change; keys that mean nothing here stay, and the file stays its owner's only."""
    before = said(api) | {"default_agent_model": "x"}
    (api.directory / "ccflare.json").write_text(json.dumps(before))
    answer = await api.send("PATCH", "/api/config", {"retry_attempts": 7, "allowed_hosts": ["proxy.example"]})
    assert answer.status_code == 200, answer.text
    assert said(api) == before | {"retry_attempts": 7, "allowed_hosts": ["proxy.example"]}
    assert [each["value"] for each in answer.json()["settings"]] == [["proxy.example"], 7]
    assert os.listdir(api.directory).count(".ccflare.json") == 0


async def test_null_takes_a_setting_out_of_the_file(api: Api) -> None:
    """The default counts again."""
    await api.send("PATCH", "/api/config", {"retry_attempts": 7})
    await api.send("PATCH", "/api/config", {"retry_attempts": None})
    assert "retry_attempts" not in said(api)
    assert (await setting(api, "retry_attempts"))["source"] == "default"


async def test_what_needs_a_restart_is_said(api: Api) -> None:
    """A setting that no running server takes over is told, in the answer and later."""
    answer = await api.send("PATCH", "/api/config", {"port": 9999, "retry_attempts": 2})
    assert answer.json()["restart"] == ["port"]
    assert (await setting(api, "port"))["waiting"] is True
    assert (await setting(api, "retry_attempts"))["waiting"] is False


async def test_a_variable_that_overrides_the_file_is_said(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who writes a setting that a variable rules learns that it will not count."""
    monkeypatch.setenv("RETRY_ATTEMPTS", "1")
    answer = await api.send("PATCH", "/api/config", {"retry_attempts": 7})
    assert answer.json()["overridden"] == ["retry_attempts"]
    assert answer.json()["settings"][0]["value"] == 1


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"retry_attempts": 11}, "retry_attempts"),
        ({"retry_attempts": "3"}, "retry_attempts"),
        ({"allowed_hosts": ["a b"]}, "allowed_hosts"),
        ({"upstream_url": "nowhere"}, "upstream_url"),
        ({"log_dir": "a\0b"}, "log_dir"),
        ({"lb_strateg": "session"}, "lb_strategy"),
        ({"default_agent_model": "x"}, "default_agent_model"),
        ({"connect_timeout_ms": 400_000}, "connect_timeout_ms"),
        ({"host": "http://0.0.0.0"}, "host"),
    ],
)
async def test_what_cannot_be_is_refused_and_nothing_is_written(api: Api, body: dict[str, Any], named: str) -> None:
    """A bad value, an unknown key and settings that contradict each other are a 400 that names the setting."""
    before = said(api)
    answer = await api.send("PATCH", "/api/config", {"retry_delay_ms": 5, **body})
    assert answer.status_code == 400, answer.text
    assert named in answer.json()["error"]
    assert answer.json()["details"]["field"] in {named, *body}
    assert said(api) == before


@pytest.mark.parametrize(
    ("kept", "body", "field", "words"),
    [
        (
            {},
            {"connect_timeout_ms": 400_000},
            "connect_timeout_ms",
            "connect_timeout_ms is 400000 (wanted), idle_timeout_ms is 330000 (default)",
        ),
        (
            {"connect_timeout_ms": 300_000},
            {"idle_timeout_ms": 200_000},
            "idle_timeout_ms",
            "connect_timeout_ms is 300000 (file PATH), idle_timeout_ms is 200000 (wanted)",
        ),
        (
            {"connect_timeout_ms": 400_000, "idle_timeout_ms": 500_000, "first_byte_timeout_ms": 500_000},
            {"idle_timeout_ms": None},
            "idle_timeout_ms",
            "connect_timeout_ms is 400000 (file PATH), idle_timeout_ms is 330000 (default)",
        ),
    ],
)
async def test_settings_that_contradict_each_other_are_told_with_their_origin(
    api: Api, kept: dict[str, int], body: dict[str, Any], field: str, words: str
) -> None:
    """What is wanted is not said to be in the file, and `details` names the setting that was to change."""
    path = api.directory / "ccflare.json"
    path.write_text(json.dumps(kept))
    answer = await api.send("PATCH", "/api/config", body)
    assert answer.status_code == 400
    why = f"connect_timeout_ms is more than idle_timeout_ms: {words.replace('PATH', str(path))}"
    problem = f"is refused, and nothing was changed: {why}"
    assert answer.json() == {"error": f"{field}: {problem}", "details": {"field": field, "problem": problem}}
    assert said(api) == kept


async def test_a_contradiction_that_was_in_the_file_before_keeps_nothing_from_being_written(api: Api) -> None:
    """The file is no worse by it, also where the change names what is in the file already."""
    kept = {"connect_timeout_ms": 400_000, "idle_timeout_ms": 300_000}
    (api.directory / "ccflare.json").write_text(json.dumps(kept))
    answer = await api.send("PATCH", "/api/config", kept | {"retry_attempts": 7})
    assert answer.status_code == 200, answer.text
    assert said(api) == kept | {"retry_attempts": 7}


async def test_a_broken_file_is_not_written_over(api: Api) -> None:
    """A file that is not JSON is its owner's to repair: a conflict, and not a byte changes."""
    (api.directory / "ccflare.json").write_text("{broken")
    answer = await api.send("PATCH", "/api/config", {"retry_attempts": 7})
    assert answer.status_code == 409
    assert "Failed to parse config file" in answer.json()["error"]
    assert (api.directory / "ccflare.json").read_text() == "{broken"


async def test_a_file_that_was_removed_is_made_anew(api: Api) -> None:
    """With no file a change makes one, readable by its owner only."""
    (api.directory / "ccflare.json").unlink()
    await api.send("PATCH", "/api/config", {"retry_attempts": 7})
    assert said(api) == {"retry_attempts": 7}
    assert (api.directory / "ccflare.json").stat().st_mode & 0o777 == 0o600


async def test_a_link_stays_a_link(api: Api) -> None:
    """Where the file is a link into someone's own collection, the file it leads to is changed."""
    path, real = api.directory / "ccflare.json", api.directory / "dotfiles.json"
    path.rename(real)
    path.symlink_to(real)
    await api.send("PATCH", "/api/config", {"retry_attempts": 7})
    assert path.is_symlink()
    assert json.loads(real.read_text())["retry_attempts"] == 7


async def test_passwords_are_masked_and_a_mask_is_not_written(api: Api) -> None:
    """A proxy's password is not shown, and what is shown instead cannot be written back by mistake."""
    await api.send("PATCH", "/api/config", {"http_proxy": "http://me:hunter2@proxy.example:3128"})
    shown = await api.get("/api/config")
    assert "hunter2" not in shown.text
    masked = (await setting(api, "http_proxy"))["value"]
    answer = await api.send("PATCH", "/api/config", {"http_proxy": masked})
    assert answer.status_code == 400
    assert "hunter2" in said(api)["http_proxy"]


async def test_the_strategy_has_calls_of_its_own(api: Api) -> None:
    """It can be listed, read and set; an unknown one is refused in the words that scripts look for."""
    assert (await api.get("/api/strategies")).json() == ["session"]
    assert (await api.get("/api/config/strategy")).json() == {"strategy": "session"}
    assert (await api.send("POST", "/api/config/strategy", {"strategy": "session"})).status_code == 200
    refused = await api.send("POST", "/api/config/strategy", {"strategy": "round-robin"})
    assert (refused.status_code, refused.json()) == (400, {"error": "Invalid strategy: round-robin"})


async def test_the_key_that_seals_credentials_is_neither_shown_nor_taken(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That there is one may be seen, its text not; and the API cannot set another one."""
    monkeypatch.setenv("ccflare_SECRET_KEY", "correct-horse-battery")
    assert "correct-horse" not in (await api.get("/api/config")).text
    refused = await api.send("PATCH", "/api/config", {"secret_key": "another-long-key"})
    assert refused.status_code == 400
    assert "secret_key" not in said(api)


async def test_a_change_is_in_force_when_the_answer_comes(api: Api) -> None:
    """What applies live counts for whatever is asked next; nothing has to look at the file first."""
    assert (await api.send("PATCH", "/api/config", {"retry_attempts": 7, "session_duration_ms": 60_000})).is_success
    assert api.app.proxy.settings.retry_attempts == 7
    assert api.app.pool.session_ms == 60_000
    assert (await api.send("PATCH", "/api/config", {"retry_attempts": None})).is_success
    assert api.app.proxy.settings.retry_attempts == Settings().retry_attempts


async def test_a_refused_change_is_not_in_force(api: Api) -> None:
    """What could not be written is not applied either."""
    (api.directory / "ccflare.json").write_text("{broken")
    assert (await api.send("PATCH", "/api/config", {"retry_attempts": 7})).status_code == 409
    assert api.app.proxy.settings.retry_attempts == Settings().retry_attempts
