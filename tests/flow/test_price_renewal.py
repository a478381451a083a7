"""Prices that renew themselves: a real desk and transport, a scripted server, a clock that jumps."""

import gzip
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import brotli
import msgspec
import pytest
import zstandard

from ccflare import renewal
from ccflare.pricing import BUNDLED, decode_table, encode_table, merge
from flow.published_prices import HOUR_S, MODEL, Reply, Scene, document, prices_published


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with prices_published(tmp_path) as scene:
        yield scene


async def test_prices_are_fetched_used_and_kept(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """Soon after the first start, with a plain request, and what is kept is what is used."""
    process = scene.process()
    with caplog.at_level(logging.INFO, logger="ccflare.Pricing"):
        await process.run(0.1)
    assert process.price() == 2_500_000
    assert caplog.messages == ["Fetching latest pricing"]
    (head,) = scene.publisher.heads
    assert head.startswith("GET /api.json HTTP/1.1\r\n")
    assert "authorization" not in head.lower()
    kept = await process.kept()
    assert kept is not None
    assert decode_table(kept[0]) == process.applied[-1]
    assert kept[1] / 1000 <= scene.clock.now()


async def test_the_interval_counts_from_the_last_fetch_also_over_restarts(scene: Scene) -> None:
    """A day by default; a restart uses what was kept, at once and without a request."""
    await scene.process().run(23)
    again = scene.process()
    await again.run(0.5)
    assert len(scene.publisher.heads) == 1
    assert again.price() == 2_500_000
    await again.run(1)
    assert len(scene.publisher.heads) == 2


async def test_the_interval_may_change_at_any_time(scene: Scene) -> None:
    """A setting of two hours counts from the next look on."""
    process = scene.process()
    await process.run(3)
    assert len(scene.publisher.heads) == 1
    process.change(pricing_refresh_hours=2)
    await process.run(3.5)
    assert len(scene.publisher.heads) == 3


async def test_offline_nothing_is_fetched_and_kept_prices_are_used(scene: Scene) -> None:
    """Not at the start nor when it is due; the switch counts at once."""
    await scene.process().run(1)
    offline = scene.process()
    offline.change(pricing_offline=True)
    await offline.run(72)
    assert len(scene.publisher.heads) == 1
    assert offline.price() == 2_500_000
    offline.change(pricing_offline=False)
    await offline.run(0.1)
    assert len(scene.publisher.heads) == 2


@pytest.mark.parametrize(
    ("coding", "coded"),
    [
        ("gzip", gzip.compress(document())),
        ("br", brotli.compress(document())),
        ("zstd", zstandard.ZstdCompressor().compress(document())),
    ],
)
async def test_compressed_documents_are_read(scene: Scene, coding: str, coded: bytes) -> None:
    """In every coding that the request offers."""
    scene.publisher.replies = [Reply(coded, coding=coding)]
    process = scene.process()
    await process.run(0.1)
    assert process.price() == 2_500_000
    assert coding in scene.publisher.heads[0]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(b"no", 500), "status 500"),
        (Reply(b"", 302, location="http://127.0.0.1:9/api.json"), "status 302"),
        (Reply(b"<html>"), "cannot be read"),
        (Reply(b'{"anthropic": {"models": {}}}'), "no models"),
        (Reply(document(2500.0)), "change input of claude-sonnet-5"),
        (Reply(b"not gzip", coding="gzip"), "coding is broken"),
        (Reply(b"x", coding="rot13"), "not known"),
        (Reply(gzip.compress(bytes(renewal.DOCUMENT_BYTES + 1)), coding="gzip"), "longer than 16 MiB"),
        (Reply(bytes(renewal.DOCUMENT_BYTES + 1)), "longer than 16 MiB"),
        (Reply(b"", silent=True), "no whole answer"),
    ],
)
async def test_what_cannot_be_believed_changes_nothing(
    scene: Scene, reply: Reply, reason: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old prices stay in use and in the store, one line says why, and the next good document is taken."""
    monkeypatch.setattr(renewal, "FETCH_S", 1.0)
    process = scene.process()
    scene.publisher.replies = [Reply(document(2.2)), reply, reply, Reply(document(2.4))]
    await process.run(1)
    kept = await process.kept()
    with caplog.at_level(logging.INFO, logger="ccflare.Pricing"):
        await process.run(23.05)
        assert await process.kept() == kept
        assert process.price() == 2_200_000
        await process.run(1)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert reason in warnings[0]
    assert process.price() == 2_400_000
    assert len(scene.publisher.heads) == 4


async def test_failures_are_tried_again_less_and_less_often(scene: Scene) -> None:
    """Minutes at first, then about once an hour; not as often as is looked."""
    scene.publisher.replies = [Reply(b"", 503)]
    process = scene.process()
    await process.run(1)
    first = len(scene.publisher.heads)
    assert 4 <= first <= 8
    await process.run(24)
    assert 20 <= len(scene.publisher.heads) - first <= 40


async def test_a_server_that_is_not_there_is_a_failure_like_others(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """The reason is the transport's."""
    process = scene.process()
    process.change(pricing_url="http://127.0.0.1:1/")
    await process.run(0.1)
    assert process.applied == []
    assert [record.levelname for record in caplog.records if record.levelno >= logging.WARNING] == ["WARNING"]


async def test_several_processes_fetch_once(scene: Scene) -> None:
    """Each looks before it fetches, and takes over what another one has kept."""
    one, two = scene.process(), scene.process()
    await one.run(0.1)
    await two.run(0.1)
    assert len(scene.publisher.heads) == 1
    scene.publisher.replies = [Reply(document(3.0))]
    await one.run(24)
    await two.run(0.1)
    assert len(scene.publisher.heads) == 2
    assert two.price() == 3_000_000


async def test_a_process_that_runs_takes_over_what_another_has_fetched(scene: Scene) -> None:
    """When its own fetch is due it finds a newer table, and does not fetch."""
    process = scene.process()
    await process.run(1)
    newer = msgspec.structs.replace(BUNDLED.models[MODEL], stated_on="2030-01-01")
    rates = msgspec.structs.replace(newer.rates, input=7_000_000)
    models = {**BUNDLED.models, MODEL: msgspec.structs.replace(newer, rates=rates)}
    encoded = encode_table(msgspec.structs.replace(BUNDLED, models=models))
    at_ms = int((scene.clock.now() + 20 * HOUR_S) * 1000)
    scene.clock.at[20 * HOUR_S] = lambda: process.desk.ask(lambda store: store.prices.keep(encoded, at_ms))
    await process.run(29)
    assert len(scene.publisher.heads) == 1
    assert process.price() == 7_000_000


async def test_a_damaged_table_is_ignored_and_replaced(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """One line says so; the bundled prices count until the next fetch, which is due at once."""
    process = scene.process()
    at_ms = int(scene.clock.now() * 1000)
    await process.desk.ask(lambda store: store.prices.keep(b'{"version":1}', at_ms))
    await process.run(0.1)
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 1
    assert told[0].startswith("The kept prices are ignored")
    assert process.price() == 2_500_000
    kept = await process.kept()
    assert kept is not None
    assert decode_table(kept[0]) == process.applied[-1]


async def test_a_server_begins_with_what_is_kept(scene: Scene) -> None:
    """Before its first request, without a fetch; with the bundled prices when there is nothing that can be read."""
    process = scene.process()
    await process.run(0.1)
    assert renewal.remembered(await process.kept()) == process.applied[-1] != BUNDLED
    assert renewal.remembered(None) == renewal.remembered((b"damaged", 1)) == BUNDLED


@pytest.mark.parametrize(("day", "dollars"), [("2026-11-21", 2), (BUNDLED.models[MODEL].stated_on, 2.5)])
def test_what_was_fetched_counts_from_the_day_of_the_bundled_prices_on(day: str, dollars: float) -> None:
    """The same prices after a restart as before it, but never older ones than those that came with the program."""
    kept = encode_table(merge(BUNDLED, document(2.5), day))
    assert renewal.remembered((kept, 1)).models[MODEL].rates.input == dollars * 1_000_000


async def test_prices_are_used_although_the_store_cannot_keep_them(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that is out of order delays nothing and causes no further requests."""
    (scene.directory / "x.db").mkdir()
    process = scene.process()
    await process.run(5)
    assert process.price() == 2_500_000
    assert len(scene.publisher.heads) == 1
    assert any("could not be kept" in message for message in caplog.messages)
    (scene.directory / "x.db").rmdir()


async def test_a_clock_that_was_set_back_does_not_stop_the_renewal(scene: Scene) -> None:
    """A last fetch in the future counts as none."""
    process = scene.process()
    await process.run(1)
    at_ms = int((scene.clock.now() + 1000 * HOUR_S) * 1000)
    encoded = encode_table(process.applied[-1])
    await process.desk.ask(lambda store: store.prices.keep(encoded, at_ms))
    again = scene.process()
    await again.run(0.1)
    assert len(scene.publisher.heads) == 2
