"""Kill -9 while exchanges and payloads are written and forgotten: what is left is whole. The long form is in bench."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_journal_leaves_whole_exchanges_and_whole_payloads(seed: int, tmp_path: Path) -> None:
    """After each kill the file is sound, only the last 250 ms are missing, and every payload reads back as it was."""
    command = [sys.executable, "-m", "bench.kill_nine", "--kills", "8", "--seed", str(seed)]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kills: 8" in done.stdout
    assert "payloads read back: 0;" not in done.stdout
