"""Runs: records of one source partition that follow one another, read in one step.

In: nothing. Out: what the compiled scanner is told of a run, and what it returns. A run ends before the first record
that takes more than counting its traces: one that the scanner is unsure of, that holds something for the audit trail,
whose time is in doubt, or that is another partition's. Such a record is taken in alone, and so are all where nothing
was compiled. It ends as well when it holds `MOST_HITS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

import msgspec

from dsl import Span

MOST_HITS = 5_000
"""A run ends with the record that brings it to so many spans that rules look at: each of them takes memory."""

if TYPE_CHECKING:
    # Judging a file needs no Kafka client.
    from confluent_kafka import Message


class Touches(Protocol):
    """Traces by tick, with their span counts, and whether a root was among the spans."""

    def __len__(self) -> int:
        """How many there are."""

    def add(self, trace_id: bytes, tick: int, span_count: int, root_seen: bool) -> None:  # noqa: FBT001, keywords cost
        """Counts spans of a trace in a tick."""

    def take(self, trace_id: bytes, tick: int) -> tuple[int, bool]:
        """Span count and root of a trace in a tick, which is forgotten; raises `KeyError` when it was not seen."""

    @staticmethod
    def partition_of(trace_id: bytes, partitions: int) -> int:
        """The facts partition of a trace, of so many."""

    def sample(self) -> list[tuple[bytes, bool]]:
        """One trace of 256 and whether its root was seen, by tick."""

    def pack(self, partitions: int) -> list[bytes]:
        """The touches of each facts partition in order of arrival, packed by `topics.records.facts.pack_touches`."""


class BatchContext(msgspec.Struct, frozen=True):
    """Where a run begins: `next_offset` of a source partition whose time is as `streams.ingest.watermark` has it.

    `has_logs`: the topic is one of log records. `bounds_ms` are those of producers' stamps; `follow` is told of each of
    these that is read, and returns the lower bound for the next.
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
    """The spans of one trace in one record that some rule may look at."""

    offset: int
    tick: int
    trace_id: bytes
    spans: list[Span]


class BatchResult(msgspec.Struct):
    """What a run of records says, beside the touches that it added; all counts are 0 when there is no run.

    `first_ms` is the first record's time, `highest_ms` the highest of all so far, which `is_advanced` when a record of
    the run reached it; `services` are as in `Decoded`. The others count what `streams.decode.decoder` and
    `streams.ingest.watermark` count of a record.
    The records of a run are all stamped by brokers, or all by producers.
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
"""The run that begins at an index among messages; its touches are added to those given."""
