"""Who listens on a port, as far as the system tells: processes from /proc where there is one, and `/health`.

Of other programs only the name is looked at, never their arguments: those may hold secrets.
"""

import contextlib
import http.client
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

HEALTH_S: Final = 2.0
CONNECT_S: Final = 0.5
LONGEST_ANSWER: Final = 65_536
PROC: Final = Path("/proc")

_LISTENING = "0A"
_SOCKET = "socket:["
_HEALTH_KEYS = {"status": str, "version": str, "strategy": str, "uptime": int, "in_flight": int}


class Process(msgspec.Struct, frozen=True):
    """A process of this user that listens, or is a ccflare server."""

    pid: int
    program: str
    is_server: bool
    has_database: bool
    """Whether it has the database open that is asked for."""
    ports: tuple[int, ...]
    uptime_s: int | None
    memory_bytes: int | None


def processes(database: Path) -> list[Process]:
    """Return the processes that listen on some port, and the ccflare servers; none where there is no /proc."""
    listening, file = _listening(), os.path.realpath(database)
    found = (_process(pid, listening, file) for pid in _pids())
    return [each for each in found if each is not None and (each.ports or each.is_server)]


def listening_ports() -> set[int] | None:
    """Return the TCP ports that anyone listens on, None where the system does not tell."""
    return set(_listening().values()) if (PROC / "net" / "tcp").exists() else None


def accepts(port: int, addresses: Sequence[str]) -> bool:
    """Say whether someone accepts connections on a port of this machine."""
    for address in addresses:
        with contextlib.suppress(OSError), socket.create_connection((address, port), CONNECT_S):
            return True
    return False


def health(port: int, address: str) -> dict[str, Any] | None:
    """Ask a server how it is; None when that is not ccflare's answer. Raises OSError, also for no answer in time.

    Connects directly: proxies of the environment are not asked.
    """
    connection = http.client.HTTPConnection(address, port, timeout=HEALTH_S)
    try:
        connection.request("GET", "/health", headers={"host": f"localhost:{port}", "connection": "close"})
        answer = connection.getresponse()
        return _known(json.loads(answer.read(LONGEST_ANSWER)))
    except (http.client.HTTPException, ValueError, RecursionError):
        return None
    finally:
        connection.close()


def _known(answer: object) -> dict[str, Any] | None:
    """Return the parts of an answer that ccflare gives: whatever else comes from a port is not repeated."""
    if not isinstance(answer, dict) or not isinstance(answer.get("accounts"), dict):
        return None
    known: dict[str, Any] = {
        key: answer[key] for key, kind in _HEALTH_KEYS.items() if isinstance(answer.get(key), kind)
    }
    if "status" not in known or "uptime" not in known:
        return None
    known = {key: value[:40] if isinstance(value, str) else value for key, value in known.items()}
    return known | {"accounts": _counts(answer["accounts"]), "writer": _counts(answer.get("writer"))}


def _counts(found: object) -> dict[str, int]:
    pairs = found.items() if isinstance(found, dict) else ()
    return {str(key)[:40]: value for key, value in list(pairs)[:20] if isinstance(value, int)}


# /proc (proc(5)).


def _pids() -> Iterator[int]:
    with contextlib.suppress(OSError):
        yield from (int(name) for name in os.listdir(PROC) if name.isdigit())


def _listening() -> dict[int, int]:
    """Return the port of every listening socket by its inode."""
    found = {}
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (PROC / "net" / name).read_text("ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING:
                    found[int(fields[9])] = int(fields[1].rpartition(":")[2], 16)
    return found


def _process(pid: int, listening: Mapping[int, int], database: str) -> Process | None:
    """Return what is known of a process; None when it is not ours to look at, or gone."""
    directory = PROC / str(pid)
    try:
        opened = set(_opened(directory / "fd"))
        inodes = {int(each[len(_SOCKET) : -1]) for each in opened if each.startswith(_SOCKET)}
        arguments = (directory / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        ports = tuple(sorted({listening[inode] for inode in inodes if inode in listening}))
        return Process(
            pid,
            (directory / "comm").read_text("utf-8", "replace").strip(),
            _is_server(arguments),
            database in opened,
            ports,
            _uptime_s(directory),
            int((directory / "statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE"),
        )
    except (OSError, ValueError, IndexError):
        return None


def _opened(descriptors: Path) -> Iterator[str]:
    """Yield what a process has open: paths of files, and `socket:[INODE]`."""
    for name in os.listdir(descriptors):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            yield os.readlink(descriptors / name)


def _is_server(arguments: Sequence[str]) -> bool:
    """Say whether a command line runs a ccflare server or worker: `ccflare serve`, `python -m ccflare --serve`, ..."""
    for position, argument in enumerate(arguments[:4]):
        module = arguments[position + 1 : position + 2] if argument == "-m" else ()
        if "ccflare.serve.worker" in module:
            return True
        if Path(argument).name == "ccflare" or "ccflare" in module:
            return bool({"serve", "--serve", "demo"} & set(arguments[position + 1 :]))
    return False


def _uptime_s(directory: Path) -> int | None:
    if not hasattr(time, "clock_gettime"):
        return None
    ticks = int((directory / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19])
    return round(time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
