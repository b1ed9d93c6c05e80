"""Traces BeTrace itself: how long a flush and a step take, for operators who use traces.

In: the environment, as OpenTelemetry defines it (`OTEL_TRACES_EXPORTER`, `OTEL_EXPORTER_OTLP_ENDPOINT`, …). Out: spans
to its exporter; without an exporter, or without the extra `tracing`, nothing.

These spans never feed themselves. They may come back, through a Collector and Kafka, as records to judge. So there is
at most one span of a name a second, whatever is read: what comes back cannot cause more of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any, Protocol

import structlog

log = structlog.get_logger()

EVERY_S = 1.0
EXPORTER_VARIABLE = "OTEL_TRACES_EXPORTER"
ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
EXPORTERS = "opentelemetry_traces_exporter"
"""The entry points through which OpenTelemetry finds exporters."""


class Tracer(Protocol):
    """The part of an OpenTelemetry tracer that is used."""

    def start_as_current_span(self, name: str, *, attributes: dict[str, Any]) -> Any:  # noqa: ANN401, OpenTelemetry's own
        """Return a context manager for the span."""


class Spans:
    """Limits the spans of a tracer; `clock_s` is monotonic."""

    def __init__(self, tracer: Tracer | None, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._tracer = tracer
        self._clock_s = clock_s
        self._last_s: dict[str, float] = {}

    @contextmanager
    def span(self, name: str, **attributes: int | str) -> Iterator[None]:
        """Trace this context as a span, unless there was one of this name less than a second ago."""
        if self._tracer is None or not self._is_due(name):
            yield
            return
        with self._tracer.start_as_current_span(name, attributes=attributes):
            yield

    def _is_due(self, name: str) -> bool:
        now_s = self._clock_s()
        if now_s - self._last_s.get(name, now_s - EVERY_S) < EVERY_S:
            return False
        self._last_s[name] = now_s
        return True


def exporter_name(environment: dict[str, str]) -> str | None:
    """Return the exporter that the environment requests; None if it requests none.

    >>> exporter_name({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317"}), exporter_name({})
    ('otlp', None)
    """
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    usual = "otlp" if any(environment.get(name) for name in ENDPOINT_VARIABLES) else ""
    name = (environment.get(EXPORTER_VARIABLE) or usual).split(",")[0].strip()
    return None if name in ("", "none") else name


def start(stage: str) -> None:
    """Trace this stage from now on, if the environment requests it; log what prevents it."""
    name = exporter_name({**os.environ})
    if name is None:
        return
    try:
        _spans[0] = Spans(_tracer(stage, name))
    except ImportError as error:
        log.warning("self-tracing is requested, but there is no exporter", error=str(error))


def span(name: str, **attributes: int | str) -> Any:  # noqa: ANN401, a context manager
    """Return a context manager that is a span of this stage, now and then; see `Spans.span`."""
    return _spans[0].span(name, **attributes)


def _tracer(stage: str, exporter: str) -> Tracer:
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415, an extra
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415, as above
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415, as above

    entry_points = metadata.entry_points(group=EXPORTERS, name=exporter)
    if not entry_points:
        raise ImportError(f"exporter {exporter} is not installed: pip install 'betrace[tracing]'")
    provider = TracerProvider(resource=Resource.create({"service.name": f"betrace-{stage}"}))
    provider.add_span_processor(BatchSpanProcessor(next(iter(entry_points)).load()()))
    tracer: Tracer = provider.get_tracer("betrace")
    return tracer


_spans = [Spans(None)]
