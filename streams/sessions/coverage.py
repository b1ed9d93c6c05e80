"""The input of sessions, as reported on `betrace.verdicts`: a coverage record each minute.

In: facts messages and the clock, as values. Out: `topics.records.verdicts.Coverage`. Pure except for its own sums.

Invariant: the sums since the last record cover the facts messages from its `facts_to` on. A worker that takes over
therefore reads the facts again from there or below; messages below are ignored here. So only the end of that record,
and the number of windows closed since, must be stored (`Covered`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from dsl import Mode, RuleSet
from topics.distinct import DistinctTraces
from topics.records.facts import TOUCH_BYTES, Facts, Section
from topics.records.verdicts import (
    COVERAGE_EVERY_MS,
    SERVICES_LIMIT,
    Counted,
    Coverage,
    JudgingRule,
    RuleMode,
    SourceCoverage,
    judging_hash,
)

_TRACE_ID_BYTES = 16
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """How far a facts partition has judged when its coverage record is made, and with which rules.

    Every chain that began before record time `settled_ms` has its verdicts; those of chains that began before
    `final_ms` can no longer be amended.
    """

    generation: int
    clock_ms: int
    settled_ms: int
    final_ms: int
    rules: Sequence[JudgingRule]
    counted: Counted


class CoveredSource(msgspec.Struct, frozen=True, array_like=True):
    """Up to where coverage records cover a source partition."""

    topic: str
    partition: int
    epoch: int
    to_offset: int


class Covered(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Where the last coverage record of a facts partition ends; stored in the partition's checkpoint.

    `windows_judged` closed since then: their facts may lie so far back that a worker that takes over does not close
    them again. `generation` is the record's, `start_ms` the record time from which that generation has every record,
    `settled_ms` where its chains are settled. `replay` is the highest one seen (`topics.records.facts.Section`),
    `reached_ms` the highest clock of any earlier generation.
    """

    to_ms: int
    facts_to: int
    sources: list[CoveredSource]
    windows_judged: int
    generation: int
    settled_ms: int
    start_ms: int | None
    replay: int
    reached_ms: int


def published_ends(counted: Counted, covered: Covered | None) -> tuple[object, ...]:
    """Return where the chain of counts and the coverage end, to compare a checkpoint with store or verdicts."""
    end = None if covered is None else (covered.generation, covered.to_ms, covered.facts_to, covered.settled_ms)
    return counted.seq, counted.head, end


def judging_rules(sets: Iterable[RuleSet], judges_from: Mapping[str, int], least_ms: int) -> list[JudgingRule]:
    """Return the rules of these sets that judge, with the times in `judges_from`, but none before `least_ms`.

    A rule that is live in one set and shadow in another is omitted: the time of the change is not known.
    """
    modes: dict[tuple[str, str], set[RuleMode]] = {}
    for rule in (rule for each in sets for rule in each.rules if rule.enabled):
        modes.setdefault((rule.id, rule.fingerprint), set()).add("live" if rule.mode is Mode.LIVE else "shadow")
    return [
        JudgingRule(rule, fingerprint, min(names), max(judges_from[fingerprint], least_ms))
        for (rule, fingerprint), names in sorted(modes.items())
        if fingerprint in judges_from and len(names) == 1
    ]


