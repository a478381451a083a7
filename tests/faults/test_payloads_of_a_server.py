"""A real server keeps what was said, and no credential with it."""

from contextlib import closing

from ccflare.store import open_store
from harness import Home, Server, ask, client_headers, eventually, messages

SECRET = "sk-ant-api03-what-a-client-brought"


def test_what_clients_and_upstream_said_is_in_the_database(home: Home, server: Server) -> None:
    """Each exchange has its payload byte for byte, streams too, while neither client's nor accounts' keys are in it."""
    asked = [messages("Hello"), messages("Hello again", stream=True)]
    answers = [ask(server.port, body, headers=client_headers("s", X_Api_Key=SECRET)) for body in asked]
    rows = home.rows_when(2)
    with closing(open_store(home.database)) as store:
        eventually(lambda: all(store.payloads.read(row["id"]) for row in rows), what="payloads")
        payloads = [store.payloads.read(row["id"]) for row in rows]
        keys = [each.api_key for each in store.credentials().values()]
    for body, answer, payload in zip(asked, answers, payloads, strict=True):
        assert payload is not None
        assert (payload.request.data, payload.status, payload.response.data) == (body, 200, answer.body)
        said = repr((payload.request_headers, payload.response_headers, payload.target))
        assert not any(key is not None and key.reveal() in said for key in keys)
    assert not any(SECRET.encode() in file.read_bytes() for file in home.path.glob("ccflare.db*"))
