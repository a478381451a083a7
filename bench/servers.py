"""What is measured: the bench upstream by itself, nginx before it, ccflare before it, and peers that run already."""

import os
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.machine import BenchError, Child, Cores, use_of

DIRECT, NGINX, CCFLARE = "direct", "nginx", "ccflare"
ACCOUNTS = 3
START_S = 60.0
_ROOT = Path(__file__).resolve().parent.parent
_POLL_S = 0.002

_NGINX_CONFIG = """
{user}
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log warn;
worker_processes 1;
worker_rlimit_nofile 12288;
events {{ worker_connections 12000; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  client_body_buffer_size 256k;
  client_max_body_size 64m;
  keepalive_requests 100000000;
  upstream bench {{
    server 127.0.0.1:{upstream_port};
    keepalive 64;
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://bench;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 330s;
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go, and whose CPU and memory count. `pid` None: nobody's."""

    name: str
    port: int
    pid: int | None
    host: str = "127.0.0.1"
    prefix: str = ""
    """Stands before every path."""
    database: Path | None = None
    """Where it records every exchange."""

    @property
    def authority(self) -> str:
        """What `Host` says."""
        return f"{self.host}:{self.port}"

    @property
    def address(self) -> tuple[str, int]:
        """Where to connect to."""
        return self.host, self.port


def peer(given: str, pid: int | None) -> Target:
    """Return what runs already, given as `NAME=http://HOST:PORT[/PREFIX]`. Raises BenchError."""
    name, _, url = given.partition("=")
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError:
        raise BenchError(f"{url!r} is no URL") from None
    if not name or name in {DIRECT, NGINX, CCFLARE} or parts.scheme != "http" or not parts.hostname:
        raise BenchError(f"a peer is given as NAME=http://HOST:PORT[/PREFIX], not {given!r}")
    if pid is not None:
        use_of(pid)  # it is there and may be looked at
    return Target(name, port, pid, parts.hostname, parts.path.rstrip("/"))


@dataclass(frozen=True, slots=True)
class Place:
    """What a server is started with: its cores, a directory of its own, the upstream's port."""

    cores: Cores
    directory: Path
    upstream_port: int


def start_upstream(cores: Cores, directory: Path, port: int, stack: ExitStack) -> Target:
    """Start the bench upstream at a port, 0: at any. It ends with the stack."""
    child = Child([sys.executable, "-m", "bench.upstream", str(port)], cores.others, directory, environ())
    stack.callback(child.stop)
    line = child.stdout.readline()
    if not line:
        raise BenchError(f"the bench upstream did not start: {child.complaint()}")
    return Target(DIRECT, int(line), child.pid)


def start_nginx(place: Place, stack: ExitStack) -> Target:
    """Start nginx as a plain reverse proxy with kept-alive upstream connections."""
    port = free_port()
    config = place.directory / "nginx.conf"
    # Workers of a root's nginx run as somebody who cannot enter our directory.
    user = "user root root;" if os.geteuid() == 0 else ""
    config.write_text(
        _NGINX_CONFIG.format(user=user, directory=place.directory, port=port, upstream_port=place.upstream_port)
    )
    child = Child(["nginx", "-c", str(config), "-p", str(place.directory)], place.cores.measured, place.directory)
    stack.callback(child.stop)
    wait_until_up(child, port, "HEAD", "/")
    return Target(NGINX, port, child.pid)


class Ccflare:
    """ccflare with a home of its own and accounts at the bench upstream, started as its users do."""

    def __init__(self, place: Place, home: str = "home", accounts: int = ACCOUNTS, **settings: str) -> None:
        self._place = place
        self._settings = settings
        self._home = place.directory / home
        self._home.mkdir(mode=0o700)
        self.database = self._home / "ccflare.db"
        for number in range(1, accounts + 1):
            self._add_account(f"bench-{number}", f"sk-ant-api03-bench-account-{number}")

    def start(self, stack: ExitStack) -> Target:
        """Start the server; it ends with the stack."""
        port = free_port()
        child = Child(
            [*_COMMAND, "serve"],
            self._place.cores.measured,
            self._place.directory,
            self._environ(PORT=str(port)),
        )
        stack.callback(child.stop)
        wait_until_up(child, port, "GET", "/health")
        return Target(CCFLARE, port, child.pid, database=self.database)

    def list_accounts(self) -> None:
        """Run `ccflare --list`. Raises BenchError when it fails or says nothing."""
        if b"active" not in self._run(b"", "--list"):
            raise BenchError("ccflare --list does not show the accounts")

    def _add_account(self, name: str, key: str) -> None:
        url = f"http://127.0.0.1:{self._place.upstream_port}"
        self._run(key.encode(), "--add-account", name, "--api-key", "-", "--base-url", url)

    def _run(self, given: bytes, *arguments: str) -> bytes:
        command = [*_COMMAND, *arguments]
        child = Child(command, self._place.cores.measured, self._place.directory, self._environ())
        try:
            said, status = child.finish(given, START_S)
        finally:
            child.stop()
        if status != 0:
            raise BenchError(f"ccflare {' '.join(arguments)} failed: {child.complaint()}")
        return said

    def _environ(self, **more: str) -> Mapping[str, str]:
        paths = {
            "HOME": str(self._home),
            "TMPDIR": str(self._home),
            "CCFLARE_CONFIG_PATH": str(self._home / "ccflare.json"),
            "CCFLARE_DB_PATH": str(self.database),
            "CCFLARE_LOG_DIR": str(self._home / "logs"),
        }
        return environ() | paths | self._settings | more


_COMMAND = (sys.executable, "-m", "ccflare")


def wait_until_up(child: Child, port: int, method: str, path: str, *, within_s: float = START_S) -> None:
    """Wait for a server's first 200. Raises BenchError when it ends or stays silent."""
    last = time.monotonic() + within_s
    while not _is_up(port, method, path):
        if not child.running or time.monotonic() > last:
            raise BenchError(f"the server on port {port} did not come up: {child.complaint()}")
        time.sleep(_POLL_S)


def _is_up(port: int, method: str, path: str) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(
                f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()
            )
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def environ() -> dict[str, str]:
    """Return this process's environment without what would configure ccflare or compile it anew at each start."""
    unwanted = {"port", "lb_strategy", "log_level", "log_format", "http_proxy", "https_proxy", "no_proxy"}
    unwanted |= {"pythondontwritebytecode"}
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.lower() not in unwanted and not name.lower().startswith(("ccflare_", "retry_", "session_", "xdg_"))
    }
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(_ROOT))))
    return kept | {"PYTHONPATH": path, "CF_PRICING_OFFLINE": "1"}
