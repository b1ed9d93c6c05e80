"""Decoding source records, in either encoding and by either path, and bytes that are neither."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from dsl import Interest
from streams.decode.decoder import Decoded, Format, TraceSpans
from streams.decode.decoder import decode as decode_few
from streams.errors import RecordError
from tests.support import paths
from tests.support.decoding import decode
from tests.support.otlp_requests import (
    SPAN,
    TRACE,
    as_json,
    backwards,
    delimited,
    logs_request,
    logs_requests,
    trace_request,
    trace_requests,
)
from topics.embedded import capture
from topics.otlp.protobuf import Message
from topics.otlp.requests import RecordKind

CORPUS = paths.CORPUS
AUDIT = Interest(names=frozenset({"audit.log"}), every_span=False, attributes=frozenset({"user.id", "service.name"}))
NOTHING = Interest(names=frozenset(), every_span=False, attributes=frozenset())
EVERYTHING = Interest(names=frozenset(), every_span=True, attributes=frozenset({"user.id", "service.name", "é", ""}))

requests = trace_requests | logs_requests
interests = st.sampled_from((AUDIT, NOTHING, EVERYTHING)) | st.builds(
    Interest,
    names=st.frozensets(st.sampled_from(("audit.log", "user.id", "é", "", "a", "\ufffd"))),
    every_span=st.booleans(),
    attributes=st.frozensets(st.sampled_from(("audit.log", "user.id", "é", ""))),
)


def text(key: str, value: str) -> Message:
    """Create an attribute with a text."""
    return KeyValue(key=key, value=AnyValue(string_value=value))


def whole_request(*spans: Message) -> Message:
    """Create a request with these spans, in one scope of one resource."""
    return ExportTraceServiceRequest.FromString(trace_request(*spans))


def outcome(
    value: bytes,
    interest: Interest,
    *,
    format: Format = Format.AUTO,  # noqa: A002 - named as in `decode`
    kind: RecordKind = RecordKind.SPANS,
) -> Decoded | str:
    """Return what a record decodes to, or the reason why it does not."""
    try:
        return decode(value, interest, format=format, kind=kind)
    except RecordError as error:
        return str(error)


def counts(value: bytes, interest: Interest) -> object:
    """Return what `outcome` has, without the spans themselves."""
    decoded = outcome(value, interest)
    if isinstance(decoded, str):
        return decoded
    traces = {trace_id: (trace.span_count, trace.root_seen) for trace_id, trace in decoded.traces.items()}
    return traces, decoded.span_count, decoded.spans_without_trace, decoded.logs_without_trace


def names(decoded: Decoded) -> list[str]:
    """Return the names of all spans that were converted."""
    return [span.name for trace in decoded.traces.values() for span in trace.spans]


@given(request=trace_requests, interest=interests)
def test_spans_are_the_same_in_both_encodings(request: Message, interest: Interest) -> None:
    """Spans decode alike from protobuf, from protobuf with its fields in reverse order, and from JSON.

    Only protobuf is searched before it is walked, so this also proves that the search omits nothing.
    """
    expected = outcome(request.SerializeToString(), interest)

    assert expected == outcome(backwards(request), interest)
    assert expected == outcome(as_json(request), interest)


@given(request=logs_requests, interest=interests)
def test_log_records_are_the_same_in_both_encodings(request: Message, interest: Interest) -> None:
    """Log records decode alike from protobuf, from protobuf with its fields in reverse order, and from JSON."""
    expected = outcome(request.SerializeToString(), interest, kind=RecordKind.LOGS)

    assert expected == outcome(backwards(request), interest, kind=RecordKind.LOGS)
    assert expected == outcome(as_json(request), interest, kind=RecordKind.LOGS)


@given(request=trace_requests)
def test_every_span_is_counted_once(request: Message) -> None:
    """A span is counted in its trace or as one without a trace."""
    spans = [span for sender in request.resource_spans for scope in sender.scope_spans for span in scope.spans]
    valid = [span for span in spans if len(span.trace_id) == 16 and any(span.trace_id)]

    actual = outcome(request.SerializeToString(), AUDIT)

    if spans and not valid:
        assert actual == "no span has a valid trace id"
    else:
        assert isinstance(actual, Decoded)
        assert (actual.span_count, actual.spans_without_trace) == (len(valid), len(spans) - len(valid))
        assert sum(trace.span_count for trace in actual.traces.values()) == len(valid)


@given(value=st.binary(max_size=60) | st.text(max_size=60).map(str.encode), format=st.sampled_from(Format))
def test_any_bytes_decode_or_have_a_reason(value: bytes, format: Format) -> None:  # noqa: A002 - named as in `decode`
    """Whatever the bytes and the expected kind, nothing but a `RecordError` is raised."""
    for kind in RecordKind:
        actual = outcome(value, EVERYTHING, format=format, kind=kind)

        assert isinstance(actual, Decoded) or actual


@given(request=requests, data=st.data())
def test_damaged_request_decodes_or_has_a_reason(request: Message, data: st.DataObject) -> None:
    """A request with bytes replaced, removed or inserted raises nothing but `RecordError`, whatever the interest."""
    whole = data.draw(st.sampled_from((request.SerializeToString(), as_json(request))))
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    damaged = whole[:start] + data.draw(st.binary(max_size=3)) + whole[end:]

    actual = {repr(counts(damaged, interest)) for interest in (AUDIT, NOTHING, EVERYTHING)}

    assert len(actual) == 1


@pytest.mark.parametrize(
    ("interest", "expected"),
    [
        pytest.param(NOTHING, [], id="nothing"),
        pytest.param(Interest(frozenset({"pay"}), every_span=False, attributes=frozenset()), ["pay"], id="name"),
        pytest.param(Interest(frozenset({"key"}), every_span=False, attributes=frozenset()), ["get"], id="attribute"),
        pytest.param(Interest(frozenset({"tick"}), every_span=False, attributes=frozenset()), ["put"], id="event"),
        pytest.param(
            Interest(frozenset({"host"}), every_span=False, attributes=frozenset()),
            ["pay", "get", "put"],
            id="resource",
        ),
        pytest.param(Interest(frozenset({"value"}), every_span=False, attributes=frozenset()), [], id="only a value"),
        pytest.param(EVERYTHING, ["pay", "get", "put"], id="every span"),
    ],
)
def test_what_is_of_interest(interest: Interest, expected: list[str]) -> None:
    """A span is converted for its name, an attribute's key, an event's name, or an attribute of its resource."""
    request = trace_request(
        Span(trace_id=TRACE, name="pay"),
        Span(trace_id=TRACE, name="get", attributes=[text("key", "value")]),
        Span(trace_id=TRACE, name="put", events=[Span.Event(name="tick")]),
        resource=Resource(attributes=[text("host", "a")]),
    )

    actual = decode(request, interest)

    assert expected == names(actual)
    assert actual.span_count == 3


def test_name_of_interest_in_damaged_text() -> None:
    """A rule about U+FFFD matches repaired text, although its bytes are nowhere in the request."""
    request = trace_request(Span(trace_id=TRACE, name="a\x00b")).replace(b"a\x00b", b"a\xffb")
    interest = Interest(names=frozenset({"a\ufffdb"}), every_span=False, attributes=frozenset())

    assert names(decode(request, interest)) == ["a\ufffdb"]


def test_more_names_than_a_pattern_holds() -> None:
    """Names too long for one search pattern are still found."""
    interest = Interest(names=frozenset({"pay", "x" * 9_000_000}), every_span=False, attributes=frozenset())

    assert names(decode(trace_request(Span(trace_id=TRACE, name="pay")), interest)) == ["pay"]


def test_root() -> None:
    """A trace's root is a span whose parent is empty or all zero; a log record is never the root."""
    spans = [
        Span(trace_id=b"a" * 16, parent_span_id=SPAN),
        Span(trace_id=b"b" * 16, parent_span_id=bytes(8)),
        Span(trace_id=b"c" * 16),
    ]
    log = LogRecord(trace_id=b"d" * 16, time_unix_nano=1)

    traces = decode(trace_request(*spans), NOTHING).traces | decode(logs_request(log), NOTHING).traces

    assert [trace.root_seen for trace in traces.values()] == [False, True, True, False]


