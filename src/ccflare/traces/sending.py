"""Spans made with OpenTelemetry's SDK and sent by OTLP over HTTP: the one module that imports it.

The SDK reads what is standard in its environment by itself: headers of the collector, sampler, resource attributes,
sizes and times of batches.
"""

import logging
from collections.abc import Sequence
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ccflare import __version__
from ccflare.traces.spans import Ended, Span, attempt_spans, exchange_span

log = logging.getLogger("ccflare.Traces")

SIGNAL: Final = "/v1/traces"
_UNNAMED = "unknown_service"


class Sending:
    """Makes spans of exchanges, below the client's own span where it names one, and sends them in batches."""

    def __init__(self, exporter: SpanExporter) -> None:
        resource = Resource({SERVICE_VERSION: __version__}).merge(Resource.create())
        if str(resource.attributes.get(SERVICE_NAME, _UNNAMED)).startswith(_UNNAMED):
            resource = resource.merge(Resource({SERVICE_NAME: "ccflare"}))
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_Telling(exporter)))
        self._tracer = self._provider.get_tracer("ccflare", __version__)
        self._propagator = TraceContextTextMapPropagator()

    @classmethod
    def to(cls, endpoint: str) -> "Sending":
        """Send to a collector: the address of its traces, or the one below which they are."""
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # a line for every retry; ours says it once
        url = endpoint if endpoint.endswith(SIGNAL) else endpoint.rstrip("/") + SIGNAL
        return cls(OTLPSpanExporter(endpoint=url))

    def __call__(self, ended: Ended, /) -> None:
        """Make the spans of an exchange."""
        carrier = {"traceparent": ended.traceparent.decode("latin-1"), "tracestate": ended.tracestate.decode("latin-1")}
        plan = exchange_span(ended)
        span = self._tracer.start_span(
            plan.name, self._propagator.extract(carrier), SpanKind.SERVER, plan.attributes, start_time=plan.start_ns
        )
        if span.is_recording():
            below = set_span_in_context(span)
            for each in attempt_spans(ended):
                attempt = self._tracer.start_span(
                    each.name, below, SpanKind.CLIENT, each.attributes, start_time=each.start_ns
                )
                _end(attempt, each)
        _end(span, plan)

    def close(self) -> None:
        """Send what waits."""
        self._provider.shutdown()


class _Telling(SpanExporter):
    """Says in our own log, once each time, that a collector cannot be reached, and that it can be again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Pass them on."""
        result = self._exporter.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        if failed and not self._failing:
            log.warning("Traces cannot be sent: the collector does not take them")
        elif self._failing and not failed:
            log.info("Traces are sent again")
        self._failing = failed
        return result

    def shutdown(self) -> None:
        """End."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send now."""
        return self._exporter.force_flush(timeout_millis)


def _end(span: OtelSpan, plan: Span) -> None:
    if plan.error is not None:
        span.set_status(Status(StatusCode.ERROR))
    span.end(plan.end_ns)
