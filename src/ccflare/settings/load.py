"""From defaults, file, environment and flags to the settings in force, remembering where each came from.

A bad value in a variable or a flag stops the program: someone has just typed it. A bad value in the file does
not: the default takes its place and a problem says so, because a server must come up again after any edit.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from ccflare.errors import InvalidSetting
from ccflare.settings import file as settings_file
from ccflare.settings.file import Problem, SettingsFile, Stamp
from ccflare.settings.kinds import ProxyUrl, SecretKeys
from ccflare.settings.rules import RULES, Rule
from ccflare.settings.table import TABLE, Setting, Settings, plain

KEPT = frozenset({"default_agent_model"})
"""Keys of the original program's file that mean nothing here; they may stay in it."""

_EMPTY_COUNTS = frozenset({"http_proxy", "https_proxy", "no_proxy"})
"""Settings that an empty variable switches off, as in other programs. Elsewhere it counts as not set."""

_ROWS = {row.name: row for row in TABLE}
_LONGEST_SHOWN = 60


class Origin(msgspec.Struct, frozen=True):
    """Where a value came from; `where` is the file's path, the variable or the flag."""

    source: Literal["default", "file", "environment", "flag"]
    where: str = ""

    def __str__(self) -> str:
        return f"{self.source} {self.where}".rstrip()


DEFAULT = Origin("default")


class Loaded(msgspec.Struct, frozen=True):
    """The settings in force and how they came about.

    `broken`: the file is there but could not be used at all; a running server keeps what it has.
    `stamp` is that of the file as it was read (None: no file), to be compared with `file.stamp(path)`.
    """

    settings: Settings
    origins: Mapping[str, Origin]
    problems: tuple[Problem, ...]
    path: Path
    stamp: Stamp | None
    broken: bool


class _Draft(msgspec.Struct):
    """Settings while they are put together."""

    values: dict[str, Any]
    origins: dict[str, Origin]
    defaults: Mapping[str, Any]
    problems: list[Problem]
    wanted: frozenset[str]

    def put(self, name: str, value: Any, origin: Origin) -> None:
        """Set a value over what a weaker source said."""
        self.values[name], self.origins[name] = value, origin

    def reset(self, name: str) -> None:
        """Go back to the default."""
        self.put(name, self.defaults[name], DEFAULT)

    def origin(self, name: str) -> str:
        """Say where a value came from."""
        origin = self.origins[name]
        return "wanted" if origin.source == "file" and name in self.wanted else str(origin)


def load(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    *,
    create: bool = True,
    platform: str = sys.platform,
) -> Loaded:
    """Return the settings in force. Raises InvalidSetting for a bad flag or variable, in one line.

    `flags` maps setting names to values or text; None means not given. `create` False leaves a missing file
    missing, which is what a reload wants. Calling again gives the settings after the file was edited.
    """
    path = settings_file.config_path(environ, platform)
    return settled(_content(path, create=create), flags, environ, platform=platform)


def settled(
    content: SettingsFile,
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    *,
    platform: str = sys.platform,
) -> Loaded:
    """Return the settings in force when the file says `content`. Raises InvalidSetting like `load`."""
    path = content.path
    defaults = {row.name: row.default for row in TABLE}
    defaults["db_path"] = path.parent / "ccflare.db"
    defaults["log_dir"] = settings_file.temporary_directory(environ, platform) / "ccflare-logs"
    draft = _Draft(dict(defaults), dict.fromkeys(defaults, DEFAULT), defaults, list(content.problems), content.wanted)
    _take_file(draft, content, environ)
    _take_environment(draft, environ)
    _take_flags(draft, flags, environ)
    settings = _agreed(draft)
    return Loaded(settings, draft.origins, tuple(draft.problems), path, content.stamp, content.broken)


def rows(loaded: Loaded) -> list[dict[str, object]]:
    """Return every setting with its value, origin and description, in JSON form and without passwords."""
    return [
        {
            "name": row.name,
            "value": row.shown(getattr(loaded.settings, row.name)),
            "origin": str(loaded.origins[row.name]),
            "default": row.default_text,
            "allowed": row.kind.allowed,
            "variables": list(row.variables),
            "applies": "live" if row.live else "at restart",
            "meaning": row.meaning,
        }
        for row in TABLE
    ]


def initial_values() -> dict[str, object]:
    """Return what a new file says: the defaults that are the same on every machine and say something."""
    return {
        row.name: row.shown(row.default)
        for row in TABLE
        if row.default not in ("", ()) and not isinstance(row.default, Path)
    }


def _content(path: Path, *, create: bool) -> SettingsFile:
    """Read the file, making it first where it is missing."""
    found = settings_file.read(path)
    if found is not None:
        return found
    if not create:
        return SettingsFile(path, {})
    problem = settings_file.create(path, initial_values())
    return settings_file.read(path) or SettingsFile(path, {}, (problem,) if problem else ())


