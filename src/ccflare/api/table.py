"""Every route, once: what is served, validated and documented follows from this table."""

from ccflare.api import accounts, logs, requests, running, settings, sign_in, statistics, upkeep
from ccflare.api.route import Route

_ACCOUNT = "/api/accounts/{id}"

ROUTES = (
    Route("GET", "/health", upkeep.show_health),
    Route("GET", "/api/accounts", accounts.list_accounts, refusals=(503,)),
    Route("POST", "/api/accounts", accounts.add_account, status=201, refusals=(409, 503)),
    Route("POST", f"{_ACCOUNT}/pause", accounts.pause_account, refusals=(404, 503)),
    Route("POST", f"{_ACCOUNT}/resume", accounts.resume_account, refusals=(404, 503)),
    Route("POST", f"{_ACCOUNT}/rename", accounts.rename_account, refusals=(404, 409, 503)),
    Route("POST", f"{_ACCOUNT}/priority", accounts.set_priority, refusals=(404, 503)),
    Route("DELETE", _ACCOUNT, accounts.remove_account, refusals=(404, 409, 503)),
    Route("POST", f"{_ACCOUNT}/reauth", sign_in.begin_sign_in_again, refusals=(404, 503)),
    Route("POST", "/api/oauth/init", sign_in.begin_sign_in, refusals=(409, 503)),
    Route("POST", "/api/oauth/callback", sign_in.complete_sign_in, refusals=(404, 409, 502, 503)),
    Route("GET", "/api/requests", requests.list_requests, refusals=(404, 503), large=True),
    Route("GET", "/api/requests/running", running.list_running, large=True),
    Route("GET", "/api/requests/stream", requests.follow_requests, refusals=(503,)),
    Route("GET", "/api/requests/{id}", requests.show_request, refusals=(404, 503), large=True),
    Route("DELETE", "/api/requests", requests.clear_requests, refusals=(503,)),
    Route("GET", "/api/stats", statistics.show_stats, refusals=(503,), large=True),
    Route("POST", "/api/stats/reset", statistics.reset_stats, refusals=(503,)),
    Route("GET", "/api/analytics", statistics.analyse, refusals=(404, 503), large=True),
    Route("GET", "/api/config", settings.show_settings),
    Route("PATCH", "/api/config", settings.change_settings, refusals=(409,)),
    Route("GET", "/api/config/strategy", settings.show_strategy),
    Route("POST", "/api/config/strategy", settings.change_strategy, refusals=(409,)),
    Route("GET", "/api/strategies", settings.list_strategies),
    Route("GET", "/api/logs/history", logs.show_log, large=True),
    Route("GET", "/api/logs/stream", logs.follow_log, refusals=(503,)),
    Route("POST", "/api/maintenance/cleanup", upkeep.clean_up, refusals=(503,)),
)
