"""Traces: what their spans say, what they never say, and that they reach a collector."""

import gzip
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from ccflare.errors import TransportError
from ccflare.proxy import Proxy
from ccflare.traces import MOST, Traces
from ccflare.traces.sending import Sending
from ccflare.traces.spans import Ended
from flow.scripted import NOW, Answer, Client, World, error, stream

PROMPT = "the-secret-plan-of-the-prompt"
BODY = msgspec.json.encode({"model": "claude-x", "messages": [{"role": "user", "content": PROMPT}], "stream": True})
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STREAM = stream(
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","model":"claude-x-1","usage":'
    b'{"input_tokens":10,"cache_read_input_tokens":5,"cache_creation_input_tokens":7,"output_tokens":1}}}\n\n',
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":'
    b'{"output_tokens":20}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n',
)


class Traced(World):
    """A proxy whose exchanges are traced into memory."""

    def __init__(self, names: str = "ab", *, begin: Callable[[], Any] | None = None, **settings: Any) -> None:
        super().__init__(names, **settings)
        self.exporter = InMemorySpanExporter()
        sending = begin or (lambda: Sending(self.exporter))
        self.traces = Traces(self.pool.account, lambda: "https://upstream.example", sending)
        self.proxy = Proxy(replace(self.proxy._parts, traces=self.traces), self.proxy.settings)

    def spans(self) -> list[ReadableSpan]:
        """Return all spans, in the order in which they began, the exchange's first."""
        self.traces.start()
        self.traces.close(10)
        return sorted(self.exporter.get_finished_spans(), key=_order)


def _order(span: ReadableSpan) -> tuple[bool, int]:
    return span.kind is not SpanKind.SERVER, span.start_time or 0


async def ask(world: Traced, *headers: tuple[bytes, bytes]) -> list[ReadableSpan]:
    await world.ask(Client(BODY, headers=[(b"x-api-key", b"client-secret-key"), *headers]))
    return world.spans()


async def test_an_exchange_and_its_attempts_are_spans() -> None:
    """A failover is a server span over two client spans, with times that follow each other and tokens once."""
    world = Traced(retry_attempts=0)
    world.script(a=[error(529, "overloaded_error", f"cannot do {PROMPT}")], b=[STREAM])
    whole, first, second = await ask(world)
    assert (whole.name, whole.kind, whole.parent) == ("chat claude-x", SpanKind.SERVER, None)
    assert {first.kind, second.kind} == {SpanKind.CLIENT}
    assert first.parent == second.parent == whole.context
    assert whole.start_time == NOW * 1e9
    assert whole.attributes is not None
    assert first.attributes is not None
    assert second.attributes is not None
    assert whole.attributes["http.response.status_code"] == 200
    assert (whole.attributes["ccflare.outcome"], whole.status.status_code) == ("success", StatusCode.UNSET)
    assert (first.attributes["ccflare.account"], first.attributes["error.type"]) == ("a", "529")
    assert first.status.status_code is StatusCode.ERROR
    assert "gen_ai.usage.input_tokens" not in first.attributes
    assert dict(second.attributes) | {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-x",
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "claude-x-1",
        "gen_ai.response.finish_reasons": ("end_turn",),
        "gen_ai.usage.input_tokens": 22,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 5,
        "gen_ai.usage.cache_creation.input_tokens": 7,
        "http.request.resend_count": 1,
        "http.response.status_code": 200,
        "server.address": "upstream.example",
        "server.port": 443,
        "ccflare.account": "b",
    } == dict(second.attributes)


async def test_pauses_between_attempts_are_seen() -> None:
    """The second attempt begins after the first one and the pause that was made, and none ends behind the exchange."""
    world = Traced("a", retry_delay_ms=4000, retry_attempts=3)
    world.transport.takes_s = 2.0
    world.script(a=[error(500), STREAM])
    whole, first, second = await ask(world)
    assert first.end_time is not None
    assert second.start_time is not None
    assert second.start_time - first.end_time >= 3e9
    assert second.end_time == whole.end_time == int((NOW + world.clock.passed) * 1e9)


async def test_a_client_span_is_the_parent_and_goes_upstream_as_it_came() -> None:
    """`traceparent` makes ours a child of the client's, and upstream gets both fields untouched."""
    world = Traced("a")
    world.script(a=[STREAM])
    whole, attempt = await ask(world, (b"traceparent", PARENT.encode()), (b"tracestate", b"vendor=1"))
    assert whole.parent is not None
    assert f"{whole.parent.span_id:016x}" == "b7ad6b7169203331"
    assert {f"{span.context.trace_id:032x}" for span in (whole, attempt)} == {"0af7651916cd43dd8448eb211c80319c"}
    sent = dict(world.transport.sent[0].headers)
    assert (sent[b"traceparent"], sent[b"tracestate"]) == (PARENT.encode(), b"vendor=1")


async def test_what_a_client_does_not_want_traced_is_not() -> None:
    """A `traceparent` that is not sampled makes no span."""
    world = Traced("a")
    world.script(a=[STREAM])
    assert await ask(world, (b"traceparent", PARENT.replace("-01", "-00").encode())) == []


@pytest.mark.parametrize("field", [b"", b"nonsense", b"00-0-0-01", b"\xff" * 40])
async def test_a_broken_traceparent_begins_a_trace(field: bytes) -> None:
    """What is no trace context is as good as none."""
    world = Traced("a")
    world.script(a=[STREAM])
    whole, _ = await ask(world, (b"traceparent", field))
    assert whole.parent is None