def test_decoding_few_records() -> None:
    """A few records can be decoded without creating a decoder."""
    request = trace_request(Span(trace_id=TRACE, name="audit.log"))

    assert decode(request, AUDIT) == decode_few(request, AUDIT)


def test_some_spans_without_trace() -> None:
    """Spans with an invalid trace id are counted, and the others are used."""
    request = trace_request(Span(trace_id=TRACE), Span(trace_id=bytes(16)), Span(trace_id=b"short"), Span(name="none"))

    actual = decode(request, NOTHING)

    assert actual == Decoded({TRACE: TraceSpans(1, root_seen=True, spans=[])}, 1, spans_without_trace=3)


def test_log_records_without_trace() -> None:
    """Log records without a trace are counted and are not an error, even alone."""
    actual = decode(logs_request(LogRecord(time_unix_nano=1), LogRecord(severity_text="x")), NOTHING)

    assert actual == Decoded(logs_without_trace=2)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param(None, "empty", id="tombstone"),
        pytest.param(b"", "empty", id="empty"),
        pytest.param(trace_request(Span(name="x")), "no span has a valid trace id", id="no trace"),
        pytest.param(b"hello", "not protobuf", id="text"),
        pytest.param(trace_request(Span(trace_id=TRACE))[:-1], "not protobuf", id="cut protobuf"),
        pytest.param(delimited(7, b"abc"), "no resource spans or resource logs", id="unknown field"),
        pytest.param(delimited(1, delimited(9, b"a")), "no spans or log records, only unknown fields", id="unknown"),
        pytest.param(b"{}", "no resource spans or resource logs", id="empty document"),
        pytest.param(b'{"foo":1}', "no resource spans or resource logs", id="other document"),
        pytest.param(b'{"resourceSpans":[', "not json: input data was truncated", id="cut json"),
        pytest.param(
            b' \n{"resourceSpans":7}',
            "not otlp json: expected `array`, got `int` - at `$.resourceSpans`",
            id="other shape",
        ),
        pytest.param(b'{"resourceSpans":[],"x":%s' % (b"[" * 100_000), "json is nested too deep", id="deep"),
        pytest.param(
            b'{"resourceSpans":[{"scope_spans":[{"spans":[{}]}]}]}',
            "no spans or log records, only unknown fields: scope_spans",
            id="names of the other encoding",
        ),
        pytest.param(
            b'{"resourceSpans":[{"instrumentationLibrarySpans":[{"spans":[{}]}]}]}',
            "no spans or log records, only unknown fields: instrumentationLibrarySpans",
            id="names of an old OTLP",
        ),
        pytest.param(
            b'{"resourceLogs":[{"scopeLogs":[{"log_records":[{}],"scope":null}]}],"resourceSpans":null}',
            "no spans or log records, only unknown fields: log_records",
            id="names inside a scope, and nulls",
        ),
        pytest.param(
            b'{"resourceSpans":[],"ann@example.com":1}',
            "no spans or log records, only unknown fields",
            id="a name that may be a secret",
        ),
    ],
)
def test_reasons(value: bytes | None, reason: str) -> None:
    """A record that cannot be read has a short, stable reason."""
    with pytest.raises(RecordError) as raised:
        decode(value, AUDIT)

    assert reason == str(raised.value)


