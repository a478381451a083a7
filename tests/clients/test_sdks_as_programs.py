"""SDKs that run as programs of their own: the last old Python one, and two generations of the TypeScript one."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from harness import CLIENT_KEY, MODEL, ROOT

Run: TypeAlias = Callable[..., Any]

PYTHON = ROOT / ".venv-sdk0" / "bin" / "python"
HERE = Path(__file__).parent
LONG_S = 60


@pytest.fixture(params=["python-0", "sdk-0", "sdk-1"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run scenarios against a stage in a process of their own, and return what they found."""
    if request.param == "python-0":
        if not PYTHON.exists():
            pytest.skip("the environment with the old SDK is missing: make .venv-sdk0/stamp")
        command = [str(PYTHON), str(HERE / "sdk0.py")]
    else:
        modules: Path = request.getfixturevalue("node_modules")
        command = ["node", str(HERE / "sdk.mjs"), str(modules / request.param)]

    def run(stage: Any, *scenarios: str) -> Any:
        done = subprocess.run(
            [*command, stage.url, CLIENT_KEY, *scenarios],
            capture_output=True,
            text=True,
            timeout=LONG_S,
            check=False,
            cwd=stage.home.path,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_the_usual_calls(stage: Any, run: Run) -> None:
    """Messages, streams, tool loops, token counts, models and parallel calls work as against the service itself."""
    found = run(stage, "message", "stream", "tools", "count", "parallel")
    assert "You said: Good morning" in found["message"]["text"]
    assert "You said: Stream this" in found["stream"]["text"]
    assert found["stream"]["stop_reason"] == "end_turn"
    assert found["tools"] == "end_turn"
    assert found["count"]["tokens"] > 50
    assert MODEL in found["count"]["models"]
    assert [f"You said: n {number}." in text for number, text in enumerate(found["parallel"])] == [True] * 20
    entries = stage.upstream.settled_log(26)
    assert found["message"]["request_id"] in {entry.request_id for entry in entries}
    assert {row["status_code"] for row in stage.new_rows(26)} == {200}


def test_errors_keep_their_class_and_id(stage: Any, run: Run) -> None:
    """A client's own error has its class and request id; a stream that broke off raises."""
    found = run(stage, "refused", "cut")
    assert found["refused"]["class"] == "NotFoundError"
    assert found["refused"]["request_id"] == stage.upstream.settled_log(2)[0].request_id
    assert found["cut"] is not None
    assert [row["success"] for row in stage.new_rows(2)] == [0, 0]


@pytest.mark.parametrize("fault", ["401", "429-unified", "529", "400-credit"])
def test_one_failing_account_is_not_noticed(fresh: Any, run: Run, fault: str) -> None:
    """What one account does wrong is hidden from a client that does not retry."""
    fresh.upstream.faults(alpha=fault)
    found = run(fresh, "message", "stream")
    assert "You said: Good morning" in found["message"]["text"]
    assert found["stream"]["stop_reason"] == "end_turn"


def test_a_limited_pool_is_an_error_at_once(fresh: Any, run: Run) -> None:
    """When every account is limited for hours, the client is told at once and does not sleep."""
    fresh.upstream.faults(**dict.fromkeys(("alpha", "beta", "gamma"), "429-unified"))
    found = run(fresh, "limited")["limited"]
    assert found["class"] == "RateLimitError"
    assert found["seconds"] < 5
    assert len(fresh.home.rows_when(1)) == 1
