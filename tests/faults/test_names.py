"""Names that cannot be looked up for a while."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

import harness
from faultcase import assert_states, attempts_of
from harness import Home, Upstream, ask, assert_at_rest, assert_upstream_clean, messages, running

HOST = "upstream.test"
IN_A_WORLD_OF_ITS_OWN = ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"')


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The names that servers know: a file in the place of `/etc/hosts`, for them alone."""
    file = tmp_path / "hosts"
    file.write_text("127.0.0.1 localhost\n")
    own = [*IN_A_WORLD_OF_ITS_OWN, str(file)]
    if subprocess.run([*own, "true"], capture_output=True, check=False).returncode:
        pytest.skip("names of its own need the right to mount a file")
    monkeypatch.setattr(harness, "COMMAND", (*own, *harness.COMMAND))
    return file


def test_a_name_that_leads_inside_is_refused_where_it_is_written(hosts: Path, home: Home) -> None:
    """On the command line and by the API, a name of a private address is an error that says so."""
    hosts.write_text("127.0.0.1 localhost\n10.0.0.1 gateway.test\n")
    url = "https://gateway.test/v1"
    done = home.ccflare("--add-account", "x", "--api-key", "-", "--base-url", url, stdin="sk-ant-x", check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "private network" in done.stderr
    with running(home) as server:
        body = b'{"name": "x", "api_key": "sk-ant-x", "base_url": "https://gateway.test/v1"}'
        found = ask(server.port, body, target="/api/accounts", headers=[("Content-Type", "application/json")])
        assert (found.status, b"private network" in found.body) == (400, True)
    assert "x" not in home.states()


def test_a_name_that_comes_back(hosts: Path, make_home: Any, upstream: Upstream) -> None:
    """While a name is unknown another account serves; once it is known its own does, and goes on when it is lost."""
    home: Home = make_home({"CCFLARE_PRIVATE_UPSTREAMS": "all"})
    home.ccflare("--remove", "alpha")
    url = upstream.url.replace("127.0.0.1", HOST)
    home.add_account("alpha", upstream.account("alpha").api_key, url, "--priority", "-1")
    with running(home) as server:

        def status(session: str) -> int:
            return ask(server.port, messages(session), session=session).status

        assert status("while it is unknown") == 200
        with hosts.open("a") as file:
            file.write(f"127.0.0.1 {HOST}\n")
        assert status("once it is known") == 200
        hosts.write_text("127.0.0.1 localhost\n")
        upstream.rule({"close": True})  # so that the connection is not kept and the name is needed again
        assert [status("lost again"), status("and again")] == [200, 200]
        lost = "alpha retry None, alpha retry None, alpha retry None, beta deliver 200"
        rows = home.rows_when(4)
        assert [attempts_of(home, row) for row in rows] == [lost, *["alpha deliver 200"] * 3]
        assert f"cannot resolve {HOST}" in rows[0]["attempts"][0]["reason"]
        server.wait_for_log(f"cannot resolve {HOST}")
        assert_at_rest(server, upstream)
        assert_states(home, {"alpha": "active", "beta": "active"})
    assert_upstream_clean(upstream)