@pytest.mark.parametrize("value", [b"[]", b'[{"resourceSpans":[]}]', b'"text"', b"7"])
def test_json_format_requires_an_object(value: bytes) -> None:
    """If the format is set to JSON, anything but an object is refused as such."""
    with pytest.raises(RecordError, match=r"^not otlp json: expected `object`"):
        decode(value, AUDIT, format=Format.JSON)


@pytest.mark.parametrize(
    "value", [b'{"resourceSpans":[]}', b'{"resourceLogs":[{}]}', trace_request(), delimited(1, delimited(3, b"url"))]
)
def test_request_without_records(value: bytes) -> None:
    """A request without any span or log record is valid."""
    assert decode(value, AUDIT) == Decoded()


@pytest.mark.parametrize(
    "value",
    [
        b'{"resourceSpans":[{"resource":{"x":1},"schemaUrl":"u","scopeSpans":[{"scope":{},"schemaUrl":"u","spans":[]}]}]}',
        b'{"resourceLogs":[{"resource":null,"scopeLogs":[{"logRecords":null}]}],"resourceSpans":null}',
    ],
)
def test_document_without_records(value: bytes) -> None:
    """A document with only members of a request is valid without records."""
    assert decode(value, AUDIT) == Decoded()


def test_unknown_members_beside_records() -> None:
    """Members that a later OTLP adds do not affect the records."""
    span = b'{"traceId":"%s","name":"audit.log","flags":1}' % TRACE.hex().encode()
    value = b'{"resourceSpans":[{"new":1,"scopeSpans":[{"new":1,"spans":[%s]}]}],"new":1}' % span

    assert names(decode(value, AUDIT)) == ["audit.log"]


