"""Reads the state of an installation from Kafka alone, without asking a worker.

In: the last checkpoints, the offsets committed by ingest's group, the ends of the logs. Out: the progress of each
source partition and facts partition, and from when each active rule judges. Checkpoints are at most some ten seconds
old while facts arrive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from streams.config.settings import Settings
from streams.errors import StateError
from streams.ingest.group import committed_offsets
from streams.kafka.unreadable import UnreadableRange
from streams.rules import judging, registry
from streams.rules.judging import RuleStart
from streams.rules.registry import RuleSets
from streams.sessions import recovery
from streams.sessions.last_checkpoint import search
from topics.cluster import admin as kafka
from topics.records.checkpoints import Checkpoint, PartitionStatus

ROLES = ("ingest", "sessions")
NOTHING = PartitionStatus(clock_ms=None, held_by=None, open_windows=0, rules=None)


class SourceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A source partition; `committed` is None if ingest never read it, `lag` counts the records not yet read."""

    topic: str
    partition: int
    committed: int | None
    end: int
    lag: int


class HeldBy(msgspec.Struct, frozen=True):
    """The source partition that holds a clock, and its watermark, None if it has none yet."""

    topic: str
    partition: int
    watermark_ms: int | None


class FactsRow(msgspec.Struct, frozen=True, kw_only=True):
    """A facts partition, as of its last checkpoint at `written_ms` (Unix ms); None where there is none.

    `lag` counts the facts messages not yet published, `rebuild` those that a worker with an empty disk reads again,
    `margin` those kept before them: below 0 the partition cannot be rebuilt.
    """

    partition: int
    clock_ms: int | None
    held_by: HeldBy | None
    open_windows: int
    rules: str | None
    lag: int
    rebuild: int
    margin: int
    written_ms: int | None


