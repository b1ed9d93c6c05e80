"""Decodes the bytes of one source record to traces of spans.

In: the value of a Kafka record, an OTLP request in protobuf or JSON, and the interest of the rules. Out: for each trace
how many spans it has, whether a root was among them, and the spans that rules may look at. No clock, no I/O.

Invariants: whatever the bytes, only `RecordError` is raised. Every span and log record is counted exactly once, in its
trace or as one without a trace. The two encodings of a request give the same result, and so do the two paths:

    protobuf  ─ streams.decode._scan ─►  traces, for requests that it can decode for certain; only where it was compiled
    either    ─ topics.otlp.… ─►  a request  ─ streams.decode.convert ─►  traces
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import Enum
from functools import lru_cache

import re2

from dsl import Interest
from streams.decode import convert
from streams.decode.backend import Backend, scanner
from streams.decode.convert import NO_PARENT
from streams.decode.records import Decoded, TraceSpans
from streams.errors import RecordError
from topics.errors import Refusal, RefusalReason
from topics.otlp import json as otlp_json
from topics.otlp import protobuf as otlp_protobuf
from topics.otlp import requests as otlp
from topics.otlp.requests import MENDED, RecordKind

__all__ = ["Decoded", "Decoder", "Format", "TraceSpans", "decode"]

TRACE_ID_BYTES = 16

# A lookup of an enum member costs 0.05 µs.
_LOGS = RecordKind.LOGS
_NO_TRACE = bytes(TRACE_ID_BYTES)
_NOTHING = Interest(names=frozenset(), every_span=False, attributes=frozenset())
_JSON_START = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*\{")

# RE2 searches 5,000 names as fast as 16 with this, and 45 times slower with its default of 8 MiB.
_SEARCH_BYTES = 64 << 20


class Format(Enum):
    """The encoding of the values of source records; AUTO decides by the first bytes."""

    AUTO = "auto"
    PROTO = "otlp_proto"
    JSON = "otlp_json"


class Decoder:
    """Decodes records for one set of rules."""

    __slots__ = ("_format", "_interest", "_scan")

    def __init__(
        self,
        interest: Interest,
        format: Format = Format.AUTO,  # noqa: A002, named like the setting
        backend: Backend | None = None,
    ) -> None:
        """Create a decoder; `backend` defaults to the environment's.

        Raises:
            ConfigError: the scanner is requested and was not compiled.
        """
        self._interest = interest
        self._format = format
        self._scan = None if format is Format.JSON else scanner(interest, backend)

    def decode(self, value: bytes | None, kind: RecordKind = RecordKind.SPANS) -> Decoded:
        """Return the traces of one source record.

        `kind` is what a protobuf request is decoded as first; a topic may have both.

        Raises:
            RecordError: the value is not an OTLP request, or none of its spans has a trace; `refusal` says which.
        """
        if not value:
            raise RecordError(Refusal(RefusalReason.EMPTY))
        decoded = None if self._scan is None else self._scan(value, kind is _LOGS)
        if decoded is None:
            decoded = self._decode_in_python(value, kind)
        if decoded.spans_without_trace and not decoded.traces:
            raise RecordError(Refusal(RefusalReason.NO_TRACE))
        return decoded

    def _decode_in_python(self, value: bytes, kind: RecordKind) -> Decoded:
        try:
            return _decoded(*_read(value, self._interest, self._format, kind))
        except otlp.OtlpError as error:
            raise RecordError(error.refusal) from error


def decode(
    value: bytes | None,
    interest: Interest,
    *,
    format: Format = Format.AUTO,  # noqa: A002 - named like the setting
    kind: RecordKind = RecordKind.SPANS,
) -> Decoded:
    """Decode as `Decoder.decode` does, for callers that decode only a few records.

    >>> interest = Interest(names=frozenset({"audit.log"}), every_span=False, attributes=frozenset())
    >>> request = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"%s","name":"audit.log"}]}]}]}'
    >>> [trace] = decode(request % (b"0a" * 16), interest).traces.values()
    >>> trace.span_count, trace.root_seen, trace.spans[0].name
    (1, True, 'audit.log')
    """
    return _decoder(interest, format).decode(value, kind)


_decoder = lru_cache(maxsize=16)(Decoder)


def _read(value: bytes, interest: Interest, format: Format, kind: RecordKind) -> tuple[otlp.Request, Interest]:  # noqa: A002
    """Return the request, and the part of `interest` that may occur in it."""
    if format is Format.JSON or (format is Format.AUTO and _JSON_START.match(value)):
        try:
            return otlp_json.read(value), interest
        except otlp.OtlpError:
            # A line feed is also the first byte of every protobuf request.
            if format is Format.JSON or not value.startswith(b"\n"):
                raise
            with suppress(otlp.OtlpError):
                return _read(value, interest, Format.PROTO, kind)
            raise
    return otlp_protobuf.read(value, kind), interest if _may_hold(value, interest) else _NOTHING


def _may_hold(value: bytes, interest: Interest) -> bool:
    """Return whether rules may look at a span in these protobuf bytes, by one search instead of a walk."""
    return interest.every_span or _name_search(interest.names)(value) is not None


@lru_cache(maxsize=64)
def _name_search(names: frozenset[str]) -> Callable[[bytes], object]:
    """Return a search that matches every protobuf request that contains one of the names.

    Protobuf writes a name as it is (JSON may escape it), unless the name has U+FFFD in place of invalid UTF-8.
    """
    if any(MENDED in name for name in names):
        return lambda value: value
    if not names:
        return lambda _: None
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = _SEARCH_BYTES
    options.log_errors = False
    alternatives = [re2.escape(name.encode(errors="replace")) for name in sorted(names)]
    try:
        search: Callable[[bytes], object] = re2.compile(b"|".join(alternatives), options).search
    except re2.error:  # more names than a pattern may hold
        return lambda value: value
    return search


def _decoded(request: otlp.Request, interest: Interest) -> Decoded:
    decoded, services = Decoded(), set[str]()
    # Access to a scope costs upb an object, so it is avoided where nothing can match.
    is_quiet = interest is _NOTHING
    for spans_of in request.resource_spans:
        services |= convert.services(request, spans_of.resource)
        sender = None if is_quiet else convert.sender(request, interest, spans_of.resource)
        for spans in spans_of.scope_spans:
            _add_spans(decoded, spans.spans, None if sender is None else sender.origin(spans.scope))
    for logs_of in request.resource_logs:
        services |= convert.services(request, logs_of.resource)
        sender = None if is_quiet else convert.sender(request, interest, logs_of.resource)
        for logs in logs_of.scope_logs:
            _add_logs(decoded, logs.log_records, None if sender is None else sender.origin(logs.scope))
    decoded.services = sorted(services)
    return decoded


def _add_spans(decoded: Decoded, spans: Iterable[otlp.Span], origin: convert.Origin | None) -> None:
    traces = decoded.traces
    for span in spans:
        trace = traces.get(span.trace_id) or _new_trace(traces, span.trace_id)
        if trace is None:
            decoded.spans_without_trace += 1
            continue
        decoded.span_count += 1
        trace.span_count += 1
        if span.parent_span_id in NO_PARENT:
            trace.root_seen = True
        if origin is not None and origin.wants_span(span):
            trace.spans.append(origin.span(span))


def _add_logs(decoded: Decoded, logs: Iterable[otlp.LogRecord], origin: convert.Origin | None) -> None:
    traces = decoded.traces
    for log in logs:
        trace = traces.get(log.trace_id) or _new_trace(traces, log.trace_id)
        if trace is None:
            decoded.logs_without_trace += 1
            continue
        decoded.span_count += 1
        trace.span_count += 1
        if origin is not None and origin.wants_log(log):
            trace.spans.append(origin.log(log))


def _new_trace(traces: dict[bytes, TraceSpans], trace_id: bytes) -> TraceSpans | None:
    """Add a trace with this id; return None when the id is not valid."""
    if len(trace_id) != TRACE_ID_BYTES or trace_id == _NO_TRACE:
        return None
    trace = traces[trace_id] = TraceSpans(0, False, [])  # noqa: FBT003, keywords cost 0.2 µs a message
    return trace
