"""The end of a server: nobody new, whoever is being served is served to the end."""

import asyncio
import contextlib
import logging

from ccflare.app import App
from ccflare.ingress import IngressSettings
from ccflare.serve.doors import Doors
from ccflare.serve.orders import Orders

log = logging.getLogger("ccflare.Server")

TOKENS_S = 10.0
"""Longest wait at the end for tokens that are being refreshed: they must come to the disk."""
RETIRE_S = 1.0
"""How long a silent connection is kept when another process goes on: its client may be about to send a request."""


async def drain(app: App, orders: Orders) -> None:
    """Be ready no more, and go on for a while so, unless another process goes on or there is a hurry."""
    app.readiness.draining = not orders.replaced
    delay_s = app.proxy.settings.shutdown_delay_ms / 1000
    if delay_s and not orders.replaced:
        log.info("Draining: requests are taken for another %g s", delay_s)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(orders.at_once.wait(), delay_s)


async def stop(app: App, ingress: IngressSettings, doors: Doors, orders: Orders) -> None:
    """Accept nothing more, let running exchanges finish within the limit, then cancel what is left.

    Where another process goes on, the limit is that of an exchange: there is no hurry.
    """
    settings = app.proxy.settings
    limit_ms = settings.exchange_timeout_ms if orders.replaced else settings.shutdown_timeout_ms
    doors.close()
    for connection in tuple(ingress.connections):
        if orders.replaced:
            connection.retire(RETIRE_S)
        else:
            connection.shutdown()
    if running := app.proxy.in_flight:
        log.info("Stopping: %d requests are still running", running)
    if not orders.replaced:
        _close_desks(app)
    await _let_finish(ingress, orders, limit_ms / 1000)
    _close_desks(app)
    await asyncio.gather(app.refresher.close(TOKENS_S), app.sign_in.close(TOKENS_S))
    await app.transport.aclose()


def _close_desks(app: App) -> None:
    app.desks.quick.stop()
    app.desks.slow.stop()


async def _let_finish(ingress: IngressSettings, orders: Orders, limit_s: float) -> None:
    """Wait until nothing runs, time is up or there is a hurry; cut off what runs then."""
    gentle = asyncio.ensure_future(_finished(ingress))
    at_once = asyncio.ensure_future(orders.at_once.wait())
    await asyncio.wait((gentle, at_once), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
    gentle.cancel()
    at_once.cancel()
    running = ingress.tasks
    if running:
        log.warning("Stopping: %d requests are cut off", len(running))
    for task in running:
        task.cancel()
    await asyncio.gather(gentle, at_once, *running, return_exceptions=True)


async def _finished(ingress: IngressSettings) -> None:
    """Wait until no request runs and every answer has left."""
    while (running := ingress.tasks) or ingress.connections:
        if running:
            await asyncio.wait(running)
        else:  # a stop may be 20 ms late; an event would cost every connection
            await asyncio.sleep(0.02)
