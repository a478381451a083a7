"""Signing in by the command line against the simulated upstream, as a person with a browser does."""

import re
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from ccflare.demo.accounts import SimulatedAccount
from ccflare.demo.oauth import OAuthSettings
from harness import COMMAND, START_S, Home, Upstream


def sign_in_settings(upstream: Upstream) -> dict[str, str]:
    """Return the variables that make an upstream the provider of sign-ins."""
    return {
        "CLIENT_ID": OAuthSettings().client_id,
        "CCFLARE_UPSTREAM_URL": upstream.url,
        "CCFLARE_OAUTH_AUTHORIZE_URL": f"{upstream.url}/oauth/authorize",
        "CCFLARE_OAUTH_CONSOLE_URL": f"{upstream.url}/oauth/authorize",
        "CCFLARE_OAUTH_TOKEN_URL": f"{upstream.url}/v1/oauth/token",
        "CCFLARE_OAUTH_API_KEY_URL": f"{upstream.url}/api/oauth/claude_cli/create_api_key",
    }


def sign_in_home(path: Path, upstream: Upstream, **more: str) -> Home:
    """Return a user's directory whose provider is the upstream, which gets a subscription named `plan`."""
    upstream.do(lambda: upstream.server.accounts.setdefault("plan", SimulatedAccount("plan", kind="oauth")))
    return Home(path, sign_in_settings(upstream) | more)


def allow(url: str) -> str:
    """Be the browser: allow the access and return the code that the page shows."""
    with urllib.request.urlopen(f"{url}&fake_account=plan", timeout=10) as page:
        found = re.search("<code>(.*)</code>", page.read().decode())
    assert found
    return found[1]


def state_of_url(url: str) -> str:
    """Return the state that an address carries."""
    return parse_qs(urlsplit(url).query)["state"][0]


class Dialogue:
    """A command that has told its address and waits for the code."""

    def __init__(self, home: Home, *arguments: str) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [*COMMAND, *arguments], env=home.environment(), stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def answer(self, *lines: str) -> tuple[int, list[str]]:
        """Type lines; return the exit status and what was said on stderr."""
        out, err = self.process.communicate("".join(f"{line}\n" for line in lines), timeout=START_S)
        assert out == ""
        return self.process.returncode, err.splitlines()


@contextmanager
def signing_in(home: Home, *arguments: str) -> Iterator[Dialogue]:
    """Run a command that signs in; it ends with the block whatever happens."""
    dialogue = Dialogue(home, *arguments)
    try:
        yield dialogue
    finally:
        dialogue.process.kill()
        dialogue.process.communicate()


def sign_in(home: Home, *arguments: str) -> None:
    """Sign in as the upstream's subscription."""
    with signing_in(home, *arguments) as dialogue:
        status, said = dialogue.answer(allow(dialogue.url))
        assert status == 0, said
