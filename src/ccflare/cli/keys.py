"""Getting an API key from a person or a script without showing it to anybody else."""

import os
import sys
from typing import TYPE_CHECKING

from ccflare.errors import RequestError

if TYPE_CHECKING:
    from ccflare.records import Secret

ASK = "\0"
"""The value of a bare `--api-key`; no argument can be the same."""

_LONGEST = 64 * 1024

_HOW = (
    'Pipe it in (printf %s "$KEY" | ccflare --add-account NAME --api-key -), name a variable '
    "(--api-key-env VAR), or give --api-key without a value to be asked for it"
)


def read_key(account_name: str, api_key: str | None, variable: str | None) -> "Secret":
    """Return the key from where the options say. Raises RequestError in words that do not contain it."""
    from ccflare.records import Secret

    text = _text(account_name, api_key, variable).strip()
    if not text:
        raise RequestError("the key is empty")
    try:
        return Secret(text)
    except ValueError as error:
        raise RequestError(f"this is not a key: {error}") from None


def _text(account_name: str, api_key: str | None, variable: str | None) -> str:
    if variable is not None and api_key is not None:
        raise RequestError("--api-key and --api-key-env are two places; give one")
    if variable is not None:
        return _from_variable(variable)
    if api_key not in {ASK, "-"}:
        raise RequestError(
            "a key on the command line can be read by every program on this machine and stays in the shell's "
            "history: it is not taken, and this one should be replaced. " + _HOW
        )
    if sys.stdin.isatty():
        return _ask(account_name)
    if api_key == ASK:
        raise RequestError("there is no terminal to ask for the key on. " + _HOW)
    return _from_stdin()


def _from_variable(variable: str) -> str:
    text = os.environ.get(variable)
    if text is None:
        raise RequestError(f"there is no environment variable {variable}")
    return text


def _from_stdin() -> str:
    data = sys.stdin.buffer.read(_LONGEST + 1)
    if len(data) > _LONGEST:
        raise RequestError("what came on standard input is too long to be a key")
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise RequestError("what came on standard input is not a key: it is not ASCII") from None


def _ask(account_name: str) -> str:
    from getpass import getpass

    try:
        return getpass(f"API key for {account_name}: ", stream=sys.stderr)
    except UnicodeDecodeError:
        raise RequestError("what was typed is not a key: it is not ASCII") from None
