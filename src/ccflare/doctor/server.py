"""Whether a server runs, where, and how it says it is."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from ccflare import __version__
from ccflare.doctor.listening import HEALTH_S, Process, accepts, health, listening_ports, processes
from ccflare.doctor.report import Facts, Finding, Part
from ccflare.settings import Settings

Place: TypeAlias = Literal["configured", "ours", "elsewhere"]
"""Where a server is asked: at the port of the settings, where the server of this database is, or where any is."""

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # recognised, not listened on


def examine_server(settings: Settings, *, insists: bool = False) -> Part:
    """Return the facts of `process`, `port` and `health`, which hang together. `insists`: a person named the port."""
    found = processes(settings.db_path)
    servers = [process for process in found if process.is_server]
    addresses = [_EVERYWHERE.get(address, address) for address in settings.addresses]
    listening = listening_ports()
    port, place = _place_to_ask(settings.port, servers, listening, insists=insists)
    answer, trouble = _ask(port, addresses) if port else (None, None)
    taken = answer is not None or trouble is not None if place == "configured" else settings.port in (listening or ())
    owner = next((process for process in found if settings.port in process.ports), None)
    is_server = (place == "configured" and answer is not None) or (owner is not None and owner.is_server)
    state = "any" if not settings.port else "free" if not taken else "ccflare" if is_server else "other"
    facts: Facts = {"port": settings.port, "state": state, "owner": None if owner is None else _owner(owner)}
    ours = place == "ours" or is_server
    how = Part({"running": False}) if place == "elsewhere" else _health(answer, trouble if ours else None)
    findings = [*_about_port(settings.port, state, owner, place), *_about_place(port, settings.port, place)]
    process = {"servers": [_server(process) for process in servers]}
    return Part({"process": process, "port": facts, "health": how.facts}, (*findings, *how.findings))


def _place_to_ask(
    port: int, servers: Sequence[Process], listening: set[int] | None, *, insists: bool
) -> tuple[int, Place]:
    """Return the port where a server is to be asked, and whose that is."""
    there = bool(port) and (listening is None or port in listening)
    ours = [each for server in servers if server.has_database for each in server.ports]
    if there and (insists or not ours or port in ours):
        return port, "configured"
    if ours:
        return ours[0], "ours"
    ports = [each for server in servers for each in server.ports]
    return (ports[0], "elsewhere") if ports else (port, "configured")


def _ask(port: int, addresses: Sequence[str]) -> tuple[dict[str, Any] | None, str | None]:
    """Return what the server says, else what was wrong; both None when nobody is there."""
    trouble = None
    for address in addresses:
        if not accepts(port, [address]):
            continue
        try:
            answer = health(port, address)
        except OSError:
            return None, f"no answer to GET /health within {HEALTH_S:g} seconds"
        if answer is not None:
            return answer, None
        trouble = "the answer to GET /health is not ccflare's"
    return None, trouble


def _owner(process: Process) -> Facts:
    return {"pid": process.pid, "program": process.program}


def _server(process: Process) -> Facts:
    return {
        "pid": process.pid,
        "ports": list(process.ports),
        "this_database": process.has_database,
        "uptime_s": process.uptime_s,
        "memory_bytes": process.memory_bytes,
    }


def _about_port(port: int, state: str, owner: Process | None, place: Place) -> list[Finding]:
    if state != "other" or place == "ours":
        return []
    who = f" ({owner.program}, pid {owner.pid})" if owner else ""
    advice = f"stop it, or choose another port: ccflare --serve --port {port + 1}"
    return [Finding("error", f"Port {port} is taken by another program{who}", advice)]


def _about_place(port: int, configured: int, place: Place) -> list[Finding]:
    if place == "ours" and configured:
        message = f"The server of this database listens on port {port}, not on that of these settings ({configured})"
        return [Finding("note", message, f"clients reach it at http://localhost:{port}")]
    if place == "elsewhere":
        message = f"A server listens on port {port}, which is not the port of these settings"
        return [Finding("note", f"{message}; it may be another installation's", f"if it is yours: --port {port}")]
    return []


def _health(answer: dict[str, Any] | None, trouble: str | None) -> Part:
    if trouble is not None:
        finding = Finding("error", f"The server is not well: {trouble}", "see its log; restart it")
        return Part({"running": True, "error": trouble}, (finding,))
    if answer is None:
        return Part({"running": False})
    findings = []
    if answer.get("version") != __version__:
        message = f"The server is version {answer.get('version')}, this program {__version__}"
        findings.append(Finding("warning", message, "restart the server"))
    return Part({"running": True, **answer}, tuple(findings))
