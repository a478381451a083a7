"""The machine and the installation: versions, settings, variables, files and what the log says."""

import os
import platform
import re
import shutil
import sqlite3
import ssl
import stat
import sys
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Final

from ccflare import __version__, logs
from ccflare.doctor.masking import MASKED, Mask, secret_name
from ccflare.doctor.report import Facts, Finding, Part, iso
from ccflare.errors import InvalidSetting
from ccflare.settings import TABLE, Loaded, load
from ccflare.settings.file import CONFIG_VARIABLES
from ccflare.settings.kinds import FilePath, Hosts, ProxyUrl, UpstreamUrl
from ccflare.settings.table import Setting

LOW_DISK_BYTES: Final = 1024 * 1024 * 1024
FULL_DISK_BYTES: Final = 64 * 1024 * 1024
MOST_ERRORS: Final = 20
MOST_RATE_LIMITS: Final = 10
LONGEST_MESSAGE: Final = 300

_DAY_MS = 86_400_000
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_ROWS = {variable: row for row in TABLE for variable in row.variables}
_PLACES = frozenset({*CONFIG_VARIABLES, "XDG_CONFIG_HOME", "TMPDIR", "TMP", "TEMP", "SSL_CERT_FILE", "SSL_CERT_DIR"})
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SEALING = frozenset({"CCFLARE_SECRET_KEY"})
_CLIENTS = ("ANTHROPIC_", "LOG_", "LB_")


def settings_in_force(flags: Mapping[str, object], environ: Mapping[str, str]) -> tuple[Loaded, tuple[Finding, ...]]:
    """Return the settings, without what cannot be used of flags and variables: that is a finding."""
    try:
        return load(flags, environ, create=False), ()
    except InvalidSetting as error:
        advice = "ccflare does not start with it: correct or remove it"
        finding = Finding("error", str(error), advice)
    places = {name: value for name, value in environ.items() if name not in _ROWS or name in _PATHS}
    return load({}, places, create=False), (finding,)


_PATHS = frozenset(variable for row in TABLE if isinstance(row.kind, FilePath) for variable in row.variables)


def system() -> Part:
    """Say what this runs on. The machine's name is not part of it."""
    return Part(
        {
            "os": f"{platform.system()} {platform.release()}",
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "ccflare": __version__,
            "sqlite": sqlite3.sqlite_version,
            "openssl": ssl.OPENSSL_VERSION,
            "packages": dict(_packages()),
        }
    )


def _packages() -> Iterator[tuple[str, str]]:
    try:
        wanted = requires("ccflare") or []
    except PackageNotFoundError:
        return
    for line in wanted:
        name = _PACKAGE.match(line)
        if name and "extra ==" not in line:
            try:
                yield name[0], version(name[0])
            except PackageNotFoundError:
                yield name[0], "missing"


def settings(loaded: Loaded, mask: Mask) -> Part:
    """Say where things are, and which settings are not the defaults and why."""
    in_force, origins = loaded.settings, loaded.origins
    changed = [
        {"name": row.name, "value": _shown(row, getattr(in_force, row.name), mask), "origin": str(origins[row.name])}
        for row in TABLE
        if origins[row.name].source != "default"
        and row.shown(getattr(in_force, row.name))
        != (None if isinstance(row.kind, FilePath) else row.shown(row.default))
    ]
    problems = [mask.text(str(problem)) for problem in loaded.problems]
    severity, advice = ("error", "correct the file") if loaded.broken else ("warning", "correct it")
    facts: Facts = {
        "file": str(loaded.path),
        "file_exists": loaded.stamp is not None,
        "database": str(in_force.db_path),
        "log_directory": str(in_force.log_dir),
        "changed": changed,
        "problems": problems,
    }
    return Part(facts, tuple(Finding("error" if severity == "error" else "warning", each, advice) for each in problems))


def _shown(row: Setting, value: Any, mask: Mask) -> Any:
    """Return a setting's value as anybody may see it."""
    if isinstance(row.kind, Hosts) or row.name in {"host", "no_proxy"}:
        hosts = value.split(",") if isinstance(value, str) else value
        return [mask.host(host.strip()) for host in hosts if host.strip()]
    if not isinstance(value, str) or not value:
        return row.shown(value)
    if isinstance(row.kind, ProxyUrl | UpstreamUrl):
        return mask.url(value)
    return MASKED if secret_name(row.name) else mask.text(value)[:LONGEST_MESSAGE]


def environment(environ: Mapping[str, str], mask: Mask) -> Part:
    """Say which variables count, and which look as if they were meant to."""
    names = sorted((name for name in environ if _counts(name)), key=str.lower)
    shown = [{"name": name, "value": _variable(name, environ[name], mask)} for name in names]
    return Part({"variables": shown}, tuple(finding for name in sorted(environ) for finding in _doubts(name)))


def _counts(name: str) -> bool:
    upper = name.upper()
    return (
        name in _ROWS
        or name in _PLACES
        or upper.startswith(("CCFLARE_", *_CLIENTS))
        or upper in {*_PROXIES, "ALL_PROXY", "NO_COLOR"}
    )


