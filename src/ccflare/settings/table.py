"""Every setting, once: validation, messages, `ccflare config` and the documentation follow from this table.

A new setting is one row here. A row's text is written for the person who sets it.
"""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec

from ccflare.addresses import Reach
from ccflare.settings.kinds import (
    Choice,
    CollectorUrl,
    FilePath,
    Host,
    Hosts,
    Kind,
    Number,
    ProxyUrl,
    SecretKeys,
    Switch,
    Text,
    UpstreamUrl,
    Whole,
    without_user,
)

Level = Literal["DEBUG", "INFO", "WARN", "ERROR"]
Format = Literal["pretty", "json"]

_DAY_MS = 86_400_000
_MIB = 1024 * 1024
_LEVELS = {"debug": "DEBUG", "info": "INFO", "warn": "WARN", "warning": "WARN", "error": "ERROR"}
_TIMEOUT = Whole(1, _DAY_MS, "milliseconds")


def _row(kind: Kind, variables: str, meaning: str, *, live: bool = False) -> dict[str, Any]:
    """Describe one setting: `variables` are names with blanks between, the first one that is set counts."""
    return {"kind": kind, "variables": tuple(variables.split()), "meaning": meaning, "live": live}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings in force. What each one means stands in its row; the unit is in the name."""

    port: Annotated[int, _row(Whole(0, 65535), "PORT", "Port to listen on. 0 takes any free one.")] = 8080
    host: Annotated[
        str,
        _row(
            Host(),
            "CCFLARE_HOST",
            "Address to listen on. Empty: this machine only, on 127.0.0.1 and ::1. On any other address "
            "every request needs a client key (`ccflare keys`), unless `open_without_keys` is true.",
        ),
    ] = ""
    workers: Annotated[
        int,
        _row(
            Whole(1, 64),
            "CCFLARE_WORKERS",
            "Processes that serve. With more than one, another process supervises them.",
        ),
    ] = 1
    allowed_hosts: Annotated[
        tuple[str, ...],
        _row(
            Hosts(),
            "CCFLARE_ALLOWED_HOSTS",
            "Names, besides this machine's own, under which a `Host` header may address ccflare.",
        ),
    ] = ()
    open_without_keys: Annotated[
        bool,
        _row(
            Switch(),
            "CCFLARE_OPEN_WITHOUT_KEYS",
            "Whether whoever can reach `host` may do everything while there is no client key in force. Once there "
            "is one, keys are needed whatever this says.",
        ),
    ] = False
    lb_strategy: Annotated[
        str, _row(Choice({"session": "session"}), "LB_STRATEGY", "How an account is chosen for a request.")
    ] = "session"
    session_duration_ms: Annotated[
        int,
        _row(
            Whole(1, 30 * _DAY_MS, "milliseconds"),
            "SESSION_DURATION_MS",
            "How long a session keeps its account.",
            live=True,
        ),
    ] = 3_600_000
    retry_attempts: Annotated[
        int,
        _row(
            Whole(0, 10),
            "RETRY_ATTEMPTS",
            "Tries of one request on the first account that fails in passing. 0 and 1: no repetition.",
            live=True,
        ),
    ] = 3
    retry_delay_ms: Annotated[
        int,
        _row(
            Whole(0, 600_000, "milliseconds"),
            "RETRY_DELAY_MS",
            "Pause before the first repetition.",
            live=True,
        ),
    ] = 1000
    retry_backoff: Annotated[
        float,
        _row(
            Number(1, 10),
            "RETRY_BACKOFF",
            "Factor by which the pause grows with every repetition.",
            live=True,
        ),
    ] = 2.0
    connect_timeout_ms: Annotated[
        int,
        _row(
            _TIMEOUT,
            "CCFLARE_CONNECT_TIMEOUT_MS",
            "Longest wait for a connection to the upstream.",
            live=True,
        ),
    ] = 10_000
    first_byte_timeout_ms: Annotated[
        int,
        _row(
            _TIMEOUT,
            "CCFLARE_FIRST_BYTE_TIMEOUT_MS",
            "Longest wait for the first byte of an answer, all attempts together.",
            live=True,
        ),
    ] = 600_000
    idle_timeout_ms: Annotated[
        int,
        _row(
            _TIMEOUT,
            "CCFLARE_IDLE_TIMEOUT_MS",
            "Longest silence between two bytes of an answer. Clients give up after 300 seconds.",
            live=True,
        ),
    ] = 330_000
    exchange_timeout_ms: Annotated[
        int,
        _row(_TIMEOUT, "CCFLARE_EXCHANGE_TIMEOUT_MS", "Longest time for one request as a whole.", live=True),
    ] = 3_600_000
    shutdown_timeout_ms: Annotated[
        int,
        _row(
            Whole(0, 3_600_000, "milliseconds"),
            "CCFLARE_SHUTDOWN_TIMEOUT_MS",
            "How long a stopping server lets running requests finish.",
            live=True,
        ),
    ] = 30_000
    shutdown_delay_ms: Annotated[
        int,
        _row(
            Whole(0, 3_600_000, "milliseconds"),
            "CCFLARE_SHUTDOWN_DELAY_MS",
            "How long a server that was asked to stop goes on taking requests while `/ready` says 503, so that whoever "
            "spreads requests over servers can notice. Being asked again ends the wait.",
            live=True,
        ),
    ] = 0
    upstream_url: Annotated[
        str,
        _row(
            UpstreamUrl(),
            "CCFLARE_UPSTREAM_URL",
            "Where requests go when an account has no address of its own.",
            live=True,
        ),
    ] = "https://api.anthropic.com"
    private_upstreams: Annotated[
        Reach,
        _row(
            Choice({word: word for word in get_args(Reach)}),
            "CCFLARE_PRIVATE_UPSTREAMS",
            "Which upstream addresses are allowed besides public ones with https. loopback: this machine, when it is "
            "written as localhost, 127.0.0.1 or ::1, in the settings or by the command line. all: also private "
            "networks, and addresses written by the API or an imported file. none: neither. Cannot be changed by "
            "the API.",
            live=True,
        ),
    ] = "loopback"
    client_id: Annotated[str, _row(Text(), "CLIENT_ID", "Your own OAuth client. There is no default.", live=True)] = ""
    oauth_authorize_url: Annotated[
        str,
        _row(UpstreamUrl(), "CCFLARE_OAUTH_AUTHORIZE_URL", "Where a person signs in for a subscription.", live=True),
    ] = "https://claude.ai/oauth/authorize"
    oauth_console_url: Annotated[
        str,
        _row(UpstreamUrl(), "CCFLARE_OAUTH_CONSOLE_URL", "Where a person signs in to have an API key made.", live=True),
    ] = "https://console.anthropic.com/oauth/authorize"
    oauth_token_url: Annotated[
        str,
        _row(UpstreamUrl(), "CCFLARE_OAUTH_TOKEN_URL", "Where codes and refresh tokens become tokens.", live=True),
    ] = "https://console.anthropic.com/v1/oauth/token"  # noqa: S105  # an address
    oauth_api_key_url: Annotated[
        str,
        _row(UpstreamUrl(), "CCFLARE_OAUTH_API_KEY_URL", "Where API keys are made for a signed-in person.", live=True),
    ] = "https://api.anthropic.com/api/oauth/claude_cli/create_api_key"
    oauth_redirect_uri: Annotated[
        str,
        _row(
            UpstreamUrl(),
            "CCFLARE_OAUTH_REDIRECT_URI",
            "Where the browser ends up with the code, as registered for the OAuth client.",
            live=True,
        ),
    ] = "https://console.anthropic.com/oauth/code/callback"
    oauth_scopes: Annotated[
        str, _row(Text(), "CCFLARE_OAUTH_SCOPES", "What a sign-in asks for, separated by blanks.", live=True)
    ] = "org:create_api_key user:profile user:inference"
    body_buffer_bytes: Annotated[
        int,
        _row(
            Whole(0, 4096 * _MIB, "bytes"),
            "CCFLARE_BODY_BUFFER_BYTES",
            "Longest request body that is kept, so that it can be repeated on another account. "
            "A longer one is streamed and sent once.",
            live=True,
        ),
    ] = 36 * _MIB
    body_buffers_bytes: Annotated[
        int,
        _row(
            Whole(0, 1_048_576 * _MIB, "bytes"),
            "CCFLARE_BODY_BUFFERS_BYTES",
            "All kept request bodies together.",
            live=True,
        ),
    ] = 512 * _MIB
    store_payloads: Annotated[
        bool,
        _row(
            Switch(),
            "CCFLARE_STORE_PAYLOADS",
            "Whether headers and bodies of requests and answers are kept, without credentials and up to 1 MiB a body.",
            live=True,
        ),
    ] = True
    payload_budget_bytes: Annotated[
        int,
        _row(
            Whole(0, 1_048_576 * _MIB, "bytes"),
            "CCFLARE_PAYLOAD_BUDGET_BYTES",
            "What kept headers and bodies may take in the database, compressed. The oldest go first.",
            live=True,
        ),
    ] = 1024 * _MIB
    data_retention_days: Annotated[
        int,
        _row(
            Whole(1, 365, "days"),
            "CCFLARE_DATA_RETENTION_DAYS",
            "How long headers and bodies are kept.",
            live=True,
        ),
    ] = 7
    request_retention_days: Annotated[
        int,
        _row(
            Whole(1, 3650, "days"),
            "CCFLARE_REQUEST_RETENTION_DAYS",
            "How long the list of requests is kept; headers and bodies go with it at the latest.",
            live=True,
        ),
    ] = 365
    max_exchanges: Annotated[
        int,
        _row(Whole(1, 1_000_000), "CCFLARE_MAX_EXCHANGES", "Requests that may be in flight at once.", live=True),
    ] = 10_000
    pricing_offline: Annotated[
        bool,
        _row(
            Switch(),
            "CF_PRICING_OFFLINE",
            "Never fetch prices: those that came with the program, or were fetched last, stay.",
            live=True,
        ),
    ] = False
    pricing_refresh_hours: Annotated[
        int,
        _row(
            Whole(1, 8760, "hours"),
            "CF_PRICING_REFRESH_HOURS",
            "How long fetched prices are used before newer ones are fetched.",
            live=True,
        ),
    ] = 24
    pricing_url: Annotated[
        str,
        _row(UpstreamUrl(), "CF_PRICING_URL", "Where prices are fetched, in the format of models.dev.", live=True),
    ] = "https://models.dev/api.json"
    log_level: Annotated[Level, _row(Choice(_LEVELS), "LOG_LEVEL", "Least severity that is logged.", live=True)] = (
        "INFO"
    )
    log_format: Annotated[
        Format,
        _row(Choice({"pretty": "pretty", "json": "json"}), "LOG_FORMAT", "Lines for people, or for programs."),
    ] = "pretty"
    debug: Annotated[
        bool,
        _row(
            Switch(),
            "ccflare_DEBUG CCFLARE_DEBUG",
            "Log everything, whatever `log_level` is, and show tracebacks.",
            live=True,
        ),
    ] = False
    log_dir: Annotated[
        Path,
        _row(
            FilePath("ccflare-logs in the directory for temporary files"),
            "CCFLARE_LOG_DIR",
            "Directory of `app.log` and the files it rotates to.",
        ),
    ] = Path("ccflare-logs")
    db_path: Annotated[
        Path,
        _row(
            FilePath("ccflare.db beside the settings file"),
            "ccflare_DB_PATH CCFLARE_DB_PATH",
            "The database.",
        ),
    ] = Path("ccflare.db")
    secret_key: Annotated[
        str,
        _row(
            SecretKeys(),
            "ccflare_SECRET_KEY CCFLARE_SECRET_KEY",
            "Encrypts the stored credentials; without the key they cannot be read any more. Better kept in the "
            "variable than in the file, which lies beside the database. To change it, give the new one and, "
            "behind a comma, the old one, for one start.",
        ),
    ] = ""
    otel_endpoint: Annotated[
        str,
        _row(
            CollectorUrl(),
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT OTEL_EXPORTER_OTLP_ENDPOINT",
            "Where OpenTelemetry traces are sent, by OTLP over HTTP; `/v1/traces` is added unless it ends so. "
            "Empty: nowhere. Needs the extra `otel`; see docs/traces.md.",
        ),
    ] = ""
    http_proxy: Annotated[
        str, _row(ProxyUrl(), "http_proxy HTTP_PROXY", "Outgoing proxy for upstream addresses with http.")
    ] = ""
    https_proxy: Annotated[
        str, _row(ProxyUrl(), "https_proxy HTTPS_PROXY", "Outgoing proxy for upstream addresses with https.")
    ] = ""
    no_proxy: Annotated[
        str, _row(Text(), "no_proxy NO_PROXY", "Hosts that are reached without a proxy, separated by commas.")
    ] = ""

    def __repr__(self) -> str:
        """Show what `ccflare config` shows: no password."""
        shown = ", ".join(f"{row.name}={row.shown(getattr(self, row.name))!r}" for row in TABLE)
        return f"Settings({shown})"

    @property
    def is_private(self) -> bool:
        """Whether only this machine can reach the address."""
        if self.host in {"", "localhost"}:
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses to listen on."""
        return ("127.0.0.1", "::1") if self.host in {"", "localhost"} else (self.host,)


