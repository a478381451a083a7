"""What happens to answers on their way back: nothing, and they end as upstream's did."""

import hashlib
import json
import time
from typing import Any

import pytest

import rawhttp
from harness import ask, client_headers, messages

OWN = {"server-timing", "x-ccflare-attempts"}
FRAMING = {"connection", "transfer-encoding", "content-length", "keep-alive"}


def _last(stage: Any) -> Any:
    return stage.upstream.settled_log(1)[-1]


def _as_sent(stage: Any, found: rawhttp.Answer) -> bool:
    return bool(hashlib.sha256(found.body).hexdigest() == _last(stage).response_sha256)


@pytest.mark.parametrize("stream", [False, True], ids=["message", "stream"])
@pytest.mark.parametrize("preset", ["", "400", "400-too-long", "404", "409", "413"])
def test_11_status_and_body_come_back_byte_for_byte(stage: Any, preset: str, *, stream: bool) -> None:
    """Answers and the client's own errors have upstream's status and bytes; they are asked for once."""
    found = ask(stage.port, messages(f"[[fake {preset}]]" if preset else "Hello", stream=stream))
    assert found.status == int(preset[:3] or 200)
    assert _as_sent(stage, found)
    assert len(stage.upstream.log) == 1


def test_11_a_permission_that_no_account_has_is_refused_in_upstreams_words(stage: Any) -> None:
    """A 403 is tried on every account, and the last one's answer comes back byte for byte."""
    found = ask(stage.port, messages("[[fake 403]]"))
    assert found.status == 403
    assert _as_sent(stage, found)
    asked = [entry.account for entry in stage.upstream.log]
    assert len(asked) == len(set(asked)) > 1


def test_12_all_end_to_end_headers_come_back_none_doubled(stage: Any) -> None:
    """Every field of upstream comes back with its spelling, in order, two `set-cookie` lines included."""
    found = ask(stage.port, messages("[[fake 200-warning]]"))
    sent = [pair for pair in _last(stage).response_headers if pair[0].lower() not in FRAMING]
    came = [pair for pair in found.headers if pair[0].lower() not in FRAMING | OWN]
    assert came == sent
    assert len(found.all("set-cookie")) == 2
    assert {"request-id", "anthropic-organization-id", "cf-ray"} <= {name for name, _ in came}
    assert [value.split(";")[0] for value in found.all("server-timing")] == ["ccflare"]


@pytest.mark.parametrize(
    "headers", [{"x-should-retry": "true"}, {"retry-after": "7"}, {"x-odd": ["1", "2"]}, {"trailer": "x"}]
)
def test_12_odd_headers_of_errors_come_back(stage: Any, headers: Any) -> None:
    """What an error says about retrying reaches the client as upstream said it."""
    action = json.dumps({"status": 400, "message": "No", "headers": headers})
    found = ask(stage.port, messages(f"[[fake {action}]]"))
    for name, value in headers.items():
        expected = [] if name == "trailer" else value if isinstance(value, list) else [value]
        assert found.all(name)[-len(expected) :] == expected if expected else not found.all(name)


@pytest.mark.parametrize("accepted", ["gzip, deflate, br, zstd", "gzip", "identity", None])
@pytest.mark.parametrize("stream", [False, True], ids=["message", "stream"])
def test_13_coding_is_what_the_client_accepts(stage: Any, accepted: str | None, *, stream: bool) -> None:
    """The client's `Accept-Encoding` decides, and none means that nothing is coded."""
    fields = client_headers()
    if accepted is not None:
        fields.append(("Accept-Encoding", accepted))
    found = ask(stage.port, messages("Hello", stream=stream), headers=fields)
    assert _last(stage).header("accept-encoding") == accepted
    assert found.header("content-encoding") == ("gzip" if accepted and "gzip" in accepted else None)
    assert _as_sent(stage, found)


@pytest.mark.parametrize("shape", ["", "odd-chunks", "gzip-stream", "comments", "crlf", "split-utf8"])
def test_14_events_are_forwarded_as_they_arrive(stage: Any, shape: str) -> None:
    """No piece of a stream is held back: upstream's bytes are at the client within 100 ms."""
    directive = f"[[fake {shape}]] " if shape else ""
    pace = "" if shape in {"odd-chunks", "split-utf8"} else '[[fake {"pace": 0.03}]]'
    lags = []
    for _ in range(3):  # a busy machine is late now and then, a server that holds something back is each time
        stage.upstream.forget()
        with rawhttp.Connection(stage.port) as connection:
            body = messages(f"{directive}{pace}Hello", stream=True)
            connection.send(rawhttp.request_bytes("POST", "/v1/messages", client_headers(), body))
            found = connection.answer()
        entry = _last(stage)
        assert _as_sent(stage, found)
        if pace:
            assert found.times[-1] - found.times[0] > 0.1
        lags.append(max(came - wrote for wrote, came in zip(entry.write_times[1:6], found.times, strict=False)))
        if lags[-1] < 0.1:
            return
    raise AssertionError(f"late each time: {lags}")


