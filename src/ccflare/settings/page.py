"""The documentation of the settings, written from their table."""

from ccflare.settings.file import CONFIG_VARIABLES
from ccflare.settings.load import initial_values
from ccflare.settings.table import TABLE, Setting, plain

_INTRODUCTION = """# Settings

<!-- Written by `python -m ccflare.settings > docs/settings.md`: edit src/ccflare/settings/table.py. -->

Every setting has a default. The settings file goes before the default, an environment variable before the
file, and a command-line option before everything else. `ccflare config` shows each value in force and
where it comes from.

## The file

| system | place |
|---|---|
| Linux, macOS | `~/.config/ccflare/ccflare.json`, or below `XDG_CONFIG_HOME` when that is an absolute path |
| Windows | `%LOCALAPPDATA%\\ccflare\\ccflare.json`, else `%APPDATA%\\ccflare\\ccflare.json` |

{variables} names another file. A missing file is created with the defaults, readable by you only. One that
is there is only written to by `PATCH /api/config`, and a broken one never. It is one JSON object. `null`
means "not set here". A relative path in it starts at the file's own directory, and `~` is your home.
"""

_PROBLEMS = """
## When something is wrong

* **The file is not JSON**: one line, `Failed to parse config file: <path>: line L column C: <why>`. A
  starting server runs on the other sources and leaves the file alone; a running one keeps what it had.
* **A value in the file is not allowed, or a key is unknown**: one line with the key, the value and what
  is allowed (for a typing error, the key that may have been meant). The default is used; the rest of the
  file counts.
* **A variable or an option is not allowed**: one line, and the program ends.
* **Two settings contradict each other**: one line that names both. A value from the file gives way to its
  default; between variables and options the program ends. What must hold: `connect_timeout_ms` <=
  `idle_timeout_ms` <= `exchange_timeout_ms`, `connect_timeout_ms` <= `first_byte_timeout_ms` <=
  `exchange_timeout_ms`, and `body_buffer_bytes` <= `body_buffers_bytes`.
* **A variable is empty**: it counts as not set, except that an empty `HTTP_PROXY`, `HTTPS_PROXY` or
  `NO_PROXY` switches off what the file says.

A key of the file that only the original program knew (`default_agent_model`) may stay where it is.

## All settings

*Live* settings apply to a running server soon after the file was saved. The others apply at the next
start. Of several variables, the first one that is set counts.
"""

_REST = """
`SSL_CERT_FILE` and `SSL_CERT_DIR` are read by the TLS library itself: they name the authorities to trust
instead of the system's, for example behind a proxy that inspects traffic. OpenTelemetry's SDK, where traces are sent,
reads its other standard variables by itself ([traces](traces.md)).
"""


def settings_page() -> str:
    """Return `docs/settings.md`."""
    variables = " or ".join(f"`{name}`" for name in CONFIG_VARIABLES)
    parts = [_INTRODUCTION.format(variables=variables), _example(), _PROBLEMS]
    parts += [_section(row) for row in TABLE]
    return "".join([*parts, _REST])


def _example() -> str:
    members = ",\n".join(f'  "{name}": {_json(value)}' for name, value in initial_values().items())
    return f"\nA new file says:\n\n```json\n{{\n{members}\n}}\n```\n"


def _json(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else plain(value)


def _section(row: Setting) -> str:
    default = f"`{row.default_text}`" if row.default_text else "none"
    variables = ", ".join(f"`{name}`" for name in row.variables)
    return (
        f"\n### `{row.name}`\n\n{row.meaning}\n\n"
        f"Default: {default} · Allowed: {row.kind.allowed} · Variable: {variables} · "
        f"Applies: {'live' if row.live else 'at the next start'}\n"
    )
