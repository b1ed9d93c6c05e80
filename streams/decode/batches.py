"""Batches: consecutive records of one source partition that the compiled scanner reads in one call.

In: nothing. Out: what the scanner needs to know of a batch, and what it returns. A batch ends before the first record
that needs more than a count of its traces: one that the scanner cannot decode for certain, that has records for the
audit trail, whose time is in doubt, or that is another partition's. Such a record is taken in alone, and so are all
records where nothing was compiled. A batch also ends when it has `MOST_HITS` hits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

import msgspec

from dsl import Span

MOST_HITS = 5_000
"""A batch ends with the record that brings it to this many spans of interest, because each takes memory."""

if TYPE_CHECKING:
    # Judging a file needs no Kafka client.
    from confluent_kafka import Message


class Touches(Protocol):
    """Traces by tick, with their span counts, and whether a root was among the spans."""

    def __len__(self) -> int:
        """Return the number of touches."""

    def add(self, trace_id: bytes, tick: int, span_count: int, root_seen: bool) -> None:  # noqa: FBT001, keywords cost
        """Count spans of a trace in a tick."""

    def take(self, trace_id: bytes, tick: int) -> tuple[int, bool]:
        """Remove a trace in a tick, and return its span count and root; raises `KeyError` when it is absent."""

    @staticmethod
    def partition_of(trace_id: bytes, partitions: int) -> int:
        """Return the facts partition of a trace."""

    def sample(self) -> list[tuple[bytes, bool]]:
        """Return one trace in 256, with whether its root was seen, by tick."""

    def pack(self, partitions: int) -> list[bytes]:
        """Return the touches of each facts partition, packed as by `topics.records.facts.pack_touches`.

        They are in order of arrival.
        """


class BatchContext(msgspec.Struct, frozen=True, kw_only=True):
    """Where a batch starts: `next_offset` of a source partition whose time is that of `streams.ingest.watermark`.

    `has_logs`: the topic has log records. `bounds_ms` are the bounds of producers' timestamps; `follow` takes each such
    timestamp that is read, and returns the lower bound for the next.
    """

    topic: str
    partition: int
    next_offset: int
    has_logs: bool
    highest_ms: int | None
    local_ms: int
    out_of_order_ms: int
    broker_skew_ms: int
    bounds_ms: tuple[int, int]
    follow: Callable[[int], int]


class Hits(NamedTuple):
    """The spans of one trace in one record that rules may look at."""

    offset: int
    tick: int
    trace_id: bytes
    spans: list[Span]


class BatchResult(msgspec.Struct, kw_only=True):
    """The contents of a batch, apart from the touches that it added; all counts are 0 when there is no batch.

    `first_ms` is the first record's time, `highest_ms` the highest time so far, which `is_advanced` if a record of the
    batch reached it; `services` are as in `Decoded`. The other counts are those of `streams.decode.decoder` and
    `streams.ingest.watermark`. The timestamps of a batch are all set by brokers, or all by producers.
    """

    record_count: int = 0
    value_bytes: int = 0
    to_offset: int = 0
    first_ms: int = 0
    highest_ms: int = 0
    is_advanced: bool = False
    behind_count: int = 0
    has_broker_time: bool = False
    span_count: int = 0
    spans_without_trace: int = 0
    logs_without_trace: int = 0
    hits: list[Hits] = msgspec.field(default_factory=list)
    services: set[str] = msgspec.field(default_factory=set)


ReadBatch: TypeAlias = "Callable[[list[Message], int, BatchContext, Touches], BatchResult]"
"""Reads the batch that begins at an index among messages, and adds its touches to those given."""
