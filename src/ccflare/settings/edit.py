"""Changes of the settings file that are made through ccflare: whole or not at all, and never to something worse.

What the file says besides stays as it is, keys that mean nothing here included. A file that cannot be read is its
owner's to repair.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ccflare.errors import Conflict, OperatorError, RefusedSetting
from ccflare.settings import file as settings_file
from ccflare.settings.file import SettingsFile, Stamp
from ccflare.settings.load import Loaded, settled


def edit(path: Path, changes: Mapping[str, Any], flags: Mapping[str, object], environ: Mapping[str, str]) -> Loaded:
    """Write settings into the file at `path` and return those in force then; None takes one out of the file.

    Raises RefusedSetting when the file would say something that cannot be, Conflict when it cannot be read or is
    being edited, OperatorError when it cannot be written. `flags` and `environ` are those of `load`.
    """
    before = settings_file.read(path) or SettingsFile(path, {})
    if before.broken:
        raise Conflict(f"{before.problems[0]}; repair it first")
    values = {name: value for name, value in {**before.values, **changes}.items() if value is not None}
    new = frozenset(name for name, value in changes.items() if value != before.values.get(name))
    wanted = SettingsFile(path, values, before.problems, before.stamp, wanted=new)
    _check(settled(before, flags, environ), settled(wanted, flags, environ))
    stamp = _replace(path, values, before.stamp)
    return settled(SettingsFile(path, values, before.problems, stamp), flags, environ)


def _check(before: Loaded, after: Loaded) -> None:
    """Raise RefusedSetting for the first problem that was not there before."""
    known = {problem.message for problem in before.problems}
    for problem in after.problems:
        if problem.message not in known:
            why = problem.message.partition("; the default")[0]
            raise RefusedSetting(problem.key or "", f"is refused, and nothing was changed: {why}")


def _replace(path: Path, values: Mapping[str, Any], seen: Stamp | None) -> Stamp | None:
    """Put a new file in the old one's place; where the path is a link, in the place that it leads to."""
    text = json.dumps(values, indent=2) + "\n"
    place = Path(os.path.realpath(path))
    draft = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)
        try:
            _write(draft, text, place)
            if settings_file.stamp(path) != seen:
                raise Conflict(f"{path} is being edited by somebody else; nothing was changed")
            draft.replace(place)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise OperatorError(f"Cannot write config file: {path}: {error.strerror or error}") from None
    return settings_file.stamp(path)


def _write(draft: Path, text: str, like: Path) -> None:
    """Write a new file, with the permissions of the one it is to replace, else for its owner only."""
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        if like.exists() and hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), like.stat().st_mode & 0o777)
        os.fsync(file.fileno())
