"""What every sample service stands on: the OpenTelemetry SDK, a clock that is moved by hand, seeded ids.

In: an OTLP/gRPC endpoint and a seed. Out: spans and log records, sent by the SDK's own batching exporters. What must
hold: the same seed gives the same ids, times and attributes; only the batches differ from run to run.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry._logs import Logger, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AnyValue, AttributeValue

PROPAGATOR = TraceContextTextMapPropagator()
NO_TRACE = trace.set_span_in_context(trace.INVALID_SPAN, Context())
# The SDK's queues drop what they cannot hold; no service here makes more than this.
QUEUE_SIZE = 65536
# Smaller than the SDK's, so that a trace comes in pieces although a day is over within a second.
BATCH_SIZE = 32
DELAY_MS = 200
FLUSH_MS = 30_000
HTTP_ERROR = 500


class Clock:
    """The applications' time in Unix nanoseconds. It stands still until it is told to move."""

    def __init__(self) -> None:
        self.now_ns = 0

    def set(self, now_ns: int) -> None:
        """Moves to any time, as between two traces."""
        self.now_ns = now_ns

    def advance(self, ms: float) -> None:
        """Moves on by `ms` milliseconds."""
        self.now_ns += round(ms * 1_000_000)


class SeededIds(IdGenerator):
    """Trace and span ids from a seeded generator, never zero."""

    def __init__(self, source: random.Random) -> None:
        self._source = source

    def generate_span_id(self) -> int:
        """A span id of 8 bytes."""
        return self._source.randrange(1, 1 << 64)

    def generate_trace_id(self) -> int:
        """A trace id of 16 bytes."""
        return self._source.randrange(1, 1 << 128)