@pytest.mark.parametrize(
    "answers",
    [[STREAM], [error(400, "invalid_request_error", f"bad: {PROMPT}")], [TransportError("broken", PROMPT)]],
    ids=["served", "refused", "broken"],
)
async def test_no_span_holds_what_was_said(answers: list[Answer | TransportError]) -> None:
    """Prompts, upstream's sentences and credentials are in no name, attribute, status or resource of any span."""
    world = Traced("a", retry_attempts=0)
    world.script(a=answers)
    spans = await ask(world)
    told = "".join(span.to_json() for span in spans)
    assert len(spans) == 2
    for secret in (PROMPT, "key-a", "client-secret-key"):
        assert secret not in told


async def test_other_paths_are_spans_without_a_model() -> None:
    """What is no inference has an HTTP name of which there are few, and no GenAI attribute."""
    world = Traced("a")
    await world.ask(Client(method=b"GET", target=b"/v1/files/file_011CNha8iCJcU1wXNR6q4V8w?beta=true"))
    whole, attempt = world.spans()
    assert whole.name == attempt.name == "GET /v1/files"
    assert not [name for name in attempt.attributes or {} if name.startswith("gen_ai")]


async def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Of more exchanges than may wait the oldest are dropped, and that is told."""
    monkeypatch.setattr("ccflare.traces.MOST", 2)
    world = Traced("a")
    for _ in range(5):
        await world.ask()
    assert len(world.spans()) == 4
    assert "3 exchanges were not traced" in caplog.text
    assert MOST > 1000


async def test_a_defect_in_tracing_is_told_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """An exchange that cannot be traced does not keep others from it."""
    seen: list[Ended] = []

    class Once:
        def __call__(self, ended: Ended, /) -> None:
            seen.append(ended)
            raise RuntimeError("no")

        def close(self) -> None:
            pass

    world = Traced("a", begin=Once)
    await world.ask()
    await world.ask()
    world.spans()
    assert len(seen) == 2
    assert "could not be traced" in caplog.text


@pytest.mark.parametrize("model", ["sk-ant-api03-A-MODEL", "ccf_" + "a" * 43])
async def test_a_model_that_looks_like_a_credential_is_masked(model: str) -> None:
    """A client may write anything for one."""
    world = Traced("a")
    world.script(a=[STREAM])
    await world.ask(Client(msgspec.json.encode({"model": model, "messages": []})))
    spans = world.spans()
    assert model not in "".join(span.to_json() for span in spans)
    assert "***" in spans[0].name


async def test_settings_that_opentelemetry_refuses_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """One line says why nothing is sent, requests are served, and no exchange is kept."""

    def refused() -> Any:
        raise ValueError("max_export_batch_size must be less")

    world = Traced("a", begin=refused)
    assert (await world.ask()).status == 200
    world.spans()
    assert "OpenTelemetry refuses its settings: max_export_batch_size must be less" in caplog.text
    assert "Traceback" not in caplog.text
    assert not world.traces._waiting


async def test_without_opentelemetry_one_line_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """Where the extra is not installed requests are served, the log says what is missing, and no exchange is kept."""

    def missing() -> Any:
        raise ImportError("opentelemetry")

    world = Traced("a", begin=missing)
    assert (await world.ask()).status == 200
    assert len(world.traces._waiting) == 1
    world.spans()
    assert "pip install 'ccflare[otel]'" in caplog.text
    assert not world.traces._waiting


def test_nothing_is_imported_without_an_address() -> None:
    """A server without `otel_endpoint` imports no part of OpenTelemetry."""
    code = "import sys, ccflare.serve, ccflare.cli; sys.exit(any('opentelemetry' in name for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class _Collector(BaseHTTPRequestHandler):
    taken: list[tuple[str, ExportTraceServiceRequest]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.taken.append((self.path, ExportTraceServiceRequest.FromString(body)))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def collecting() -> Iterator[tuple[str, list[tuple[str, ExportTraceServiceRequest]]]]:
    """Run a collector of traces on loopback; yield its address and what it has taken."""
    taken: list[tuple[str, ExportTraceServiceRequest]] = []
    handler = type("Collector", (_Collector,), {"taken": taken})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", taken
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("path", ["", "/", "/v1/traces"])
async def test_a_collector_gets_the_spans_by_otlp(path: str, tmp_path: Path) -> None:
    """Over HTTP, below `/v1/traces` of the address, a collector gets both spans under the name of the service."""
    with collecting() as (url, taken):
        world = Traced("a", begin=lambda: Sending.to(url + path))
        world.script(a=[STREAM])
        await world.ask(Client(BODY))
        world.spans()
    [(asked, request)] = taken
    assert asked == "/v1/traces"
    [resource] = request.resource_spans
    names = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
    assert names["service.name"] == "ccflare"
    assert names["service.version"]
    assert len(resource.scope_spans[0].spans) == 2


async def test_a_service_may_have_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps its version."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "gateway")
    world = Traced("a")
    world.script(a=[STREAM])
    [whole, *_] = await ask(world)
    assert whole.resource.attributes["service.name"] == "gateway"
    assert whole.resource.attributes["service.version"]
