"""Settings: where each value comes from, what is refused, and what the operator is told."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ccflare.errors import InvalidSetting
from ccflare.settings import TABLE, Loaded, changed, load, rows, stamp
from ccflare.wire import BaseUrl


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment with nothing but a home directory."""
    return {"HOME": str(tmp_path)}


def config(tmp_path: Path) -> Path:
    return tmp_path / ".config" / "ccflare" / "ccflare.json"


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = config(tmp_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def load_file(tmp_path: Path, content: Mapping[str, Any]) -> Loaded:
    write(tmp_path, json.dumps(content))
    return load({}, {"HOME": str(tmp_path)})


def lines(loaded: Loaded) -> list[str]:
    return [str(problem) for problem in loaded.problems]


# Sources


def test_defaults_are_those_of_the_contract(environ: dict[str, str], tmp_path: Path) -> None:
    """Without file, variables and flags, the documented defaults are in force."""
    settings = load({}, environ, create=False).settings

    assert (settings.port, settings.lb_strategy, settings.session_duration_ms) == (8080, "session", 3_600_000)
    assert (settings.retry_attempts, settings.retry_delay_ms, settings.retry_backoff) == (3, 1000, 2.0)
    assert settings.addresses == ("127.0.0.1", "::1")
    assert settings.upstream_url == "https://api.anthropic.com"
    assert settings.db_path == tmp_path / ".config" / "ccflare" / "ccflare.db"
    assert settings.log_dir == Path("/tmp/ccflare-logs")
    assert settings.client_id == ""


def test_each_source_overrides_the_weaker_ones(environ: dict[str, str], tmp_path: Path) -> None:
    """Default < file < environment < flag, and every value remembers its source."""
    path = write(tmp_path, '{"port": 1001, "retry_attempts": 4, "retry_delay_ms": 5}')
    environ |= {"PORT": "1002", "RETRY_ATTEMPTS": "6"}

    loaded = load({"port": 1003, "retry_backoff": None}, environ)

    assert (loaded.settings.port, loaded.settings.retry_attempts, loaded.settings.retry_delay_ms) == (
        1003,
        6,
        5,
    )
    assert [str(loaded.origins[name]) for name in ("port", "retry_attempts", "retry_delay_ms", "retry_backoff")] == [
        "flag --port",
        "environment RETRY_ATTEMPTS",
        f"file {path}",
        "default",
    ]


SAMPLES: dict[str, tuple[str, object]] = {
    "port": ("9000", 9000),
    "host": ("::1", "::1"),
    "allowed_hosts": ("proxy.example, Other", ("proxy.example", "other")),
    "open_without_keys": ("yes", True),
    "store_payloads": ("no", False),
    "lb_strategy": ("session", "session"),
    "log_level": ("warning", "WARN"),
    "log_format": ("JSON", "json"),
    "debug": ("1", True),
    "retry_attempts": ("7", 7),
    "retry_backoff": ("1.5", 1.5),
    "upstream_url": ("http://127.0.0.1:9/x", "http://127.0.0.1:9/x"),
    "pricing_url": ("http://127.0.0.1:9/prices.json", "http://127.0.0.1:9/prices.json"),
    "private_upstreams": ("ALL", "all"),
    "client_id": ("my-client", "my-client"),
    "oauth_authorize_url": ("https://a.example/x", "https://a.example/x"),
    "oauth_console_url": ("https://b.example/x", "https://b.example/x"),
    "oauth_token_url": ("https://c.example/x", "https://c.example/x"),
    "oauth_api_key_url": ("https://d.example/x", "https://d.example/x"),
    "oauth_redirect_uri": ("http://localhost:1455/cb", "http://localhost:1455/cb"),
    "oauth_scopes": ("a:b c", "a:b c"),
    "secret_key": ("open-sesame, before-it", "open-sesame,before-it"),
    "log_dir": ("/var/log/ccflare", Path("/var/log/ccflare")),
    "db_path": ("/var/lib/ccflare.db", Path("/var/lib/ccflare.db")),
    "otel_endpoint": ("http://127.0.0.1:4318", "http://127.0.0.1:4318"),
    "http_proxy": ("proxy:3128", "http://proxy:3128"),
    "https_proxy": ("http://u:p@proxy:3128", "http://u:p@proxy:3128"),
    "no_proxy": ("localhost,.internal", "localhost,.internal"),
    "idle_timeout_ms": ("20000", 20_000),
    "exchange_timeout_ms": ("700000", 700_000),
    "connect_timeout_ms": ("11000", 11_000),
    "first_byte_timeout_ms": ("12000", 12_000),
    "body_buffer_bytes": ("1", 1),
}


@pytest.mark.parametrize(
    ("name", "variable"), [(row.name, variable) for row in TABLE for variable in row.variables], ids=str
)
def test_every_variable_sets_its_setting(environ: dict[str, str], name: str, variable: str) -> None:
    """Each variable of the table reaches its setting, in every spelling."""
    row = next(row for row in TABLE if row.name == name)
    text, value = SAMPLES.get(name) or (str(row.default + 1), row.default + 1)

    loaded = load({}, environ | {variable: text}, create=False)

    assert getattr(loaded.settings, name) == value
    assert str(loaded.origins[name]) == f"environment {variable}"


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_every_setting_can_stand_in_the_file_as_it_is_shown(tmp_path: Path, row: Any) -> None:
    """What `rows` shows of a value without password can be written into the file and means the same."""
    _, value = SAMPLES.get(row.name, ("", row.default))
    if row.name == "https_proxy":
        value = "http://proxy:3128"
    if row.name == "secret_key":
        value = ""  # what is masked cannot be written back

    loaded = load_file(tmp_path, {row.name: row.shown(value)})

    assert lines(loaded) == []
    assert getattr(loaded.settings, row.name) == value
    assert str(loaded.origins[row.name]).startswith("file ")


def test_the_original_spelling_of_a_variable_comes_first(environ: dict[str, str]) -> None:
    """Of two spellings of one variable the first of the table counts; lower case wins for proxies."""
    environ |= {
        "ccflare_DEBUG": "0",
        "CCFLARE_DEBUG": "1",
        "HTTPS_PROXY": "http://upper",
        "https_proxy": "http://lower",
    }

    settings = load({}, environ, create=False).settings

    assert (settings.debug, settings.https_proxy) == (False, "http://lower")


def test_an_empty_variable_is_not_set_but_switches_a_proxy_off(tmp_path: Path, environ: dict[str, str]) -> None:
    """`PORT=` leaves the file's port, while `HTTPS_PROXY=` takes the file's proxy away."""
    write(tmp_path, '{"port": 1001, "https_proxy": "http://proxy"}')

    settings = load({}, environ | {"PORT": "", "HTTPS_PROXY": ""}).settings

    assert (settings.port, settings.https_proxy) == (1001, "")


def test_null_in_the_file_means_not_set(tmp_path: Path) -> None:
    """JSON's null neither sets a value nor is a problem."""
    loaded = load_file(tmp_path, {"client_id": None, "port": None})

    assert loaded.settings.port == 8080
    assert str(loaded.origins["port"]) == "default"
    assert lines(loaded) == []


# Places


@pytest.mark.parametrize("variable", ["ccflare_CONFIG_PATH", "CCFLARE_CONFIG_PATH"])
def test_a_variable_names_another_file(environ: dict[str, str], tmp_path: Path, variable: str) -> None:
    """The file named by the variable is read, and the database is expected beside it."""
    other = tmp_path / "other.json"
    other.write_text('{"port": 1234}')

    loaded = load({}, environ | {variable: str(other)})

    assert (loaded.path, loaded.settings.port, loaded.settings.db_path) == (
        other,
        1234,
        tmp_path / "ccflare.db",
    )


def test_xdg_config_home_counts_when_it_is_absolute(environ: dict[str, str], tmp_path: Path) -> None:
    """An absolute XDG_CONFIG_HOME moves the file; a relative one is ignored, as its specification says."""
    moved = load({}, environ | {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}, create=False)
    ignored = load({}, environ | {"XDG_CONFIG_HOME": "xdg"}, create=False)

    assert moved.path == tmp_path / "xdg" / "ccflare" / "ccflare.json"
    assert ignored.path == config(tmp_path)


def test_windows_prefers_the_place_that_has_a_file(tmp_path: Path) -> None:
    """On Windows LOCALAPPDATA is used, unless only APPDATA has a file."""
    environ = {
        "LOCALAPPDATA": str(tmp_path / "local"),
        "APPDATA": str(tmp_path / "roaming"),
        "HOME": str(tmp_path),
    }
    fresh = load({}, environ, create=False, platform="win32").path
    roaming = tmp_path / "roaming" / "ccflare" / "ccflare.json"
    roaming.parent.mkdir(parents=True)
    roaming.write_text("{}")

    assert fresh == tmp_path / "local" / "ccflare" / "ccflare.json"
    assert load({}, environ, create=False, platform="win32").path == roaming


def test_the_log_directory_follows_the_temporary_directory(environ: dict[str, str], tmp_path: Path) -> None:
    """`TMPDIR` (on Windows `TEMP`) decides where the logs go by default."""
    posix = load({}, environ | {"TMPDIR": str(tmp_path)}, create=False, platform="linux")
    windows = load({}, environ | {"TEMP": str(tmp_path / "t")}, create=False, platform="win32")

    assert posix.settings.log_dir == tmp_path / "ccflare-logs"
    assert windows.settings.log_dir == tmp_path / "t" / "ccflare-logs"


def test_relative_paths_start_where_they_are_written(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path in the file starts at the file, in a variable at the working directory; `~` is home."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, '{"db_path": "data/x.db", "log_dir": "~/logs"}')

    from_file = load({}, environ).settings
    from_variable = load({}, environ | {"ccflare_DB_PATH": "y.db"}).settings

    assert from_file.db_path == config(tmp_path).parent / "data" / "x.db"
    assert from_file.log_dir == tmp_path / "logs"
    assert from_variable.db_path == tmp_path / "y.db"


# Variables and flags that are refused


@pytest.mark.parametrize(
    ("variable", "text"),
    [("PORT", "eighty"), ("PORT", "8_080"), ("PORT", "9" * 30), ("PORT", "1e3"), ("RETRY_BACKOFF", "nan"),
     ("RETRY_BACKOFF", "1_0"), ("CCFLARE_DEBUG", "maybe"), ("LOG_LEVEL", "TRACE")],
)  # fmt: skip
def test_a_bad_variable_stops_the_program_in_one_line(environ: dict[str, str], variable: str, text: str) -> None:
    """A value somebody has just set is not silently replaced; the line names the variable and the value."""
    with pytest.raises(InvalidSetting) as caught:
        load({}, environ | {variable: text}, create=False)

    assert f"environment {variable}" in str(caught.value)
    assert text[:20] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_flag_stops_the_program(environ: dict[str, str]) -> None:
    """A flag's value is checked like every other, as text or as a value."""
    for value in ("x", 70000, True):
        with pytest.raises(InvalidSetting, match=r"^port: .* is not a whole number from 0 to 65535 \(flag --port\)$"):
            load({"port": value}, environ, create=False)
    with pytest.raises(InvalidSetting, match="not a setting, but port is"):
        load({"prot": 1}, environ, create=False)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.anthropic.com", "http://localhost", "https://h/", "https://h/a/b", "https://h:1",
        "https://[::1]:8/x", "https://127.1",
        "https://h:25", "https://a..b", "https://h?", "https://0x7f000001", "https://2130706433", "https://a\\b",
        "HTTPS://H", "https://h:0", "", "h", "//h", "ftp://h", "https://", "https://:1", "https://h:x", "https://h:70000",
        "https://h?q", "https://h#f", "https://u@h", "https://u:p@h", "https://@h", "https://h/a b", "https://h\u00e9",
        "https://h/\x7f", "https://[::1", "https://h:-1",
    ],
)  # fmt: skip
def test_an_upstream_address_is_what_the_wire_takes(environ: dict[str, str], url: str) -> None:
    """Settings accept exactly the addresses that requests can be sent to."""

    def accepted() -> bool:
        try:
            return load({"upstream_url": url}, environ, create=False).settings.upstream_url == url
        except InvalidSetting:
            return False

    def sendable() -> bool:
        try:
            return bool(BaseUrl.parse(url))
        except ValueError:
            return False

    assert accepted() is sendable()


