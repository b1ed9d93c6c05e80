"""What a faulty or hostile sender writes beside honest traffic: records of many classes, at random.

In: a source of chance, and trace ids of honest senders that it may touch. Out: the same sendings for the same chance,
to be written like those of `tests.crash.traffic`. All but the class `touch` have trace ids that no honest record has.
`SMALL` are the classes of which there are many; a few records are as large as Kafka takes them, as
`tests.support.poison` makes them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.crash.traffic import Sending, corpus
from tests.support import poison
from tests.support.ingesting import record
from tests.support.mutated_requests import SCHEMAS, Part, damaged, joined, mutated, taken_apart
from tests.support.otlp_requests import delimited, logs_request, trace_request
from topics.otlp.protobuf import Message
from topics.otlp.requests import RecordKind

RULES = poison.RULES + "\n".join(
    f'// id: refused-{number}\n// kind: invariant\np.where(span.id != "{number}") and q' for number in range(8)
)
"""Rules whose atoms the records hit; a span named `p` hits nine."""

TRACES = 1 << 40
"""Trace ids are below this number, which those of honest senders, digests, are not."""
SEVERAL = 5
DEEP = 5_000

Make = Callable[[random.Random], bytes]


def sendings(
    count: int, large: Sequence[str], length_ms: int, partitions: int, honest: Sequence[bytes], chance: random.Random
) -> list[Sending]:
    """So many small records and these large ones, by their names in `poison.ALL`, spread over `length_ms`.

    They go to any partition, whatever their trace, with a key that is none.
    """
    small = [lambda: touch(chance, honest), *(_bound(make, chance) for make in SMALL.values())]
    values = [chance.choice(small)() for _ in range(count)] + [poison.ALL[name]() for name in large]
    sent = [
        Sending(
            chance.randrange(length_ms),
            chance.randrange(partitions),
            chance.choice((None, b"", chance.randbytes(9))),
            value,
            0,
            is_hostile=True,
        )
        for value in values
    ]
    return sorted(sent, key=lambda each: each.at_ms)


def touch(chance: random.Random, honest: Sequence[bytes]) -> bytes:
    """A span in the trace of somebody else."""
    return trace_request(_span(chance, chance.choice(honest), name="touch"))


def nothing(_: random.Random) -> bytes:
    """A record without a byte."""
    return b""


def noise(chance: random.Random) -> bytes:
    """Any bytes."""
    return chance.randbytes(chance.randrange(1, 500))


def damaged_json(chance: random.Random) -> bytes:
    """JSON that is cut off, or has other bytes in some places."""
    return damaged(chance, record(chance.randrange(TRACES)))


def deep_json(chance: random.Random) -> bytes:
    """Brackets within brackets."""
    return b'{"resourceSpans":' + chance.choice((b"[", b'{"a":')) * chance.randrange(DEEP)


def other_json(_: random.Random) -> bytes:
    """A document whose members have other names than a request's."""
    return poison.other_json()


def odd_json(chance: random.Random) -> bytes:
    """A request whose members have values of other types, out of range, or twice."""
    odd = (b"null", b"1e999", b"-1", b"[]", b"{}", b'"\\ud800"', b"99999999999999999999", b"NaN")
    value = record(chance.randrange(TRACES))
    member = chance.choice((b'"name"', b'"spanId"', b'"traceId"', b'"spans"'))
    return value.replace(member, member + b":" + chance.choice(odd) + b"," + member, 1)


def damaged_request(chance: random.Random) -> bytes:
    """A captured request with a few other bytes, or cut off; of what is left of it no trace is an honest one."""
    return damaged(chance, chance.choice(_captured()))


def mutated_request(chance: random.Random) -> bytes:
    """A captured request with fields moved, doubled, left out and exchanged."""
    parts = chance.choice(_taken_apart())
    for _ in range(chance.randrange(1, 4)):
        parts = mutated(chance, parts)
    return joined(parts)


def odd_ids(chance: random.Random) -> bytes:
    """Trace, span and parent ids of other lengths than they have."""
    lengths = (0, 1, 7, 8, 9, 15, 16, 17, 32, 1_000, 20_000)
    ids = [chance.randbytes(chance.choice(lengths)) for _ in range(2)]
    trace_id = chance.choice((_trace_id(chance), bytes(16), b"1" * chance.choice(lengths)))
    return trace_request(Span(trace_id=trace_id, span_id=ids[0], parent_span_id=ids[1], name=poison.HIT))


