"""What sessions says on `betrace.verdicts`: counts after each step, and a coverage record each minute.

In: outcomes, facts messages and the clock, as values. Out: the records of `topics.records.verdicts`. Pure but for its
own sums.

What must hold for coverage: the sums since the last record are of facts messages from its `facts_to` on. So a worker
that takes over reads the facts from there, or from below, again; messages below are passed over here. Then nothing but
where that record ends, and how many windows closed since, must be remembered (`Covered`).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from streams.sessions.distinct import DistinctTraces
from topics.records.facts import TOUCH_BYTES, Facts, Section
from topics.records.verdicts import COVERAGE_EVERY_MS, HASH_BYTES, LEAVES_LIMIT, Coverage, SourceCoverage, VerdictCounts

_TRACE_ID_BYTES = 16


class VerdictTally:
    """The verdicts that one facts partition gave since the last step."""

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._counts: dict[tuple[str, str], dict[str, int]] = {}
        self._leaves: dict[tuple[str, str], list[bytes]] = {}

    def add(
        self, rule: str, fingerprint: str, *, verdict: str, previous: str | None, excepted: int, leaf: bytes | None
    ) -> None:
        """Adds what one rule says of one chain.

        `previous` is the verdict it takes back, `excepted` a delta, `leaf` the hash of the verdict (`Leaf.hash`), None
        for a trace that the rule is not about. A verdict that stays as it was changes no count and has no leaf.
        """
        counts = self._counts.setdefault((rule, fingerprint), {})
        counts["excepted"] = counts.get("excepted", 0) + excepted
        if verdict == previous:
            return
        counts[verdict] = counts.get(verdict, 0) + 1
        if previous is not None:
            counts[previous] = counts.get(previous, 0) - 1
        if leaf is not None:
            self._leaves.setdefault((rule, fingerprint), []).append(leaf)

    def take(self, clock_ms: int) -> Iterator[VerdictCounts]:
        """The records of the step that ends now, one or more for each rule, and begins anew."""
        counts, self._counts = self._counts, {}
        leaves, self._leaves = self._leaves, {}
        for rule, deltas in counts.items():
            hashes = b"".join(leaves.get(rule, ()))
            step_bytes = LEAVES_LIMIT * HASH_BYTES
            for begin in range(0, max(1, len(hashes)), step_bytes):
                yield VerdictCounts(
                    rule=rule[0],
                    rule_fingerprint=rule[1],
                    partition=self._partition,
                    clock_ms=clock_ms,
                    leaves=hashes[begin : begin + step_bytes],
                    # All of them once: the other records bring leaves alone.
                    **deltas if begin == 0 else {},
                )


class CoveredSource(msgspec.Struct, frozen=True, array_like=True):
    """Up to where a source partition is in coverage records."""

    topic: str
    partition: int
    epoch: int
    to_offset: int


class Covered(msgspec.Struct, frozen=True, array_like=True):
    """Where the last coverage record of a facts partition ends; it is remembered with the partition's checkpoint.

    `windows_judged` closed since then: their facts may lie so far back that reading again would not close them again.
    """

    to_ms: int
    facts_to: int
    sources: list[CoveredSource]
    windows_judged: int = 0


class CoverageTally:
    """The input of one facts partition since its last coverage record, from facts offset `facts_from` on.

    `covered` is where that record ends, None before the first.
    """

    def __init__(self, partition: int, begin_offset: int, covered: Covered | None = None) -> None:
        self.covered = covered
        self.facts_from = begin_offset if covered is None else covered.facts_to
        self._partition = partition
        self._covered = {(at.topic, at.partition): at for at in covered.sources} if covered else {}
        self._begin_again(0 if covered is None else covered.windows_judged)

    @property
    def so_far(self) -> Covered | None:
        """What is to be remembered now; None before the first record."""
        return self.covered and msgspec.structs.replace(self.covered, windows_judged=self._windows_judged)

    def apply(self, facts_offset: int, message: Facts, windows_judged: int) -> None:
        """Takes in a facts message; what a record has already is passed over.

        `windows_judged` closed by it for the first time: those that `covered` counts are not among them.
        """
        if facts_offset < self.facts_from:
            return
        self._windows_judged += windows_judged
        self._rule_sets.add(message.rules)
        for section in message.sections:
            self._traces.add(entry.trace_id for entry in section.entries)
            touches = section.touches
            self._traces.add(touches[at : at + _TRACE_ID_BYTES] for at in range(0, len(touches), TOUCH_BYTES))
            self._apply_section(section)

    def is_due(self, clock_ms: int | None) -> bool:
        """A minute of record time has gone since the last record; the clock goes on when all is idle."""
        if clock_ms is None:
            return False
        return self.covered is None or clock_ms >= self.covered.to_ms + COVERAGE_EVERY_MS

    def is_owed(self, clock_ms: int | None, facts_to: int) -> bool:
        """Something was judged since the last record that a last one can tell of."""
        if clock_ms is None or facts_to <= self.facts_from:
            return False
        return self.covered is None or clock_ms > self.covered.to_ms

    def take(self, clock_ms: int, facts_to: int) -> Coverage:
        """The record of all that was applied, facts messages below `facts_to`, and begins anew."""
        record = Coverage(
            partition=self._partition,
            from_ms=None if self.covered is None else self.covered.to_ms,
            to_ms=clock_ms,
            facts_from=self.facts_from,
            facts_to=facts_to,
            sources=[self._sources[source] for source in sorted(self._sources)],
            rule_sets=sorted(self._rule_sets),
            windows_judged=self._windows_judged,
            traces_seen_estimate=self._traces.estimate(),
        )
        for source in record.sources:
            at = CoveredSource(source.topic, source.partition, source.epoch, source.to_offset)
            self._covered[source.topic, source.partition] = at
        self.facts_from = facts_to
        self.covered = Covered(clock_ms, facts_to, [self._covered[source] for source in sorted(self._covered)])
        self._begin_again(0)
        return record

    def _begin_again(self, windows_judged: int) -> None:
        self._sources: dict[tuple[str, int, int], SourceCoverage] = {}
        self._rule_sets: set[str] = set()
        self._windows_judged = windows_judged
        self._traces = DistinctTraces()

    def _apply_section(self, section: Section) -> None:
        key = (section.topic, section.partition, section.epoch)
        before = self._sources.get(key)
        covered = self._covered.get((section.topic, section.partition))
        if covered is not None and section.epoch < covered.epoch:
            # An ingest that was long replaced says nothing new.
            return
        if before is not None:
            begin, end = before.from_offset, before.to_offset
        elif covered is not None and covered.epoch == section.epoch:
            begin = end = covered.to_offset
        else:
            begin = end = section.from_offset
        # A section may overlap the one before it, and then says again what was lost and dead there.
        lost = {(lost_from, lost_to) for lost_from, lost_to in section.lost if lost_to > end}
        self._sources[key] = SourceCoverage(
            topic=section.topic,
            partition=section.partition,
            epoch=section.epoch,
            from_offset=begin,
            to_offset=max(end, section.to_offset),
            lost=sorted({*(before.lost if before else ()), *lost}),
            dead_letters=_added(before.dead_letters if before else 0, _dead_letters(section, end)),
        )


def _dead_letters(section: Section, begin: int) -> int | None:
    """How many dead letters a section tells of from offset `begin` on; None when it does not say."""
    if section.to_offset <= begin:
        return 0
    if section.dead_letters is None:
        return None
    return sum(max(0, to - max(from_, begin)) for from_, to in section.dead_letters)


def _added(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
