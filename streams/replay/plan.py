"""What a replay reads: from which offset of each source partition, up to which time, and what of it is gone.

In: the time that is asked for, and what Kafka holds. Out: a `Plan`. A chain belongs to the time that is asked for by
its first arrival, and for a rule by the first of what the rule looks at. So that every chain is seen from its beginning
to its end, reading begins as much earlier, and ends as much later, as a chain can last. Traces that were there before
what is read, and never at rest since, are known by that (`Plan.edge_ms`): of them nothing is judged, so replays of
adjacent times add up.
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
        """The time is in it."""
        return self.from_ms <= time_ms < self.to_ms

    def __str__(self) -> str:
        """For people."""
        begin = "the beginning" if self.from_ms == 0 else iso_ms(self.from_ms)
        return f"{begin} and {iso_ms(self.to_ms)}"


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Plan:
    """What is read.

    Of every input the records from `read_from_ms` on, until its watermark has passed `until_ms` or its end is reached;
    an input that ends is complete up to `clock_ms`. `lost` is where records are missing in the middle, `gone` where the
    beginning is. `is_cut`: there are records before `read_from_ms`. `expected` is how many offsets that will be, for a
    progress bar.
    """

    period: Period
    inputs: tuple[Input, ...]
    read_from_ms: int
    until_ms: int
    clock_ms: int
    lost: tuple[LostTime, ...]
    expected: int
    gone: tuple[LostTime, ...] = ()
    is_cut: bool = False

    @property
    def edge_ms(self) -> int | None:
        """Up to when records may be missing before those that are read; None when reading begins at the beginning."""
        edges_ms = [each.to_ms for each in self.gone if each.to_ms is not None]
        return max([*edges_ms, *([self.read_from_ms] if self.is_cut else [])], default=None)

    def shares(self, count: int) -> list[tuple[Input, ...]]:
        """The inputs dealt to so many readers, the largest first, so that each has about as much to read."""
        dealt: list[list[Input]] = [[] for _ in range(count)]
        for each in sorted(self.inputs, key=lambda each: each.begin - each.end):
            min(dealt, key=_offsets).append(each)
        return [tuple(share) for share in dealt]


def reach_ms(settings: Settings) -> int:
    """How long after its first arrival a chain can still matter to the next one."""
    return settings.max_duration_ms + settings.lateness_ms + settings.gap_ms


def times(settings: Settings, period: Period, now_ms: int) -> tuple[int, int, int]:
    """From when and until when is read, and where the clock stops when the input ends."""
    until_ms = period.to_ms + reach_ms(settings)
    idle_ms = now_ms - settings.out_of_order_ms - settings.idle_lag_ms
    return max(0, period.from_ms - reach_ms(settings)), until_ms, min(until_ms, idle_ms)


def of_kafka(
    client: AdminClient, settings: Settings, period: Period, now_ms: int, *, may_be_empty: bool = False
) -> Plan:
    """What is to be read of the source topics.

    Raises:
        ConfigError: a topic is not there, or, unless that may be, none has a record of the time that is asked for.
        AdminError: Kafka does not answer.
    """
    counts = admin.partition_counts(client, settings.source_topics)
    if missing := set(settings.source_topics) - counts.keys():
        raise ConfigError(
            f"no such topic: {', '.join(sorted(missing))}: "
            "name the topics that your Collectors write with --source-topics"
        )
    read_from_ms, until_ms, clock_ms = times(settings, period, now_ms)
    places = [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]
    lows, highs = admin.earliest_offsets(client, places), admin.end_offsets(client, places)
    begins = admin.offsets_at(client, places, read_from_ms) if read_from_ms else lows
    if not may_be_empty:
        _check_not_empty(client, settings, period, places, lows, highs)
    cut = [place for place in places if lows[_source(place)] > 0 and begins[_source(place)] == lows[_source(place)]]
    gone = tuple(_lost_beginnings(client, settings, cut, read_from_ms, now_ms))
    is_cut = any(begins[source] > lows[source] for source in highs)
    inputs = tuple(Input(*source, counts[source[0]], begins[source], highs[source]) for source in sorted(highs))
    ends = admin.offsets_at(client, places, until_ms)
    expected = sum(max(0, ends[each.source] - each.begin) for each in inputs)
    return Plan(period, inputs, read_from_ms, until_ms, clock_ms, (), expected, gone, is_cut or _is_kept_from(lows))


def _is_kept_from(lows: Mapping[Source, int]) -> bool:
    """Something has been deleted, and if only what came before the time that is read."""
    return any(low > 0 for low in lows.values())


def _check_not_empty(
    client: AdminClient,
    settings: Settings,
    period: Period,
    places: list[TopicPartition],
    lows: Mapping[Source, int],
    highs: Mapping[Source, int],
) -> None:
    firsts = admin.offsets_at(client, places, period.from_ms) if period.from_ms else lows
    ends = admin.offsets_at(client, places, period.to_ms)
    if any(firsts[source] < min(ends[source], highs[source]) for source in highs):
        return
    known_ms = [first_ms for first_ms in admin.first_record_times(client, places).values() if first_ms is not None]
    held = f"its first record is of {iso_ms(min(known_ms))}" if known_ms else "it is empty"
    raise ConfigError(
        f"{', '.join(settings.source_topics)}: Kafka holds no record between {period} ({held}): "
        "ask for another time, or read an archive with --archive"
    )


def _lost_beginnings(
    client: AdminClient, settings: Settings, cut: list[TopicPartition], read_from_ms: int, now_ms: int
) -> Iterable[LostTime]:
    """Where retention has deleted what was to be read."""
    for at, first_ms in admin.first_record_times(client, cut).items():
        # Of an empty partition only its retention tells: what is younger would still be there.
        held_ms = first_ms if first_ms is not None else _kept_from_ms(client, at[0], now_ms)
        if held_ms > read_from_ms:
            yield LostTime(*at, 0, held_ms + settings.out_of_order_ms)


def _kept_from_ms(client: AdminClient, topic: str, now_ms: int) -> int:
    kept_ms = admin.retention_ms(client, topic)
    return now_ms if kept_ms is None else now_ms - kept_ms


def _offsets(share: Iterable[Input]) -> int:
    return sum(each.end - each.begin for each in share)


def _source(at: TopicPartition) -> Source:
    return at.topic, at.partition
