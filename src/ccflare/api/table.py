"""Every route, once: what is served, to whom, validated and documented follows from these tables."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from starlette.routing import Route as StarletteRoute

from ccflare.api import accounts, client_keys, logs, requests, running, session, settings, sign_in, statistics, upkeep
from ccflare.api.dashboard import dashboard
from ccflare.api.door import Access
from ccflare.api.pages import pages, probes
from ccflare.api.route import Route

_ACCOUNT = "/api/accounts/{id}"

ROUTES = (
    Route("GET", "/health", "anyone", upkeep.show_health),
    Route("GET", "/ready", "anyone", upkeep.show_readiness, status_if_not=503),
    Route("GET", "/metrics", "admin", upkeep.show_metrics, media_types=("text/plain", "application/openmetrics-text")),
    Route("GET", "/api/accounts", "admin", accounts.list_accounts, refusals=(503,)),
    Route("POST", "/api/accounts", "admin", accounts.add_account, status=201, refusals=(409, 503)),
    Route("POST", f"{_ACCOUNT}/pause", "admin", accounts.pause_account, refusals=(404, 503)),
    Route("POST", f"{_ACCOUNT}/resume", "admin", accounts.resume_account, refusals=(404, 503)),
    Route("POST", f"{_ACCOUNT}/rename", "admin", accounts.rename_account, refusals=(404, 409, 503)),
    Route("POST", f"{_ACCOUNT}/priority", "admin", accounts.set_priority, refusals=(404, 503)),
    Route("DELETE", _ACCOUNT, "admin", accounts.remove_account, refusals=(404, 409, 503)),
    Route("POST", f"{_ACCOUNT}/reauth", "admin", sign_in.begin_sign_in_again, refusals=(404, 503)),
    Route("POST", "/api/oauth/init", "admin", sign_in.begin_sign_in, refusals=(409, 503)),
    Route("POST", "/api/oauth/callback", "admin", sign_in.complete_sign_in, refusals=(404, 409, 502, 503)),
    Route("GET", "/api/session", "anyone", session.show_session),
    Route("POST", "/api/session", "anyone", session.begin_session, refusals=(401, 503)),
    Route("DELETE", "/api/session", "anyone", session.end_session, refusals=(503,)),
    Route("GET", "/api/keys", "admin", client_keys.list_keys, refusals=(503,)),
    Route("POST", "/api/keys", "admin", client_keys.create_key, status=201, refusals=(409, 503)),
    Route("DELETE", "/api/keys/{id}", "admin", client_keys.revoke_key, refusals=(404, 409, 503)),
    Route("GET", "/api/requests", "admin", requests.list_requests, refusals=(404, 503), large=True),
    Route("GET", "/api/requests/running", "admin", running.list_running, large=True),
    Route("GET", "/api/requests/stream", "admin", requests.follow_requests, refusals=(503,)),
    Route("GET", "/api/requests/{id}", "admin", requests.show_request, refusals=(404, 503), large=True),
    Route("DELETE", "/api/requests", "admin", requests.clear_requests, refusals=(503,)),
    Route("GET", "/api/stats", "admin", statistics.show_stats, refusals=(503,), large=True),
    Route("POST", "/api/stats/reset", "admin", statistics.reset_stats, refusals=(503,)),
    Route("GET", "/api/analytics", "admin", statistics.analyse, refusals=(404, 503), large=True),
    Route("GET", "/api/config", "admin", settings.show_settings),
    Route("PATCH", "/api/config", "admin", settings.change_settings, refusals=(409,)),
    Route("GET", "/api/config/strategy", "admin", settings.show_strategy),
    Route("POST", "/api/config/strategy", "admin", settings.change_strategy, refusals=(409,)),
    Route("GET", "/api/strategies", "admin", settings.list_strategies),
    Route("GET", "/api/logs/history", "admin", logs.show_log, large=True),
    Route("GET", "/api/logs/stream", "admin", logs.follow_log, refusals=(503,)),
    Route("POST", "/api/maintenance/cleanup", "admin", upkeep.clean_up, refusals=(503,)),
)


class Pages(NamedTuple):
    """Routes that are no JSON, and who may have them. They are the same for everybody: no data is in them."""

    access: Access
    routes: Callable[[], Sequence[StarletteRoute]]


PAGES = (
    Pages("anyone", pages),
    Pages("anyone", probes),
    Pages("anyone", dashboard),
)

PROXIED: tuple[str, Access] = ("/v1/", "proxy")
"""What the proxy serves, to whoever has a client key of any role; `door` sees to it, nearer to the socket."""
