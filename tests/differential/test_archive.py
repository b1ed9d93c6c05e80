"""Queries on an archive against the engine that reads the same records: the same verdicts, with the same evidence."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2

from dsl import RuleSet, Span, Value, compile_texts, judge, load
from dsl.syntax.printer import cond_text, form_text
from streams.archive.query import Asked, ask
from streams.archive.rows import RawRecord
from streams.archive.store import Store
from streams.archive.write import PartitionWriter
from streams.projection.project import Projector
from streams.windows.close import Close
from streams.windows.sessions import Bounds
from tests.differential import archived
from tests.differential.test_rules import _conds, _rules, _spans
from tests.support import paths
from tests.support.otlp_requests import as_json
from topics.embedded import capture
from topics.otlp.protobuf import Message
from topics.records.facts import TICK_MS

CAPTURES = paths.CAPTURES
RULES = paths.RULES
BOUNDS = Bounds(gap=4, lateness=8, max_duration=9)
START_MS = 1_795_251_600_000 - 1_000
TRACES = tuple(bytes([number]) * 16 for number in (1, 2, 3))
SPANS, LOGS = "otlp_spans", "otlp_logs"
FAR_MS = 1 << 40

Told = list[tuple[object, ...]]


def told(closes: Iterable[Close], rules: RuleSet) -> dict[bytes, Told]:
    """All that is said of each trace, window by window: verdicts, reasons, evidence and bounds."""
    said: dict[bytes, Told] = {}
    for close in closes:
        for at in judge(rules, close.chain.facts, whole=close.whole):
            bounds = (close.window.first * TICK_MS, close.window.last * TICK_MS)
            counts = (close.window.span_count, close.window.root_seen, close.reason, close.closed_ms, close.whole)
            shown = repr([close.chain.facts[atom] for _, atom in at.subjects] + close.chain.sources)
            why = (at.missing, at.present, at.excepted)
            verdict = (at.rule.id, at.verdict, *bounds)
            said.setdefault(close.trace_id, []).append((verdict, why, counts, shown))
    return said


def assert_same(url: str, asked: Asked) -> dict[bytes, Told]:
    """The query says what the engine says, in full and in brief; returns what that is."""
    rules = asked.projector.rules
    expected = told(archived.closes(url, asked), rules)
    for in_full in (True, False):
        answer = ask(url, replace(asked, in_full=in_full))
        said = [(at.trace_id, (at.rule_id, at.verdict, at.first_ms, at.last_ms)) for at in answer.said]
        actual = told(answer.closes, rules)

        brief = expected.keys() - actual.keys()
        assert {trace_id: expected[trace_id] for trace_id in actual} == actual
        assert sorted((trace, line[0]) for trace in brief for line in expected[trace]) == sorted(said)
        assert not any(line[1][2] for trace in brief for line in expected[trace])
    return expected


SCALARS = {bool: "bool_value", int: "int_value", float: "double_value", bytes: "bytes_value", str: "string_value"}


def any_value(value: Value) -> Message:
    """A value as OTLP has it."""
    match value:
        case None:
            return AnyValue()
        case list():
            return AnyValue(array_value=ArrayValue(values=map(any_value, value)))
        case dict():
            return AnyValue(kvlist_value=KeyValueList(values=pairs(value)))
        case _:
            return AnyValue(**{SCALARS[type(value)]: value})


def pairs(attributes: Mapping[str, Value]) -> list[Message]:
    """Attributes as OTLP has them."""
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def spans_request(sent: list[tuple[bytes, Span]]) -> Message:
    """A request with one resource and scope for each span."""
    return ExportTraceServiceRequest(
        resource_spans=[
            trace_pb2.ResourceSpans(
                resource=Resource(attributes=pairs(span.resource)),
                scope_spans=[
                    trace_pb2.ScopeSpans(
                        scope=InstrumentationScope(attributes=pairs(span.scope)),
                        spans=[
                            trace_pb2.Span(
                                trace_id=trace_id,
                                span_id=span.identity * 8,
                                name=span.name,
                                start_time_unix_nano=span.start_ns or 0,
                                attributes=pairs(span.attributes),
                                events=[
                                    trace_pb2.Span.Event(name=each.name, attributes=pairs(each.attributes))
                                    for each in span.events
                                ],
                            )
                        ],
                    )
                ],
            )
            for trace_id, span in sent
        ]
    )


def logs_request(sent: list[tuple[bytes, Span]]) -> Message:
    """The same as log records."""
    return ExportLogsServiceRequest(
        resource_logs=[
            ResourceLogs(
                resource=Resource(attributes=pairs(span.resource)),
                scope_logs=[
                    ScopeLogs(
                        log_records=[
                            LogRecord(
                                trace_id=trace_id,
                                event_name="" if span.events else span.name,
                                observed_time_unix_nano=span.start_ns or 0,
                                severity_number=9,
                                attributes=pairs(span.attributes),
                            )
                        ]
                    )
                ],
            )
            for trace_id, span in sent
        ]
    )


sent = st.lists(st.tuples(st.sampled_from((*TRACES, TRACES[0])), _spans), min_size=1, max_size=3)
values = (
    st.tuples(st.just(SPANS), sent.map(spans_request).map(lambda request: bytes(request.SerializeToString())))
    | st.tuples(st.just(SPANS), sent.map(spans_request).map(as_json))
    | st.tuples(st.just(LOGS), sent.map(logs_request).map(lambda request: bytes(request.SerializeToString())))
    | st.tuples(st.just(SPANS), st.just(b"no request"))
)
steps = st.tuples(st.sampled_from((0, 0, 100, 300, 400, 500, 900, 1300)), st.integers(0, 1), values)


def write(
    url: str, history: list[tuple[int, int, tuple[str, bytes]]], cut_every: int, start_ms: int = START_MS
) -> None:
    """Archives a history of pauses before records, their partitions, topics and values."""
    store = Store.at(url)
    writers: dict[tuple[str, int], tuple[PartitionWriter, list[int]]] = {}
    times_ms = accumulate((pause_ms for pause_ms, _, _ in history), initial=start_ms)
    next(times_ms)
    for time_ms, (_, partition, (topic, value)) in zip(times_ms, history, strict=True):
        made = (PartitionWriter(store, topic, partition, 0, "id"), [0])
        writer, next_offset = writers.setdefault((topic, partition), made)
        writer.add(RawRecord(topic, partition, next_offset[0], time_ms, None, value))
        next_offset[0] += 1
        if next_offset[0] % cut_every == 0:
            writer.cut(next_offset[0])
    for writer, next_offset in writers.values():
        writer.cut(next_offset[0])


# An example makes files: it takes as long as three of the other properties.
@settings(max_examples=settings().max_examples // 3)
@given(
    st.lists(st.tuples(_rules, st.lists(_conds, max_size=1)), min_size=1, max_size=3),
    st.lists(steps, min_size=1, max_size=12),
    st.integers(1, 4),
    st.none() | st.integers(0, 3_000),
)
def test_any_rule_on_any_archive(
    forms: list[tuple[tuple[object, str], list[object]]],
    history: list[tuple[int, int, tuple[str, bytes]]],
    cut_every: int,
    clock_ms: int | None,
) -> None:
    """Whatever the rules, the spans and the files they lie in, the query says what the engine says."""
    said = [
        {
            "id": f"r{number}",
            "kind": kind,
            "condition": form_text(form),
            "exceptions": [{"where": cond_text(cond)} for cond in exceptions],
        }
        for number, ((form, kind), exceptions) in enumerate(forms)
    ]
    rules, _ = compile_texts({"t.yaml": json.dumps({"rules": said})})
    clock = None if clock_ms is None else START_MS + clock_ms
    with tempfile.TemporaryDirectory() as directory:
        write(directory, history, cut_every)

        expected = assert_same(directory, Asked(Projector(rules), BOUNDS, clock_ms=clock))

    for verdict in {line[0][1] for lines in expected.values() for line in lines}:
        event(f"{verdict}")


@pytest.mark.parametrize("name", ["keyed", "unkeyed"])
@pytest.mark.parametrize("rule_file", [CAPTURES / "demo.rules", CAPTURES / "later.rules"])
def test_captures(tmp_path: Path, name: str, rule_file: Path) -> None:
    """Of what real applications sent through a real Collector, the query says what the engine says."""
    history = [
        (100, number % 2, (topic, frame.value))
        for topic, kind in ((SPANS, "spans"), (LOGS, "logs"))
        for number, frame in enumerate(capture.read(CAPTURES / f"{name}_{kind}.bin.gz"))
    ]
    write(str(tmp_path), history, cut_every=200)
    rules, _ = load([rule_file])
    bounds = Bounds.of_ms(gap_ms=30_000, lateness_ms=600_000, max_duration_ms=3_600_000)

    assert assert_same(str(tmp_path), Asked(Projector(rules), bounds))
    assert assert_same(str(tmp_path), Asked(Projector(rules), BOUNDS))
