"""Makes the records of one hour of one facts partition: its signals, its counts, and its coverage. Pure.

In: the outcomes of the chains that began in the hour. Out: records, to be published in one transaction. The last one, a
coverage record, marks how far the backfill is: if it is on the topic, so are all the others.

Records are in the order of the hours: counts are a chain, and coverage continues where it ended, as in live
(`topics.records.verdicts`). The same outcomes give the same records, except for the wall clock.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from dsl import Mode
from streams.backfill.plan import Backfill
from streams.backfill.verdict_log import PartitionDone
from streams.config.settings import Settings
from streams.replay.plan import Plan, reach_ms
from streams.replay.selection import CountedOutcome, HalfSeen
from streams.replay.source_reader import EPOCH, HOUR_MS, HourRead
from streams.sessions.counts import CountsKey, VerdictTally, minute_start_ms
from streams.windows.clock import Source
from topics.records import signals, verdicts
from topics.records.facts import TICK_MS
from topics.records.verdicts import Backfilled, Counted, Coverage, JudgingRule, SourceCoverage, judging_hash

_ALL_HOURS = 1 << 62
"""Whatever time a record claims."""


@dataclass(slots=True)
class HourOutcomes:
    """The outcomes of an hour of a facts partition; `unfinished` are traces that had not ended with the input."""

    outcomes: list[CountedOutcome] = field(default_factory=list)
    half_seen: set[bytes] = field(default_factory=set)
    unfinished: set[bytes] = field(default_factory=set)

    def add_half_seen(self, each: HalfSeen) -> None:
        """Add a trace that is not judged."""
        self.half_seen.add(each.trace_id)


class ReadHours:
    """What was read of each source, by the hour of record time; `take` while reading, `up_to` for hours in order."""

    def __init__(self) -> None:
        self._waiting: defaultdict[int, dict[Source, HourRead]] = defaultdict(dict)
        self._to_offsets: dict[Source, int] = {}
        self._unreadable: list[tuple[int, Source, int]] = []

    def take(self, source: Source, hour_ms: int, read: HourRead) -> None:
        """Add what a reader read of an hour."""
        hour = self._waiting[hour_ms]
        hour[source] = hour.get(source, HourRead(0, 0)).plus(read)

    def up_to(self, hour_ms: int, after_ms: int) -> dict[Source, HourRead]:
        """Return how far each source is read with this hour, and what was unreadable in the hours after `after_ms`."""
        for hour in [hour for hour in self._waiting if hour <= hour_ms]:
            for source, read in self._waiting.pop(hour).items():
                self._to_offsets[source] = max(read.to_offset, self._to_offsets.get(source, 0))
                if read.unreadable:
                    self._unreadable.append((hour, source, read.unreadable))
        counts: Counter[Source] = Counter()
        for hour, source, count in self._unreadable:
            if after_ms < hour <= hour_ms:
                counts[source] += count
        return {source: HourRead(offset, counts[source]) for source, offset in self._to_offsets.items()}


@dataclass(slots=True)
class HourRecords:
    """The records of an hour: `verdicts` with their keys, in order; `verdict_counts` is for display."""

    signals: list[signals.Record] = field(default_factory=list)
    verdicts: list[tuple[bytes | None, bytes]] = field(default_factory=list)
    verdict_counts: Counter[str] = field(default_factory=Counter)
    withheld: int = 0


class PartitionHours:
    """Makes the records of one facts partition, hour by hour; `done` is what is published already."""

    def __init__(self, number: int, settings: Settings, backfill: Backfill, plan: Plan, by: str) -> None:
        self.done: PartitionDone | None = backfill.done.get(number)
        self._number = number
        self._backfill = backfill
        self._plan = plan
        self._by = by
        self._reach_ms = reach_ms(settings)
        self._last_hour_ms = backfill.selection.last_hours().get(number)
        self._from_ms = judged_from_ms(settings, backfill, plan)
        limit = settings.signals_per_hour
        self._limit = None if limit is None else max(1, limit // backfill.selection.partition_count)

    def left(self) -> list[int]:
        """Return the starts of the hours that are not published yet."""
        return self._backfill.hours(self._number, self._from_ms)

    def records(self, hour_ms: int, outcomes: HourOutcomes, read: ReadHours, now_ms: int) -> HourRecords:
        """Return the records of the next hour; `now_ms` is the wall clock."""
        made = HourRecords()
        clock_ms = hour_ms + HOUR_MS + self._reach_ms
        tally = VerdictTally(self._number, self.done.counted if self.done else Counted(), self._backfill.origin)
        windows = self._count(tally, outcomes.outcomes, made)
        for counts, value in tally.take(clock_ms):
            made.verdicts.append((counts.rule.encode(), value))
        left_out = Backfilled(
            by=self._by, made_ms=now_ms, half_seen=len(outcomes.half_seen), unfinished=len(outcomes.unfinished)
        )
        # The last hour is made when all is read: what came after it was read for its chains too.
        is_last = hour_ms == self._last_hour_ms
        after_ms = -1 if self.done is None else (self.done.settled_to_ms - 1) // HOUR_MS * HOUR_MS
        sources = [*self._sources(read.up_to(_ALL_HOURS if is_last else hour_ms, after_ms))]
        for from_ms, to_ms, judging in self._backfill.intervals(self._number, hour_ms, self._from_ms):
            record = self._coverage(from_ms, to_ms, clock_ms, judging, tally.counted)
            record = replace(record, sources=sources, windows_judged=windows, backfill=left_out)
            made.verdicts.append((None, verdicts.encode(record)))
            self._note(record)
            # What concerns the hour as a whole is reported once.
            sources, windows, left_out = [], 0, Backfilled(by=self._by, made_ms=now_ms)
        return made

    def _count(self, tally: VerdictTally, outcomes: Iterable[CountedOutcome], made: HourRecords) -> int:
        """Count outcomes, in their order, and return the number of their windows."""
        windows: set[tuple[bytes, int]] = set()
        published: Counter[str] = Counter()
        withheld: set[str] = set()
        for each in sorted(outcomes, key=lambda each: each[:9]):
            windows.add((each.trace_id, each.window_first_ms))
            key = CountsKey(0, each.rule, each.fingerprint, each.mode, minute_start_ms(each.first_ms))
            tally.add(
                key,
                verdict=each.verdict,
                previous=each.previous,
                excepted=each.excepted,
                leaf=each.leaf,
                retraction=each.retraction,
            )
            if each.verdict != each.previous:
                made.verdict_counts[each.verdict] += 1
                if each.previous is not None:
                    made.verdict_counts[each.previous] -= 1
            if each.record is None or each.uid is None or each.uid in withheld:
                continue
            is_first = each.revision == 1
            published[each.rule] += is_first
            is_published = self._limit is None or not is_first or published[each.rule] <= self._limit
            tally.note_signal(is_published=is_published)
            if is_published:
                made.signals.append(each.record)
            else:
                # Amendments of a withheld signal are withheld too.
                withheld.add(each.uid)
                made.withheld += 1
        return len(windows)

    def _coverage(self, from_ms: int, to_ms: int, clock_ms: int, judging: Sequence[str], counted: Counted) -> Coverage:
        begin_ms = self._backfill.begin_ms
        rules = [
            JudgingRule(rule.id, rule.fingerprint, "live" if rule.mode is Mode.LIVE else "shadow", begin_ms)
            for rule in sorted(self._backfill.rules.rules, key=lambda rule: rule.id)
            if rule.enabled and rule.fingerprint in judging
        ]
        return Coverage(
            origin=self._backfill.origin,
            partition=self._number,
            from_ms=self._plan.read_from_ms if self.done is None else self.done.to_ms,
            to_ms=clock_ms,
            settled_from_ms=from_ms,
            settled_to_ms=to_ms,
            final_to_ms=to_ms,
            facts_from=0,
            facts_to=0,
            sources=[],
            rule_sets=[self._backfill.rules.fingerprint],
            judging=judging_hash(rules),
            rules=rules,
            windows_judged=0,
            traces_seen_estimate=0,
            traces_seen_sketch=b"",
            counted=counted,
        )

    def _sources(self, read: Mapping[Source, HourRead]) -> Iterable[SourceCoverage]:
        """Yield each source, continued where it ended; omit those that were not read."""
        start_offsets = {each.source: each.begin for each in self._plan.inputs}
        before = self.done.read_to if self.done else {}
        for source in sorted(start_offsets):
            offset = before.get(source, start_offsets[source])
            now = read.get(source, HourRead(offset, 0))
            yield SourceCoverage(
                topic=source[0],
                partition=source[1],
                epoch=EPOCH,
                from_offset=offset,
                to_offset=max(offset, now.to_offset),
                dead_letters=now.unreadable,
            )

    def _note(self, record: Coverage) -> None:
        if self.done is None:
            self.done = PartitionDone(
                begin_ms=self._backfill.begin_ms,
                counted=record.counted,
                to_ms=record.to_ms,
                settled_to_ms=record.settled_to_ms,
            )
        self.done.add(record)


def judged_from_ms(settings: Settings, backfill: Backfill, plan: Plan) -> int:
    """Return the time from which every chain is judged; earlier ones may have begun before what is read."""
    if plan.edge_ms is None:
        return backfill.begin_ms
    half_seen_ms = plan.edge_ms + settings.gap_ms + settings.lateness_ms
    return max(backfill.begin_ms, (half_seen_ms // TICK_MS + 1) * TICK_MS)
