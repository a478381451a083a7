"""Server-sent events: what a listener hears, how it resumes, and that it costs nobody anything."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api_kit import Api, Listener, exchange, listening, running
from ccflare.api import streams
from ccflare.api.json import encode
from ccflare.logs import LogEntry

REQUESTS = "/api/requests/stream"
LOGS = "/api/logs/stream"


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    monkeypatch.setattr(streams, "AT_MOST", 3)
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.1)
    async with running(tmp_path, monkeypatch) as made:
        yield made


def publish(api: Api, *numbers: int) -> None:
    for number in numbers:
        api.app.exchanges.publish("request", exchange(number))


async def test_a_listener_hears_requests_as_they_end(api: Api) -> None:
    """Each exchange is one event with an id, the kind `request` and the JSON that the list shows."""
    async with listening(api, REQUESTS) as (listener, _):
        publish(api, 1, 2)
        await listener.until("x000002")
        assert [event["event"] for event in listener.events()] == ["request", "request"]
        ids = [int(event["id"]) for event in listener.events()]
        assert ids[1] == ids[0] + 1
        shown = json.loads(listener.events()[0]["data"])
        assert (shown["id"], shown["status_code"], shown["total_tokens"]) == ("x000001", 200, 35)


async def test_the_head_tells_that_it_is_a_stream(api: Api) -> None:
    """Content type and cache rules are those of an event stream, and a browser is told when to try again."""
    async with listening(api, REQUESTS) as (listener, _):
        assert listener.head["status"] == 200
        assert listener.head["content-type"].startswith("text/event-stream")
        assert listener.head["cache-control"] == "no-store"
        assert "content-length" not in listener.head
        assert listener.text.startswith("retry: 2000\n\n")


@pytest.mark.parametrize("before", [0, 3])
async def test_who_heard_nothing_can_go_on_too(api: Api, before: int) -> None:
    """A stream begins with its place: behind it comes what happened while nobody listened, and nothing older."""
    publish(api, *range(before))
    async with listening(api, REQUESTS) as (listener, _):
        place = listener.begins_behind
    publish(api, 7, 8)
    async with listening(api, f"{REQUESTS}?after={place}") as (listener, _):
        await listener.until("x000008")
        assert [json.loads(event["data"])["id"] for event in listener.events()] == ["x000007", "x000008"]
        assert "event: start" not in listener.text


async def test_silence_is_filled(api: Api) -> None:
    """While nothing happens a comment comes at every heartbeat, also when what happens is not wanted."""
    async with listening(api, f"{LOGS}?level=ERROR") as (listener, _):
        await listener.until(": still here\n\n: still here\n\n")
        begun = len(listener.text)
        for _number in range(40):
            api.app.log_lines.publish("log", LogEntry("2026-01-01T00:00:00Z", "INFO", "Proxy", "one"))
            await asyncio.sleep(0.01)
        assert ": still here" in listener.text[begun:]
        assert listener.events() == []


@pytest.mark.parametrize("by_header", [True, False])
async def test_a_listener_resumes_where_it_was(api: Api, by_header: bool) -> None:
    """After the id of an event, by header or by parameter, come exactly those behind it."""
    publish(api, 1, 2, 3)
    first = api.app.exchanges.follow(0)
    await anext(first)  # the gap of unknown size that stands for another run
    known = (await anext(first)).id
    headers = {"last-event-id": str(known)} if by_header else {}
    async with listening(api, REQUESTS if by_header else f"{REQUESTS}?after={known}", headers) as (listener, _):
        await listener.until("x000003")
        assert [json.loads(event["data"])["id"] for event in listener.events()] == ["x000002", "x000003"]


async def test_who_was_away_too_long_is_told_how_much_is_missing(api: Api) -> None:
    """Behind an id that is not kept any more comes a `gap` with the number of missed events."""
    publish(api, *range(1500))
    start = int(api.app.exchanges._first)
    async with listening(api, f"{REQUESTS}?after={start}") as (listener, _):
        await listener.until("x001499")
        first = listener.events()[0]
        assert (first["event"], json.loads(first["data"])) == ("gap", {"missed": 499})
        assert len(listener.events()) == 1001


async def test_an_id_of_an_earlier_run_begins_with_a_gap_of_unknown_size(api: Api) -> None:
    """What was missed during a restart is not known, and that is said."""
    publish(api, 1)
    async with listening(api, f"{REQUESTS}?after=5") as (listener, _):
        await listener.until("gap")
        assert json.loads(listener.events()[0]["data"]) == {"missed": None}


async def test_log_entries_are_chosen_by_level_and_text(api: Api) -> None:
    """Of what is logged, a listener hears the level and the text it asked for."""
    async with listening(api, f"{LOGS}?level=WARN&text=RATE") as (listener, _):
        for level, message in (("INFO", "rate limited"), ("WARN", "other"), ("ERROR", "rate limited")):
            api.app.log_lines.publish("log", LogEntry("2026-01-01T00:00:00Z", level, "Proxy", message))  # type: ignore[arg-type]
        await listener.until("rate limited")
        assert [json.loads(event["data"])["level"] for event in listener.events()] == ["ERROR"]


@pytest.mark.parametrize("value", ["abc", "-1", "1" * 30, "٣"])
async def test_an_id_that_is_none_is_refused(api: Api, value: str) -> None:
    """A `Last-Event-ID` or `after` that is no number is a 400."""
    headers = [(b"last-event-id", value.encode())]
    assert (await api.client.get(REQUESTS, headers=headers)).status_code == 400
    assert (await api.client.get(REQUESTS, params={"after": value})).status_code == 400


async def test_the_number_of_streams_is_bounded(api: Api) -> None:
    """One stream more than there is room for is refused with 503 and `retry-after`; an ended one makes room."""
    async with listening(api, REQUESTS), listening(api, LOGS):
        async with listening(api, LOGS):
            refused = await api.get(REQUESTS)
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "1"
        async with listening(api, REQUESTS) as (listener, _):
            assert listener.head["status"] == 200


async def test_closing_the_feed_ends_the_streams(api: Api) -> None:
    """When the server stops, streams end at once and cleanly."""
    async with listening(api, REQUESTS) as (listener, task):
        api.app.exchanges.close()
        await asyncio.wait_for(task, 1)
        assert listener.ended


async def test_a_listener_that_reads_nothing_is_let_go(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever leaves what was sent unread for too long loses its place, so that it cannot be held for ever."""
    monkeypatch.setattr(streams, "STALLED_S", 0.05)
    async with listening(api, REQUESTS) as (listener, task):
        listener.stuck.set()
        publish(api, 1)
        await asyncio.wait_for(task, 2)
    async with listening(api, REQUESTS), listening(api, REQUESTS), listening(api, REQUESTS):
        pass


async def test_an_event_is_encoded_once_for_all_listeners(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many listen, the JSON of an event is made once."""
    made: list[object] = []

    def counting(shown: object) -> bytes:
        made.append(shown)
        return encode(shown)

    monkeypatch.setattr(streams, "encode", counting)
    async with listening(api, REQUESTS) as (one, _), listening(api, REQUESTS) as (two, _):
        publish(api, 1)
        await one.until("x000001")
        await two.until("x000001")
    assert len(made) == 1


async def test_asking_for_the_head_only_opens_no_stream(api: Api) -> None:
    """HEAD is answered and over."""
    listener = Listener()
    async with asyncio.timeout(2):
        await listener.run(api.app.asgi, REQUESTS, method="HEAD")
    assert (listener.head["status"], listener.text, listener.ended) == (200, "", True)