# Settings that must agree


@pytest.mark.parametrize(
    ("low", "high"),
    [("connect", "idle"), ("connect", "first_byte"), ("idle", "exchange"), ("first_byte", "exchange")],
)
def test_deadlines_keep_their_order(environ: dict[str, str], low: str, high: str) -> None:
    """A deadline longer than the one around it is refused, naming both with value and source."""
    timeouts = {"connect": 10, "first_byte": 20, "idle": 25, "exchange": 30}
    timeouts[low] = timeouts[high] + 1
    variables = {f"CCFLARE_{name.upper()}_TIMEOUT_MS": str(value) for name, value in timeouts.items()}

    with pytest.raises(InvalidSetting) as caught:
        load({}, environ | variables, create=False)

    assert f"{low}_timeout_ms is {timeouts[low]} (environment" in str(caught.value)
    assert f"{high}_timeout_ms is {timeouts[high]} (environment" in str(caught.value)


def test_the_file_gives_way_in_a_contradiction(tmp_path: Path) -> None:
    """A contradiction made by the file never stops a start: its values go back to their defaults."""
    write(tmp_path, '{"idle_timeout_ms": 5, "body_buffer_bytes": 600000000}')

    loaded = load({}, {"HOME": str(tmp_path), "CCFLARE_CONNECT_TIMEOUT_MS": "2000"})

    assert (loaded.settings.connect_timeout_ms, loaded.settings.idle_timeout_ms) == (2000, 330_000)
    assert loaded.settings.body_buffer_bytes <= loaded.settings.body_buffers_bytes
    assert [problem.key for problem in loaded.problems] == ["idle_timeout_ms", "body_buffer_bytes"]
    assert str(loaded.origins["idle_timeout_ms"]) == "default"


