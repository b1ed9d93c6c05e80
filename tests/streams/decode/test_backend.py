"""The compiled scanner decodes like Python alone, and passes on what it is unsure of."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status, TracesData

from dsl import Interest
from streams.decode import backend
from streams.decode.backend import Backend
from streams.decode.decoder import Decoded, Decoder
from streams.errors import ConfigError, RecordError
from tests.support import paths
from tests.support.mutated_requests import SCHEMAS, damaged, joined, mutated, taken_apart
from tests.support.otlp_requests import (
    SPAN,
    TRACE,
    backwards,
    delimited,
    logs_request,
    logs_requests,
    trace_request,
    trace_requests,
    varint,
)
from topics.embedded import capture
from topics.otlp.requests import RecordKind

CORPUS = paths.CORPUS
CAPTURES = paths.CAPTURES
PROTOBUF = [*sorted(CORPUS.glob("*proto*.bin.gz")), *sorted(CAPTURES.glob("*.bin.gz"))]

PAY = Interest(frozenset({"pay", "audit.log"}), every_span=False, attributes=frozenset({"a", "user.id", "event.name"}))
EVERYTHING = Interest(frozenset(), every_span=True, attributes=frozenset({"a", "user.id", "service.name", "é", ""}))
MENDED = Interest(frozenset({"\ufffd", "a\ufffd"}), every_span=False, attributes=frozenset({"\ufffd", "a"}))
LONE = Interest(frozenset({"\ud800", "pay"}), every_span=False, attributes=frozenset({"\ud800"}))
INTERESTS = (PAY, EVERYTHING, MENDED, LONE)

interests = st.sampled_from(INTERESTS) | st.builds(
    Interest,
    names=st.frozensets(st.sampled_from(("audit.log", "user.id", "é", "", "a", "\ufffd"))),
    every_span=st.booleans(),
    attributes=st.frozensets(st.sampled_from(("audit.log", "user.id", "é", ""))),
)
requests = st.tuples(st.just(RecordKind.SPANS), trace_requests) | st.tuples(st.just(RecordKind.LOGS), logs_requests)
needs_scanner = pytest.mark.skipif(backend.compiled() is None, reason="the scanner was not compiled here")

PAYMENT = Span(
    trace_id=TRACE,
    span_id=SPAN,
    parent_span_id=b"parentid",
    trace_state="x=y",
    name="pay",
    kind=Span.SPAN_KIND_CLIENT,
    start_time_unix_nano=1,
    end_time_unix_nano=(1 << 64) - 1,
    flags=257,
    attributes=[
        KeyValue(key="a", value=AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=-1), AnyValue()]))),
        KeyValue(key="user.id", value=AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="k")]))),
        KeyValue(key="service.name", value=AnyValue(double_value=-0.5)),
        KeyValue(key="é", value=AnyValue(bytes_value=b"\0")),
        KeyValue(key="", value=AnyValue(bool_value=True)),
    ],
    events=[Span.Event(time_unix_nano=1, name="audit.log", attributes=[KeyValue(key="a")])],
    links=[Span.Link(trace_id=TRACE)],
    status=Status(code=Status.STATUS_CODE_ERROR, message="refused"),
)


def read(request: bytes, interest: Interest, kind: RecordKind = RecordKind.SPANS) -> Decoded | None:
    """Return what the scanner decodes of a request, None when it passes it on."""
    scanned = backend.scanner(interest, Backend.CYTHON)
    assert scanned is not None
    return scanned(request, kind is RecordKind.LOGS)


def pure(request: bytes, interest: Interest, kind: RecordKind = RecordKind.SPANS) -> Decoded | str:
    """Return what Python alone decodes, or why it does not."""
    try:
        return Decoder(interest, backend=Backend.PURE).decode(request, kind)
    except RecordError as error:
        return str(error)


def agrees(request: bytes, interest: Interest, kind: RecordKind = RecordKind.SPANS) -> bool:
    """Return whether the scanner passes the request on, or equals Python alone, including the order of every dict."""
    found = read(request, interest, kind)
    if found is None:
        return True
    expected = pure(request, interest, kind)
    if expected == "no span has a valid trace id":
        return not found.traces and found.spans_without_trace > 0
    return repr(expected) == repr(found)


def one_span(*fields: bytes) -> bytes:
    """Create a request with a span of these encoded fields."""
    return delimited(1, delimited(2, delimited(2, b"".join(fields))))


@needs_scanner
@given(sent=requests, interest=interests)
def test_any_request_decodes_alike(sent: tuple[RecordKind, ResourceSpans], interest: Interest) -> None:
    """Spans and log records decode as without the scanner, whatever the order of their fields."""
    kind, request = sent

    for encoded in (request.SerializeToString(), backwards(request)):
        assert agrees(encoded, interest, kind)
        assert agrees(encoded, interest, RecordKind.SPANS if kind is RecordKind.LOGS else RecordKind.LOGS)


@needs_scanner
@given(sent=requests, interest=interests, chance=st.randoms(use_true_random=False), changes=st.integers(1, 4))
def test_odd_request_decodes_alike(
    sent: tuple[RecordKind, ResourceSpans], interest: Interest, chance: Random, changes: int
) -> None:
    """So do fields that are unknown, doubled, moved, of another wire type or length, and numbers that are padded."""
    kind, request = sent
    parts = taken_apart(request.SerializeToString(), SCHEMAS[kind])

    for _ in range(changes):
        parts = mutated(chance, parts)

    assert agrees(joined(parts), interest, kind)
    assert agrees(damaged(chance, joined(parts)), interest, kind)


@needs_scanner
@given(
    value=st.binary(max_size=40).map(lambda rest: b"\n" + rest), interest=interests, kind=st.sampled_from(RecordKind)
)
def test_any_bytes_decode_alike(value: bytes, interest: Interest, kind: RecordKind) -> None:
    """Bytes that are not a request are never decoded as one."""
    assert agrees(value, interest, kind)


@needs_scanner
@pytest.mark.parametrize("interest", INTERESTS)
def test_request_truncated_at_every_byte(interest: Interest) -> None:
    """A request truncated at any byte decodes as without the scanner."""
    request = trace_request(PAYMENT, resource=Resource(attributes=[KeyValue(key="a", value=AnyValue(int_value=300))]))
    cuts = range(len(request) + 1)

    for whole in (request, backwards(TracesData.FromString(request))):
        assert all(agrees(whole[:cut], interest) for cut in cuts)
        assert read(whole, interest) is not None


@needs_scanner
@pytest.mark.parametrize("path", PROTOBUF, ids=lambda path: path.name)
@pytest.mark.parametrize("interest", [PAY, EVERYTHING])
def test_collector_output_is_scanned(path: Path, interest: Interest) -> None:
    """No protobuf of a real Collector is passed on, so none takes as long as in Python alone."""
    kind = RecordKind.LOGS if "logs" in path.name else RecordKind.SPANS

    for frame in capture.read(path):
        if frame.value.startswith(b"\n\x7b") or not frame.value.startswith(b"{"):
            assert repr(pure(frame.value, interest, kind)) == repr(read(frame.value, interest, kind))


@needs_scanner
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param((delimited(5, b"get"), delimited(5, b"pay")), id="the last name counts"),
        pytest.param((delimited(5, b"pay"), delimited(15, b"\x18\2"), delimited(15, b"\x12\1m")), id="status merges"),
        pytest.param(
            (delimited(9, delimited(1, b"pay") + delimited(2, b"\x18\1") + delimited(2, b"")),), id="value merges"
        ),
        pytest.param((delimited(5, b"pay"), delimited(30, b"x"), varint(31 << 3) + b"\1"), id="unknown fields"),
        pytest.param((delimited(5, b"pay"), b"\x29" + bytes(8)), id="a name of another wire type"),
        pytest.param((delimited(5, b"pay"), b"\x30" + b"\xff" * 9 + b"\x01"), id="a kind of ten bytes"),
        pytest.param((delimited(5, b"pay"), b"\xb0\0\2"), id="a padded tag"),
        pytest.param((b"\x2a\x83\0pay",), id="a padded length"),
        pytest.param((delimited(5, b"pay"), delimited(3, b"\xff\xed\xa0\x80")), id="damaged text"),
        pytest.param((delimited(5, b"pay"), delimited(13, b"\xff\xff")), id="a damaged link"),
        pytest.param((delimited(5, b"pay"), delimited(9, b"\x0a\1a\x12\3\x2a\1\xff")), id="a damaged array"),
    ],
)
def test_odd_span_is_scanned(fields: tuple[bytes, ...]) -> None:
    """The scanner itself decodes what protobuf allows, even if no Collector writes it."""
    request = one_span(delimited(1, TRACE), *fields)

    found = read(request, PAY)

    assert found is not None
    assert [1] == [len(trace.spans) for trace in found.traces.values()]
    assert repr(pure(request, PAY)) == repr(found)


@needs_scanner
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(b"\xa3\1\xa4\1", id="a group"),
        pytest.param(b"\x0c", id="the end of no group"),
        pytest.param(b"\x06", id="wire type 6"),
        pytest.param(b"\2\0", id="field 0"),
        pytest.param(b"\x30" + b"\xff" * 10 + b"\1", id="a number of eleven bytes"),
        pytest.param(b"\xaa\x80\x80\x80\0\3pay", id="a tag of five bytes"),
        pytest.param(b"\x2a\x83\x80\x80\x80\0pay", id="a length of five bytes"),
        pytest.param(b"\x4a\2\x12\5", id="an attribute's value that is too long"),
    ],
)
def test_uncertain_requests_are_passed_on(fields: bytes) -> None:
    """Groups, damage, and what versions of protobuf differ in are passed on, even without any interest."""
    assert (
        read(one_span(delimited(1, TRACE), fields), Interest(frozenset(), every_span=False, attributes=frozenset()))
        is None
    )


@needs_scanner
@pytest.mark.parametrize(
    "value",
    [b"", b"{}", b"\n", delimited(7, b"a") + trace_request(PAYMENT), trace_request(Span(name="pay")), trace_request()],
    ids=["empty", "json", "cut", "another first field", "a span that does not tell", "no span"],
)
def test_requests_of_unclear_kind_are_passed_on(value: bytes) -> None:
    """A request that starts like none, or does not show the kind of its records, is passed on."""
    assert read(value, PAY) is None


@needs_scanner
def test_origin_behind_its_records() -> None:
    """A resource and a scope apply to the spans before them; if they are repeated, all their attributes do."""
    names = [Resource(attributes=[KeyValue(key=key, value=AnyValue(int_value=1))]) for key in ("a", "user.id")]
    scopes = [InstrumentationScope(name=name, attributes=[KeyValue(key="a")]) for name in ("first", "second")]
    spans = delimited(2, Span(trace_id=TRACE, name="pay").SerializeToString())
    scope_spans = spans + b"".join([delimited(1, scope.SerializeToString()) for scope in scopes])
    request = delimited(
        1, delimited(2, scope_spans) + b"".join([delimited(1, each.SerializeToString()) for each in names])
    )

    found = read(request, PAY)

    assert found is not None
    [span] = found.traces[TRACE].spans
    assert ({"a": 1, "user.id": 1}, {"a": None}, "second") == (span.resource, span.scope, span.scope_name)
    assert repr(pure(request, PAY)) == repr(found)


@needs_scanner
def test_records_of_one_trace_between_others() -> None:
    """Spans of a trace that are not adjacent are one trace, in the record's order."""
    others = [Span(trace_id=bytes(15) + b"a", name="get"), Span(trace_id=bytes(16)), Span(trace_id=b"short")]
    names = [Span(trace_id=TRACE, name=name, span_id=SPAN) for name in ("pay", "get", "audit.log")]

    found = read(trace_request(names[0], others[0], names[1], others[1], others[2], names[2]), PAY)

    assert found is not None
    assert (4, 2) == (found.span_count, found.spans_without_trace)
    assert ["pay", "audit.log"] == [span.name for span in found.traces[TRACE].spans]


