"""What happens to requests on their way: nothing but credentials, `Host` and the connection's own fields."""

import gzip
import hashlib
import json
import subprocess
from typing import Any

import httpx
import pytest

import rawhttp
from harness import CLIENT_KEY, VERSION, ask, client_headers, messages

ODD_JSON = (
    b'{ "model" : "claude-sonnet-5-5",\n\t"max_tokens":64 , "max_tokens":64, "x_big": 123456789012345678901,'
    b'"messages":[{"role":"user","content":"\\/ \\u00e9 \xf0\x9f\x91\xa9 \\ud83d\\ude00"}] }\r\n\n'
)
HOP_BY_HOP = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te",
    "trailer", "transfer-encoding", "upgrade", "http2-settings",
}  # fmt: skip
ADDED_BY_PROXIES = {
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-real-ip",
    "forwarded",
    "via",
}


def _last(stage: Any) -> Any:
    return stage.upstream.settled_log(1)[-1]


def _names(entry: Any) -> list[str]:
    return [name.decode().lower() for name, _ in entry.headers]


@pytest.mark.parametrize("body", [ODD_JSON, b"", b"not json at all", bytes(range(256)), b'{"unclosed": '])
def test_01_the_body_arrives_byte_for_byte(stage: Any, body: bytes) -> None:
    """Odd white space, duplicate keys, big numbers, escapes and what is no JSON reach upstream unchanged."""
    ask(stage.port, body, target="/v1/echo")
    entry = _last(stage)
    assert (entry.body_bytes, entry.body_sha256) == (len(body), hashlib.sha256(body).hexdigest())


def test_01_an_odd_body_is_answered(stage: Any) -> None:
    """Upstream understands the odd body that it was sent."""
    assert ask(stage.port, ODD_JSON).status == 200


@pytest.mark.parametrize(
    "target",
    [
        "/v1/messages?beta=true",
        "/v1/echo?",
        "/v1/echo?a=&a=&b=+%20&c",
        "/v1/echo/%2F/%25/x%2Fy?u=http://x/?y",
        "/v1/messages/batches/msgbatch_%C3%A9/results",
        "/v1//double//slash",
        "/v1/echo/;p=1,2?q=%00",
        "/v1/files/file_1/content?x=[1]&y={z}|",
    ],
)
def test_02_path_and_query_arrive_verbatim(stage: Any, target: str) -> None:
    """Nothing in a target is decoded, encoded, merged or sorted."""
    ask(stage.port, messages(), target=target)
    assert _last(stage).target == target


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("target", ["/v1/echo", "/v1/organizations/usage_report", "/v1/anything/new/3"])
def test_03_every_method_and_path_of_the_api_passes(stage: Any, method: str, target: str) -> None:
    """Methods and paths nobody here has heard of reach upstream."""
    answer = ask(stage.port, method=method, target=target)
    entry = _last(stage)
    assert (entry.method, entry.target) == (method, target)
    assert answer.status == entry.status


def test_03_head_passes_without_a_body(stage: Any) -> None:
    """HEAD reaches upstream, and its answer has the length but no body."""
    assert ask(stage.port, method="HEAD", target="/v1/models").status in {200, 405}
    assert _last(stage).method == "HEAD"