class Telemetry:
    """The services of one application, and how many spans and log records they made."""

    def __init__(self, endpoint: str, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = Clock()
        self.span_count = 0
        self.log_count = 0
        self._endpoint = endpoint
        self._ids = SeededIds(self.random)
        self._providers: list[TracerProvider | LoggerProvider] = []

    def service(self, namespace: str, name: str, version: str) -> Service:
        """A service with a resource, a tracer and a logger of its own."""
        resource = self._resource(namespace, name, version)
        tracers = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        spans = OTLPSpanExporter(self._endpoint, insecure=True)
        tracers.add_span_processor(BatchSpanProcessor(spans, QUEUE_SIZE, DELAY_MS, BATCH_SIZE))
        loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
        logs = OTLPLogExporter(self._endpoint, insecure=True)
        loggers.add_log_record_processor(BatchLogRecordProcessor(logs, DELAY_MS, BATCH_SIZE, max_queue_size=QUEUE_SIZE))
        self._providers += [tracers, loggers]
        scope = f"{namespace}.{name.replace('-', '_')}"
        return Service(self, name, tracers.get_tracer(scope, version), loggers.get_logger(scope, version))

    def close(self) -> None:
        """Sends what is queued; raises `TimeoutError` when the endpoint does not take it."""
        for provider in self._providers:
            if not provider.force_flush(FLUSH_MS):
                raise TimeoutError(f"{self._endpoint} did not take the telemetry within {FLUSH_MS} ms")
            provider.shutdown()

    def _resource(self, namespace: str, name: str, version: str) -> Resource:
        pod = f"{name}-{self.random.randrange(1 << 40):010x}"
        return Resource(
            {
                "telemetry.sdk.language": "python",
                "telemetry.sdk.name": "opentelemetry",
                "service.name": name,
                "service.namespace": namespace,
                "service.version": version,
                "service.instance.id": pod,
                "deployment.environment.name": "production",
                "k8s.namespace.name": namespace,
                "k8s.pod.name": pod,
                "host.name": f"node-{self.random.randrange(1, 5)}",
            }
        )


class Service:
    """One instrumented service: it opens spans, serves and calls over HTTP, queries a database and writes logs."""

    def __init__(self, telemetry: Telemetry, name: str, tracer: Tracer, logger: Logger) -> None:
        self.name = name
        self.telemetry = telemetry
        self._tracer = tracer
        self._logger = logger

    @contextmanager
    def span(
        self,
        name: str,
        attributes: Mapping[str, AttributeValue] | None = None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        context: Context | None = None,
    ) -> Iterator[Span]:
        """A span that is current inside the block; an exception marks it and goes on."""
        span = self._tracer.start_span(name, context, kind, attributes, start_time=self.telemetry.clock.now_ns)
        self.telemetry.span_count += 1
        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
            try:
                self._work()
                yield span
            except Exception as error:
                _record(span, error, self.telemetry.clock.now_ns)
                raise
            finally:
                self._work()
                span.end(self.telemetry.clock.now_ns)

    @contextmanager
    def serve(self, method: str, route: str, headers: Mapping[str, str] | None = None) -> Iterator[Span]:
        """A server span, which continues the trace in `headers` or starts one."""
        context = PROPAGATOR.extract(headers or {}, NO_TRACE)
        attributes: dict[str, AttributeValue] = {
            "http.request.method": method,
            "http.route": route,
            "url.scheme": "https",
            "network.protocol.version": "1.1",
            "client.address": f"10.0.{self.telemetry.random.randrange(4)}.{self.telemetry.random.randrange(1, 255)}",
        }
        with self.span(f"{method} {route}", attributes, kind=SpanKind.SERVER, context=context) as span:
            try:
                yield span
            except Exception:
                self._answer(span, method, route, 500)
                raise
            self._answer(span, method, route, 200)

    @contextmanager
    def call(self, server: Service, method: str, route: str) -> Iterator[Span]:
        """A client span here and, over the propagated headers, the server span in `server`; yields the latter."""
        attributes: dict[str, AttributeValue] = {
            "http.request.method": method,
            "server.address": server.name,
            "server.port": 8443,
        }
        headers: dict[str, str] = {}
        with self.span(method, attributes, kind=SpanKind.CLIENT):
            PROPAGATOR.inject(headers)
            with server.serve(method, route, headers) as span:
                yield span

    @contextmanager
    def send(self, receiver: Service, queue: str) -> Iterator[Span]:
        """A message to `receiver`: a producer span here, a consumer span there; yields the latter."""
        attributes = {"messaging.system": "kafka", "messaging.destination.name": queue}
        headers: dict[str, str] = {}
        with self.span(f"send {queue}", {**attributes, "messaging.operation.type": "send"}, kind=SpanKind.PRODUCER):
            PROPAGATOR.inject(headers)
        context = PROPAGATOR.extract(headers, NO_TRACE)
        with receiver.span(f"receive {queue}", attributes, kind=SpanKind.CONSUMER, context=context) as span:
            yield span

    def query(self, operation: str, table: str) -> None:
        """A database query: one client span."""
        attributes: dict[str, AttributeValue] = {
            "db.system.name": "postgresql",
            "db.operation.name": operation,
            "db.collection.name": table,
            "db.query.text": f"{operation} … {table} WHERE id = $1",
            "db.response.returned_rows": self.telemetry.random.randrange(40),
        }
        with self.span(f"{operation} {table}", attributes, kind=SpanKind.CLIENT):
            self._work()

    def log(
        self,
        body: str,
        attributes: Mapping[str, AnyValue] | None = None,
        *,
        event_name: str | None = None,
        severity: SeverityNumber = SeverityNumber.INFO,
        in_trace: bool = True,
    ) -> None:
        """A log record, correlated with the current span unless `in_trace` is false."""
        self._logger.emit(
            timestamp=self.telemetry.clock.now_ns,
            observed_timestamp=self.telemetry.clock.now_ns + 250_000,
            context=None if in_trace else NO_TRACE,
            severity_number=severity,
            severity_text=severity.name,
            body=body,
            attributes=attributes,
            event_name=event_name,
        )
        self.telemetry.log_count += 1

    def _answer(self, span: Span, method: str, route: str, status: int) -> None:
        span.set_attribute("http.response.status_code", status)
        severity = SeverityNumber.INFO if status < HTTP_ERROR else SeverityNumber.ERROR
        attributes: dict[str, AnyValue] = {"http.route": route, "http.response.status_code": status}
        self.log(f"{method} {route} {status}", attributes, severity=severity)

    def _work(self) -> None:
        self.telemetry.clock.advance(self.telemetry.random.uniform(0.2, 6))


def _record(span: Span, error: Exception, now_ns: int) -> None:
    """Marks a span as failed, as the SDK does, at the application's time."""
    attributes = {"exception.type": type(error).__name__, "exception.message": str(error), "exception.escaped": "true"}
    span.add_event("exception", attributes, now_ns)
    span.set_status(Status(StatusCode.ERROR, str(error)))