@needs_scanner
@pytest.mark.parametrize("kind", RecordKind)
def test_topic_of_both_kinds(kind: RecordKind) -> None:
    """The scanner distinguishes spans from log records, whichever it tries first."""
    log = LogRecord(trace_id=TRACE, span_id=SPAN, time_unix_nano=1, event_name="pay")

    found = [read(trace_request(PAYMENT), PAY, kind), read(logs_request(log), PAY, kind)]

    assert [[False], [True]] == [
        [span.is_log for trace in each.traces.values() for span in trace.spans] for each in found if each is not None
    ]


@needs_scanner
def test_many_names() -> None:
    """Each of thousands of names is found, and nothing that only resembles one."""
    names = [f"service-{number:05}.done" for number in range(5000)]
    interest = Interest(frozenset(names), every_span=False, attributes=frozenset())
    spans = [Span(trace_id=TRACE, name=name) for name in (*names[::50], "service-05000.done", "service-00000.dona")]

    found = read(trace_request(*spans), interest)

    assert found is not None
    assert names[::50] == [span.name for span in found.traces[TRACE].spans]


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        (None, lambda: Backend.CYTHON if backend.compiled() else Backend.PURE),
        ("", lambda: Backend.CYTHON if backend.compiled() else Backend.PURE),
        ("auto", lambda: Backend.CYTHON if backend.compiled() else Backend.PURE),
        ("pure", lambda: Backend.PURE),
    ],
)
def test_selected_backend(
    variable: str | None, expected: Callable[[], Backend], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scanner is used where it was compiled, unless the environment says otherwise."""
    monkeypatch.delenv(backend.VARIABLE, raising=False)
    if variable is not None:
        monkeypatch.setenv(backend.VARIABLE, variable)

    assert expected() == backend.selected_backend()
    assert (backend.scanner(PAY) is None) == (expected() is Backend.PURE)


def test_unknown_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other value in the environment is refused, with the valid ones."""
    monkeypatch.setenv(backend.VARIABLE, "fast")

    with pytest.raises(ConfigError, match=r"^BETRACE_SCANNER is 'fast', must be auto, pure or cython$"):
        backend.selected_backend()


def test_scanner_that_was_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the compiled module Python alone decodes, and requesting the scanner is refused."""
    monkeypatch.setitem(sys.modules, "streams.decode._scan", None)
    monkeypatch.delattr("streams.decode._scan", raising=False)

    assert backend.selected_backend(Backend.AUTO) is Backend.PURE
    assert backend.scanner(PAY, Backend.AUTO) is None
    with pytest.raises(ConfigError, match="was not compiled"):
        backend.selected_backend(Backend.CYTHON)
