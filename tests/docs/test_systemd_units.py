"""The unit files: systemd itself finds nothing wrong with them, and they shut a service in."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
EXPOSURE = "15"
"""In tenths, from 0 to 100: what systemd calls OK ends at 20 of them."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (package systemd)"
)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """Copies that run a program which is on this machine."""
    program = Path(sys.executable).with_name("ccflare")
    for unit in UNITS.iterdir():
        text = unit.read_text()
        (tmp_path / unit.name).write_text(text.replace("/usr/local/bin/ccflare", str(program)))
    return tmp_path


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


@needs_systemd
def test_the_units_are_valid(units: Path) -> None:
    """systemd reads both units, knows every option, and has nothing to say about any."""
    done = analyze("verify", *(str(unit) for unit in sorted(units.iterdir())))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_the_service_is_shut_in(units: Path) -> None:
    """By systemd's own measure the service is hardly exposed."""
    done = analyze(
        "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}", str(units / "ccflare.service")
    )
    assert done.returncode == 0, done.stdout


def test_the_service_runs_what_there_is() -> None:
    """The unit starts the server by its real flag and stops it in more time than it takes."""
    lines = (UNITS / "ccflare.service").read_text().splitlines()
    assert "ExecStart=/usr/local/bin/ccflare --serve" in lines
    assert "Type=notify" in lines
    assert "KillMode=mixed" in lines
