"""The demo, as a newcomer runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path


def test_the_demo_shows_the_main_job(tmp_path: Path) -> None:
    """`ccflare demo` runs real traffic; one account meets its limit and serves again; nobody sees a failure."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "ccflare", "demo"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    limited = next(n for n, line in enumerate(lines) if "work: 429" in line)
    assert any(re.search(r" work +200 ", line) for line in lines[limited:]), "the limited account came back"
    assert re.search(r"66 requests; [1-9]\d* of them moved to another account", done.stdout)
    assert "0 failed for the client" in done.stdout
    assert list(tmp_path.iterdir()) == [], "nothing is left in the home directory"
