"""Logs of real processes: what is in the file after a fork, an exit and a kill."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ccflare import logs

PRETTY = re.compile(r"\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\] (DEBUG|INFO|WARN|ERROR): \[[^\]]+\] .*")


def run(code: str, *arguments: str) -> "subprocess.Popen[str]":
    source = str(Path(logs.__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env=os.environ | {"PYTHONPATH": source}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_logs_too(tmp_path: Path) -> None:
    """Both sides of a fork go on logging; what waited at the fork is written once."""
    code = (
        "import os, sys, pathlib\nfrom ccflare import logs\n"
        "log = logs.start(pathlib.Path(sys.argv[1]))\nlogger = logs.logger('Fork')\n"
        "logger.info('before')\npid = os.fork()\nlogger.info('child' if pid == 0 else 'parent')\n"
        "assert log.flush(10)\n"
        "if pid == 0: os._exit(0)\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
    )
    process = run(code, str(tmp_path))

    output = process.communicate(timeout=20)

    assert (process.returncode, output) == (0, ("", ""))
    lines = [line.split("] ")[-1] for line in (tmp_path / "app.log").read_text().splitlines()]
    assert sorted(lines) == ["before", "child", "parent"]


def test_an_exit_without_closing_writes_what_waits(tmp_path: Path) -> None:
    """A program that just ends, by an exception even, leaves its last lines in the file."""
    code = (
        "import sys, pathlib\nfrom ccflare import logs\nlog = logs.start(pathlib.Path(sys.argv[1]))\n"
        "logs.logger('X').info('last words')\nraise SystemExit(3)"
    )
    process = run(code, str(tmp_path))

    output = process.communicate(timeout=20)

    assert (process.returncode, output) == (3, ("", ""))
    assert (tmp_path / "app.log").read_text().endswith("[X] last words\n")


def test_a_kill_leaves_whole_lines(tmp_path: Path) -> None:
    """After `kill -9` in the middle of heavy logging the file holds whole lines, in order, without a gap."""
    code = (
        "import sys, pathlib, itertools, time\nfrom ccflare import logs\n"
        "log = logs.start(pathlib.Path(sys.argv[1]))\n"
        "for n in itertools.count():\n"
        "    logs.logger('X').info('%d', n)\n"
        "    if n % 100 == 0: time.sleep(0.001)\n"
        "    if n == 2000: log.flush(); print('go', flush=True)\n"
    )
    process = run(code, str(tmp_path))
    assert process.stdout is not None
    assert process.stdout.readline() == "go\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)

    lines = (tmp_path / "app.log").read_text().splitlines()
    assert all(PRETTY.fullmatch(line) for line in lines)
    assert [int(line.rsplit(" ")[-1]) for line in lines] == list(range(len(lines)))
    assert len(lines) > 2000


def test_several_processes_rotate_one_log(tmp_path: Path) -> None:
    """Processes that log at once leave every line whole and once, and rotate only files that are full."""
    processes, lines, full = 3, 4000, 64 * 1024
    code = (
        "import sys, pathlib, logging\nfrom ccflare.logs.file import LogFile\n"
        f"file = LogFile(pathlib.Path(sys.argv[1]), rotate_at_bytes={full}, kept=99)\n"
        f"for n in range({lines}):\n    file.append(f'{{sys.argv[2]}} {{n}} {{\"x\" * 80}}\\n'.encode())\n"
    )
    started = [run(code, str(tmp_path), str(number)) for number in range(processes)]

    assert [process.communicate(timeout=60) for process in started] == [("", "")] * processes

    files = sorted(tmp_path.glob("app.log*"))
    found = [line.split() for file in files for line in file.read_text().splitlines()]
    assert len(found) == processes * lines
    assert {len(line) for line in found} == {3}
    assert len({(line[0], line[1]) for line in found}) == processes * lines
    assert all(file.stat().st_size > full * 0.9 for file in files if file.name != "app.log")