@pytest.mark.parametrize("length", [1, 7, 9, 16, 850_000])
def test_id_of_another_length(length: int) -> None:
    """A span id of a length other than 8 bytes is hashed to 8: no sender chooses the length of an identity."""
    request = whole_request(
        Span(trace_id=TRACE, span_id=b"1" * length, name="audit.log"),
        Span(trace_id=TRACE, span_id=b"2" * length, parent_span_id=b"1" * length, name="audit.log"),
    )
    log = LogRecord(trace_id=TRACE, span_id=b"1" * length, time_unix_nano=1, event_name="audit.log")

    for value in (request.SerializeToString(), as_json(request)):
        parent, child = decode(value, AUDIT).traces[TRACE].spans
        [of_log] = decode(logs_request(log), AUDIT, kind=RecordKind.LOGS).traces[TRACE].spans

        assert [8, 8] == [len(parent.span_id), len(child.span_id)]
        assert (parent.span_id, parent.span_id) == (child.parent_id, of_log.span_id)
        assert parent.span_id != child.span_id
        assert (parent.identity, child.identity) == (parent.span_id, child.span_id)


def test_services() -> None:
    """Every resource's `service.name` is returned, whatever the interest, unless it is empty or not a text."""
    named = [Resource(attributes=[text("service.name", name)]) for name in ("shop", "cart", "shop", "", "b\u00e9")]
    named.append(Resource(attributes=[KeyValue(key="service.name", value=AnyValue(int_value=7)), text("x", "y")]))
    requests = [trace_request(Span(trace_id=TRACE, name="x"), resource=resource) for resource in named]

    assert ["b\u00e9", "cart", "shop"] == decode(b"".join(requests), NOTHING).services
    assert ["b\u00e9", "cart", "shop"] == decode(b"".join(requests), EVERYTHING).services


@pytest.mark.parametrize("before", [b"", b"\n", b" \r\n\t", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n\n"])
def test_json_is_recognised_by_its_first_bytes(before: bytes) -> None:
    """White space and a byte order mark may precede a JSON document."""
    assert decode(before + b'{"resourceSpans":[{"scopeSpans":[]}]}', AUDIT) == Decoded()


def test_protobuf_that_starts_like_json() -> None:
    """A request whose first group is 123 bytes long starts like a document, and decodes as protobuf nevertheless."""
    padding = 123 - len(trace_request(Span(trace_id=TRACE, name="x"))) + 2
    request = trace_request(Span(trace_id=TRACE, name="x" * (padding + 1)))

    assert request.startswith(b"\n{")
    assert decode(request, NOTHING).span_count == 1


def test_line_feed_before_something_else() -> None:
    """Bytes that start with a line feed and a brace and are neither encoding have JSON's reason."""
    with pytest.raises(RecordError, match=r"^not json: "):
        decode(b"\n{no}", AUDIT)


def test_format_is_not_guessed_when_set() -> None:
    """If the format is set to protobuf, JSON is never read."""
    with pytest.raises(RecordError, match=r"^no"):
        decode(b'{"resourceSpans":[]}', AUDIT, format=Format.PROTO)


def test_document_with_spans_and_logs() -> None:
    """A JSON document may have both kinds of records; they share their traces."""
    trace_id = TRACE.hex().encode()
    value = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"%s"}]}]}],' % trace_id
    value += b'"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"%s"}]}]}]}' % trace_id

    assert decode(value, NOTHING) == Decoded({TRACE: TraceSpans(2, root_seen=True, spans=[])}, 2)


@pytest.mark.parametrize(
    ("name", "span_count", "trace_count"),
    [
        ("partitioned_proto", 2007, 168),
        ("unkeyed_proto", 2007, 168),
        ("unkeyed_json", 2007, 168),
    ],
)
def test_collector_output(name: str, span_count: int, trace_count: int) -> None:
    """Everything that a real Collector wrote is decoded, whatever its settings."""
    decoded = [decode(frame.value, EVERYTHING) for frame in capture.read(CORPUS / f"{name}.bin.gz")]

    assert span_count == sum(record.span_count for record in decoded)
    assert trace_count == len({trace_id for record in decoded for trace_id in record.traces})
    assert span_count == sum(len(trace.spans) for record in decoded for trace in record.traces.values())


@pytest.mark.parametrize("name", ["partitioned_proto_logs", "unkeyed_proto_logs", "unkeyed_json_logs"])
def test_collector_logs(name: str) -> None:
    """A real Collector's log records are distinguished from spans whatever the expected kind."""
    decoded = [decode(frame.value, EVERYTHING) for frame in capture.read(CORPUS / f"{name}.bin.gz")]

    assert sum(record.span_count for record in decoded) == 210
    assert sum(record.logs_without_trace for record in decoded) == 20
    assert all(span.is_log for record in decoded for trace in record.traces.values() for span in trace.spans)
