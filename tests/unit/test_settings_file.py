"""The settings file: how a new one comes to be, and what is made of one that is broken or wrong in places."""

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ccflare.errors import InvalidSetting
from ccflare.settings import Loaded, load
from ccflare.settings import file as settings_file


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


# A new file


def test_a_missing_file_is_created_with_the_defaults_for_its_owner_only(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """The new file is 0600 in a 0700 directory, loads without a problem and changes no setting."""
    path = config(tmp_path)

    first = load({}, environ)
    second = load({}, environ)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert lines(first) == lines(second) == []
    assert (
        first.settings
        == second.settings
        == load({}, environ | {"HOME": str(tmp_path / "no")}).settings.__class__(
            db_path=path.parent / "ccflare.db", log_dir=Path("/tmp/ccflare-logs")
        )
    )
    assert os.listdir(path.parent) == [path.name]
    assert "db_path" not in path.read_text()
    assert "proxy" not in path.read_text()


def test_a_reload_creates_nothing(environ: dict[str, str], tmp_path: Path) -> None:
    """With `create` off, a missing file stays missing and has no stamp."""
    loaded = load({}, environ, create=False)

    assert not config(tmp_path).exists()
    assert loaded.stamp is None


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    """When two programs start at once, the second one's defaults do not overwrite the first one's file."""
    path = write(tmp_path, '{"port": 1}')

    problem = settings_file.create(path, {"port": 2})

    assert problem is None
    assert path.read_text() == '{"port": 1}'
    assert os.listdir(path.parent) == [path.name]


def test_a_file_that_cannot_be_created_is_one_line(environ: dict[str, str], tmp_path: Path) -> None:
    """A start goes on with the defaults when there is no place for the file."""
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "x.json")

    loaded = load({}, environ | {"CCFLARE_CONFIG_PATH": str(tmp_path / "dangling")})

    assert lines(loaded) == [f"Cannot create config file: {tmp_path / 'dangling'}: a link to nothing"]
    assert loaded.settings.port == 8080


@pytest.mark.parametrize("place", ["/dev/null/ccflare.json", "/proc/version/x.json"])
def test_an_impossible_place_is_one_line(environ: dict[str, str], place: str) -> None:
    """A path below something that is no directory does not stop a start."""
    loaded = load({}, environ | {"CCFLARE_CONFIG_PATH": place})

    assert len(loaded.problems) == 1
    assert place in lines(loaded)[0]
    assert loaded.settings.port == 8080


# A file that cannot be used


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ('{"port": 1,\n  "retry_attempts": }', "line 2 column 21: "),
        ("", "line 1 column 1: "),
        ('{"port": 8080,}', "line 1 column 15: "),
        ("[1]", "line 1 column 1: expected an object"),
        ("null", "line 1 column 1: expected an object"),
        (b'{\n"client_id": "\xff"}', "line 2: not UTF-8 text"),
        ("[" * 100_000, "nested too deeply"),
        ('{"port": ' + "9" * 5000 + "}", "a number has too many digits"),
        ("x" * (settings_file.MAX_BYTES + 1), "longer than 1048576 bytes"),
    ],
    ids=["value", "empty", "comma", "array", "null", "bytes", "deep", "digits", "long"],
)
def test_a_broken_file_is_reported_and_left_alone(tmp_path: Path, content: str | bytes, where: str) -> None:
    """One line says where and why, the defaults are used, and not a byte of the file changes."""
    path = write(tmp_path, content)
    before = path.read_bytes()

    loaded = load({}, {"HOME": str(tmp_path), "RETRY_ATTEMPTS": "5"})

    (line,) = lines(loaded)
    assert line.startswith(f"Failed to parse config file: {path}: {where}")
    assert "\n" not in line
    assert loaded.broken
    assert (loaded.settings.port, loaded.settings.retry_attempts) == (8080, 5)
    assert path.read_bytes() == before


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    """Editors on Windows begin UTF-8 files with a mark; the file is read all the same."""
    write(tmp_path, b'\xef\xbb\xbf{"port": 1}')

    assert load({}, {"HOME": str(tmp_path)}).settings.port == 1


