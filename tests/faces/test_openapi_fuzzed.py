"""A real server, asked by a program that knows nothing but its OpenAPI document."""

import os
import re
import subprocess
import sys
from pathlib import Path

from harness import Home, ask, running

JSON = [("Content-Type", "application/json")]
EXPECTED = """
[[operations]]
include-operation-id = "change_settings"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400"]

[[operations]]
include-operation-id = "complete_sign_in"
checks.positive_data_acceptance.expected-statuses = ["400", "404"]
"""
"""No schema can say which settings contradict each other, or whose code a code is."""


def test_a_fuzzer_finds_nothing(tmp_path: Path) -> None:
    """Good and bad requests made from the document alone get documented answers, and bad ones are refused.

    Not checked is 405: a method that no route owns is answered with 404. Streams do not end, so they are left out.
    """
    home = Home(tmp_path, {"CLIENT_ID": "a-client-of-mine"})
    home.add_account("one", "sk-ant-api03-not-a-real-key-0123456789", "http://127.0.0.1:9")
    key = home.ccflare("keys", "create", "fuzzer", "--role", "admin").stdout.strip()
    (tmp_path / "schemathesis.toml").write_text(EXPECTED)
    with running(home) as server:
        done = subprocess.run(
            [
                *(str(Path(sys.executable).parent / "schemathesis"), f"--config-file={tmp_path}/schemathesis.toml"),
                *("run", f"{server.url}/api/openapi.json", "--url", server.url, "--header", f"x-api-key: {key}"),
                *("--exclude-path-regex", "stream$"),
                *("--exclude-checks", "unsupported_method", "--max-examples", "5", "--generation-deterministic"),
                *("--continue-on-failure", "--warnings", "off", "--request-timeout", "10", "--no-color"),
            ],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "NO_PROXY": "*", "COLUMNS": "100"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        made = re.search(r"([0-9]+) generated", done.stdout)
        assert made
        assert int(made[1]) > 300
        assert ask(server.port, method="GET", target="/health", headers=[]).status == 200
        assert (
            ask(server.port, b"{}", target="/api/maintenance/cleanup", headers=[*JSON, ("x-api-key", key)]).status
            == 200
        )
