"""What the chaos test sends: the corpus many times over, every record twice, some of them late, some traces very long.

In: captured messages and a source of chance. Out: sendings in the order in which they are written. The same chance
gives the same sendings. Times are in ms from the beginning of the sendings.
"""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

from confluent_kafka import Producer

from tests.support.load import CORPUS, Original, originals
from topics import partition

LATE_SHARE, LONG_SHARE = 0.12, 0.002
UNKEYED_EVERY = 4
"""One of so many copies is in batches without keys, as the Collector sends them unless it is told otherwise."""
AWAY_MS = 600_000
HOSTILE = ("hostile", b"")
"""The header of a record that is not honest, for whoever judges; nothing else reads it."""
PRODUCER = {
    "linger.ms": 20,
    "enable.idempotence": True,
    "message.timeout.ms": AWAY_MS,
    "queue.buffering.max.messages": 2_000_000,
    "queue.buffering.max.kbytes": 800_000,
    "message.max.bytes": 2_000_000,
}


@dataclass(frozen=True, slots=True)
class Times:
    """How sessions are cut, and how far record times run back, in ms."""

    gap_ms: int
    lateness_ms: int
    max_duration_ms: int
    out_of_order_ms: int


@dataclass(frozen=True, slots=True)
class Sending:
    """One record to be written, `span_count` of it new; `is_hostile` is written beside it, as a header."""

    at_ms: int
    partition: int
    key: bytes | None
    value: bytes
    span_count: int
    is_hostile: bool = False


def corpus() -> tuple[list[Original], list[Original]]:
    """The corpus by trace, with keys, and in batches without."""
    keyed, unkeyed = (originals(CORPUS / f"{name}.bin.gz") for name in ("partitioned_proto", "unkeyed_proto"))
    return keyed, unkeyed


def trace_ids(copies: Sequence[int]) -> list[bytes]:
    """The traces of the copies with these numbers."""
    originals = {trace_id for message in corpus()[0] for trace_id in message.trace_ids}
    return [_copied(trace_id, copy) for copy in copies for trace_id in sorted(originals)]


def sendings(
    copies: Sequence[int], length_ms: int, times: Times, partitions: int, chance: random.Random
) -> list[Sending]:
    """The copies with these numbers, spread over `length_ms`; nothing is sent later than that."""
    keyed, unkeyed = corpus()
    found: list[Sending] = []
    for index, copy in enumerate(copies):
        messages = unkeyed if copy % UNKEYED_EVERY == 0 else keyed
        begin_ms = index * length_ms // len(copies)
        copy_ms = length_ms // len(copies)
        for number, message in enumerate(messages):
            at_ms = begin_ms + number * copy_ms // len(messages)
            found += _sent(message, copy, at_ms, times, partitions, chance)
    found = [replace(each, at_ms=min(each.at_ms, length_ms - 1)) for each in found]
    back_ms = times.out_of_order_ms * 3 // 4
    return sorted(found, key=lambda each: each.at_ms + chance.uniform(0, back_ms))


def write_backlog(bootstrap: str, topic: str, sendings: Sequence[Sending], start_ms: int) -> None:
    """Writes all at once; what is sent at 0 has record time `start_ms`."""
    producer = Producer({"bootstrap.servers": bootstrap, **PRODUCER})
    for sending in sendings:
        _produce(producer, topic, sending, start_ms + sending.at_ms)
    producer.flush()


def write_live(bootstrap: str, topic: str, sendings: Sequence[Sending]) -> None:
    """Writes each when its time has come; returns when the brokers have all of them, however long they were away."""
    producer = Producer({"bootstrap.servers": bootstrap, **PRODUCER})
    begun_s = time.monotonic()
    for sending in sendings:
        ahead_s = begun_s + sending.at_ms / 1000 - time.monotonic()
        if ahead_s > 0:
            producer.poll(0)
            time.sleep(ahead_s)
        _produce(producer, topic, sending, None)
    producer.flush()


def _sent(
    message: Original, copy: int, at_ms: int, times: Times, partitions: int, chance: random.Random
) -> Iterator[Sending]:
    """A message: when it comes, on time or late; again soon afterwards; in a few traces again and again."""
    value, key = _renamed(message, copy)
    to = chance.randrange(partitions) if key is None else partition.of_trace(bytes.fromhex(key.decode()), partitions)
    if chance.random() < LATE_SHARE:
        at_ms += int(chance.uniform(1.2 * times.gap_ms, times.gap_ms + 0.8 * times.lateness_ms))
    yield Sending(at_ms, to, key, value, message.span_count)
    yield Sending(at_ms + int(chance.uniform(0, times.gap_ms)), to, key, value, 0)
    if chance.random() < LONG_SHARE:
        for again_ms in range(0, 2 * times.max_duration_ms, times.gap_ms * 3 // 4):
            yield Sending(at_ms + again_ms, to, key, value, 0)


def _renamed(message: Original, copy: int) -> tuple[bytes, bytes | None]:
    value = message.value
    names = {trace_id: _copied(trace_id, copy) for trace_id in message.trace_ids}
    for old, new in names.items():
        value = value.replace(old, new)
    return value, None if message.key is None else names[message.trace_ids[0]].hex().encode()


def _copied(trace_id: bytes, copy: int) -> bytes:
    return blake2b(trace_id + struct.pack("<I", copy), digest_size=16).digest()


def _produce(producer: Producer, topic: str, sending: Sending, record_ms: int | None) -> None:
    headers: list[tuple[str, str | bytes | None]] = [HOSTILE] if sending.is_hostile else []
    while True:
        try:
            producer.produce(
                topic, sending.value, sending.key, sending.partition, timestamp=record_ms or 0, headers=headers
            )
        except BufferError:
            producer.poll(0.1)
        else:
            producer.poll(0)
            return