def test_only_a_regular_file_is_read(environ: dict[str, str], tmp_path: Path) -> None:
    """A pipe in the file's place cannot make a start wait for ever, nor can a directory break it."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        loaded = load({}, environ | {"CCFLARE_CONFIG_PATH": str(tmp_path / name)})

        (line,) = lines(loaded)
        assert line.startswith("Cannot read config file: ")
        assert loaded.broken


# Values


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("port", 65536, "a whole number from 0 to 65535"),
        ("port", -1, "a whole number from 0 to 65535"),
        ("port", "8080", "a whole number from 0 to 65535"),
        ("port", True, "a whole number from 0 to 65535"),
        ("port", 80.5, "a whole number from 0 to 65535"),
        ("retry_attempts", 11, "a whole number from 0 to 10"),
        ("retry_delay_ms", [1], "a whole number of milliseconds from 0 to 600000"),
        ("retry_backoff", 0.5, "a number from 1 to 10"),
        ("retry_backoff", float("nan"), "a number from 1 to 10"),
        ("retry_backoff", float("inf"), "a number from 1 to 10"),
        ("retry_backoff", 10**400, "a number from 1 to 10"),
        ("session_duration_ms", 10**30, "a whole number of milliseconds"),
        ("debug", 1, "true or false"),
        ("debug", "true", "true or false"),
        ("log_level", "LOUD", "one of DEBUG, INFO, WARN, ERROR"),
        ("log_format", 3, "one of pretty, json"),
        ("client_id", {"a": 1}, "printable text"),
        ("client_id", "a\nb", "printable text"),
        ("host", "a b", "a host name or an IP address"),
        ("host", "127.0.0.1:80", "a host name or an IP address"),
        ("allowed_hosts", ["ok", 1], "a list of host names"),
        ("allowed_hosts", ["a:80"], "a list of host names"),
        ("upstream_url", "api.anthropic.com", "an address like https://host"),
        ("upstream_url", "https://host?x=1", "an address like https://host"),
        ("db_path", "", "a path"),
        ("log_dir", "a\0b", "a path"),
        ("https_proxy", "socks5://host", "an address like http://"),
        ("https_proxy", "http://host:99999", "an address like http://"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_bad_value_in_the_file_is_one_line_and_the_default_counts(
    tmp_path: Path, name: str, value: object, allowed: str
) -> None:
    """The line names key, file and what is allowed; the rest of the file is used."""
    loaded = load_file(tmp_path, {name: value, "max_exchanges": 17})

    (line,) = lines(loaded)
    assert line.startswith(f"{name}: ")
    assert allowed in line
    assert str(config(tmp_path)) in line
    assert line.isprintable()
    assert loaded.problems[0].key == name
    assert str(loaded.origins[name]) == "default"
    assert getattr(loaded.settings, name) == getattr(load({}, {"HOME": "/nowhere"}, create=False).settings, name) or (
        name == "db_path"
    )
    assert loaded.settings.max_exchanges == 17


def test_an_unknown_strategy_has_its_own_message(environ: dict[str, str], tmp_path: Path) -> None:
    """`Invalid strategy: <name>` comes from every source; only the file's does not stop the program."""
    with pytest.raises(InvalidSetting, match=r"^Invalid strategy: round-robin\b"):
        load({}, environ | {"LB_STRATEGY": "round-robin"}, create=False)

    loaded = load_file(tmp_path, {"lb_strategy": "least\nused"})

    assert lines(loaded)[0].startswith("Invalid strategy: least?used ")
    assert loaded.settings.lb_strategy == "session"


def test_an_unknown_key_names_its_nearest_known_one(tmp_path: Path) -> None:
    """A typing error gets a hint, an invented key none; neither stops anything or shows its value."""
    loaded = load_file(tmp_path, {"retryAttempts": 5, "zzz": "sk-ant-secret", "PORT": 1})

    path = config(tmp_path)
    assert lines(loaded) == [
        f'"retryAttempts" is not a setting, but retry_attempts is (file {path}); it is ignored',
        f'"zzz" is not a setting (file {path}); it is ignored',
        f'"PORT" is not a setting, but port is (file {path}); it is ignored',
    ]


def test_a_key_written_twice_is_told(tmp_path: Path) -> None:
    """The last of two values counts, as in other programs, and a line says that there were two."""
    write(tmp_path, '{"port": 1, "port": 2}')

    loaded = load({}, {"HOME": str(tmp_path)})

    assert loaded.settings.port == 2
    assert ["more than once" in line for line in lines(loaded)] == [True]


def test_the_original_programs_file_loads_without_a_word(tmp_path: Path) -> None:
    """A file with everything the original wrote gives its values and no problem, and stays as it is."""
    original = {
        "lb_strategy": "session", "client_id": "11111111-2222", "retry_attempts": 3, "retry_delay_ms": 1000,
        "retry_backoff": 2, "session_duration_ms": 18_000_000, "port": 8080, "default_agent_model": "x",
        "data_retention_days": 7, "request_retention_days": 365,
    }  # fmt: skip
    loaded = load_file(tmp_path, original)

    assert lines(loaded) == []
    assert (loaded.settings.session_duration_ms, loaded.settings.client_id) == (18_000_000, "11111111-2222")
    assert json.loads(config(tmp_path).read_text()) == original
