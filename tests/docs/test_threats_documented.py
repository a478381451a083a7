"""The threat model names tests that there are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "SECURITY.md"

_ROW = re.compile(r"^\| (?P<threat>[^|]+) \| (?P<defence>[^|]*) \| (?P<tests>[^|]*) \|$", re.MULTILINE)
_TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def lines() -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Return threat, defence and tests of each line of the table that is no heading."""
    rows = [
        (row["threat"], row["defence"], _TEST.findall(row["tests"])) for row in _ROW.finditer(PAGE.read_text("utf-8"))
    ]
    return [row for row in rows[1:] if not row[0].startswith(("**", "---"))]


def test_there_is_a_threat_model() -> None:
    """The table is there, and it is long."""
    assert len(lines()) > 25


@pytest.mark.parametrize(("threat", "defence", "tests"), lines(), ids=lambda value: str(value)[:40])
def test_every_threat_has_a_defence_and_a_test(threat: str, defence: str, tests: list[tuple[str, str]]) -> None:
    """Each line says what is done, and names tests that exist."""
    assert defence, threat
    assert tests, threat
    for file, name in tests:
        text = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE), f"{file}::{name}"
