"""The settings file: where it is, how it is read, and how a missing one comes to be.

A file that is there is only changed when somebody asks for it (`edit`); a broken one is the operator's to repair.
"""

import json
import os
import stat
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

CONFIG_VARIABLES = ("ccflare_CONFIG_PATH", "CCFLARE_CONFIG_PATH")
MAX_BYTES = 1024 * 1024
"""Longest file that is read; real ones have less than a kilobyte."""

Stamp: TypeAlias = tuple[int, int, int]
"""What tells one state of a file from another: modification time in ns, size in bytes, inode."""


class Problem(msgspec.Struct, frozen=True):
    """Something in the settings file that could not be used, as one line. `key` None: the file as a whole."""

    key: str | None
    message: str

    def __str__(self) -> str:
        return self.message


class SettingsFile(msgspec.Struct, frozen=True):
    """What the file said. `broken`: it is there and says nothing that can be used.

    `wanted`: the settings that it does not say yet, or says differently; somebody wants it to.
    """

    path: Path
    values: Mapping[str, Any]
    problems: tuple[Problem, ...] = ()
    stamp: Stamp | None = None
    broken: bool = False
    wanted: frozenset[str] = frozenset()


class _Members(dict[str, Any]):
    """A JSON object that remembers which names it had twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counts = Counter(name for name, _ in pairs)
        self.repeated = tuple(name for name, count in counts.items() if count > 1)


def home(environ: Mapping[str, str]) -> Path:
    """Return the home directory: the variable, else what the system's user database says."""
    return Path(environ["HOME"]) if environ.get("HOME") else Path.home()


def absolute(path: Path, base: Path | None, environ: Mapping[str, str]) -> Path:
    """Return the path with a leading `~` replaced and a relative one based (None: where the program runs)."""
    if path.parts[:1] == ("~",):
        path = home(environ).joinpath(*path.parts[1:])
    return path if path.is_absolute() else (base or Path.cwd()) / path


def config_path(environ: Mapping[str, str], platform: str) -> Path:
    """Return where the settings file is or would be. `platform` is what `sys.platform` says."""
    for variable in CONFIG_VARIABLES:
        if environ.get(variable):
            return absolute(Path(environ[variable]), None, environ)
    tail = Path("ccflare") / "ccflare.json"
    if platform == "win32":
        roots = [Path(environ[name]) for name in ("LOCALAPPDATA", "APPDATA") if environ.get(name)]
        roots = roots or [home(environ) / "AppData" / "Local"]
        return next((root / tail for root in roots if (root / tail).exists()), roots[0] / tail)
    # A relative XDG_CONFIG_HOME is to be ignored (XDG Base Directory Specification 0.8).
    xdg = Path(environ.get("XDG_CONFIG_HOME", ""))
    return (xdg if xdg.is_absolute() else home(environ) / ".config") / tail


def temporary_directory(environ: Mapping[str, str], platform: str) -> Path:
    """Return the directory for temporary files, `/tmp` unless a variable names another."""
    names = ("TEMP", "TMP") if platform == "win32" else ("TMPDIR", "TMP", "TEMP")
    paths = [Path(environ[name]) for name in names if environ.get(name)]
    fallback = home(environ) / "AppData" / "Local" / "Temp" if platform == "win32" else Path("/tmp")  # noqa: S108  # logs.file checks whose directory it is
    return next((path for path in paths if path.is_absolute()), fallback)


def stamp(path: Path) -> Stamp | None:
    """Return the file's present stamp, or None when it is missing or out of reach."""
    try:
        return _stamp(path.stat())
    except OSError:
        return None


def read(path: Path) -> SettingsFile | None:
    """Return what the file says, or None when there is no file."""
    try:
        with open(path, "rb", opener=_open_regular) as file:
            seen = _stamp(os.fstat(file.fileno()))
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        return _broken(path, f"Cannot read config file: {path}: {error.strerror or error}", None)
    try:
        return _decoded(path, raw, seen)
    except ValueError as error:
        return _broken(path, f"Failed to parse config file: {path}: {error}", seen)


def create(path: Path, values: Mapping[str, Any]) -> Problem | None:
    """Write a new file, whole or not at all, readable by its owner only. One that appears meanwhile stays."""
    text = json.dumps(values, indent=2) + "\n"
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            _publish(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    except FileExistsError:
        return None if path.exists() else Problem(None, f"Cannot create config file: {path}: a link to nothing")
    except OSError as error:
        return Problem(None, f"Cannot create config file: {path}: {error.strerror or error}; the defaults are used")
    return None


def _publish(draft: Path, path: Path) -> None:
    """Give the draft its name. Raises FileExistsError when the name is taken."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:
        # No hard links here (FAT, some network file systems): rename, which replaces a file only in a race.
        if path.exists():
            raise FileExistsError from None
        draft.replace(path)


def _open_regular(name: str, flags: int) -> int:
    """Open a regular file only: reading a pipe or a device could wait for ever."""
    descriptor = os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError("not a regular file")


def _stamp(state: os.stat_result) -> Stamp:
    return (state.st_mtime_ns, state.st_size, state.st_ino)


def _broken(path: Path, line: str, seen: Stamp | None) -> SettingsFile:
    problem = Problem(None, f"{line}; the file is left as it is and not used")
    return SettingsFile(path, {}, (problem,), seen, broken=True)


def _decoded(path: Path, raw: bytes, seen: Stamp) -> SettingsFile:
    """Decode the file's bytes. Raises ValueError saying where and why it is not a settings file."""
    if len(raw) > MAX_BYTES:
        raise ValueError(f"longer than {MAX_BYTES} bytes")
    try:
        members = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_Members)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line}: not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno} column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError:
        # What is left: a whole number beyond the interpreter's limit of digits.
        raise ValueError("a number has too many digits") from None
    if not isinstance(members, _Members):
        raise ValueError("line 1 column 1: expected an object, like {}")  # noqa: TRY004  # wrong content, not a bug
    problems = tuple(
        Problem(name, f"{name[:60]!r} is written more than once in {path}; the last value counts")
        for name in members.repeated
    )
    return SettingsFile(path, members, problems, seen)
