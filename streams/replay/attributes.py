"""Lists the names in source records: of spans, log records, events and attributes, with examples of values.

In: records. Out: for each name how many spans have it, and up to three values, redacted. Memory is bounded by the
number of names, whatever is sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import msgspec
from confluent_kafka import Message

from dsl import Span, Value
from streams.decode.convert import SERVICE
from streams.decode.decoder import Format
from streams.decode.whole import WholeDecoder
from streams.errors import RecordError
from streams.projection.project import scalar
from streams.projection.redact import Redaction
from topics.otlp.requests import RecordKind
from topics.values import Scalar

MOST_EXAMPLES = 3
TRIES = 1_000
"""The number of values of a name that are compared to find different examples."""


class NameKind(Enum):
    """What has the name; attributes are those of spans, log records, events, resources and scopes."""

    SPAN = "span"
    LOG_RECORD = "log record"
    EVENT = "event"
    ATTRIBUTE = "attribute"


class SeenName(msgspec.Struct, frozen=True, kw_only=True):
    """A name, the number of spans and log records that have it, and examples of its values."""

    kind: str
    name: str
    spans: int
    examples: list[Scalar]


@dataclass(slots=True)
class _Seen:
    """What is known of a name; `tries` is how many values were looked at."""

    spans: int = 0
    tries: int = 0
    examples: list[Scalar] = field(default_factory=list)


class NameList:
    """The names in the records that were added, at most `limit`; `is_full` tells whether others were left out.

    With a service, only its spans count. `spans` is how many were counted, `unreadable` how many records could not be
    decoded.
    """

    def __init__(self, redaction: Redaction, limit: int, service: str | None, encoding: Format) -> None:
        self.is_full = False
        self.spans = 0
        self.unreadable = 0
        self._redaction = redaction
        self._limit = limit
        self._service = service
        self._decoder = WholeDecoder(encoding)
        self._names: dict[tuple[NameKind, str], _Seen] = {}

    def add(self, message: Message) -> int:
        """Add the names in a record, and return its number of spans."""
        kind = RecordKind.LOGS if "log" in (message.topic() or "") else RecordKind.SPANS
        try:
            decoded = self._decoder.decode(message.value(), kind)
        except RecordError:
            self.unreadable += 1
            return 0
        for trace in decoded.traces.values():
            for span in trace.spans:
                if self._service is None or span.resource.get(SERVICE) == self._service:
                    self.add_span(span)
        return decoded.span_count

    def add_span(self, span: Span) -> None:
        """Add the names of a span or log record."""
        self.spans += 1
        if span.name or not span.is_log:
            self._count(NameKind.LOG_RECORD if span.is_log else NameKind.SPAN, span.name)
        for name in {event.name for event in span.events}:
            self._count(NameKind.EVENT, name)
        counted: set[str] = set()
        for attributes in (span.attributes, span.resource, span.scope, *(event.attributes for event in span.events)):
            for name, value in attributes.items():
                seen = self._seen(NameKind.ATTRIBUTE, name)
                if seen is None:
                    continue
                if name not in counted:
                    counted.add(name)
                    seen.spans += 1
                if len(seen.examples) < MOST_EXAMPLES and seen.tries < TRIES:
                    self._add_example(seen, name, value)

    def names(self) -> list[SeenName]:
        """Return the names by kind, the most frequent first."""
        order = list(NameKind)
        counted = sorted(self._names.items(), key=lambda each: (order.index(each[0][0]), -each[1].spans, each[0][1]))
        return [
            SeenName(kind=kind.value, name=name, spans=seen.spans, examples=seen.examples)
            for (kind, name), seen in counted
        ]

    def _count(self, kind: NameKind, name: str) -> None:
        if (seen := self._seen(kind, name)) is not None:
            seen.spans += 1

    def _seen(self, kind: NameKind, name: str) -> _Seen | None:
        """Return what is known of a name; None if there are too many others."""
        key = (kind, str(scalar(name)))
        seen = self._names.get(key)
        if seen is None:
            if len(self._names) >= self._limit:
                self.is_full = True
                return None
            seen = self._names[key] = _Seen()
        return seen

    def _add_example(self, seen: _Seen, name: str, value: Value) -> None:
        seen.tries += 1
        shown = scalar(self._redaction.value(name, value))
        # 1 and true are equal, but not the same value.
        if shown is not None and not any(type(each) is type(shown) and each == shown for each in seen.examples):
            seen.examples.append(shown)
