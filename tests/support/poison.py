"""Source records that a faulty or hostile sender may write, each as large as Kafka takes it and made to break a limit.

In: nothing. Out: the values by what they are. They go with `RULES`, of which they hit atoms as often as they can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, TracesData

from streams.projection.project import IDENTITY_ATTRIBUTES
from tests.support.otlp_requests import delimited, trace_request
from topics.otlp.protobuf import Message

RECORD_BYTES = 850_000
"""Kafka takes a message of a million bytes unless told otherwise; some room is left for its framing."""

RULES = """
// id: audited
// kind: invariant
pii.access and audit.log
// id: paired
when { login } never { some login has logout with same session.id }
"""
HIT = "pii.access"
_AUDIT = KeyValue(key="audit.")
PAIRED = "login"


def trace_id(number: int) -> bytes:
    """A trace id of its own for each number."""
    return (number + 1).to_bytes(16, "big")


def text(key: str, value: str) -> Message:
    """An attribute that holds text."""
    return KeyValue(key=key, value=AnyValue(string_value=value))


def long_span_id() -> bytes:
    """The identity of a hit fills the record."""
    return trace_request(Span(trace_id=trace_id(0), span_id=b"1" * RECORD_BYTES, name=HIT))


def long_parent_id() -> bytes:
    """The parent of an audit record takes more, in hexadecimal, than a message may hold."""
    span = Span(trace_id=trace_id(0), span_id=bytes(7) + b"1", parent_span_id=b"1" * 600_000, name="grant")
    span.attributes.append(text("audit.action", "grant"))
    return trace_request(span)


def large_resource() -> bytes:
    """Many audit records under one large resource."""
    resource = Resource(attributes=[text("service.name", "iam"), text("blob", "b" * 450_000)])
    return _filled(resource, lambda number: _encoded(Span(trace_id=trace_id(number), attributes=[_AUDIT])))


def large_scopes() -> bytes:
    """Many scopes, with an audit record without a trace each, under one large resource."""
    resource = Resource(attributes=[text("blob", "b" * 450_000)])
    scope = _scope(_audit_span(0))
    return _request(resource, _until(RECORD_BYTES - 450_000, lambda _: scope))


def shown_resource() -> bytes:
    """Many hits under a resource of which every attribute is shown."""
    resource = Resource(attributes=[text(name, name[0] * 1024) for name in IDENTITY_ATTRIBUTES])
    return _filled(resource, _hit_span)


def nested_resource() -> bytes:
    """Many hits under a resource with a large array that is shown."""
    array = ArrayValue(values=[AnyValue(int_value=7)] * 100_000)
    return _filled(Resource(attributes=[KeyValue(key="user.id", value=AnyValue(array_value=array))]), _hit_span)


def many_traces() -> bytes:
    """As many traces as there is room for, each with a hit."""
    return _filled(Resource(), _hit_span)


def many_services() -> bytes:
    """As many services as there is room for, each with a long name."""
    return b"".join(
        _request(Resource(attributes=[text("service.name", f"{number:0400}")]), [_scope(_hit_span(number))])
        for number in range(RECORD_BYTES // 460)
    )


def many_keys() -> bytes:
    """A hit with as many values to be paired as there is room for, each array as long as is compared."""
    events = b"".join(_until(RECORD_BYTES, lambda number: delimited(11, _login(number))))
    return _request(Resource(), [_scope(_hit_span(0) + events)])


def empty_spans() -> bytes:
    """As many spans as there is room for, all but one of them empty."""
    return _request(Resource(), [_scope(_hit_span(0)), delimited(2, delimited(2, b"") * (RECORD_BYTES // 2))])


def empty_json_spans() -> bytes:
    """The same in JSON."""
    first = b'{"traceId":"%s","spanId":"00000000000000a1","name":"pii.access"}' % (b"0a" * 16)
    empty = b",{}" * (RECORD_BYTES // 3)
    return b'{"resourceSpans":[{"scopeSpans":[{"spans":[%s%s]}]}]}' % (first, empty)


def nested_json() -> bytes:
    """A document of arrays that no request has, none of which is long."""
    return b'{"resourceSpans":[],"x":[%s[]]}' % (b"[]," * (RECORD_BYTES // 3))


def other_json() -> bytes:
    """A document whose members have other names than a request's."""
    span = b'{"traceId":"%s","spanId":"00000000000000a1","name":"pii.access"}' % (b"0a" * 16)
    return b'{"resourceSpans":[{"scope_spans":[{"spans":[%s]}]}]}' % span


ALL: Mapping[str, Callable[[], bytes]] = {
    made.__name__: made
    for made in (
        long_span_id,
        long_parent_id,
        large_resource,
        large_scopes,
        shown_resource,
        nested_resource,
        many_traces,
        many_services,
        many_keys,
        empty_spans,
        empty_json_spans,
        nested_json,
        other_json,
    )
}
"""Each of them, by name."""


def _scope(span: bytes) -> bytes:
    """A scope with one span."""
    return delimited(2, delimited(2, span))


def _hit_span(number: int) -> bytes:
    return _encoded(Span(trace_id=trace_id(number), span_id=(number + 1).to_bytes(8, "big"), name=HIT))


def _audit_span(_: int) -> bytes:
    return _encoded(Span(attributes=[_AUDIT]))


def _login(number: int) -> bytes:
    """An event with as many values of a key as are compared, none of which another event has."""
    values = [AnyValue(int_value=number * 64 + at) for at in range(64)]
    key = KeyValue(key="session.id", value=AnyValue(array_value=ArrayValue(values=values)))
    return _encoded(Span.Event(name=PAIRED, attributes=[key]))


def _encoded(message: Message) -> bytes:
    encoded: bytes = message.SerializeToString()
    return encoded


def _filled(resource: Message, span: Callable[[int], bytes]) -> bytes:
    """A request with as many spans under the resource as there is room for."""
    room_bytes = RECORD_BYTES - resource.ByteSize()
    return _request(resource, [delimited(2, b"".join(_until(room_bytes, lambda number: delimited(2, span(number)))))])


def _until(room_bytes: int, piece: Callable[[int], bytes]) -> list[bytes]:
    """Pieces, as many as there is room for."""
    pieces: list[bytes] = []
    while room_bytes > 0:
        pieces.append(piece(len(pieces)))
        room_bytes -= len(pieces[-1])
    return pieces


def _request(resource: Message, scopes: Iterable[bytes]) -> bytes:
    """A request with these scopes, as bytes, under one resource."""
    sender = _encoded(ResourceSpans(resource=resource)) + b"".join(scopes)
    whole = delimited(1, sender)
    assert TracesData.FromString(whole)
    return whole
