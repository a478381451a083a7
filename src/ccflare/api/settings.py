"""The settings: what each one is, where that comes from, and how it is changed."""

import logging
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ccflare.api.accounts import checked_address
from ccflare.api.parts import Parts
from ccflare.api.reading import Body
from ccflare.api.refusals import InvalidRequest, shown
from ccflare.errors import RefusedSetting, RequestError
from ccflare.settings import CONNECTED, TABLE, Loaded, Setting, changed
from ccflare.settings.kinds import Choice, Hosts, Kind, Number, ProxyUrl, SecretKeys, Switch, Whole

log = logging.getLogger("ccflare.Server")

_ROWS = {row.name: row for row in TABLE}
_MASKED_USER = "***@"


def _choices(kind: Kind) -> list[str] | None:
    """Return all values that a setting can have, None when they cannot be listed."""
    return list(dict.fromkeys(kind.words.values())) if isinstance(kind, Choice) else None


Value = str | int | float | bool | list[str]


class SettingView(msgspec.Struct, frozen=True, kw_only=True):
    """A setting."""

    name: str
    value: Value
    source: Literal["default", "file", "environment", "flag"]
    origin: Annotated[str, Meta(description="The source, and the file, the variable or the flag.")]
    default: Annotated[str, Meta(description="In words where it depends on the machine.")]
    allowed: Annotated[str, Meta(description='Completes "is not ...".')]
    choices: Annotated[list[str] | None, Meta(description="All values there are; null: more than can be listed.")]
    minimum: float | None
    maximum: float | None
    variables: Annotated[list[str], Meta(description="Environment variables; the first one that is set counts.")]
    writable: Annotated[bool, Meta(description="Whether it can be changed here; else in the file only.")]
    applies: Annotated[Literal["live", "at restart"], Meta(description="When a change takes effect.")]
    waiting: Annotated[bool, Meta(description="The running server has another value until it is restarted.")]
    meaning: str


class SettingsView(msgspec.Struct, frozen=True):
    """All settings."""

    path: Annotated[str, Meta(description="The settings file.")]
    problems: Annotated[list[str], Meta(description="What of the file could not be used, and why.")]
    settings: list[SettingView]


class ChangedSettings(msgspec.Struct, frozen=True):
    """What came of a change."""

    settings: Annotated[list[SettingView], Meta(description="Those that were named.")]
    restart: Annotated[list[str], Meta(description="Names of those that apply when the server is started again.")]
    overridden: Annotated[
        list[str], Meta(description="Names of those that a variable or a flag overrides: the file does not count.")
    ]


class StrategyView(msgspec.Struct, frozen=True):
    """The strategy by which an account is chosen."""

    strategy: str


class NewStrategy(Body, frozen=True):
    """The strategy by which an account is to be chosen."""

    strategy: Annotated[
        str,
        Meta(
            description="One of `GET /api/strategies`.",
            extra_json_schema={"enum": _choices(_ROWS["lb_strategy"].kind)},
        ),
    ]


def _is_writable(row: Setting) -> bool:
    """Tell whether a caller may change a setting: not what seals the credentials, nor what callers may reach."""
    return not isinstance(row.kind, SecretKeys) and row.name != "private_upstreams"


def _type_of(kind: Kind) -> Any:
    """Return the JSON type of a setting; the setting itself checks the rest."""
    match kind:
        case Whole():
            return Annotated[int, Meta(ge=kind.low, le=kind.high)]
        case Number():
            return Annotated[float, Meta(ge=kind.low, le=kind.high)]
        case Switch():
            return bool
        case Hosts():
            return list[str]
        case Choice():
            return Annotated[str, Meta(extra_json_schema={"enum": _choices(kind)})]
    return str


SettingsChange = msgspec.defstruct(
    "SettingsChange",
    [
        (row.name, Annotated[_type_of(row.kind) | UnsetType | None, Meta(description=row.meaning)], UNSET)
        for row in TABLE
        if _is_writable(row)
    ],
    bases=(Body,),
    frozen=True,
    kw_only=True,
    namespace={"__doc__": "Settings to write into the file; null takes one out, so that the default counts."},
    module=__name__,
)


async def show_settings(parts: Parts) -> SettingsView:
    """Show every setting, its value and where that comes from. Passwords are masked."""
    loaded = await parts.configuration.read()
    problems = [str(problem) for problem in loaded.problems]
    return SettingsView(str(loaded.path), problems, [_view(parts, loaded, row) for row in TABLE])


async def change_settings(parts: Parts, body: SettingsChange) -> ChangedSettings:  # type: ignore[valid-type]  # made from the table
    """Change settings.

    They are written into the settings file; all of them or, when one is refused, none. What applies live is in
    force when the answer comes.
    """
    changes = {
        name: value
        for name, value in msgspec.structs.asdict(cast("msgspec.Struct", body)).items()
        if value is not UNSET
    }
    return await _change(parts, changes)


async def show_strategy(parts: Parts) -> StrategyView:
    """Show how an account is chosen."""
    return StrategyView(parts.configuration.started.lb_strategy)


async def change_strategy(parts: Parts, body: NewStrategy) -> ChangedSettings:
    """Choose how an account is chosen; `Invalid strategy` when there is none of that name."""
    return await _change(parts, {"lb_strategy": body.strategy})


async def list_strategies(parts: Parts) -> list[str]:
    """List the strategies there are."""
    return _choices(_ROWS["lb_strategy"].kind) or []


async def _change(parts: Parts, changes: dict[str, Any]) -> ChangedSettings:
    for name, value in changes.items():
        if value is not None:
            _check(_ROWS[name], value)
            if name in CONNECTED:
                await checked_address(parts, value.strip(), name)
    try:
        loaded = await parts.configuration.change(changes) if changes else await parts.configuration.read()
    except RefusedSetting as error:
        raise InvalidRequest(error.name, error.problem) from None
    if changes:
        log.info("Settings written by the API: %s", ", ".join(changes))
    views = [_view(parts, loaded, _ROWS[name]) for name in changes]
    return ChangedSettings(
        views,
        restart=[view.name for view in views if view.waiting],
        overridden=[view.name for view in views if view.source in {"environment", "flag"}],
    )


def _check(row: Setting, value: Any) -> None:
    """Raise InvalidRequest for a value that the setting cannot have."""
    try:
        row.kind.from_json(value)
    except ValueError:
        if row.name == "lb_strategy":
            raise RequestError(f"Invalid strategy: {shown(value)}") from None
        raise InvalidRequest(row.name, f"is not {row.kind.allowed}") from None
    if isinstance(row.kind, ProxyUrl) and _MASKED_USER in value:
        raise InvalidRequest(row.name, "is the masked value; leave it out, or write the whole address")


def _view(parts: Parts, loaded: Loaded, row: Setting) -> SettingView:
    origin = loaded.origins[row.name]
    return SettingView(
        name=row.name,
        value=row.shown(getattr(loaded.settings, row.name)),
        source=origin.source,
        origin=str(origin),
        default=row.default_text,
        allowed=row.kind.allowed,
        choices=_choices(row.kind),
        minimum=row.kind.low if isinstance(row.kind, Whole | Number) else None,
        maximum=row.kind.high if isinstance(row.kind, Whole | Number) else None,
        variables=list(row.variables),
        writable=_is_writable(row),
        applies="live" if row.live else "at restart",
        waiting=row.name in changed(parts.configuration.started, loaded.settings).restart,
        meaning=row.meaning,
    )