def test_14_pings_in_a_silence_are_forwarded_at_once(stage: Any) -> None:
    """Pings reach the client while the model is silent."""
    with rawhttp.Connection(stage.port) as connection:
        body = messages("[[fake pause-with-pings]]", stream=True)
        connection.send(rawhttp.request_bytes("POST", "/v1/messages", client_headers(), body))
        assert b"message_stop" not in connection.body_until(b"event: ping")
        assert connection.answer().end == "whole"


@pytest.mark.parametrize(
    "shape",
    ["odd-chunks", "one-chunk", "no-chunked", "length-stream", "early-hints", "close", "close-silently"],
)
@pytest.mark.parametrize("stream", [False, True], ids=["message", "stream"])
def test_15_any_framing_of_upstream_gives_a_well_framed_answer(stage: Any, shape: str, *, stream: bool) -> None:
    """Chunks of any size, a length, an end by closing, interim answers: all become one well-framed answer."""
    with rawhttp.Connection(stage.port) as connection:
        for _ in range(2):
            body = messages(f"[[fake {shape}]]", stream=stream)
            connection.send(rawhttp.request_bytes("POST", "/v1/messages", client_headers(), body))
            found = connection.answer()
            assert (found.status, found.end) == (200, "whole")
            assert _as_sent(stage, found)
            assert len(found.all("content-length")) + len(found.all("transfer-encoding")) == 1


def test_15_http_1_0_clients_get_an_answer_they_understand(stage: Any) -> None:
    """A client of HTTP/1.0 gets a stream without chunks that ends with the connection."""
    request = rawhttp.request_bytes("POST", "/v1/messages", client_headers(), messages("Hello", stream=True))
    with rawhttp.Connection(stage.port) as connection:
        connection.send(request.replace(b" HTTP/1.1", b" HTTP/1.0", 1))
        found = connection.answer()
    assert found.header("transfer-encoding") is None
    assert found.body.endswith(b'"message_stop"}\n\n') or b"message_stop" in found.body
    assert _as_sent(stage, found)


@pytest.mark.parametrize(
    ("shape", "stream", "end"),
    [
        ("disconnect-mid", True, "cut"),
        ("reset-mid", True, "reset"),
        ("truncated-event", True, "cut"),
        ("reset-mid no-chunked", True, "reset"),
        ("disconnect-mid length-stream", True, "cut"),
        ("disconnect-mid", False, "cut"),
        ("long-length", False, "cut"),
    ],
)
def test_16_a_cut_answer_stays_cut(stage: Any, shape: str, end: str, *, stream: bool) -> None:
    """An answer that upstream broke off has no clean end at the client either."""
    found = ask(stage.port, messages(f"[[fake {shape}]]", stream=stream))
    assert (found.status, found.end) == (200, end)
    assert [row["success"] for row in stage.new_rows(1)] == [0]


def test_16_an_error_event_passes_as_data(stage: Any) -> None:
    """An error in mid-stream reaches the client as the event it is, in an answer that ends cleanly."""
    found = ask(stage.port, messages("[[fake error-event]]", stream=True))
    assert (found.status, found.end) == (200, "whole")
    assert b"event: error" in found.body
    assert _as_sent(stage, found)


def test_18_probes_are_answered_here_without_a_record(stage: Any) -> None:
    """What clients ask to see whether anybody is there is answered at once, without a row."""
    for method, target in (("HEAD", "/"), ("HEAD", "/api/hello"), ("GET", "/api/hello")):
        began = time.monotonic()
        found = ask(stage.port, method=method, target=target, headers=[("User-Agent", "Bun/1.4.0")])
        assert found.status == 200
        assert time.monotonic() - began < 1
    assert ask(stage.port, messages()).status == 200
    assert len(stage.new_rows(1)) == 1
    assert len(stage.upstream.log) == 1


def test_19_redirects_are_passed_on(stage: Any) -> None:
    """A redirect is the client's to follow, with the address that upstream gave."""
    found = ask(stage.port, messages("[[fake redirect]]"))
    assert (found.status, found.header("location")) == (307, "/v1/messages?redirected=1")
    assert len(stage.upstream.settled_log(1)) == 1


@pytest.mark.parametrize(
    "preset", ["bad-json-event", "unknown-event", "no-event-line", "html-200", "empty-200", "truncated-json"]
)
def test_strange_answers_pass_as_they_are(stage: Any, preset: str) -> None:
    """What upstream says is not judged by its sense: strange answers come back byte for byte."""
    found = ask(stage.port, messages(f"[[fake {preset}]]", stream=True))
    assert (found.status, found.end) == (200, "whole")
    assert _as_sent(stage, found)
