"""Plans what a replay reads: from which offset of each source partition, up to which time, and what is gone.

In: the requested period, and what Kafka has. Out: a `Plan`. A chain belongs to the requested period by its first
arrival, and for a rule by the first arrival that concerns the rule. So that every chain is read from its beginning to
its end, reading begins as much earlier, and ends as much later, as a chain can last. Traces that began before what is
read, and were never at rest since, are recognised by that (`Plan.edge_ms`): they are not judged, so replays of adjacent
periods add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from streams.config.settings import Settings
from streams.config.units import iso_ms
from streams.errors import ConfigError
from streams.windows.clock import Source
from streams.windows.sessions import LostTime
from topics.cluster import admin


@dataclass(frozen=True, slots=True)
class Period:
    """Record time `[from_ms, to_ms)`, in Unix ms."""

    from_ms: int
    to_ms: int

    def holds(self, time_ms: int) -> bool:
        """Return whether the time is in the period."""
        return self.from_ms <= time_ms < self.to_ms

    def __str__(self) -> str:
        """Return the period for people."""
        begin = "the beginning" if self.from_ms == 0 else iso_ms(self.from_ms)
        return f"{begin} and {iso_ms(self.to_ms)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One source partition to read: offsets `[begin, end)`; its topic has `partition_count` partitions."""

    topic: str
    partition: int
    partition_count: int
    begin: int
    end: int

    @property
    def source(self) -> Source:
        """Topic and partition."""
        return self.topic, self.partition


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is read.

    Of every input the records from `read_from_ms` on, until its watermark has passed `until_ms` or its end is reached;
    an input that ends is complete up to `clock_ms`. `lost` is where records are missing in the middle, `gone` where
    they are missing at the beginning. `has_earlier_records`: there are records before `read_from_ms`. `expected` is the
    number of offsets, for a progress bar.
    """

    period: Period
    inputs: tuple[Input, ...]
    read_from_ms: int
    until_ms: int
    clock_ms: int
    lost: tuple[LostTime, ...]
    expected: int
    gone: tuple[LostTime, ...] = ()
    has_earlier_records: bool = False

    @property
    def edge_ms(self) -> int | None:
        """Up to when records may be missing before those that are read; None if reading starts at the beginning."""
        edges_ms = [each.to_ms for each in self.gone if each.to_ms is not None]
        return max([*edges_ms, *([self.read_from_ms] if self.has_earlier_records else [])], default=None)

    def divide(self, count: int) -> list[tuple[Input, ...]]:
        """Return the inputs divided among this many readers, the largest first, so that each reads about as much."""
        dealt: list[list[Input]] = [[] for _ in range(count)]
        for each in sorted(self.inputs, key=lambda each: each.begin - each.end):
            min(dealt, key=_offsets).append(each)
        return [tuple(part) for part in dealt]


def reach_ms(settings: Settings) -> int:
    """Return how long after its first arrival a chain can still matter to the next one."""
    return settings.max_duration_ms + settings.lateness_ms + settings.gap_ms


def times(settings: Settings, period: Period, now_ms: int) -> tuple[int, int, int]:
    """Return from when and until when to read, and where the clock stops if the input ends."""
    until_ms = period.to_ms + reach_ms(settings)
    idle_ms = now_ms - settings.out_of_order_ms - settings.idle_lag_ms
    return max(0, period.from_ms - reach_ms(settings)), until_ms, min(until_ms, idle_ms)


def of_kafka(
    client: AdminClient, settings: Settings, period: Period, now_ms: int, *, may_be_empty: bool = False
) -> Plan:
    """Return what to read from the source topics.

    Raises:
        ConfigError: a topic does not exist, or, unless that is allowed, none has a record of the requested period.
        AdminError: Kafka does not answer.
    """
    counts = admin.partition_counts(client, settings.source_topics)
    if missing := set(settings.source_topics) - counts.keys():
        raise ConfigError(
            f"no such topic: {', '.join(sorted(missing))}: name the topics your Collectors write with --source-topics"
        )
    read_from_ms, until_ms, clock_ms = times(settings, period, now_ms)
    partitions = [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]
    lows, highs = admin.earliest_offsets(client, partitions), admin.end_offsets(client, partitions)
    start_offsets = admin.offsets_at(client, partitions, read_from_ms) if read_from_ms else lows
    if not may_be_empty:
        _check_not_empty(client, settings, period, partitions, lows, highs)
    cut = [
        partition
        for partition in partitions
        if lows[_source(partition)] > 0 and start_offsets[_source(partition)] == lows[_source(partition)]
    ]
    gone = tuple(_lost_beginnings(client, settings, cut, read_from_ms, now_ms))
    has_earlier_records = any(start_offsets[source] > lows[source] for source in highs)
    inputs = tuple(
        Input(
            topic=topic,
            partition=number,
            partition_count=counts[topic],
            begin=start_offsets[topic, number],
            end=highs[topic, number],
        )
        for topic, number in sorted(highs)
    )
    ends = admin.offsets_at(client, partitions, until_ms)
    expected = sum(max(0, ends[each.source] - each.begin) for each in inputs)
    return Plan(
        period=period,
        inputs=inputs,
        read_from_ms=read_from_ms,
        until_ms=until_ms,
        clock_ms=clock_ms,
        lost=(),
        expected=expected,
        gone=gone,
        has_earlier_records=has_earlier_records or _is_kept_from(lows),
    )


def _is_kept_from(lows: Mapping[Source, int]) -> bool:
    """Return whether something was deleted, even if only before the time from which to read."""
    return any(low > 0 for low in lows.values())


def _check_not_empty(
    client: AdminClient,
    settings: Settings,
    period: Period,
    partitions: list[TopicPartition],
    lows: Mapping[Source, int],
    highs: Mapping[Source, int],
) -> None:
    firsts = admin.offsets_at(client, partitions, period.from_ms) if period.from_ms else lows
    ends = admin.offsets_at(client, partitions, period.to_ms)
    if any(firsts[source] < min(ends[source], highs[source]) for source in highs):
        return
    known_ms = [first_ms for first_ms in admin.first_record_times(client, partitions).values() if first_ms is not None]
    held = f"its first record has the time {iso_ms(min(known_ms))}" if known_ms else "it is empty"
    raise ConfigError(
        f"{', '.join(settings.source_topics)}: Kafka has no record between {period} ({held}): choose another "
        "time, or read an archive with --archive"
    )


def _lost_beginnings(
    client: AdminClient, settings: Settings, cut: list[TopicPartition], read_from_ms: int, now_ms: int
) -> Iterable[LostTime]:
    """Yield the times for which retention has deleted what should be read."""
    for source, first_ms in admin.first_record_times(client, cut).items():
        # For an empty partition only its retention is known: anything younger would still be there.
        held_ms = first_ms if first_ms is not None else _kept_from_ms(client, source[0], now_ms)
        if held_ms > read_from_ms:
            yield LostTime(*source, 0, held_ms + settings.out_of_order_ms)


def _kept_from_ms(client: AdminClient, topic: str, now_ms: int) -> int:
    kept_ms = admin.retention_ms(client, topic)
    return now_ms if kept_ms is None else now_ms - kept_ms


def _offsets(inputs: Iterable[Input]) -> int:
    return sum(each.end - each.begin for each in inputs)


def _source(partition: TopicPartition) -> Source:
    return partition.topic, partition.partition