def test_04_end_to_end_headers_pass_with_name_value_and_repeats(stage: Any) -> None:
    """Every field that is for upstream arrives with its spelling, in order, repeats included."""
    fields = [
        ("X-STAINLESS-Lang", "js"),
        ("x-App", "cli"),
        ("Anthropic-Beta", "a-2024-01-01,b-2025-01-01"),
        ("anthropic-beta", "c-2025-02-02"),
        ("anthropic-version", VERSION),
        ("anthropic-dangerous-direct-browser-access", "true"),
        ("X-Claude-Code-Session-Id", "5a0e1c3c-0000-4000-8000-000000000001"),
        ("x-claude-code-agent-id", "agent"),
        ("User-Agent", "claude-cli/2.1.330 (external, cli)"),
        ("Accept", "application/json"),
        ("accept-language", "*"),
        ("X-Repeat", "one"),
        ("X-Repeat", "two"),
        ("X-Empty", ""),
        ("X-Latin", "caf\xe9"),
        ("Content-Type", "application/json"),
    ]
    ask(
        stage.port,
        messages(),
        target="/v1/echo",
        headers=[*fields, ("Authorization", f"Bearer {CLIENT_KEY}")],
    )
    arrived = [(name.decode(), value.decode("latin-1")) for name, value in _last(stage).headers]
    assert [pair for pair in arrived if pair in fields] == fields


