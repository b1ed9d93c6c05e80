"""Archives of any history, and any rules to ask of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import accumulate
from typing import TypeAlias

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
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2

from dsl import RuleSet, Span, Value, compile_texts
from dsl.syntax import nodes
from dsl.syntax.printer import body_text, cond_text
from streams.archive.rows import RawRecord
from streams.archive.store import Store
from streams.archive.write import PartitionWriter
from tests.differential import strategies
from tests.support.otlp_requests import as_json
from topics.otlp.protobuf import Message

START_MS = 1_795_251_600_000 - 1_000
TRACES = tuple(bytes([number]) * 16 for number in (1, 2, 3))
SPANS, LOGS = "otlp_spans", "otlp_logs"

Form: TypeAlias = tuple[tuple[nodes.RuleBody, str], list[nodes.Cond]]
"""A rule's form and kind, and the conditions of its exceptions."""

Step: TypeAlias = tuple[int, int, tuple[str, bytes]]
"""The pause before a record, its partition, its topic and its value."""

_SCALARS: dict[type, str] = {
    bool: "bool_value",
    int: "int_value",
    float: "double_value",
    bytes: "bytes_value",
    str: "string_value",
}


_KINDS = {None: trace_pb2.Span.SPAN_KIND_UNSPECIFIED, "server": trace_pb2.Span.SPAN_KIND_SERVER}


def _any_value(value: Value) -> Message:
    """A value as OTLP has it."""
    match value:
        case None:
            return AnyValue()
        case list():
            return AnyValue(array_value=ArrayValue(values=map(_any_value, value)))
        case dict():
            return AnyValue(kvlist_value=KeyValueList(values=_pairs(value)))
        case _:
            found = AnyValue()
            setattr(found, _SCALARS[type(value)], value)
            return found


def _pairs(attributes: Mapping[str, Value]) -> list[Message]:
    """Attributes as OTLP has them."""
    return [KeyValue(key=key, value=_any_value(value)) for key, value in attributes.items()]


def _spans_request(sent: list[tuple[bytes, Span]]) -> Message:
    """A request with one resource and scope for each span."""
    return ExportTraceServiceRequest(
        resource_spans=[
            trace_pb2.ResourceSpans(
                resource=Resource(attributes=_pairs(span.resource)),
                scope_spans=[
                    trace_pb2.ScopeSpans(
                        scope=InstrumentationScope(attributes=_pairs(span.scope)),
                        spans=[
                            trace_pb2.Span(
                                trace_id=trace_id,
                                span_id=span.identity,
                                parent_span_id=span.parent_id,
                                kind=_KINDS[span.kind],
                                name=span.name,
                                start_time_unix_nano=span.start_ns or 0,
                                end_time_unix_nano=span.end_ns or 0,
                                attributes=_pairs(span.attributes),
                                events=[
                                    trace_pb2.Span.Event(
                                        name=each.name,
                                        attributes=_pairs(each.attributes),
                                        time_unix_nano=each.time_ns or 0,
                                    )
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


def _logs_request(sent: list[tuple[bytes, Span]]) -> Message:
    """The same as log records."""
    return ExportLogsServiceRequest(
        resource_logs=[
            ResourceLogs(
                resource=Resource(attributes=_pairs(span.resource)),
                scope_logs=[
                    ScopeLogs(
                        log_records=[
                            LogRecord(
                                trace_id=trace_id,
                                span_id=span.parent_id,
                                event_name="" if span.events else span.name,
                                observed_time_unix_nano=span.start_ns or 0,
                                severity_number=SeverityNumber.SEVERITY_NUMBER_INFO,
                                attributes=_pairs(span.attributes),
                            )
                        ]
                    )
                ],
            )
            for trace_id, span in sent
        ]
    )


def spans_step(*spans: Span) -> Step:
    """One record with spans of one trace."""
    return 0, 0, (SPANS, bytes(_spans_request([(TRACES[0], span) for span in spans]).SerializeToString()))


_sent = st.lists(st.tuples(st.sampled_from((*TRACES, TRACES[0])), strategies.spans), min_size=1, max_size=3)
_values = (
    st.tuples(st.just(SPANS), _sent.map(_spans_request).map(lambda request: bytes(request.SerializeToString())))
    | st.tuples(st.just(SPANS), _sent.map(_spans_request).map(as_json))
    | st.tuples(st.just(LOGS), _sent.map(_logs_request).map(lambda request: bytes(request.SerializeToString())))
    | st.tuples(st.just(SPANS), st.just(b"no request"))
)
_pauses_ms = st.sampled_from((0, 0, 100, 300, 400, 500, 900, 1300))
_steps: st.SearchStrategy[Step] = st.tuples(_pauses_ms, st.integers(0, 1), _values)
histories: st.SearchStrategy[list[Step]] = st.lists(_steps, min_size=1, max_size=12)

forms: st.SearchStrategy[list[Form]] = st.lists(
    st.tuples(strategies.rules, st.lists(strategies.conditions, max_size=1)), min_size=1, max_size=3
)


def compiled(forms: list[Form], **fields: object) -> RuleSet:
    """Returns the rule set of these forms, with the ids r0, r1 and so on, and these fields."""
    said = [
        {
            "id": f"r{number}",
            "kind": kind,
            "condition": body_text(form),
            "exceptions": [{"where": cond_text(cond)} for cond in exceptions],
            **fields,
        }
        for number, ((form, kind), exceptions) in enumerate(forms)
    ]
    rules, _ = compile_texts({"t.yaml": json.dumps({"rules": said})})
    return rules


def write(url: str, history: list[Step], cut_every: int, start_ms: int = START_MS) -> None:
    """Archives a history."""
    store = Store.at(url)
    writers: dict[tuple[str, int], tuple[PartitionWriter, list[int]]] = {}
    times_ms = accumulate((pause_ms for pause_ms, _, _ in history), initial=start_ms)
    next(times_ms)
    for time_ms, (_, partition, (topic, value)) in zip(times_ms, history, strict=True):
        made = (PartitionWriter(store=store, topic=topic, partition=partition, first_offset=0, topic_id="id"), [0])
        writer, next_offset = writers.setdefault((topic, partition), made)
        writer.add(RawRecord(topic, partition, next_offset[0], time_ms, None, value))
        next_offset[0] += 1
        if next_offset[0] % cut_every == 0:
            writer.cut(next_offset[0])
    for writer, next_offset in writers.values():
        writer.cut(next_offset[0])
