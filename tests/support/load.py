"""More of the corpus: real Collector messages, copied onto a topic with fresh trace ids.

    python -m tests.support.load BOOTSTRAP CORPUS TOPIC COPIES [PARTITIONS]

A copy has the bytes of the original but for its trace ids (and the key made of one). Copy number c carries record times
of one second c, from an hour ago on. `write_later` ends it with a record of no interest in each partition, so much
later that by record time all traces are over.
"""

from __future__ import annotations

import hashlib
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Producer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from tests.support import paths
from topics import partition
from topics.embedded import capture

CORPUS = paths.CORPUS
HOUR_MS = 3_600_000
PRODUCER = {
    # A retry must not put records behind those that came later.
    "enable.idempotence": True,
    "linger.ms": 20,
    "queue.buffering.max.messages": 2_000_000,
    "queue.buffering.max.kbytes": 800_000,
    "message.max.bytes": 2_000_000,
}


@dataclass(frozen=True, slots=True)
class Original:
    """One captured message: the trace ids in it, as bytes, and how many spans it has."""

    key: bytes | None
    value: bytes
    trace_ids: tuple[bytes, ...]
    span_count: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was written, and the record time of the last of it."""

    message_count: int
    span_count: int
    trace_ids: frozenset[bytes]
    last_ms: int


def originals(path: Path) -> list[Original]:
    """The messages of a captured spans topic, protobuf."""
    return [_original(frame) for frame in capture.read(path)]


def copied(trace_id: bytes, copy: int) -> bytes:
    """The trace id that stands for `trace_id` in copy number `copy`."""
    return hashlib.md5(trace_id + struct.pack("<I", copy), usedforsecurity=False).digest()


def load(bootstrap: str, messages: list[Original], topic: str, copies: int, partitions: int) -> Loaded:
    """Writes the copies: keyed messages to the partition of their trace, as the Collector does, others in turn."""
    producer = Producer({"bootstrap.servers": bootstrap, **PRODUCER})
    start_ms = time.time_ns() // 1_000_000 - HOUR_MS
    written = 0
    trace_ids: set[bytes] = set()
    for copy in range(copies):
        for original in messages:
            renamed = {trace_id: copied(trace_id, copy) for trace_id in original.trace_ids}
            trace_ids.update(renamed.values())
            value = original.value
            for old, new in renamed.items():
                value = value.replace(old, new)
            key = None if original.key is None else renamed[original.trace_ids[0]].hex().encode()
            to = written % partitions if key is None else partition.of_trace(bytes.fromhex(key.decode()), partitions)
            _produce(producer, topic, value, key, to, start_ms + copy * 1000)
            written += 1
    producer.flush()
    span_count = copies * sum(original.span_count for original in messages)
    return Loaded(written, span_count, frozenset(trace_ids), start_ms + (copies - 1) * 1000)


def write_later(bootstrap: str, topic: str, partitions: int, record_ms: int) -> None:
    """Writes a message of one span to each partition, with this record time."""
    producer = Producer({"bootstrap.servers": bootstrap, **PRODUCER})
    for number in range(partitions):
        span = Span(trace_id=(number + 1).to_bytes(16), span_id=bytes(7) + b"\1", name="later")
        request = ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[span])])])
        _produce(producer, topic, request.SerializeToString(), None, number, record_ms)
    producer.flush()


def _original(frame: capture.Frame) -> Original:
    request = ExportTraceServiceRequest.FromString(frame.value)
    spans = [span for group in request.resource_spans for scope in group.scope_spans for span in scope.spans]
    return Original(frame.key, frame.value, tuple(sorted({span.trace_id for span in spans})), len(spans))


def _produce(producer: Producer, topic: str, value: bytes, key: bytes | None, to: int, record_ms: int) -> None:
    while True:
        try:
            producer.produce(topic, value, key, to, timestamp=record_ms)
        except BufferError:
            producer.poll(0.1)
        else:
            producer.poll(0)
            return


if __name__ == "__main__":
    bootstrap, corpus, topic, copies = sys.argv[1:5]
    loaded = load(
        bootstrap, originals(CORPUS / f"{corpus}.bin.gz"), topic, int(copies), int(sys.argv[5]) if sys.argv[5:] else 4
    )
    print(topic, "messages", loaded.message_count, "spans", loaded.span_count)  # noqa: T201, it is a command