def test_05_hop_by_hop_headers_stop_here(stage: Any) -> None:
    """What concerns the client's connection, and what its `Connection` field names, goes no further."""
    fields = [
        ("Connection", "keep-alive, X-Only-Here"),
        ("X-Only-Here", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Authorization", "Basic eA=="),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "trailers"),
        ("Trailer", "X-Later"),
        ("X-Stays", "1"),
    ]
    ask(stage.port, messages(), headers=[*client_headers(), *fields])
    names = set(_names(_last(stage)))
    assert "x-stays" in names
    assert not names & (HOP_BY_HOP | {"x-only-here", "cookie"})


def test_05_nothing_is_added_and_host_is_upstreams(stage: Any) -> None:
    """Beside the account's credential and `Host`, no field arrives that the client did not send."""
    sent = client_headers("some-session")
    ask(stage.port, messages(), headers=sent)
    entry = _last(stage)
    expected = {name.lower() for name, _ in sent} - {"authorization"} | {
        "host",
        "content-length",
        "x-api-key",
    }
    assert sorted(_names(entry)) == sorted(expected)
    assert not set(_names(entry)) & ADDED_BY_PROXIES
    assert stage.upstream.url.endswith(entry.header("host"))


CREDENTIALS = [
    [("x-api-key", CLIENT_KEY)],
    [("Authorization", f"Bearer {CLIENT_KEY}")],
    [("X-Api-Key", CLIENT_KEY), ("authorization", f"Bearer {CLIENT_KEY}")],
    [
        ("x-api-key", CLIENT_KEY),
        ("Cookie", f"k={CLIENT_KEY}"),
        ("Proxy-Authorization", f"Basic {CLIENT_KEY}"),
    ],
    [("x-api-key", CLIENT_KEY), ("x-api-key", CLIENT_KEY)],
    [],
]


@pytest.mark.parametrize("credentials", CREDENTIALS)
def test_06_and_07_one_credential_goes_upstream_and_it_is_the_accounts(stage: Any, credentials: Any) -> None:
    """However a client proves itself, upstream sees one credential: the account's key."""
    fields = [("anthropic-version", VERSION), *credentials]
    assert ask(stage.port, messages(), headers=fields).status == 200
    entry = _last(stage)
    key = stage.upstream.account("alpha").api_key.encode()
    assert [value for name, value in entry.headers if name.lower() == b"x-api-key"] == [key]
    assert not {"authorization", "cookie", "proxy-authorization"} & set(_names(entry))


def test_06_no_attempt_carries_the_clients_credential(fresh: Any) -> None:
    """On every account that is tried, the client's own credential is absent."""
    fresh.upstream.faults(alpha="429-bare", beta="529")
    assert ask(fresh.port, messages(), headers=[*client_headers(), ("cookie", f"x={CLIENT_KEY}")]).status == 200
    entries = fresh.upstream.settled_log(5)
    assert [entry.account for entry in entries] == ["alpha", "beta", "beta", "beta", "gamma"]


def test_08_a_compressed_body_passes_as_it_is(stage: Any) -> None:
    """A gzip body arrives with its bytes and its label, and is understood."""
    body = gzip.compress(messages("compressed"))
    fields = [*client_headers(), ("Content-Encoding", "gzip")]
    assert ask(stage.port, body, headers=fields).status == 200
    entry = _last(stage)
    assert entry.header("content-encoding") == "gzip"
    assert entry.body_sha256 == hashlib.sha256(body).hexdigest()


def test_09_chunked_bodies_are_accepted(stage: Any) -> None:
    """A client that streams its request is served like any other."""
    body = messages("piece by piece")
    with httpx.Client(base_url=stage.url, trust_env=False) as client:
        pieces = (body[at : at + 7] for at in range(0, len(body), 7))
        answer = client.post("/v1/messages", content=pieces, headers=client_headers())
    assert answer.status_code == 200
    assert _last(stage).body_sha256 == hashlib.sha256(body).hexdigest()


def test_09_expect_100_continue_is_answered(stage: Any) -> None:
    """A client that asks before it sends its body is told to go on."""
    body = messages("waiting for leave")
    with rawhttp.Connection(stage.port) as connection:
        fields = [*client_headers(), ("Expect", "100-continue"), ("Content-Length", str(len(body)))]
        connection.send(rawhttp.request_bytes("POST", "/v1/messages", fields))
        connection.body_until(b"100 Continue\r\n\r\n")
        connection.send(body)
        answer = connection.answer()
    assert (answer.status, answer.interim) == (200, [100])
    assert "expect" not in _names(_last(stage))


def test_09_thirty_kilobytes_of_headers_are_accepted(stage: Any) -> None:
    """Long heads pass."""
    fields = [*client_headers(), *((f"X-Long-{number}", "v" * 1000) for number in range(30))]
    assert ask(stage.port, messages(), headers=fields).status == 200
    assert sum(name.startswith("x-long-") for name in _names(_last(stage))) == 30


def test_10_a_body_of_34_megabytes_is_upstreams_413(stage: Any) -> None:
    """A body beyond the API's limit gives `request_too_large` and not a broken connection."""
    with httpx.Client(base_url=stage.url, trust_env=False, timeout=20) as client:
        answer = client.post("/v1/messages", content=messages("x" * 34_000_000), headers=client_headers())
    assert answer.status_code == 413
    assert answer.json()["error"]["type"] == "request_too_large"


def test_curl_is_a_client(stage: Any, tmp_path: Any) -> None:
    """curl sends a message and reads the stream as it is."""
    body = tmp_path / "body.json"
    body.write_bytes(messages("from curl", stream=True))
    command = ["curl", "-sS", "-N", "--max-time", "15", "--compressed", f"{stage.url}/v1/messages?beta=true"]
    fields = [f"-H{name}: {value}" for name, value in client_headers()]
    done = subprocess.run(
        [*command, *fields, "--data-binary", f"@{body}"], capture_output=True, timeout=20, check=False, env={}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"event: message_stop") == 1
    entry = _last(stage)
    assert entry.body_sha256 == hashlib.sha256(body.read_bytes()).hexdigest()
    assert (entry.header("user-agent") or "").startswith("curl/")


def test_what_is_not_the_api_stays_here(stage: Any) -> None:
    """Other paths are answered with a JSON 404 and never reach upstream, however they are spelled."""
    for target in (
        "/v2/messages",
        "/v1",
        "/V1/messages",
        "/admin",
        "/.well-known/openid",
        "//v1/messages",
    ):
        answer = ask(stage.port, method="GET", target=target)
        assert answer.status in {404, 405}, target
        assert "error" in json.loads(answer.body)
    for target in ("/v1/../api", "/v1/%2e%2e/api", "/v1/..%2fapi", "/v1/%252e%252e/api", "/v1/a/..;/b"):
        answer = ask(stage.port, method="GET", target=target)
        assert answer.status == 400, target
        assert f"Provider cannot handle path: {target}".encode() in answer.body
    assert stage.upstream.log == []
