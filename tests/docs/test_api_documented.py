"""The page about the API is what the route table says, and its examples work."""

import re
import shlex
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from api_kit import running
from ccflare.api import ROUTES

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


def rows() -> list[str]:
    """Return the lines of the page's table as they must be."""
    summaries = ((route, route.description.partition("\n")[0].removesuffix(".")) for route in ROUTES)
    return [f"| `{route.method} {route.path}` | {route.access} | {summary} |" for route, summary in summaries]


def commands() -> list[list[str]]:
    """Return the curl commands of the page as words."""
    text = PAGE.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.partition(" | ")[0] for line in text.splitlines() if line.startswith("curl ")]
    return [shlex.split(line) for line in lines]


def test_every_route_is_in_the_table() -> None:
    """Method, path, access and summary of each route stand in docs/api.md, in the table's order, and nothing else."""
    written = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert written == rows(), "docs/api.md needs:\n" + "\n".join(rows())


def test_there_are_examples() -> None:
    """The page shows how the API is asked."""
    assert len(commands()) >= 5


@pytest.mark.parametrize("words", commands(), ids=lambda words: " ".join(words)[:60])
async def test_the_examples_of_the_page_work(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every curl command of the page that is no stream is answered with success."""
    [address] = [urlsplit(word) for word in words if word.startswith("http")]
    if address.path.endswith("/stream"):
        assert address.path in {route.path for route in ROUTES if route.streams}
        return
    method = words[words.index("-X") + 1] if "-X" in words else "GET"
    body = words[words.index("-d") + 1].encode() if "-d" in words else b""
    headers = dict(re.split(r": ?", words[at + 1], maxsplit=1) for at, word in enumerate(words) if word == "-H")
    async with running(tmp_path, monkeypatch) as api:
        target = f"{address.path}?{address.query}" if address.query else address.path
        if "/pause" in target:
            target = target.replace("ID", await api.add("one"))
        answer = await api.client.request(method, target, content=body, headers=headers)
        assert answer.is_success, answer.text
