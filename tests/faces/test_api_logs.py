"""The log by HTTP: what was written, chosen by level and text."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api_kit import Api, running

LINES = """\
[2026-01-01T00:00:00.000Z] INFO: [Proxy] Request completed for one: 200 in 12ms
[2026-01-01T00:00:01.000Z] WARN: [Proxy] Account one is rate limited until 2026-01-01T01:00:00.000Z
[2026-01-01T00:00:02.000Z] ERROR: [Server] A request ended by a defect: ValueError: x
"""


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    async with running(tmp_path, monkeypatch) as made:
        yield made


def write(api: Api, text: str) -> None:
    directory = api.directory / "logs"
    directory.mkdir(exist_ok=True)
    (directory / "app.log").write_text(text)


@pytest.mark.parametrize(
    ("query", "levels"),
    [
        ("", ["INFO", "WARN", "ERROR"]),
        ("?limit=2", ["WARN", "ERROR"]),
        ("?level=WARN", ["WARN", "ERROR"]),
        ("?text=RATE%20limited", ["WARN"]),
        ("?level=ERROR&text=rate", []),
    ],
)
async def test_entries_are_chosen(api: Api, query: str, levels: list[str]) -> None:
    """The latest entries come oldest first; level means at least that level, text any case."""
    write(api, LINES)
    entries = (await api.get(f"/api/logs/history{query}")).json()["entries"]
    assert [entry["level"] for entry in entries] == levels


async def test_an_absent_log_is_empty(api: Api) -> None:
    """Without a log file there are no entries."""
    assert (await api.get("/api/logs/history")).json() == {"entries": []}


@pytest.mark.parametrize("query", ["level=null", "level=LOUD", "limit=null", "limit=5001", "text=a%00b"])
async def test_what_cannot_be_asked_is_refused(api: Api, query: str) -> None:
    """Also the word `null`, which stands for no value in a query."""
    answer = await api.get(f"/api/logs/history?{query}")
    assert (answer.status_code, answer.json()["details"]["field"]) == (400, query.partition("=")[0])


async def test_a_log_that_cannot_be_read_is_said(api: Api) -> None:
    """A directory in the log's place is no traceback but one sentence."""
    (api.directory / "logs" / "app.log").mkdir(parents=True)
    answer = await api.get("/api/logs/history")
    assert answer.status_code == 500
    assert answer.json()["error"].startswith("The log cannot be read")