def _variable(name: str, value: str, mask: Mask) -> str:
    """Return a variable's value as anybody may see it: only where it is known what it can be."""
    if not value:
        return ""
    if name in _ROWS:
        shown = _shown(_ROWS[name], value, mask)
        return ",".join(shown) if isinstance(shown, list) else str(shown)
    if name == "ANTHROPIC_BASE_URL":
        return mask.url(value)
    return value if name in _PLACES else MASKED


def _doubts(name: str) -> Iterator[Finding]:
    upper = name.upper()
    if upper == "ALL_PROXY":
        yield Finding("note", f"{name} is set and not used", "set HTTPS_PROXY for the upstream")
    elif upper.startswith("CCFLARE_") and name not in _ROWS and name not in _PLACES and upper not in _SEALING:
        near = get_close_matches(upper, {known.upper() for known in _ROWS}, n=1, cutoff=0.8)
        yield Finding("warning", f"{name} is not a variable of ccflare's", f"{near[0]} is" if near else "remove it")
    elif name not in _ROWS and upper not in _PROXIES:
        near = get_close_matches(upper, _PROXIES, n=1, cutoff=0.88)
        if near:
            yield Finding("warning", f"{name} is set and not used", f"{near[0]} may be meant")


# Files.


def files(loaded: Loaded) -> Part:
    """Say who may read what is kept, and how much room there is."""
    database, log_dir = loaded.settings.db_path, loaded.settings.log_dir
    paths = [loaded.path, *(Path(f"{database}{suffix}") for suffix in ("", "-wal", "-shm")), log_dir / "app.log"]
    modes = [{"path": str(path), "mode": mode} for path in paths if (mode := _mode(path)) is not None]
    room = {str(place): _free_bytes(place) for place in dict.fromkeys((database.parent, log_dir))}
    facts: Facts = {"modes": modes, "free_bytes": [{"path": path, "bytes": free} for path, free in room.items()]}
    findings = [*_open_files(paths), *_unwritable(database.parent, "database"), *_unwritable(log_dir, "log")]
    return Part(facts, (*findings, *_full_disks(room)))


def _mode(path: Path) -> str | None:
    try:
        return f"{stat.S_IMODE(path.stat().st_mode):04o}"
    except OSError:
        return None


def _open_files(paths: list[Path]) -> Iterator[Finding]:
    if sys.platform == "win32":
        return
    for path in paths:
        mode = _mode(path)
        if mode is not None and int(mode, 8) & 0o077:
            yield Finding("warning", f"Others on this machine may use {path} (mode {mode})", f"chmod 600 {path}")
    for directory in dict.fromkeys(path.parent for path in paths):
        mode = _mode(directory)
        if mode is not None and int(mode, 8) & 0o022 and not int(mode, 8) & stat.S_ISVTX:
            yield Finding("warning", f"Others on this machine may change {directory} (mode {mode})", "chmod 700 it")


def _unwritable(directory: Path, what: str) -> Iterator[Finding]:
    existing = directory
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        advice = f"make it writable for this user, or set {'CCFLARE_LOG_DIR' if what == 'log' else 'ccflare_DB_PATH'}"
        yield Finding("error", f"The {what} directory {directory} cannot be written", advice)


def _free_bytes(directory: Path) -> int | None:
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return None


def _full_disks(room: Mapping[str, int | None]) -> Iterator[Finding]:
    for path, free in room.items():
        if free is not None and free < LOW_DISK_BYTES:
            message = f"Only {free // 1_000_000} MB are free where {path} is"
            yield Finding("error" if free < FULL_DISK_BYTES else "warning", message, "make room")


# The log.


def errors(directory: Path, mask: Mask, now_ms: int) -> Part:
    """Return the last warnings and errors of the last 24 hours."""
    entries = _recent(logs.history(directory, limit=MOST_ERRORS, level="WARN"), mask, now_ms)
    worst = [entry for entry in entries if entry["level"] == "ERROR"]
    findings: tuple[Finding, ...] = ()
    if worst:
        message = f"Errors were logged in the last 24 hours, the last one at {worst[-1]['ts']}"
        findings = (Finding("warning", message, "see the recent errors in this report"),)
    return Part({"entries": entries}, findings)


def rate_limits(directory: Path, mask: Mask, now_ms: int) -> Part:
    """Return the last words of the last 24 hours about rate limits."""
    found = (logs.history(directory, limit=MOST_RATE_LIMITS, text=words) for words in ("rate limit", "rate_limit"))
    entries = sorted({entry for each in found for entry in each}, key=lambda entry: (entry.ts or "", entry.message))
    return Part({"entries": _recent(entries[-MOST_RATE_LIMITS:], mask, now_ms)})


def _recent(entries: list[logs.LogEntry], mask: Mask, now_ms: int) -> list[Facts]:
    since = (iso(now_ms - _DAY_MS) or "")[:-1]
    return [
        {
            "ts": entry.ts,
            "level": entry.level,
            "component": mask.secrets(entry.component or "")[:LONGEST_MESSAGE] or None,
            "message": mask.text(entry.message.partition("\n")[0])[:LONGEST_MESSAGE],
        }
        for entry in entries
        if entry.ts is not None and entry.ts >= since
    ]
