"""What is said to a service manager, and what it passes: over real datagrams."""

import os
import socket
from pathlib import Path

import pytest

from ccflare.systemd import ServiceState, passed_sockets


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_hears_each_state(tmp_path: Path, abstract: bool) -> None:
    """Each state is one datagram in the manager's words, to a path or to an abstract name, and for no child process."""
    name = f"@ccflare-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name[1:]}" if abstract else name)
        manager.settimeout(5)
        environ = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}
        service = ServiceState(environ)
        assert environ == {}
        assert service.watchdog_s == 2.0
        for say in (service.ready, service.reloading, service.alive, service.stopping):
            say()
        said = [manager.recv(4096).decode() for _ in range(4)]
    assert [said[0], said[2], said[3]] == ["READY=1", "WATCHDOG=1", "STOPPING=1"]
    reloading, _, instant = said[1].partition("\nMONOTONIC_USEC=")
    assert reloading == "RELOADING=1"
    assert int(instant) > 0


def test_without_a_manager_nobody_is_told(tmp_path: Path) -> None:
    """Started by hand, or when the manager has gone, saying something is harmless."""
    for environ in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}, {"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}):
        service = ServiceState(environ)
        service.ready()
        assert service.watchdog_s is None


def test_passed_sockets_are_for_their_process_only() -> None:
    """Variables that name another process, or none, pass nothing; they are gone afterwards."""
    for told in ({}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"}):
        environ = dict(told)
        assert passed_sockets(environ) == []
        assert environ == {}
