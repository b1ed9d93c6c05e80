"""Reads the spans of one trace back from the source topics.

In: the offset ranges in a signal. Out: the spans of its trace in them, and the ranges that are gone. Service names are
the only attributes read: the signal already shows what may leave.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from confluent_kafka import Message

from dsl import Interest, Span
from streams.config.settings import ClientSettings
from streams.decode.decoder import Decoder
from streams.decode.trace_ids import may_hold
from streams.errors import RecordError
from streams.kafka import follow
from topics.otlp.requests import RecordKind
from topics.signals.finding import SourceRange

_EVERYTHING = Interest(names=frozenset(), every_span=True, attributes=frozenset({"service.name"}))


@dataclass(slots=True)
class TraceRead:
    """The spans that were read, and the ranges without any of them: their topics no longer have the records."""

    spans: list[Span] = field(default_factory=list)
    gone: list[SourceRange] = field(default_factory=list)


def read(client: ClientSettings, trace_id: bytes, sources: Iterable[SourceRange]) -> TraceRead:
    """Return the spans of a trace in the ranges, in the order of the topics.

    Raises:
        StateError: a topic cannot be read.
    """
    result = TraceRead()
    for source in sources:
        spans = list(_spans(follow.read_range(client, *source), trace_id, source.topic))
        result.spans += spans
        if not spans:
            result.gone.append(source)
    return result


def _spans(messages: Iterable[Message], trace_id: bytes, topic: str) -> Iterator[Span]:
    decoder = Decoder(_EVERYTHING)
    kind = RecordKind.LOGS if "log" in topic else RecordKind.SPANS
    for message in messages:
        value = message.value() or b""
        # Searching the bytes costs far less than decoding the records of all other traces in the range.
        if not may_hold(value, trace_id):
            continue
        try:
            decoded = decoder.decode(value, kind)
        except RecordError:  # ingest made it a dead letter, so it is in no signal
            continue
        if trace := decoded.traces.get(trace_id):
            yield from trace.spans