class LostRow(msgspec.Struct, frozen=True, kw_only=True):
    """The records at offsets `[from_offset, to_offset)` of an own topic, which no client can read.

    `doubt` says which part of the state they may have changed; None if later records have replaced it.
    """

    topic: str
    partition: int
    from_offset: int
    to_offset: int
    reason: str
    doubt: str | None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The state of an installation: `active_rules` is the active set's fingerprint, None before the first push.

    `workers` counts the members of each role's group, None if this client may not describe it. `judging` is None if a
    checkpoint does not say from when rules judge. `lost` lists what could not be read.
    """

    active_rules: str | None
    rules: int
    sources: list[SourceRow]
    facts: list[FactsRow]
    workers: dict[str, int | None] = {}
    judging: list[RuleStart] | None = []
    lost: list[LostRow] = []

    @property
    def is_idle(self) -> bool:
        """Whether every source record is read, and no window was open at the last checkpoints, all of them readable."""
        if any(row.doubt for row in self.lost):
            return False
        return not any(row.lag for row in self.sources) and not any(row.open_windows for row in self.facts)

    def holder(self) -> FactsRow | None:
        """Return the facts partition whose clock is the furthest behind, preferring one without a clock."""
        stood = [row for row in self.facts if row.written_ms is not None]
        return min(stood, key=lambda row: (row.clock_ms is not None, row.clock_ms or 0), default=None)


def read_status(settings: Settings) -> Status:
    """Read the state from Kafka.

    Raises:
        AdminError, BetraceError: Kafka does not answer, or the topics do not exist.
    """
    admin = kafka.connect(settings.client())
    known, active = registry.read(settings)
    count = len(known.sets[active].rules) if active in known.sets else 0
    workers = {role: kafka.group_members(admin, settings.group(role)) for role in ROLES}
    last = _checkpoints(admin, settings)
    rule_starts = _judging(known, active, [each.checkpoint for each in last])
    lost = [*_lost(known.lost, known.lost_since_active, "another rule set may be active")]
    for number, each in enumerate(last):
        lost += _lost(each.lost, each.lost_since, f"facts partition {number} may be further than shown")
    return Status(
        active_rules=active,
        rules=count,
        sources=_sources(admin, settings),
        facts=_facts(admin, settings, last),
        workers=workers,
        judging=rule_starts,
        lost=lost,
    )


def _lost(lost: Iterable[UnreadableRange], doubtful: Sequence[UnreadableRange], doubt: str) -> Iterator[LostRow]:
    for each in lost:
        what = doubt if each in doubtful else None
        topic, partition = each.source
        yield LostRow(
            topic=topic,
            partition=partition,
            from_offset=each.from_offset,
            to_offset=each.to_offset,
            reason=each.reason,
            doubt=what,
        )


def judging_from(settings: Settings, known: RuleSets, active: str) -> list[RuleStart] | None:
    """Return from when each rule of the active set judges; None if a checkpoint does not say it.

    Raises:
        AdminError, BetraceError: Kafka does not answer, or the topics do not exist.
    """
    last = _checkpoints(kafka.connect(settings.client()), settings)
    return _judging(known, active, [each.checkpoint for each in last])


def _judging(known: RuleSets, active: str | None, last: list[Checkpoint | None]) -> list[RuleStart] | None:
    if active not in known.sets:
        return []
    partitions: list[dict[str, int]] = []
    for checkpoint in last:
        if checkpoint is None:
            # Nothing in it was ever judged.
            partitions.append({})
            continue
        times = None if checkpoint.status is None else checkpoint.status.judging
        if times is None or not known.sets.keys() >= {*times.rule_sets}:
            return None
        partitions.append(times.judges_from(known.rule_fingerprints))
    return judging.starts(known.sets[active], partitions)


def _sources(admin: AdminClient, settings: Settings) -> list[SourceRow]:
    counts = kafka.partition_counts(admin, settings.source_topics)
    partitions = [TopicPartition(topic, number) for topic, count in sorted(counts.items()) for number in range(count)]
    first_offsets, ends = kafka.earliest_offsets(admin, partitions), kafka.end_offsets(admin, partitions)
    committed = committed_offsets(settings, partitions)
    rows = []
    for source, end in ends.items():
        commit = committed.get(source)
        offset = None if commit is None else commit.offset
        lag = max(0, end - max(first_offsets[source], offset or 0))
        rows.append(SourceRow(topic=source[0], partition=source[1], committed=offset, end=end, lag=lag))
    return rows


class _Last(NamedTuple):
    """The last checkpoint of a facts partition, when it was written, and what cannot be read, in all and after it."""

    checkpoint: Checkpoint | None
    written_ms: int | None
    lost: list[UnreadableRange]
    lost_since: list[UnreadableRange]


def _checkpoints(admin: AdminClient, settings: Settings) -> list[_Last]:
    """Return the last checkpoint of each facts partition."""
    topic = settings.topic("facts")
    count = kafka.partition_counts(admin, [topic]).get(topic)
    if count is None:
        raise StateError(f"there is no topic {topic}", action="run betrace topics create, or give another --prefix")
    topic_id = kafka.topic_ids(admin, [topic])[topic]
    return [_checkpoint(settings, number, topic_id) for number in range(count)]


def _facts(admin: AdminClient, settings: Settings, last: list[_Last]) -> list[FactsRow]:
    topic = settings.topic("facts")
    partitions = [TopicPartition(topic, number) for number in range(len(last))]
    first_offsets, ends = kafka.earliest_offsets(admin, partitions), kafka.end_offsets(admin, partitions)
    return [
        _row(number, first_offsets[topic, number], ends[topic, number], each.checkpoint, each.written_ms)
        for number, each in enumerate(last)
    ]


def _row(number: int, first_offset: int, end: int, last: Checkpoint | None, written_ms: int | None) -> FactsRow:
    start, published_to = (0, 0) if last is None else (last.start_offset, last.published_to)
    status = (last.status if last else None) or NOTHING
    held = status.held_by
    return FactsRow(
        partition=number,
        clock_ms=status.clock_ms,
        held_by=None if held is None else HeldBy(held.topic, held.partition, held.watermark_ms),
        open_windows=status.open_windows,
        rules=status.rules,
        lag=max(0, end - max(first_offset, published_to)),
        rebuild=max(0, end - start),
        margin=start - first_offset,
        written_ms=written_ms,
    )


def _checkpoint(settings: Settings, number: int, topic_id: str) -> _Last:
    result = search(settings, number, lambda: False)
    if result.other_version is not None:
        raise StateError(
            f"the checkpoint of facts partition {number} cannot be read: {result.other_version}",
            action="use the version of the workers",
        )
    last = recovery.of_log(result.last, topic_id)
    written_ms = None if last is None else result.written_ms
    return _Last(last, written_ms, result.lost, result.lost_since_last)