class Setting(msgspec.Struct, frozen=True):
    """One row of the table. `live`: a running server takes a changed value over, else the next start."""

    name: str
    kind: Kind
    variables: tuple[str, ...]
    meaning: str
    live: bool
    default: Any

    @property
    def flag(self) -> str:
        """The command-line option that sets it, where there is one."""
        return "--" + self.name.replace("_", "-")

    @property
    def default_text(self) -> str:
        """The default in words where it depends on the machine, else the value; empty when there is none."""
        if isinstance(self.kind, FilePath):
            return self.kind.default
        return plain(self.shown(self.default))

    def shown(self, value: Any) -> Any:
        """Return a value in its JSON form, fit to be shown to anyone."""
        match value:
            case Path():
                return str(value)
            case tuple():
                return list(value)
            case str() if isinstance(self.kind, SecretKeys):
                return "***" if value else ""
            case str() if isinstance(self.kind, ProxyUrl | UpstreamUrl):
                return without_user(value)
        return value


TABLE: tuple[Setting, ...] = tuple(
    Setting(name, default=default, **hint.__metadata__[0])
    for (name, hint), default in zip(
        get_type_hints(Settings, include_extras=True).items(), Settings.__struct_defaults__, strict=True
    )
)
"""All settings in the order in which they are shown."""


def plain(value: Any) -> str:
    """Return a shown value as a person writes it."""
    match value:
        case bool():
            return "true" if value else "false"
        case list():
            return ",".join(str(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


class Changes(msgspec.Struct, frozen=True):
    """Names of settings that differ: those a running server takes over, and those that need a restart."""

    live: tuple[str, ...]
    restart: tuple[str, ...]


def changed(old: Settings, new: Settings) -> Changes:
    """Say which settings differ."""
    different = [row for row in TABLE if getattr(old, row.name) != getattr(new, row.name)]
    live = tuple(row.name for row in different if row.live)
    return Changes(live, tuple(row.name for row in different if not row.live))
