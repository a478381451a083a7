"""The control interface under `/_fake/`: JSON on the same port, for whoever runs the simulation as a process.

| route | meaning |
|---|---|
| `GET state` | counts, accounts' books, OAuth counts, settings |
| `GET log?since=N&limit=N`, `DELETE log` | finished requests with an order above N; forget them |
| `GET accounts`, `POST accounts` | all accounts; add one |
| `GET|POST|DELETE accounts/NAME` | show, change, remove one |
| `POST accounts/NAME/revoke` | end tokens: `{"kind": "access|refresh|all"}` |
| `POST accounts/NAME/expire` | let the access tokens expire now |
| `GET|POST|DELETE rules` | the rules; add one (or a list); drop all |
| `GET presets`, `GET|POST config`, `POST reset` | named faults; settings; back to an unused server |
"""

from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any, TypeAlias
from urllib.parse import parse_qs, unquote

import msgspec

from ccflare.demo.accounts import SimulatedAccount
from ccflare.demo.batches import Batches
from ccflare.demo.budgets import Limits, Window
from ccflare.demo.faults import Rule, check_match, parse_action
from ccflare.demo.oauth import OAuthSettings
from ccflare.demo.presets import PRESETS
from ccflare.demo.reply import Reply, encode
from ccflare.demo.request import Request
from ccflare.demo.world import UpstreamSettings, World

Page: TypeAlias = Callable[[Request, list[str]], Any]

SWITCHES = frozenset({"revoked", "no_credit", "spend_limit", "forbids_oauth", "fault"})
BUDGETS = {"rpm": "requests", "itpm": "input", "otpm": "output", "count_rpm": "counting"}
WINDOW_LENGTHS = {"5h": 5 * 3600.0}
WEEK_S = 7 * 86_400.0
MOST_LOGGED = 10_000


