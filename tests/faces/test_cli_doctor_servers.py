"""`ccflare doctor` on a machine with several servers: it looks at the one that serves this database."""

import json
from pathlib import Path
from typing import Any

from harness import Home, running


def report(home: Home, *options: str, port: int) -> dict[str, Any]:
    """What the doctor says under settings that name a port."""
    settings = Home(home.path, {**home.settings, "PORT": str(port)})
    found: dict[str, Any] = json.loads(settings.ccflare("doctor", "--json", *options, check=False).stdout)
    return found


def test_the_server_of_this_database_is_looked_at(tmp_path: Path) -> None:
    """Whatever the settings' port is: free, or another installation's; unless a person names the port."""
    theirs, ours = Home(tmp_path / "theirs"), Home(tmp_path / "ours")
    for home in (theirs, ours):
        home.path.mkdir(mode=0o700)
    ours.add_account("only", "sk-ant-api03-x", "http://127.0.0.1:9")
    with running(theirs) as other, running(ours, "--workers", "2") as server:
        for port in (1, other.port):
            found = report(ours, port=port)
            assert (found["health"]["running"], found["health"]["accounts"]["total"]) == (True, 1)
            assert found["port"]["state"] == ("free" if port == 1 else "ccflare")
            [told] = [each for each in found["findings"] if "listens on port" in each["message"]]
            assert (told["severity"], f"port {server.port}," in told["message"]) == ("note", True)
            with_database = [each["pid"] for each in found["process"]["servers"] if each["this_database"]]
            assert len(with_database) == 2
        insisted = report(ours, "--port", str(other.port), port=1)
        assert insisted["health"]["accounts"]["total"] == 0
        own = report(ours, port=server.port)
        assert own["health"]["accounts"]["total"] == 1
        assert not [each for each in own["findings"] if "listens on port" in each["message"]]
