"""Signing in from a terminal: an address to open, a code to paste, and an account comes of it.

The address goes to stdout, so that a script can open it; everything else is talk. The code may come from a pipe.
"""

import os
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ccflare.cli.context import account_named, check_address, load_settings, opened_store
from ccflare.cli.output import complain, say
from ccflare.errors import InvalidCode, RequestError

if TYPE_CHECKING:
    from ccflare.records import Account
    from ccflare.settings import Loaded
    from ccflare.sign_in import Begun, SignIn
    from ccflare.store import Store
    from ccflare.transport import Transport

T = TypeVar("T")
U = TypeVar("U")

TRIES = 3
"""How often something that is not a code may be pasted."""
_LONGEST_LINE = 8192

_NOTICE = "Sign in only to accounts that are your own, and use them under your provider's terms."


def add_by_sign_in(
    name: str, *, mode: Literal["max", "console"] | None, base_url: str | None, priority: int, tier: int
) -> None:
    """Add an account by signing in: with the tokens of a plan (`max`), or with an API key that is made then."""
    from ccflare.sign_in import NewAccount

    loaded = load_settings()
    check_address(loaded, base_url)
    wanted = NewAccount(name=name, mode=mode or "max", base_url=base_url, priority=priority, tier=tier)
    account = _sign_in(loaded, lambda signing: signing.init(wanted))
    made = " with a new API key" if account.kind == "api_key" else ""
    say(f"Added {name}{made}. A running server uses it within a second.")


def sign_in_again(name: str) -> None:
    """Give an account new credentials of its kind; everything else about it stays."""
    loaded = load_settings()
    with opened_store(loaded) as store:
        account = account_named(store, name)
    _sign_in(loaded, lambda signing: signing.init_again(account.id))
    say(f"Signed in to {name} again. A running server uses it within a second.")


def _sign_in(loaded: "Loaded", begin: "Callable[[SignIn], Coroutine[Any, Any, Begun]]") -> "Account":
    begun = _run(loaded, begin)
    say(_NOTICE)
    say("Open this address, allow the access, and copy the code that is shown:")
    print(begun.auth_url, flush=True)
    _open_browser(begun.auth_url)
    for _ in range(TRIES - 1):
        try:
            return _complete(loaded, begun.flow_id)
        except InvalidCode as error:
            complain(error)
    return _complete(loaded, begun.flow_id)


def _complete(loaded: "Loaded", flow_id: str) -> "Account":
    pasted = _pasted()
    return _run(loaded, lambda signing: signing.complete(flow_id, pasted))


def _run(loaded: "Loaded", work: "Callable[[SignIn], Coroutine[Any, Any, T]]") -> T:
    """Do one step on an event loop of its own: between two steps a person types, and Ctrl-C has to work."""
    import asyncio

    from ccflare.clock import SystemClock
    from ccflare.oauth import OAuthSettings
    from ccflare.sign_in import SignIn
    from ccflare.tokens import TokenEndpoint

    async def step(store: "Store") -> T:
        async def ask(question: "Callable[[Store], U]") -> U:
            return question(store)

        def settings_of() -> OAuthSettings:
            return OAuthSettings.of(loaded.settings)

        transport, clock = _transport(loaded), SystemClock()
        try:
            return await work(SignIn(ask, TokenEndpoint(transport, settings_of, clock), settings_of, clock))
        finally:
            await transport.aclose()

    with opened_store(loaded) as store:
        return asyncio.run(step(store))


def _transport(loaded: "Loaded") -> "Transport":
    from ccflare.transport import Deadlines, ProxyRules, Transport

    settings = loaded.settings
    proxies = {name: getattr(settings, name) for name in ("http_proxy", "https_proxy", "no_proxy")}
    return Transport(
        deadlines=Deadlines(connect_s=settings.connect_timeout_ms / 1000),
        proxies=ProxyRules.from_environment(proxies),
        reach=settings.private_upstreams,
    )


def _open_browser(url: str) -> None:
    """Show an address to a person who sits before a display; that it cannot be shown is no failure."""
    import threading
    import webbrowser

    display = sys.platform in {"darwin", "win32"} or any(
        os.environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")
    )
    if display and sys.stdin.isatty():
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()  # some wait until it is closed


def _pasted() -> str:
    """Return the line with the code. Raises RequestError when there is none, InvalidCode when it is no text."""
    if sys.stdin.isatty():
        print("Paste the code (code#state): ", end="", file=sys.stderr, flush=True)
    try:
        line = sys.stdin.readline(_LONGEST_LINE)
    except UnicodeDecodeError:
        raise InvalidCode("this is not a code: it is not text") from None
    if not line:
        raise RequestError("no code was given; begin the sign-in again")
    return line