class ControlError(Exception):
    """A control request that cannot be carried out."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ControlInterface:
    """Serves `/_fake/` for one world."""

    def __init__(self, world: World, batches: Batches) -> None:
        self._world = world
        self._batches = batches
        self._pages: dict[tuple[str, str], Page] = {
            ("GET", "state"): self._state,
            ("GET", "log"): self._log,
            ("DELETE", "log"): self._clear_log,
            ("GET", "rules"): lambda *_: [_rule_json(rule) for rule in world.faults.rules],
            ("POST", "rules"): self._add_rules,
            ("DELETE", "rules"): self._clear_rules,
            ("GET", "presets"): lambda *_: PRESETS,
            ("GET", "config"): lambda *_: self._config(),
            ("POST", "config"): self._configure,
            ("POST", "reset"): self._reset,
            ("GET", "accounts"): self._show_accounts,
            ("POST", "accounts"): self._change_accounts,
            ("DELETE", "accounts"): self._remove_account,
        }

    def answer(self, request: Request) -> Reply:
        """Answer one request; what goes wrong is `{"error": ...}` with a 4xx."""
        parts = [unquote(part) for part in request.path.removeprefix("/_fake/").strip("/").split("/")]
        page = self._pages.get((request.method, parts[0]))
        if page is None:
            return Reply(404, encode({"error": f"no control route {request.method} {request.path}"}))
        try:
            return Reply(200, encode(page(request, parts[1:]), enc_hook=str))
        except ControlError as error:
            return Reply(error.status, encode({"error": str(error)}))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return Reply(400, encode({"error": f"{type(error).__name__}: {error}"}))

    # Counts and log.

    def _state(self, *_: Any) -> dict[str, Any]:
        world = self._world
        state = world.books.totals()
        return {
            **state,
            "oauth": asdict(world.oauth.counts),
            "rules": len(world.faults.rules),
            "config": self._config(),
        }

    def _log(self, request: Request, _: list[str]) -> dict[str, Any]:
        asked = parse_qs(request.query)
        since, limit = int(asked.get("since", ["0"])[0]), int(asked.get("limit", [str(MOST_LOGGED)])[0])
        entries = [entry.as_json() for entry in self._world.books.entries if entry.order > since]
        return {"entries": entries[-limit:] if limit > 0 else []}

    def _clear_log(self, *_: Any) -> dict[str, Any]:
        self._world.books.reset()
        return {"ok": True}

    # Rules and settings.

    def _add_rules(self, request: Request, _: list[str]) -> dict[str, Any]:
        value = _json(request)
        rules = [make_rule(**one) for one in (value if isinstance(value, list) else [value])]
        self._world.faults.rules += rules
        return {"rules": len(self._world.faults.rules)}

    def _clear_rules(self, *_: Any) -> dict[str, Any]:
        self._world.faults.clear()
        return {"rules": 0}

    def _config(self) -> dict[str, Any]:
        return {**asdict(self._world.settings), "oauth": asdict(self._world.oauth.settings)}

    def _configure(self, request: Request, _: list[str]) -> dict[str, Any]:
        asked = _object(request)
        oauth = asked.pop("oauth", {})
        for values, target in ((asked, self._world.settings), (oauth, self._world.oauth.settings)):
            _set_fields(target, values)
        return self._config()

    def _reset(self, *_: Any) -> dict[str, Any]:
        world = self._world
        world.faults.clear()
        world.books.reset()
        world.files.clear()
        self._batches.clear()
        _set_fields(world.settings, asdict(UpstreamSettings()))
        _set_fields(world.oauth.settings, asdict(OAuthSettings()))
        for account in world.accounts.values():
            _renew(account)
        world.oauth.forget_everything()
        for account in world.accounts.values():
            if account.kind == "oauth":
                world.oauth.sign_in(account, world.now())
        return {"ok": True}

    # Accounts.

    def _show_accounts(self, _: Request, names: list[str]) -> Any:
        if names:
            return self.show(self._account(names[0]))
        return [self.show(account) for account in self._world.accounts.values()]

    def _change_accounts(self, request: Request, names: list[str]) -> Any:
        if not names:
            return self._add_account(_object(request))
        account = self._account(names[0])
        if len(names) == 1:
            change_account(account, _object(request), self._world.now())
        elif names[1] == "revoke":
            self._world.oauth.revoke(account, str(_object(request).get("kind", "all")))
        elif names[1] == "expire":
            self._world.oauth.expire(account, self._world.now())
        else:
            raise ControlError(404, f"an account has no {names[1]!r}")
        return self.show(account)

    def _add_account(self, asked: dict[str, Any]) -> dict[str, Any]:
        account = SimulatedAccount(str(asked.pop("name")), kind=asked.pop("kind", "api_key"))
        if account.kind not in {"api_key", "oauth"}:
            raise ControlError(400, "kind is api_key or oauth")
        account.api_key = str(asked.pop("api_key", ""))
        change_account(account, asked, self._world.now())
        self._world.add([account])
        return self.show(account)

    def _remove_account(self, _: Request, names: list[str]) -> dict[str, Any]:
        self._account(names[0] if names else "")
        self._world.remove(names[0])
        return {"ok": True}

    def _account(self, name: str) -> SimulatedAccount:
        account = self._world.accounts.get(name)
        if account is None:
            raise ControlError(404, f"no account {name!r}")
        return account

    def show(self, account: SimulatedAccount) -> dict[str, Any]:
        """Describe an account with its credentials, which protect nothing."""
        now = self._world.now()
        limits = account.limits
        shown: dict[str, Any] = {"name": account.name, "kind": account.kind, "in_flight": account.in_flight}
        shown |= {switch: getattr(account, switch) for switch in sorted(SWITCHES)}
        shown["organization"] = account.organization
        if account.kind == "api_key":
            left = {key: getattr(limits, name).remaining(now) for key, name in BUDGETS.items()}
            shown |= {"api_key": account.api_key, "remaining": left, "period_s": limits.period_s}
        else:
            access, refresh = self._world.oauth.tokens(account.name)
            shown |= {"access_token": access, "refresh_token": refresh, "scopes": account.scopes}
            shown["windows"] = {
                name: {"utilization": window.utilization, "resets_in": window.reset(now) - now}
                for name, window in account.windows.items()
            }
        return shown


def make_rule(  # the fields of a rule, as a rule is written
    action: Any,
    *,
    match: dict[str, Any] | None = None,
    skip: int = 0,
    times: int | None = None,
    every: int = 1,
    probability: float = 1.0,
) -> Rule:
    """Read a rule. Raises ValueError when it could never be applied as written."""
    if every < 1 or skip < 0 or not 0 <= probability <= 1 or (times is not None and times < 0):
        raise ValueError("skip and times are 0 or more, every is 1 or more, probability is between 0 and 1")
    return Rule(parse_action(action), check_match(match or {}), skip, times, every, probability)


def change_account(account: SimulatedAccount, asked: dict[str, Any], now: float) -> None:
    """Change switches, budgets and windows. Raises ValueError for an unknown key, before changing any."""
    known = (
        SWITCHES | BUDGETS.keys() | {"period_s", "max_concurrency", "windows", "scopes", "overage", "overage_reason"}
    )
    unknown = sorted(asked.keys() - known)
    if unknown:
        raise ValueError(f"unknown key of an account: {', '.join(unknown)}")
    if asked.get("fault") is not None:
        parse_action(asked["fault"])
    for key in SWITCHES & asked.keys():
        setattr(account, key, asked[key])
    if "scopes" in asked:
        account.scopes = tuple(asked["scopes"])
    _change_budgets(account, asked)
    for key in {"overage", "overage_reason"} & asked.keys():
        setattr(account.subscription, key, asked[key])
    for name, values in asked.get("windows", {}).items():
        _change_window(account, name, values, now)


def _change_budgets(account: SimulatedAccount, asked: dict[str, Any]) -> None:
    limits = account.limits
    if "max_concurrency" in asked:
        limits.max_concurrency = asked["max_concurrency"]
    if not asked.keys() & (BUDGETS.keys() | {"period_s"}):
        return
    new = {key: float(asked.get(key, getattr(limits, name).limit)) for key, name in BUDGETS.items()}
    period_s = float(asked.get("period_s", limits.period_s))
    account.limits = Limits(**new, max_concurrency=limits.max_concurrency, period_s=period_s)


def _change_window(account: SimulatedAccount, name: str, values: dict[str, Any] | None, now: float) -> None:
    if values is None:
        account.windows.pop(name, None)
        return
    window = account.windows.get(name) or Window(length_s=WINDOW_LENGTHS.get(name, WEEK_S), models=_models_of(name))
    values = dict(values)
    if "resets_in" in values:
        window.resets_at = now + float(values.pop("resets_in"))
    _set_fields(window, values)
    account.windows[name] = window


def _models_of(window: str) -> str:
    family = window.partition("_")[2]
    return f"*{family}*" if family and family != "oi" else "*"


def _renew(account: SimulatedAccount) -> None:
    account.limits = Limits()
    account.subscription = type(account.subscription)()
    account.cache.clear()
    account.revoked = account.no_credit = account.spend_limit = account.forbids_oauth = False
    account.fault = None


def _set_fields(target: Any, values: dict[str, Any]) -> None:
    known = {field.name for field in fields(target)}
    unknown = sorted(values.keys() - known)
    if unknown:
        raise ValueError(f"unknown setting: {', '.join(unknown)}")
    for name, value in values.items():
        setattr(target, name, value)


def _rule_json(rule: Rule) -> dict[str, Any]:
    return asdict(rule)


def _json(request: Request) -> Any:
    try:
        return msgspec.json.decode(request.body or b"{}")
    except msgspec.DecodeError as error:
        raise ControlError(400, f"not JSON: {error}") from None


def _object(request: Request) -> dict[str, Any]:
    value = _json(request)
    if not isinstance(value, dict):
        raise ControlError(400, "an object is expected")
    return value
