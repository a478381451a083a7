"""Claude Code itself, without a terminal: turns, tools, conversations, and accounts that fail behind its back."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from harness import CLIENT_KEY, MODEL

Run: TypeAlias = Callable[..., Any]

LONG_S = 90
TOOL_LOOP = [
    {"tool": "Bash", "input": {"command": "echo seen > made.txt", "description": "Writes a file"}},
    {"text": "The file is made."},
]


@pytest.fixture(scope="session")
def program(node_modules: Path) -> str:
    """The command, if it starts here."""
    path = node_modules / ".bin" / "claude"
    if not _starts(path):
        install = node_modules / "@anthropic-ai" / "claude-code" / "install.cjs"
        subprocess.run(["node", str(install)], capture_output=True, timeout=LONG_S, check=False)
        if not _starts(path):
            pytest.skip("npm has no Claude Code that runs on this machine")
    return str(path)


def _starts(path: Path) -> bool:
    try:
        done = subprocess.run([str(path), "--version"], capture_output=True, timeout=LONG_S, check=False)
    except OSError:
        return False
    return done.returncode == 0 and b"Claude Code" in done.stdout


@pytest.fixture
def claude(program: str, tmp_path: Path) -> Run:
    """Run a prompt to its end in a home of its own; returns the result as JSON."""
    place = tmp_path / "claude"
    place.mkdir()

    def run(stage: Any, prompt: str, *options: str) -> Any:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(place),
            "TMPDIR": str(place),
            "LANG": "C.UTF-8",
            "ANTHROPIC_BASE_URL": stage.url,
            "ANTHROPIC_API_KEY": CLIENT_KEY,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
        }
        done = subprocess.run(
            [program, "-p", "--model", MODEL, "--output-format", "json", *options, prompt],
            env=environment,
            cwd=place,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONG_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        found = json.loads(done.stdout)
        assert not found["is_error"], found
        return found

    return run


def _turns(stage: Any) -> list[Any]:
    return [entry for entry in stage.upstream.settled_log() if entry.target.startswith("/v1/messages?")]


def test_a_turn(stage: Any, claude: Run) -> None:
    """A prompt is answered; its session header, version and betas reach upstream as they were."""
    found = claude(stage, "Good evening")
    assert "Good evening" in found["result"]
    (turn,) = _turns(stage)
    assert turn.header("x-claude-code-session-id") == found["session_id"]
    assert (turn.header("user-agent") or "").startswith("claude-cli/")
    assert turn.header("x-app") == "cli"
    assert turn.header("anthropic-beta")
    assert [row["status_code"] for row in stage.new_rows(1)] == [200]


def test_a_tool_loop(stage: Any, claude: Run, tmp_path: Path) -> None:
    """A tool is used and its result goes back: all requests of the loop on one account."""
    directive = f"[[fake {json.dumps({'script': TOOL_LOOP})}]] Do it."
    found = claude(stage, directive, "--allowedTools=Bash")
    assert found["result"] == "The file is made."
    assert (tmp_path / "claude" / "made.txt").read_text() == "seen\n"
    assert len(_turns(stage)) == 2
    assert len({turn.account for turn in _turns(stage)}) == 1


def test_a_conversation_stays_with_its_prompt_cache(level: Any, claude: Run) -> None:
    """A conversation that is taken up again keeps its account and reads its cache, whatever others do meanwhile."""
    first = claude(level, "The first turn")
    others = [claude(level, f"Another conversation {number}") for number in range(2)]
    again = claude(level, "The next turn", "--resume", first["session_id"])
    assert again["session_id"] == first["session_id"]
    assert again["session_id"] not in {other["session_id"] for other in others}
    assert again["usage"]["cache_read_input_tokens"] > 10_000
    own = [turn for turn in _turns(level) if turn.header("x-claude-code-session-id") == first["session_id"]]
    assert len(own) == 2
    assert len({turn.account for turn in own}) == 1


def test_continue_reads_the_cache(stage: Any, claude: Run) -> None:
    """`--continue` goes to the account that has the conversation's prompt cache."""
    first = claude(stage, "One")
    second = claude(stage, "Two", "--continue")
    assert second["session_id"] == first["session_id"]
    assert second["usage"]["cache_read_input_tokens"] > 10_000


@pytest.mark.parametrize(
    "fault", ["401", "403-revoked", "400-credit", "429", "429-unified", "429-bare", "500", "529", "error-event-first"]
)
def test_one_failing_account_is_not_noticed(fresh: Any, claude: Run, fault: str) -> None:
    """Whatever one account does before its first byte, the turn is answered at once, with nothing given up."""
    fresh.upstream.faults(alpha=fault)
    found = claude(fresh, "Carry on")
    assert "Carry on" in found["result"]
    served = [row for row in fresh.home.rows_when(1) if row["status_code"] == 200]
    assert len(served) == len(fresh.home.rows()) == 1
    accounts = [turn.account for turn in _turns(fresh)]
    assert accounts[0] == "alpha"
    assert accounts[-1] == "beta"
    assert len({turn.body_sha256 for turn in _turns(fresh)}) == 1


@pytest.mark.parametrize("fault", ["disconnect-mid", "reset-mid"])
def test_a_cut_stream_is_recovered_from(stage: Any, claude: Run, fault: str) -> None:
    """A stream that breaks off is seen as broken, and Claude Code's own second request is served."""
    stage.upstream.rule(fault, match={"path": "/v1/messages", "stream": True}, times=1)
    found = claude(stage, "Once more")
    assert "Once more" in found["result"]
    rows = stage.new_rows(2)
    assert [row["success"] for row in rows] == [0, 1]


def test_accounts_that_run_out_one_after_the_other(fresh: Any, claude: Run) -> None:
    """A conversation goes on over three accounts while two of them reach their limits."""
    session = claude(fresh, "Start")["session_id"]
    for limited in ("alpha", "beta"):
        fresh.upstream.rule("429-unified", match={"account": limited})
        found = claude(fresh, f"After {limited}", "--resume", session)
        assert f"After {limited}" in found["result"]
    accounts = [turn.account for turn in _turns(fresh)]
    assert accounts == ["alpha", "alpha", "beta", "beta", "gamma"]
    fresh.upstream.forget()