def test_both_sides_of_a_contradiction_in_the_file_go_back(tmp_path: Path) -> None:
    """When the file made both values, neither is trusted, and one line tells of both."""
    loaded = load_file(tmp_path, {"connect_timeout_ms": 9000, "idle_timeout_ms": 8000})

    assert (loaded.settings.connect_timeout_ms, loaded.settings.idle_timeout_ms) == (10_000, 330_000)
    (line,) = lines(loaded)
    assert line.endswith("the default is used for connect_timeout_ms and idle_timeout_ms")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "proxy.example", "::ffff:127.0.0.1"])
def test_addresses_that_other_machines_reach_are_known_as_such(environ: dict[str, str], host: str) -> None:
    """They are listened on, and are not private: what asks for keys goes by that."""
    settings = load({}, environ | {"CCFLARE_HOST": host}, create=False).settings
    assert (settings.addresses, settings.is_private, settings.open_without_keys) == ((host,), False, False)


@pytest.mark.parametrize(
    ("host", "addresses"),
    [("localhost", ("127.0.0.1", "::1")), ("127.0.0.2", ("127.0.0.2",)), ("[::1]", ("::1",))],
)
def test_this_machines_addresses_need_nothing(environ: dict[str, str], host: str, addresses: tuple[str, ...]) -> None:
    """Loopback addresses are private in every spelling."""
    settings = load({}, environ | {"CCFLARE_HOST": host}, create=False).settings
    assert (settings.addresses, settings.is_private) == (addresses, True)


