"""Reads traces from the lines of a spans file, for judging without Kafka.

In: lines, each an OTLP/JSON request or one simple span:

    {"name": "pii.access", "service": "checkout", "attributes": {"user.id": "u-17"}}

A simple span is what `dsl.files.spans` reads, as in the tests of rule files. Out: what source records decode to, for
all lines together.

Spans without a trace id form one trace. A span without an id or a start gets one that depends only on its line number;
these starts are one second apart. Every line that cannot be read is reported, and never prevents the others from being
read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from dsl import Interest, Span, Value
from dsl.files.spans import KEYS, SpanError, read_span
from dsl.judge.span import Attributes
from streams.decode.decoder import Decoded, Format, TraceSpans, decode
from streams.errors import RecordError
from topics.otlp.json import reason, replace_escaped_surrogates

FILE_TRACE_ID = f"{1:032x}"
"""The trace id of spans that have none."""

_SECOND_NS = 1_000_000_000
_FIRST_START_NS = int(datetime(2026, 1, 5, 12, tzinfo=UTC).timestamp()) * _SECOND_NS
_DIGITS = {"trace_id": 32, "span_id": 16, "parent_span_id": 16}

_keys = msgspec.json.Decoder(dict[str, msgspec.Raw])
_fields = msgspec.json.Decoder(dict[str, Any])


class _LineError(Exception):
    """A line is not a simple span."""


@dataclass(slots=True)
class SpansFile:
    """The traces of a file; `unread` lists each line that cannot be read, with the reason."""

    decoded: Decoded = field(default_factory=Decoded)
    unread: list[str] = field(default_factory=list)


def read(lines: Iterable[bytes], interest: Interest, *, file: str) -> SpansFile:
    """Return the traces in the lines of a file with the name `file`; skip blank lines.

    >>> interest = Interest(names=frozenset({"audit.log"}), every_span=False, attributes=frozenset())
    >>> found = read([b'{"name": "audit.log"}', b'{"name": "other"}', b"{"], interest, file="spans.jsonl")
    >>> [(trace.span_count, [span.name for span in trace.spans]) for trace in found.decoded.traces.values()]
    [(2, ['audit.log'])]
    >>> found.unread
    ['spans.jsonl:3: not json: input data was truncated']
    """
    result = SpansFile()
    for line_number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                _add(result.decoded, _decoded(line, line_number, interest))
            except (RecordError, _LineError) as error:
                result.unread.append(f"{file}:{line_number}: {error}")
    return result


def _add(together: Decoded, decoded: Decoded) -> None:
    for trace_id, trace in decoded.traces.items():
        known = together.traces.setdefault(trace_id, trace)
        if known is not trace:
            known.span_count += trace.span_count
            known.root_seen |= trace.root_seen
            known.spans += trace.spans
    together.span_count += decoded.span_count
    together.spans_without_trace += decoded.spans_without_trace
    together.logs_without_trace += decoded.logs_without_trace


def _decoded(line: bytes, line_number: int, interest: Interest) -> Decoded:
    text = replace_escaped_surrogates(line.decode("utf-8-sig", "replace"))
    try:
        if not _keys.decode(text).keys().isdisjoint(("resourceSpans", "resourceLogs")):
            return decode(text.encode(), interest, format=Format.JSON)
        return _simple(_fields.decode(text), line_number, interest)
    except RecursionError:
        raise _LineError("json is nested too deep") from None
    except SpanError as error:
        raise _LineError(f"not a span: {error}") from error
    except msgspec.ValidationError as error:
        raise _LineError(f"not a span: {reason(error)}") from error
    except msgspec.DecodeError as error:
        raise _LineError(f"not json: {reason(error)}") from error


def _simple(fields: dict[str, Any], line_number: int, interest: Interest) -> Decoded:
    """Return a decoded simple span; null counts as absent."""
    if unknown := sorted(fields.keys() - set(KEYS)):
        raise _LineError(f"not a span: unknown key `{unknown[0]}`")
    present = {key: value for key, value in fields.items() if value is not None and (value != "" or key not in _DIGITS)}
    for key, digits in _DIGITS.items():
        if key in present and not re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", str(present[key])):
            raise _LineError(f"{key} is {present[key]!r}, must be {digits} hexadecimal digits")
    defaults: dict[str, Value] = {
        "span_id": f"{line_number:016x}",
        "start": _FIRST_START_NS + (line_number - 1) * _SECOND_NS,
    }
    span = read_span({**defaults, **present})
    trace_id = bytes.fromhex(str(present.get("trace_id", FILE_TRACE_ID)))
    if not any(trace_id):
        raise _LineError("no span has a valid trace id")
    spans = [_narrowed(span, interest)] if _is_wanted(span, interest) else []
    return Decoded({trace_id: TraceSpans(1, not span.is_log and not span.parent_id, spans)}, 1)


def _is_wanted(span: Span, interest: Interest) -> bool:
    names = [span.name, *span.attributes, *span.resource, *span.scope, *(event.name for event in span.events)]
    return interest.every_span or not interest.names.isdisjoint(names)


def _narrowed(span: Span, interest: Interest) -> Span:
    """Return the span with only what rules look up, as a decoded request has it."""

    def narrowed(attributes: Attributes) -> Attributes:
        return {key: value for key, value in attributes.items() if key in interest.attributes}

    span.attributes, span.resource, span.scope = map(narrowed, (span.attributes, span.resource, span.scope))
    return span
