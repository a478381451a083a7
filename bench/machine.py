"""The machine: which cores there are, what a process has used, and processes that end when the run does."""

import ctypes
import os
import resource
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_TICKS = os.sysconf("SC_CLK_TCK")
_SET_PARENT_DEATH_SIGNAL = 1
_WANTED_FILES = 12_288
"""5,000 streams on both sides of a proxy, and some."""
_STOP_S = 10.0


class BenchError(Exception):
    """The run cannot go on, in one line."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Where things run. `apart`: what is measured has a core that nothing else of the run uses."""

    measured: frozenset[int]
    others: frozenset[int]

    @classmethod
    def of_this_machine(cls) -> "Cores":
        """Give the measured process one core, everything else the rest."""
        cores = sorted(os.sched_getaffinity(0))
        return cls(frozenset(cores[:1]), frozenset(cores[1:] or cores))

    @property
    def apart(self) -> bool:
        return not self.measured & self.others


@dataclass(frozen=True, slots=True)
class Use:
    """What processes have used: CPU seconds of all their threads and memory in bytes."""

    cpu_s: float
    resident_bytes: int
    peak_bytes: int
    """The most there was since `forget_peak`, or ever."""


def use_of(pid: int) -> Use:
    """Read what a process and its descendants have used. Raises BenchError when it has ended."""
    try:
        uses = [Use(_cpu_s(pid), _resident_bytes(pid), _peak_bytes(pid)), *map(use_of, children(pid))]
    except (FileNotFoundError, ProcessLookupError):
        raise BenchError(f"process {pid} ended while it was measured") from None
    return Use(sum(u.cpu_s for u in uses), sum(u.resident_bytes for u in uses), sum(u.peak_bytes for u in uses))


def forget_peak(pid: int) -> None:
    """Have the peak of a process and its descendants begin anew (proc(5), clear_refs)."""
    for each in (pid, *children(pid)):
        Path(f"/proc/{each}/clear_refs").write_text("5")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _peak_bytes(pid: int) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that are there."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def busy_s(cores: frozenset[int]) -> float:
    """Return how long cores have been busy, or taken away by the host of a virtual machine."""
    lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    times = {line[0]: [int(ticks) for ticks in line[1:9]] for line in lines if line[0].startswith("cpu")}
    # The fourth and fifth are idle time and waiting for disks (proc(5)).
    return sum(sum(times[f"cpu{core}"]) - sum(times[f"cpu{core}"][3:5]) for core in cores) / _TICKS


def own_cpu_s() -> float:
    """Return the CPU seconds of this process and of its children that have ended: the load generators'."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def allow_many_files() -> None:
    """Raise the limit of open files, which children inherit. Raises BenchError when it cannot be enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _WANTED_FILES:
        if hard != resource.RLIM_INFINITY and hard < _WANTED_FILES:
            raise BenchError(f"at most {hard} files may be open; {_WANTED_FILES} are needed (ulimit -n)")
        resource.setrlimit(resource.RLIMIT_NOFILE, (_WANTED_FILES, hard))


class Child:
    """A process of the run. It is ended by its id, and by the kernel should the run itself be killed."""

    def __init__(
        self,
        command: Sequence[str],
        cores: frozenset[int],
        directory: Path,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._log = directory / f"{Path(command[0]).name}-{time.monotonic_ns()}.log"
        libc = ctypes.CDLL(None)

        def prepare() -> None:
            os.sched_setaffinity(0, cores)
            libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)

        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environ,
                preexec_fn=prepare,  # noqa: PLW1509  # this process has one thread when it starts others
            )
        self.pid = self._process.pid

    @property
    def stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def complaint(self) -> str:
        """Return the last lines of what the process said on standard error."""
        return self._log.read_text(errors="replace")[-2000:].strip()

    def finish(self, given: bytes, seconds: float) -> tuple[bytes, int]:
        """Give the process its input and wait for its end; return what it said and its status."""
        try:
            said, _ = self._process.communicate(given, seconds)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{self._log.name} did not end within {seconds:.0f} s") from None
        return said, self._process.returncode

    def stop(self) -> None:
        """Ask the process to end, and make it end when it does not."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        if self.running:
            self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_STOP_S)