def long_attributes(chance: random.Random) -> bytes:
    """Names and attributes of many KB on hits, their resource among them."""
    span = _span(chance, _trace_id(chance), name=poison.PAIRED)
    for key in ("user.id", "session.id", "k" * chance.randrange(1, 9_000)):
        span.attributes.append(poison.text(key, "é\x00\x1b[31m" * chance.randrange(1, 500)))
    return trace_request(span, resource=Resource(attributes=[poison.text("service.name", "s" * 9_000)]))


def deep_values(chance: random.Random) -> bytes:
    """Attributes that hold arrays in arrays, some deeper than protobuf parses."""
    value = AnyValue(int_value=1).SerializeToString()
    for _ in range(chance.randrange(1, 200)):
        value = delimited(5, delimited(1, value))
    attribute = delimited(9, delimited(1, b"user.id") + delimited(2, value))
    span = _span(chance, _trace_id(chance)).SerializeToString() + attribute
    return delimited(1, delimited(2, delimited(2, span)))


def many_audits(chance: random.Random) -> bytes:
    """Audit records under a resource that is large for them."""
    spans = [_span(chance, _trace_id(chance), name="grant") for _ in range(SEVERAL)]
    for span in spans:
        span.attributes.append(poison.text("audit.action", "a" * chance.randrange(2_000)))
    return trace_request(*spans, resource=Resource(attributes=[poison.text("blob", "b" * 5_000)]))


def many_traces(chance: random.Random) -> bytes:
    """Several traces with a hit each."""
    return trace_request(*(_span(chance, _trace_id(chance)) for _ in range(SEVERAL)))


def many_pairs(chance: random.Random) -> bytes:
    """Many values of a key by which spans are paired, some of them the same."""
    trace_id = _trace_id(chance)
    names = (poison.PAIRED, "logout")
    spans = [_span(chance, trace_id, name=chance.choice(names)) for _ in range(10 * SEVERAL)]
    for span in spans:
        span.attributes.append(KeyValue(key="session.id", value=AnyValue(int_value=chance.randrange(20))))
    return trace_request(*spans)


def too_many_facts(chance: random.Random) -> bytes:
    """More facts than a record of its size may bring: it is refused."""
    trace_id = _trace_id(chance)
    return trace_request(
        *(Span(trace_id=trace_id, span_id=number.to_bytes(8, "big"), name="p") for number in range(1, 150))
    )


def odd_times(chance: random.Random) -> bytes:
    """Spans of all times that there are, some of which end before they begin."""
    times = (0, 1, 1 << 63, (1 << 64) - 1)
    span = _span(chance, _trace_id(chance))
    span.start_time_unix_nano, span.end_time_unix_nano = chance.choice(times), chance.choice(times)
    return trace_request(span)


def logs_among_spans(chance: random.Random) -> bytes:
    """Log records where spans are expected."""
    return logs_request(LogRecord(trace_id=_trace_id(chance), event_name=poison.HIT))


SMALL: Mapping[str, Make] = {
    make.__name__: make
    for make in (
        nothing,
        noise,
        damaged_json,
        deep_json,
        other_json,
        odd_json,
        damaged_request,
        mutated_request,
        odd_ids,
        long_attributes,
        deep_values,
        many_audits,
        many_traces,
        many_pairs,
        too_many_facts,
        odd_times,
        logs_among_spans,
    )
}
"""Each class but `touch`, by name."""


def _bound(make: Make, chance: random.Random) -> Callable[[], bytes]:
    return lambda: make(chance)


def _trace_id(chance: random.Random) -> bytes:
    return poison.trace_id(chance.randrange(TRACES))


def _span(chance: random.Random, trace_id: bytes, name: str = poison.HIT) -> Message:
    return Span(trace_id=trace_id, span_id=chance.randbytes(8), name=name)


@cache
def _captured() -> list[bytes]:
    """Captured requests as they are, with trace ids that no copy has."""
    return [original.value for original in corpus()[0][:200]]


@cache
def _taken_apart() -> list[tuple[Part, ...]]:
    return [taken_apart(value, SCHEMAS[RecordKind.SPANS]) for value in _captured()]