class CoverageTally:
    """The input of one facts partition since its last coverage record, from facts offset `facts_from` on.

    `covered` is where that record ends, None before the first one.
    """

    def __init__(self, partition: int, begin_offset: int, covered: Covered | None = None) -> None:
        self.covered = covered
        self.facts_from = begin_offset if covered is None else covered.facts_to
        self._partition = partition
        self._covered = {(at.topic, at.partition): at for at in covered.sources} if covered else {}
        self._replay = 0 if covered is None else covered.replay
        self._start_ms: int | None = None
        self._missing_until_ms: int | None = None
        self.reached_ms = 0 if covered is None else covered.reached_ms
        self._judged_with: frozenset[str] | None = None
        """The rule sets of the last record, None in a worker that has just taken over."""
        self._listed: tuple[int, str] | None = None
        """The hour and the hash of the rules that were listed last."""
        self._reset(0 if covered is None else covered.windows_judged)

    @property
    def current(self) -> Covered | None:
        """What a checkpoint must store now, None before the first record."""
        return self.covered and msgspec.structs.replace(
            self.covered, windows_judged=self._windows_judged, reached_ms=self.reached_ms
        )

    def note_missing(self, until_ms: int | None) -> None:
        """Set the record time up to which records may be missing because reading began after them; None: not known."""
        self._missing_until_ms = until_ms

    def reach(self, clock_ms: int) -> None:
        """Record the last clock of a generation that ends because everything is read again."""
        self.reached_ms = max(self.reached_ms, clock_ms)

    def apply(self, facts_offset: int, message: Facts, windows_judged: int) -> None:
        """Add a facts message, unless a record has it already.

        `windows_judged` is the number of windows that it closed for the first time, without those that `covered`
        counts.
        """
        if facts_offset < self.facts_from:
            return
        self._windows_judged += windows_judged
        self._rule_sets.add(message.rules)
        if len(self._services) <= SERVICES_LIMIT:
            self._services.update(message.services)
        self._has_more_services |= message.has_more_services
        for section in message.sections:
            self._note_start(section)
            self._traces.add(entry.trace_id for entry in section.entries)
            touches = section.touches
            self._traces.add(touches[at : at + _TRACE_ID_BYTES] for at in range(0, len(touches), TOUCH_BYTES))
            self._apply_section(section)

    def is_due(self, clock_ms: int | None, generation: int) -> bool:
        """Return whether a minute of record time has passed since the last record; the clock also advances when idle.

        A record is also due as soon as other rules judge or everything is read again, so that few records span two rule
        sets, and none spans two generations.
        """
        if clock_ms is None:
            return False
        if self.covered is None or self.covered.generation != generation:
            return True
        is_minute = clock_ms >= self.covered.to_ms + COVERAGE_EVERY_MS
        return is_minute or (clock_ms > self.covered.to_ms and self._has_other_rules())

    def has_unreported(self, clock_ms: int | None, facts_to: int) -> bool:
        """Return whether anything was judged since the last record that a final record can report."""
        if clock_ms is None or facts_to <= self.facts_from:
            return False
        return self.covered is None or clock_ms > self.covered.to_ms

    @property
    def rule_sets(self) -> frozenset[str]:
        """The rule sets with which the input since the last record was projected."""
        return frozenset(self._rule_sets)

    def start(self, generation: int, clock_ms: int) -> int | None:
        """Return the time from which a generation has every record, None for the first; `clock_ms` is the clock.

        The first record of a generation decides: sources that are idle by then will not get earlier records.
        """
        if not generation:
            return None
        if self.covered is not None and self.covered.generation == generation:
            return self.covered.start_ms
        if self._start_ms is not None:
            return self._start_ms
        return clock_ms if self._missing_until_ms is None else self._missing_until_ms

    def take(self, judging: Judging, facts_to: int) -> Coverage:
        """Return the record of everything applied, facts messages below `facts_to`, and start the next one."""
        before = self.covered if self.covered and self.covered.generation == judging.generation else None
        start_ms = self.start(judging.generation, judging.clock_ms)
        settled_ms = judging.settled_ms if before is None else max(before.settled_ms, judging.settled_ms)
        rules = [*judging.rules]
        record = Coverage(
            partition=self._partition,
            generation=judging.generation,
            reset_ms=self._replay if judging.generation and self._replay else None,
            start_ms=start_ms,
            from_ms=None if before is None else before.to_ms,
            to_ms=judging.clock_ms,
            settled_from_ms=None if before is None else before.settled_ms,
            settled_to_ms=settled_ms,
            final_to_ms=min(judging.final_ms, settled_ms),
            facts_from=self.facts_from,
            facts_to=facts_to,
            sources=[self._sources[source] for source in sorted(self._sources)],
            rule_sets=sorted(self._rule_sets),
            judging=(rules_hash := judging_hash(rules)),
            rules=rules if self._lists_rules(judging.clock_ms, rules_hash) else None,
            windows_judged=self._windows_judged,
            traces_seen_estimate=self._traces.estimate(),
            traces_seen_sketch=self._traces.encode(),
            counted=judging.counted,
            services=sorted(self._services)[:SERVICES_LIMIT],
            has_more_services=self._has_more_services or len(self._services) > SERVICES_LIMIT,
        )
        for source in record.sources:
            at = CoveredSource(source.topic, source.partition, source.epoch, source.to_offset)
            self._covered[source.topic, source.partition] = at
        self.facts_from = facts_to
        ends = [self._covered[source] for source in sorted(self._covered)]
        self.covered = Covered(
            to_ms=judging.clock_ms,
            facts_to=facts_to,
            sources=ends,
            windows_judged=0,
            generation=judging.generation,
            settled_ms=settled_ms,
            start_ms=start_ms,
            replay=self._replay,
            reached_ms=self.reached_ms,
        )
        self._judged_with = self.rule_sets or self._judged_with
        self._reset(0)
        return record

    def _lists_rules(self, clock_ms: int, rules_hash: str) -> bool:
        """Return whether to list the rules, because this worker has not listed the same ones in this hour."""
        before, self._listed = self._listed, (clock_ms // _HOUR_MS, rules_hash)
        return before != self._listed

    def _has_other_rules(self) -> bool:
        return self._judged_with is not None and not self._rule_sets <= self._judged_with

    def _note_start(self, section: Section) -> None:
        """Track where a replay starts: it is complete from the latest start of any source."""
        if section.replay > self._replay:
            self._replay, self._start_ms = section.replay, None
        if section.replay == self._replay and section.start_ms is not None:
            self._start_ms = max(section.start_ms, self._start_ms or 0)

    def _reset(self, windows_judged: int) -> None:
        self._sources: dict[tuple[str, int, int], SourceCoverage] = {}
        self._rule_sets: set[str] = set()
        self._services: set[str] = set()
        self._has_more_services = False
        self._windows_judged = windows_judged
        self._traces = DistinctTraces()

    def _apply_section(self, section: Section) -> None:
        key = (section.topic, section.partition, section.epoch)
        before = self._sources.get(key)
        covered = self._covered.get((section.topic, section.partition))
        if covered is not None and section.epoch < covered.epoch:
            # An ingest worker that was replaced long ago has nothing new.
            return
        if before is not None:
            start, end = before.from_offset, before.to_offset
        elif covered is not None and covered.epoch == section.epoch:
            start = end = covered.to_offset
        else:
            start = end = section.from_offset
        # A section may overlap the previous one, and then repeats its losses and dead letters.
        lost = {(lost_from, lost_to) for lost_from, lost_to in section.lost if lost_to > end}
        if section.from_offset > end:
            # The facts in between are gone: nobody judges their records.
            lost.add((end, section.from_offset))
            end = section.from_offset
        self._sources[key] = SourceCoverage(
            topic=section.topic,
            partition=section.partition,
            epoch=section.epoch,
            from_offset=start,
            to_offset=max(end, section.to_offset),
            lost=sorted({*(before.lost if before else ()), *lost}),
            dead_letters=_sum(before.dead_letters if before else 0, _dead_letters(section, end)),
        )


def _dead_letters(section: Section, from_offset: int) -> int | None:
    """Return the number of dead letters in a section from `from_offset` on, None when it is not known."""
    if section.to_offset <= from_offset:
        return 0
    if section.dead_letters is None:
        return None
    return sum(max(0, to - max(from_, from_offset)) for from_, to in section.dead_letters)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
