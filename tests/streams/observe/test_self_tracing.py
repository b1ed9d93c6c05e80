"""Tests BeTrace's own traces, with OpenTelemetry's exporter in memory."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import Tracer, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import get_current_span
from structlog.testing import capture_logs

from streams.observe import self_tracing
from streams.observe.self_tracing import EVERY_S, Spans


class Clock:
    """A clock that changes only when it is set."""

    now_s = 5.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    """Where the spans go."""
    return InMemorySpanExporter()


@pytest.fixture
def clock() -> Clock:
    """A clock at some time."""
    return Clock()


@pytest.fixture
def spans(exporter: InMemorySpanExporter, clock: Clock) -> Spans:
    """Spans of a real tracer."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Spans(provider.get_tracer("test"), clock)


def test_span_has_name_and_attributes(spans: Spans, exporter: InMemorySpanExporter) -> None:
    """The traced context is a span."""
    with spans.span("flush", sources=3):
        pass

    [span] = exporter.get_finished_spans()
    assert ("flush", {"sources": 3}) == (span.name, dict(span.attributes or {}))


def test_own_spans_cause_no_further_spans(spans: Spans, exporter: InMemorySpanExporter, clock: Clock) -> None:
    """However often something is done, there is one span of its name a second, and one of each other name."""
    for _ in range(1000):
        with spans.span("flush"):
            pass
        with spans.span("step"):
            pass
    clock.now_s += EVERY_S
    with spans.span("flush"):
        pass

    assert ["flush", "step", "flush"] == [span.name for span in exporter.get_finished_spans()]


@pytest.mark.parametrize(
    ("environment", "exporter"),
    [
        ({}, None),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}, None),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_SDK_DISABLED": "true"}, None),
    ],
)
def test_environment_decides(environment: dict[str, str], exporter: str | None) -> None:
    """The environment is read as OpenTelemetry defines it; without its variables there are no traces."""
    assert exporter == self_tracing.exporter_name(environment)


def test_missing_exporter_does_not_end_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage continues without traces of its own, and logs why."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "nobody-has-this")

    with capture_logs() as logged:
        self_tracing.start("ingest")

    with self_tracing.span("flush"):
        is_in_span = get_current_span().is_recording()
    assert not is_in_span
    assert ["exporter nobody-has-this is not installed: pip install 'betrace[tracing]'"] == [
        line["error"] for line in logged
    ]


def test_tracer_is_named_after_the_stage() -> None:
    """A trace shows which stage it is from."""
    tracer = self_tracing._tracer("ingest", "console")

    assert isinstance(tracer, Tracer)
    assert "betrace-ingest" == tracer.resource.attributes["service.name"]
