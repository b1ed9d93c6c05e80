"""The position of ingest in one source partition, and how it is stored with the committed offset.

In: what the group committed and what the log has. Out: where to start, what is lost, in which epoch. The committed
metadata is JSON, with times in Unix ms:

    {"epoch": …, "topic_id": text, "record_ms": … or null, "read_at_ms": …,
     "replay": …, "start_ms": … or null, "has_broker_time": …,
     "misses_beginning": …, "missing_until_ms": … or null, "is_after_loss": …, "lost_until_ms": … or null,
     "rules": … or null, "rules_since_ms": … or null, "is_last": …, "latest_ms": …}

An epoch is the wall time at which reading of this log started, a replay number the wall time at which a reset of the
group's offsets was detected. Kafka's own offset tool clears the metadata, which reveals a reset
(`streams.ingest.group`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import msgspec
from confluent_kafka import TopicPartition

from streams.decode.batches import BatchContext, BatchResult
from streams.ingest.flush import SectionBuilder
from streams.ingest.watermark import PartitionTime
from streams.projection.budget import TraceFacts
from topics.records.facts import TICK_MS


class OffsetMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """The metadata of a committed offset; `record_ms`, `read_at_ms` and `latest_ms` are those of `PartitionTime`.

    `misses_beginning`: reading of the log did not start at its offset 0. `is_after_loss`: records were deleted before
    they were read. The latest possible timestamps of those are `missing_until_ms` and `lost_until_ms`, as soon as they
    are known. `rules` is the rule set that records are projected with, `rules_since_ms` is as in the facts. `is_last`:
    the worker that committed it projected nothing beyond the offset. Fields that an earlier version did not commit have
    defaults.
    """

    epoch: int
    topic_id: str
    record_ms: int | None
    read_at_ms: int
    replay: int = 0
    start_ms: int | None = None
    has_broker_time: bool = False
    misses_beginning: bool = False
    missing_until_ms: int | None = None
    is_after_loss: bool = False
    lost_until_ms: int | None = None
    rules: str | None = None
    rules_since_ms: int | None = None
    is_last: bool = False
    latest_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPosition:
    """Where to start in a source partition: at `offset`, in `epoch`; the offsets `lost` are gone.

    `committed` is what the partition's time continues from, None in a new epoch. `replay` and `start_ms` are those of
    `topics.records.facts.Section`.
    """

    offset: int
    epoch: int
    committed: OffsetMetadata | None = None
    lost: tuple[int, int] | None = None
    replay: int = 0
    start_ms: int | None = None

    @property
    def is_new(self) -> bool:
        """Whether a new epoch starts here, which must be committed before anything is read."""
        return self.committed is None

    def initial_metadata(self, topic_id: str, rules: str | None = None) -> OffsetMetadata:
        """Return the metadata to commit at the start of an epoch that is projected with these rules."""
        return OffsetMetadata(
            epoch=self.epoch,
            topic_id=topic_id,
            record_ms=None,
            read_at_ms=0,
            replay=self.replay,
            start_ms=self.start_ms,
            misses_beginning=self.offset > 0,
            rules=rules,
        )


@dataclass(frozen=True, slots=True)
class Log:
    """The log of a source partition: offsets `[low, high)` of the topic with `topic_id`."""

    topic_id: str
    low: int
    high: int

    def nearest(self, offset: int) -> int:
        """Return the offset in the log that is nearest to `offset`."""
        return min(max(offset, self.low), self.high)


def read_metadata(metadata: str | None) -> OffsetMetadata | None:
    """Decode committed metadata; None if it is not ours: never committed, or cleared by a reset of the offsets."""
    try:
        return msgspec.json.decode(metadata or "", type=OffsetMetadata)
    except (msgspec.DecodeError, UnicodeError):
        return None


def write_metadata(committed: OffsetMetadata) -> str:
    """Encode metadata for `read_metadata`."""
    return msgspec.json.encode(committed).decode()


def start_position(
    offset: int | None, committed: OffsetMetadata | None, log: Log, *, start: str, now_ms: int, replay: int = 0
) -> StartPosition:
    """Return where to start, given the committed offset (None: none), its metadata and the group's replay number.

    >>> before = OffsetMetadata(epoch=1, topic_id="a", record_ms=9, read_at_ms=9)
    >>> start_position(5, before, Log("a", 7, 20), start="earliest", now_ms=2).lost
    (5, 7)
    >>> start_position(None, None, Log("a", 7, 20), start="latest", now_ms=2).offset
    20
    >>> remade = start_position(5, before, Log("b", 0, 3), start="earliest", now_ms=2)
    >>> remade.offset, remade.epoch, remade.is_new
    (0, 2, True)
    """
    if offset is None:
        return StartPosition(offset=log.high if start == "latest" else log.low, epoch=now_ms, replay=replay)
    if committed is None:
        return StartPosition(offset=log.nearest(offset), epoch=now_ms, replay=replay)
    # A clock that was set back must not give an epoch the number of its predecessor.
    new_epoch = max(now_ms, committed.epoch + 1)
    if committed.replay < replay:
        # Its topic was not among the source topics when the others were reset.
        return StartPosition(offset=log.nearest(offset), epoch=new_epoch, replay=replay)
    if committed.topic_id != log.topic_id or offset > log.high:
        return StartPosition(
            offset=log.low,
            epoch=new_epoch,
            committed=None,
            lost=None,
            replay=committed.replay,
            start_ms=committed.start_ms,
        )
    lost = (offset, log.low) if offset < log.low else None
    return StartPosition(
        offset=max(offset, log.low),
        epoch=committed.epoch,
        committed=committed,
        lost=lost,
        replay=committed.replay,
        start_ms=committed.start_ms,
    )


@dataclass(slots=True)
class Projected:
    """The projection of one record, and its timestamp.

    A dead letter, which could not be decoded or was refused, has traces without facts.
    """

    offset: int
    traces: list[TraceFacts]
    stamp_ms: int = 0
    is_dead_letter: bool = False


@dataclass(slots=True, kw_only=True)
class SourcePartition:
    """One source partition that this worker reads.

    `next_offset` is the consumer's position; `builder` collects what is to be flushed, up to the last certain record.
    `replay` and `start_ms` are those of `topics.records.facts.Section`. `start_record_ms` is the record time at which
    reading started in this process, None before the first record. `misses_beginning` and the fields after it are as in
    `OffsetMetadata`. `other_rules_to` is the offset up to which another worker may have projected records with other
    rules, None when that is known.
    """

    topic: str
    partition: int
    topic_id: str
    epoch: int
    next_offset: int
    time: PartitionTime[Projected]
    builder: SectionBuilder
    replay: int = 0
    start_ms: int | None = None
    start_record_ms: int | None = None
    at_end: bool = False
    misses_beginning: bool = False
    missing_until_ms: int | None = None
    is_after_loss: bool = False
    lost_until_ms: int | None = None
    rules: str | None = None
    rules_since_ms: int | None = None
    other_rules_to: int | None = None

    @classmethod
    def starting_at(
        cls,
        at: TopicPartition,
        start: StartPosition,
        topic_id: str,
        partition_count: int,
        record_time: PartitionTime[Projected],
        *,
        now_ms: int,
        rules: str | None = None,
        log_end: int = 0,
    ) -> SourcePartition:
        """Create the source partition at the start of reading, with these rules, when its log ends at `log_end`."""
        if start.committed is not None:
            # Not the time of this start: an idle partition would hold the clock back by all the time that it was idle.
            record_time.highest_ms = start.committed.record_ms
            record_time.read_at_ms = min(start.committed.read_at_ms, now_ms)
            record_time.has_broker_time = start.committed.has_broker_time
            record_time.latest_ms = max(start.committed.latest_ms, start.committed.record_ms or 0)
        first = start.offset if start.lost is None else start.lost[0]
        lost = [] if start.lost is None else [start.lost]
        builder = SectionBuilder(
            topic=at.topic,
            partition=at.partition,
            epoch=start.epoch,
            partition_count=partition_count,
            from_offset=first,
            to_offset=start.offset,
            lost=lost,
        )
        builder.replay, builder.start_ms = start.replay, start.start_ms
        source = cls(
            topic=at.topic,
            partition=at.partition,
            topic_id=topic_id,
            epoch=start.epoch,
            next_offset=start.offset,
            time=record_time,
            builder=builder,
            replay=start.replay,
            start_ms=start.start_ms,
            start_record_ms=record_time.reached_ms,
        )
        source._resume(start, rules, log_end)
        return source

    def _resume(self, start: StartPosition, rules: str | None, log_end: int) -> None:
        """Take over what is known of records that this process does not read."""
        committed = start.committed or start.initial_metadata(self.topic_id, rules)
        self.misses_beginning, self.missing_until_ms = committed.misses_beginning, committed.missing_until_ms
        self.is_after_loss, self.lost_until_ms = committed.is_after_loss, committed.lost_until_ms
        if start.lost is not None:
            self.is_after_loss, self.lost_until_ms = True, None
        self.rules, self.rules_since_ms = rules, committed.rules_since_ms
        if committed.rules != rules:
            self.rules_since_ms = self.time.latest_ms
            # Facts beyond the committed offset may exist, and not in every facts partition.
            self.other_rules_to = None if committed.is_last else log_end

    def use_rules(self, rules: str) -> None:
        """Project records with these rules from now on; the caller has made sure that no record is held back."""
        if rules != self.rules:
            self.rules, self.rules_since_ms, self.other_rules_to = rules, self.time.latest_ms, None

    def add_record(self, record_ms: int, projected: Projected, *, local_ms: int, is_broker_time: bool = True) -> None:
        """Add a record's projection once its time is certain; `is_broker_time`: a broker set its timestamp."""
        self.at_end = False
        self.next_offset = projected.offset + 1
        # A record without a timestamp has -1.
        projected.stamp_ms = stamp_ms = max(record_ms, 0)
        observed = self.time.observe(stamp_ms, projected, local_ms=local_ms, is_broker_time=is_broker_time)
        for counts_at_ms, certain in observed:
            self._add(counts_at_ms, certain)

    def skip(self, to_offset: int, *, local_ms: int) -> None:
        """Count the unreadable records up to `to_offset` as lost; records that were held back become certain."""
        for counts_at_ms, certain in self.time.settle(local_ms=local_ms):
            self._add(counts_at_ms, certain)
        self.builder.lost.append((self.next_offset, to_offset))
        self.next_offset = self.builder.to_offset = to_offset
        self.is_after_loss, self.lost_until_ms = True, None

    def batch_context(self, *, local_ms: int, has_logs: bool) -> BatchContext | None:
        """Return the context in which a batch may start, None while a record is held back."""
        time = self.time
        if time.has_held_back:
            return None
        return BatchContext(
            topic=self.topic,
            partition=self.partition,
            next_offset=self.next_offset,
            has_logs=has_logs,
            highest_ms=time.highest_ms,
            local_ms=local_ms,
            out_of_order_ms=time.out_of_order_ms,
            broker_skew_ms=time.broker_skew_ms,
            bounds_ms=time.bounds_ms(local_ms=local_ms),
            follow=partial(time.follow, local_ms=local_ms),
        )

    def add_batch(self, batch: BatchResult, *, local_ms: int) -> None:
        """Add a batch that was read in the context of `batch_context` and has added its touches; its facts follow."""
        self.at_end = False
        self.next_offset = self.builder.to_offset = batch.to_offset
        if batch.has_broker_time:
            self.time.observe_batch(
                batch.highest_ms, batch.behind_count, read_at_ms=local_ms if batch.is_advanced else None
            )
        self._note_start(batch.first_ms)

    def reach_end(self, offset: int, *, local_ms: int) -> None:
        """Note that the partition ends at `offset`, after control records; records held back become certain."""
        self.at_end = True
        self.next_offset = max(self.next_offset, offset)
        for counts_at_ms, certain in self.time.settle(local_ms=local_ms):
            self._add(counts_at_ms, certain)
        self.builder.to_offset = max(self.builder.to_offset, self.next_offset)

    def take_builder(self) -> SectionBuilder:
        """Return the builder with all that is known, and replace it by a new one that continues after it."""
        builder = self.builder
        self._note_known(builder.to_offset)
        builder.missing_until_ms, builder.lost_until_ms = self.missing_until_ms, self.lost_until_ms
        builder.rules_since_ms = self.rules_since_ms
        self.builder = SectionBuilder(
            topic=self.topic,
            partition=self.partition,
            epoch=self.epoch,
            partition_count=builder.partition_count,
            from_offset=builder.to_offset,
            to_offset=builder.to_offset,
        )
        self.builder.replay, self.builder.start_ms = self.replay, self.start_ms
        return builder

    def _note_known(self, to_offset: int) -> None:
        idle_ms = self.time.idle_ms
        if idle_ms is not None:
            # At the end of the log: records that are never read were stamped by now, by a clock that is off by at most
            # this much.
            self._note_not_read(idle_ms + self.time.idle_lag_ms)
        if self.other_rules_to is not None:
            self.rules_since_ms = max(self.rules_since_ms or 0, self.time.latest_ms)
            if to_offset >= self.other_rules_to:
                self.other_rules_to = None

    def _note_not_read(self, next_ms: int) -> None:
        """Bound the timestamps of unread earlier records: at most out_of_order above that of the next one."""
        until_ms = next_ms + self.time.out_of_order_ms
        if self.misses_beginning and self.missing_until_ms is None:
            self.missing_until_ms = until_ms
        if self.is_after_loss and self.lost_until_ms is None:
            self.lost_until_ms = until_ms

    def offset_metadata(self, *, is_last: bool = False) -> OffsetMetadata:
        """Return what is known of the partition up to the end of the builder."""
        time = self.time
        return OffsetMetadata(
            epoch=self.epoch,
            topic_id=self.topic_id,
            record_ms=time.highest_ms,
            read_at_ms=time.read_at_ms,
            replay=self.replay,
            start_ms=self.start_ms,
            has_broker_time=time.has_broker_time,
            misses_beginning=self.misses_beginning,
            missing_until_ms=self.missing_until_ms,
            is_after_loss=self.is_after_loss,
            lost_until_ms=self.lost_until_ms,
            # While the extent of records with other rules is unknown, it is unknown to the next worker, too.
            rules=self.rules if self.other_rules_to is None else None,
            rules_since_ms=self.rules_since_ms,
            is_last=is_last and self.other_rules_to is None,
            latest_ms=time.latest_ms,
        )

    def metadata(self, *, is_last: bool = False) -> str:
        """Return the metadata to commit for the end of the builder; `is_last`: nothing is projected beyond it."""
        return write_metadata(self.offset_metadata(is_last=is_last))

    def _note_start(self, counts_at_ms: int) -> None:
        self._note_not_read(counts_at_ms)
        if self.start_record_ms is None:
            self.start_record_ms = counts_at_ms
        if self.replay and self.start_ms is None:
            self.start_ms = self.builder.start_ms = counts_at_ms

    def _add(self, counts_at_ms: int, projected: Projected) -> None:
        self._note_start(counts_at_ms)
        builder = self.builder
        tick = counts_at_ms // TICK_MS
        builder.to_offset = max(builder.to_offset, projected.offset + 1)
        if projected.is_dead_letter:
            builder.add_dead_letter(projected.offset)
        is_out_of_bounds = counts_at_ms != projected.stamp_ms
        for trace_id, span_count, root_seen, facts, is_incomplete in projected.traces:
            if is_out_of_bounds:
                builder.out_of_bounds.add((trace_id, tick))
            builder.add(
                trace_id,
                tick,
                projected.offset,
                span_count,
                facts,
                root_seen=root_seen,
                is_incomplete=is_incomplete,
            )