def _take_file(draft: _Draft, content: SettingsFile, environ: Mapping[str, str]) -> None:
    """Take over what the file says; what cannot be taken becomes a problem."""
    origin = Origin("file", str(content.path))
    for key, value in content.values.items():
        row = _ROWS.get(key)
        if row is None:
            if key not in KEPT:
                draft.problems.append(Problem(key, f"{_unknown(key, origin)}; it is ignored"))
        elif value is not None:  # JSON's null says that there is nothing to say
            try:
                draft.put(key, _placed(row.kind.from_json(value), content.path.parent, environ), origin)
            except ValueError:
                default = plain(row.shown(draft.defaults[key])) or "empty"
                line = f"{_refusal(row, value, origin)}; the default ({default}) is used"
                draft.problems.append(Problem(key, line))


def _take_environment(draft: _Draft, environ: Mapping[str, str]) -> None:
    """Take over what the variables say. Raises InvalidSetting."""
    for row in TABLE:
        for variable in row.variables:
            text = environ.get(variable, "").strip()
            if text or (row.name in _EMPTY_COUNTS and variable in environ):
                _take_text(draft, row, text, Origin("environment", variable), environ)
                break


def _take_flags(draft: _Draft, flags: Mapping[str, object], environ: Mapping[str, str]) -> None:
    """Take over what the command line says. Raises InvalidSetting."""
    for name, value in flags.items():
        row = _ROWS.get(name)
        if row is None:
            raise InvalidSetting(_unknown(name, Origin("flag")))
        if value is not None:
            given = str(value) if isinstance(value, Path) else value
            _take_text(draft, row, given, Origin("flag", row.flag), environ)


def _take_text(draft: _Draft, row: Setting, given: object, origin: Origin, environ: Mapping[str, str]) -> None:
    try:
        value = row.kind.from_text(given.strip()) if isinstance(given, str) else row.kind.from_json(given)
    except ValueError:
        raise InvalidSetting(_refusal(row, given, origin)) from None
    draft.put(row.name, _placed(value, None, environ), origin)


def _placed(value: Any, base: Path | None, environ: Mapping[str, str]) -> Any:
    """Make a path absolute; anything else is itself."""
    return settings_file.absolute(value, base, environ) if isinstance(value, Path) else value


def _agreed(draft: _Draft) -> Settings:
    """Return the settings once they agree with each other; the file gives way. Raises InvalidSetting."""
    while True:
        settings = Settings(**draft.values)
        broken = next((rule for rule in RULES if not rule.holds(settings)), None)
        if broken is None:
            return settings
        line = _disagreement(broken, draft)
        from_file = [name for name in broken.names if draft.origins[name].source == "file"]
        if not from_file:
            raise InvalidSetting(line)
        for name in from_file:
            draft.reset(name)
        key = next((name for name in broken.names if name in draft.wanted), from_file[0])
        draft.problems.append(Problem(key, f"{line}; the default is used for {' and '.join(from_file)}"))


def _disagreement(rule: Rule, draft: _Draft) -> str:
    described = (
        f"{name} is {plain(_ROWS[name].shown(draft.values[name])) or 'empty'} ({draft.origin(name)})"
        for name in rule.names
    )
    return f"{rule.complaint}: {', '.join(described)}"


def _refusal(row: Setting, value: object, origin: Origin) -> str:
    """Say in one line which value is not allowed, what is, and where it was found. Shows no password."""
    if row.name == "lb_strategy":
        return f"Invalid strategy: {_words(value)} ({origin}; allowed: {row.kind.allowed})"
    if isinstance(row.kind, ProxyUrl | SecretKeys):
        return f"{row.name}: the value is not {row.kind.allowed} ({origin})"
    return f"{row.name}: {_shortened(row.shown(value))} is not {row.kind.allowed} ({origin})"


def _words(value: object) -> str:
    """Return a strategy's name as it was written, on one line."""
    text = value if isinstance(value, str) else json.dumps(value)
    return "".join(_printable(text))[:_LONGEST_SHOWN]


def _printable(text: str) -> Iterator[str]:
    return (letter if letter.isprintable() else "?" for letter in text)


def _shortened(value: object) -> str:
    """Return a value as JSON writes it, cut where it is long."""
    text = json.dumps(value, default=str)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _unknown(key: str, origin: Origin) -> str:
    """Say that there is no such setting, and which one may have been meant."""
    # Imported here: it is needed for mistakes only, and costs a tenth of a command's start.
    from difflib import get_close_matches

    near = get_close_matches(key.lower().replace("-", "_"), _ROWS, n=1)
    hint = f", but {near[0]} is" if near else ""
    return f"{_shortened(key)} is not a setting{hint} ({origin})"