# Secrets


@pytest.mark.parametrize("url", ["http://user:hunter2@proxy:1", "user:hunter2@proxy:1", "http://u:p@hunter2@proxy"])
def test_a_proxys_password_is_never_shown(environ: dict[str, str], url: str) -> None:
    """The password is kept for use and absent from everything that shows settings."""
    loaded = load({}, environ | {"HTTPS_PROXY": url}, create=False)

    assert "hunter2" in loaded.settings.https_proxy
    assert "hunter2" not in repr(loaded) + json.dumps(rows(loaded))
    assert "***@proxy" in repr(loaded.settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("https_proxy", "ftp://user:hunter2@proxy"),
        ("https_proxy", "http://user:hunter2"),
        ("upstream_url", "https://user:hunter2@host"),
        ("upstream_url", "user:hunter2@host"),
        ("upstream_url", "https://user:hunt er hunter2@host"),
        ("upstream_url", "https://user:" + "x" * 70 + "hunter2@host"),
    ],
)
def test_a_refused_password_is_not_shown_either(tmp_path: Path, name: str, value: str) -> None:
    """The line about a bad address leaves out what may be its password."""
    (line,) = lines(load_file(tmp_path, {name: value}))

    assert "hunter2" not in line
    assert "xxx" not in line


# Reloading


def test_changed_splits_live_from_restart(environ: dict[str, str]) -> None:
    """A second load tells what a running server can take over and what has to wait."""
    old = load({}, environ, create=False).settings
    new = load({}, environ | {"RETRY_ATTEMPTS": "1", "PORT": "1", "LOG_LEVEL": "DEBUG"}, create=False).settings

    changes = changed(old, new)

    assert changes.live == ("retry_attempts", "log_level")
    assert changes.restart == ("port",)
    assert changed(old, msgspec.structs.replace(old)) == changed(new, new)


def test_the_stamp_changes_with_the_file(tmp_path: Path) -> None:
    """The stamp of a load equals the file's until somebody writes to it."""
    loaded = load_file(tmp_path, {"port": 1})
    same = stamp(loaded.path) == loaded.stamp

    write(tmp_path, '{"port": 22}')

    assert same
    assert stamp(loaded.path) != loaded.stamp
    assert stamp(tmp_path / "missing") is None


def test_rows_describe_every_setting(environ: dict[str, str]) -> None:
    """`ccflare config` gets every setting with value, origin and what is allowed, ready for JSON."""
    described = rows(load({}, environ | {"PORT": "1"}, create=False))

    assert [row["name"] for row in described] == [row.name for row in TABLE]
    assert json.loads(json.dumps(described))[0] == {
        "name": "port",
        "value": 1,
        "origin": "environment PORT",
        "default": "8080",
        "allowed": "a whole number from 0 to 65535",
        "variables": ["PORT"],
        "applies": "at restart",
        "meaning": "Port to listen on. 0 takes any free one.",
    }
