"""Tests traces printed as tests: pasted under the rule, `betrace check` finds the verdict that was judged."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from dsl import RuleSet, Severity, load
from dsl.compile.review import review_files
from dsl.compile.write_tests import TraceTest, yaml_text
from streams.decode.decoder import Decoder
from streams.errors import ConfigError
from streams.inspect import as_test
from streams.inspect.explain import Part
from streams.projection.project import Projector
from streams.projection.redact import NOT_REDACTED, Redaction, Treatment
from streams.windows.chain import Bounds
from tests.support.otlp_requests import logs_request, trace_request

TRACE = bytes(range(16))
BOUNDS = Bounds(gap=300, lateness=600, max_duration=3000)
START_NS = 1_767_614_400_000_000_000
HASHED = Redaction({"order.id": Treatment.HASH}, b"a key of 16 bytes")

SAME_ORDER = "when { payment } always { each payment has approval before with same order.id }"
EVENTS = "when { model.call } never { model.call.where(injection.found exists) or injection.found.where(score > 0.5) }"
LOGS = 'when { pii.access } always { audit.log.where(log.body contains "done") and count(audit.log) == 2 }'
PARENTS = "when { db.query } always { each db.query has http.server above }"
ORDERED = "when { agent } never { some tool has denied before }"
DURATION = "when { job } never { job.where(span.duration > 1s) }"


def attributes(**values: str | float | list[str]) -> list[KeyValue]:
    """Attributes, with dots for double underscores."""
    return [KeyValue(key=key.replace("__", "."), value=_any(value)) for key, value in values.items()]


def _any(value: str | float | list[str]) -> AnyValue:
    if isinstance(value, list):
        made = AnyValue()
        made.array_value.values.extend(_any(each) for each in value)
        return made
    return AnyValue(string_value=value) if isinstance(value, str) else AnyValue(double_value=value)


def span(number: int, name: str, parent: int = 0, *, after_s: float = 0, **more: Any) -> Span:  # noqa: ANN401, protobuf's
    """A span that lasts two seconds."""
    start = START_NS + int(after_s * 1e9) + number
    return Span(
        trace_id=TRACE,
        span_id=bytes([number]) * 8,
        parent_span_id=bytes([parent]) * 8 if parent else b"",
        name=name,
        start_time_unix_nano=start,
        end_time_unix_nano=start + 2 * 10**9,
        **more,
    )


def log(body: str, number: int = 0, **more: str) -> LogRecord:
    """A log record; two with other attributes are two."""
    return LogRecord(
        trace_id=TRACE,
        event_name="audit.log",
        time_unix_nano=START_NS + 5,
        body=AnyValue(string_value=body),
        attributes=attributes(number=float(number), **more),
    )


def rule_file(directory: Path, condition: str) -> Path:
    """A file of one rule without tests."""
    path = directory / "rules.yaml"
    path.write_text(f"rules:\n  - id: checked\n    condition: {condition!r}\n")
    return path


def made(
    rules: RuleSet, records: Sequence[tuple[int, bytes]], redaction: Redaction = NOT_REDACTED, bounds: Bounds = BOUNDS
) -> TraceTest:
    """The trace of requests, each at a record time in seconds, as a test."""
    decoder = Decoder(Projector(rules).interest)
    parts = [
        Part(topic="t", partition=0, offset=offset, time_ms=time_s * 1000, trace=decoder.decode(value).traces[TRACE])
        for offset, (time_s, value) in enumerate(records)
    ]
    return as_test.of_parts(TRACE, parts, rules, bounds, redaction, clock_ms=1_000_000)


def pasted(path: Path, test: TraceTest) -> list[str]:
    """The errors of a rule file with the test under its rule; it must have been read."""
    path.write_text(path.read_text() + yaml_text([test]))
    found = review_files([path], date(2026, 1, 5))
    assert (1, 1) == (found.rule_count, found.test_count)
    return [f"{problem.code} {problem.message}" for problem in found.problems if problem.severity is Severity.ERROR]


def payments(*orders: str) -> bytes:
    """An approval of each order but the last, then a payment of each."""
    keys = [attributes(order__id=order) for order in orders]
    approvals = [span(1 + number, "approval", attributes=each) for number, each in enumerate(keys[:-1])]
    paid = [span(9 + number, "payment", 1, after_s=1, attributes=each) for number, each in enumerate(keys)]
    return trace_request(*approvals, *paid)


def agent(*events: str) -> bytes:
    """A run of an agent with these events, a millisecond apart."""
    times = [(name, START_NS + number * 10**6) for number, name in enumerate(events)]
    return trace_request(span(1, "agent", events=[Span.Event(name=name, time_unix_nano=time) for name, time in times]))


def model_call(score: float) -> bytes:
    """A model call in which something was found, twice."""
    found = Span.Event(name="injection.found", attributes=attributes(score=score))
    return trace_request(span(1, "model.call", events=[found, found]))


@pytest.mark.parametrize(
    ("condition", "values", "verdict"),
    [
        (SAME_ORDER, [payments("17", "18", "17")], "held"),
        (SAME_ORDER, [payments("17", "18")], "broken"),
        (EVENTS, [trace_request(span(1, "model.call", events=[Span.Event(name="other")]))], "held"),
        (EVENTS, [model_call(0.75)], "broken"),
        (ORDERED, [agent("tool", "denied")], "held"),
        (ORDERED, [agent("tool", "denied", "tool")], "broken"),
        (LOGS, [trace_request(span(1, "pii.access")), logs_request(log("done", 1), log("done", 2))], "held"),
        (LOGS, [trace_request(span(1, "pii.access")), logs_request(log("done", 1), log("done", 1))], "broken"),
        (PARENTS, [trace_request(span(1, "http.server"), span(2, "inner", 1), span(3, "db.query", 2))], "held"),
        (PARENTS, [trace_request(span(1, "http.server"), span(2, "inner"), span(3, "db.query", 2))], "broken"),
        (DURATION, [trace_request(span(1, "job"))], "broken"),
        ("when { a } always { b }", [trace_request(span(1, "c"))], "not_applicable"),
        (
            'when { tool } never { tool.where(to == "yes: no" or flag == "null") }',
            [trace_request(span(1, "tool", attributes=attributes(to=["x", "yes: no"], flag="NO")))],
            "broken",
        ),
    ],
)
@pytest.mark.parametrize("redaction", [NOT_REDACTED, HASHED], ids=["as it is", "hashed"])
def test_trace_passes_as_a_test(
    tmp_path: Path, condition: str, values: list[bytes], verdict: str, redaction: Redaction
) -> None:
    """A trace with events, log records, parents and keys passes as a test of its rule, redacted or not."""
    path = rule_file(tmp_path, condition)
    rules, _ = load([path])

    test = made(rules, [(0, value) for value in values], redaction)

    assert (verdict, False) == (test.expect.value, test.hit_max_duration)
    assert [] == pasted(path, test)


def test_cut_trace_passes_as_a_test(tmp_path: Path) -> None:
    """A trace whose window reached its longest duration is a test with `close: max_duration`."""
    path = rule_file(tmp_path, SAME_ORDER)
    rules, _ = load([path])
    records = [
        (time_s, trace_request(span(1, "payment", attributes=attributes(order__id="7")))) for time_s in (0, 9, 14)
    ]

    test = made(rules, records, bounds=Bounds(gap=300, lateness=600, max_duration=150))

    assert ("undetermined", True) == (test.expect.value, test.hit_max_duration)
    assert [] == pasted(path, test)
    assert "close: max_duration" in path.read_text()


def test_later_window_of_a_chain_is_judged_with_the_earlier_ones(tmp_path: Path) -> None:
    """A span that came late is part of the test; one of a later chain, which shares nothing with it, is not."""
    path = rule_file(tmp_path, "when { a } always { b }")
    rules, _ = load([path])
    records = [(0, trace_request(span(1, "a"))), (40, trace_request(span(2, "b"))), (500, trace_request(span(3, "b")))]

    test = made(rules, records)

    assert ("held", ["a", "b"]) == (test.expect.value, [each.name for each in test.spans])
    assert [] == pasted(path, test)


def test_only_what_the_rule_looks_at_is_printed(tmp_path: Path) -> None:
    """Other spans, attributes and events stay out, and hashed values are nowhere in clear text."""
    path = rule_file(tmp_path, SAME_ORDER)
    rules, _ = load([path])
    paid = span(2, "payment", attributes=attributes(order__id="secret-17", card="4111"), events=[Span.Event(name="x")])
    value = trace_request(span(1, "cart"), paid, resource=Resource(attributes=attributes(host="h1")))

    text = yaml_text([made(rules, [(0, value)], HASHED)])

    assert "hmac-sha256:" in text
    assert not [word for word in ("secret", "cart", "card", "4111", "h1", "events") if word in text]


def test_redaction_that_changes_the_verdict_is_refused(tmp_path: Path) -> None:
    """A test that would fail is not printed; the message names what is redacted."""
    rules, _ = load([rule_file(tmp_path, SAME_ORDER)])

    with pytest.raises(ConfigError, match=r"held, but that of the test would be broken, because .*: order\.id$"):
        made(rules, [(0, payments("17", "17"))], Redaction({"order.id": Treatment.DROP}))
