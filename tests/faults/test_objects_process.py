"""Files and batches of real accounts behind a real server: found again whatever happens in between."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import rawhttp
from harness import CLIENT_KEY, VERSION, Home, Server, Upstream, ask, client_headers, eventually, messages, running

FORM = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nthe content\r\n--x--\r\n'


def upload(server: Server) -> str:
    """Upload a file and return its id."""
    headers = [
        ("x-api-key", CLIENT_KEY),
        ("anthropic-version", VERSION),
        ("anthropic-beta", "files-api-2025-04-14"),
        ("content-type", "multipart/form-data; boundary=x"),
    ]
    answer = ask(server.port, FORM, target="/v1/files", headers=headers)
    assert answer.status == 200, answer.body
    return str(json.loads(answer.body)["id"])


def get(server: Server, target: str, method: str = "GET") -> rawhttp.Answer:
    return ask(server.port, method=method, target=target, headers=client_headers(f"session of {target}"))


def served(upstream: Upstream) -> list[str | None]:
    return [entry.account for entry in upstream.settled_log()]


def kept_objects(path: Path) -> int:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
        return int(connection.execute("SELECT COUNT(*) FROM object_owners").fetchone()[0])


def made_by_beta(home: Home, server: Server) -> str:
    """Have the account that comes second make a file."""
    home.ccflare("--pause", "alpha")
    eventually(lambda: server.health()["accounts"]["paused"] == 1, what="alpha paused")
    file_id = upload(server)
    home.ccflare("--resume", "alpha")
    eventually(lambda: server.health()["accounts"]["paused"] == 0, what="alpha back")
    return file_id


def test_a_file_is_found_by_the_account_that_has_it(home: Home, server: Server, upstream: Upstream) -> None:
    """Its description, its content and a message that names it: none of them is a 404 of the preferred account."""
    file_id = made_by_beta(home, server)
    assert get(server, f"/v1/files/{file_id}").status == 200
    assert get(server, f"/v1/files/{file_id}/content").body == b"the content"
    naming = [{"type": "document", "source": {"type": "file", "file_id": file_id}}]
    body = messages(messages=[{"role": "user", "content": naming}])
    ask(server.port, body, session="another")
    assert ask(server.port, messages("nothing named"), session="third").status == 200
    assert served(upstream) == ["beta", "beta", "beta", "beta", "alpha"]


def test_a_batch_is_found_until_its_results(home: Home, server: Server, upstream: Upstream) -> None:
    """Created by one account, asked for by a session that would go to the other one."""
    home.ccflare("--pause", "alpha")
    eventually(lambda: server.health()["accounts"]["paused"] == 1, what="alpha paused")
    one = {"custom_id": "1", "params": json.loads(messages())}
    made = ask(server.port, json.dumps({"requests": [one]}).encode(), target="/v1/messages/batches")
    batch_id = json.loads(made.body)["id"]
    home.ccflare("--resume", "alpha")
    eventually(lambda: server.health()["accounts"]["paused"] == 0, what="alpha back")

    def ended() -> bool:
        return bool(json.loads(get(server, f"/v1/messages/batches/{batch_id}").body)["processing_status"] == "ended")

    eventually(ended, what="the batch has ended")
    assert get(server, f"/v1/messages/batches/{batch_id}/results").status == 200
    assert set(served(upstream)) == {"beta"}


def test_a_restart_remembers_whose_a_file_is(home: Home, upstream: Upstream) -> None:
    """Also one that was not gentle, a quarter of a second after the answer."""
    with running(home) as first:
        file_id = made_by_beta(home, first)
        first.soon(lambda: kept_objects(home.database) == 1, "the owner is stored")
        first.kill()
    with running(home) as second:
        assert get(second, f"/v1/files/{file_id}").status == 200
        assert get(second, f"/v1/files/{file_id}", "DELETE").status == 200
        second.soon(lambda: kept_objects(home.database) == 0, "the deleted file is forgotten")
    assert served(upstream) == ["beta", "beta", "beta"]


def test_a_file_of_a_paused_account_is_not_looked_for_elsewhere(home: Home, server: Server, upstream: Upstream) -> None:
    """The answer says why, and no upstream is asked; when the account is removed, others may try."""
    file_id = made_by_beta(home, server)
    home.ccflare("--pause", "beta")
    eventually(lambda: server.health()["accounts"]["paused"] == 1, what="beta paused")
    refused = get(server, f"/v1/files/{file_id}")
    assert refused.status == 503
    assert b"owns what this request names is paused" in refused.body
    assert served(upstream) == ["beta"]
    home.ccflare("--remove", "beta")
    server.wait_until_accounts(1)
    assert get(server, f"/v1/files/{file_id}").status == 404
    assert served(upstream) == ["beta", "alpha"]
