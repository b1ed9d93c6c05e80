"""Where ingest stands in one source partition, and how that is kept with the committed offset.

In: what the group committed and what the log holds. Out: where to begin, what is lost, in which epoch. The committed
metadata is JSON: `{"epoch": ms, "topic_id": text, "record_ms": ms or null, "read_at_ms": ms}`. Kafka's own offset tool
clears it, which is how a reset is noticed: an epoch is the wall time in ms of its creation.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from confluent_kafka import TopicPartition

from streams.flush import Draft
from streams.project import TraceFacts
from streams.watermark import PartitionTime
from topics.facts import TICK_MS


class Committed(msgspec.Struct, frozen=True):
    """What is committed beside an offset; `record_ms` and `read_at_ms` are `PartitionTime`'s highest and read at."""

    epoch: int
    topic_id: str
    record_ms: int | None
    read_at_ms: int


@dataclass(frozen=True, slots=True)
class Begin:
    """Where to begin in a source partition: at `offset`, in `epoch`, `[lost_from, offset)` being lost.

    `committed` is what the partition's time goes on from, None in a new epoch.
    """

    offset: int
    epoch: int
    committed: Committed | None = None
    lost: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Log:
    """What the log of a source partition holds: offsets `[low, high)` of the topic with `topic_id`."""

    topic_id: str
    low: int
    high: int


def read_metadata(metadata: str | None) -> Committed | None:
    """The committed metadata, None when it is not ours: never committed, or cleared by a reset of the offsets."""
    try:
        return msgspec.json.decode(metadata or "", type=Committed)
    except (msgspec.DecodeError, UnicodeError):
        return None


def begin(offset: int | None, committed: Committed | None, log: Log, *, start: str, now_ms: int) -> Begin:
    """Where to begin, given the committed offset (None: none) and its metadata.

    >>> begin(5, Committed(1, "a", None, 9), Log("a", 7, 20), start="earliest", now_ms=2).lost
    (5, 7)
    >>> begin(None, None, Log("a", 7, 20), start="latest", now_ms=2)
    Begin(offset=20, epoch=2, committed=None, lost=None)
    >>> begin(5, Committed(1, "a", 9, 9), Log("b", 0, 3), start="earliest", now_ms=2)
    Begin(offset=0, epoch=2, committed=None, lost=None)
    """
    if offset is None:
        return Begin(log.high if start == "latest" else log.low, now_ms)
    if committed is None:
        return Begin(min(max(offset, log.low), log.high), now_ms)
    if committed.topic_id != log.topic_id or offset > log.high:
        return Begin(log.low, now_ms)
    if offset < log.low:
        return Begin(log.low, committed.epoch, committed, lost=(offset, log.low))
    return Begin(offset, committed.epoch, committed)


@dataclass(slots=True)
class Projected:
    """What one record says; a dead letter says nothing."""

    offset: int
    traces: list[TraceFacts]


@dataclass(slots=True)
class SourcePartition:
    """One source partition that this ingest reads.

    `next_offset` is the consumer's position; `draft` says what is to be flushed, up to the last certain record.
    """

    topic: str
    partition: int
    topic_id: str
    epoch: int
    next_offset: int
    time: PartitionTime[Projected]
    draft: Draft
    at_end: bool = False

    @classmethod
    def at(
        cls,
        place: TopicPartition,
        start: Begin,
        topic_id: str,
        partition_count: int,
        record_time: PartitionTime[Projected],
        *,
        now_ms: int,
    ) -> SourcePartition:
        """The source partition at the beginning of reading."""
        if start.committed is not None:
            # Not the time of this start: an idle partition would hold the clock back by all the time it was idle.
            record_time.highest_ms = start.committed.record_ms
            record_time.read_at_ms = min(start.committed.read_at_ms, now_ms)
        first = start.offset if start.lost is None else start.lost[0]
        lost = [] if start.lost is None else [start.lost]
        draft = Draft(place.topic, place.partition, start.epoch, partition_count, first, start.offset, lost)
        return cls(place.topic, place.partition, topic_id, start.epoch, start.offset, record_time, draft)

    def take(self, record_ms: int, projected: Projected, *, local_ms: int) -> None:
        """Adds a record's projection to the draft, once its time is certain."""
        self.at_end = False
        self.next_offset = projected.offset + 1
        # A record without a time has -1.
        for counts_at_ms, certain in self.time.observe(max(record_ms, 0), projected, local_ms=local_ms):
            self._add(counts_at_ms // TICK_MS, certain)

    def reach_end(self, offset: int, *, local_ms: int) -> None:
        """The partition's end is reached at `offset`, past control records; what was kept back is certain now."""
        self.at_end = True
        self.next_offset = max(self.next_offset, offset)
        for counts_at_ms, certain in self.time.settle(local_ms=local_ms):
            self._add(counts_at_ms // TICK_MS, certain)
        self.draft.to_offset = max(self.draft.to_offset, self.next_offset)

    def renew_draft(self) -> Draft:
        """The draft so far; a new one that continues it takes its place."""
        draft = self.draft
        self.draft = Draft(
            self.topic, self.partition, self.epoch, draft.partition_count, draft.to_offset, draft.to_offset
        )
        return draft

    def metadata(self) -> str:
        """What is to be committed beside the offset."""
        time = self.time
        return msgspec.json.encode(Committed(self.epoch, self.topic_id, time.highest_ms, time.read_at_ms)).decode()

    def _add(self, tick: int, projected: Projected) -> None:
        draft = self.draft
        draft.to_offset = max(draft.to_offset, projected.offset + 1)
        for trace_id, span_count, root_seen, facts in projected.traces:
            draft.add(trace_id, tick, projected.offset, span_count, facts, root_seen=root_seen)
