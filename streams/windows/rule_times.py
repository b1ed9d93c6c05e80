"""Tracks from when each rule may judge.

In: the rule set that each section was projected with, and since when. Out: the rules that may judge a chain. A rule
judges only chains of which every record was projected with it: the trace was first seen more than gap + lateness after
the record time from which *every* source partition was projected with the rule, and after any records that were missing
when reading began. So no rule ever judges a trace that it saw only in part.

Ingest puts these times into its sections, the same for every facts partition, so a rule begins to judge everywhere at
the same record time.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from topics.records.facts import TICK_MS

RulesOf = Callable[[str], frozenset[str]]
"""Returns the fingerprints of the rules in the set with a given fingerprint."""


class ProjectedWith(msgspec.Struct, array_like=True, frozen=True):
    """The rule set that a source partition is projected with now, and the previous one, None for the first.

    An earlier version listed the rules that were new in the set; with thousands of rules and many source partitions,
    that exceeded the size of a Kafka record.
    """

    topic: str
    partition: int
    rule_set: str
    before: str | list[str] | None = None

    def added(self, rules_of: RulesOf) -> frozenset[str]:
        """Return the rules that the previous set did not have."""
        if self.before is None or isinstance(self.before, list):
            return frozenset(self.before or ())
        return rules_of(self.rule_set) - rules_of(self.before)


class RuleTimes(msgspec.Struct, array_like=True, dict=True):
    """The rule set that each source partition is projected with.

    `since_ms` is by rule fingerprint: the record time from which every source is projected with the rule. A rule that
    is not listed was active when its sources were first seen. `missing_until_ms` is the record time up to which records
    may be missing because reading did not start at the beginning of a log; None if none are.
    """

    sources: list[ProjectedWith] = msgspec.field(default_factory=list)
    since_ms: dict[str, int] = msgspec.field(default_factory=dict)
    missing_until_ms: int | None = None

    def copy(self) -> RuleTimes:
        """Return a copy that later changes do not affect."""
        return RuleTimes(list(self.sources), dict(self.since_ms), self.missing_until_ms)

    def note_projection(self, topic: str, partition: int, rule_set: str, reached_ms: int, rules_of: RulesOf) -> None:
        """Record that a source is projected with `rule_set`; only records up to `reached_ms` had another set.

        A later time for the same set counts: the ingest worker that took over may know of records that were sent only
        to other facts partitions.
        """
        current = self._current(topic, partition)
        if current is None or current.rule_set != rule_set:
            current = ProjectedWith(topic, partition, rule_set, None if current is None else current.rule_set)
            self._put(current)
        for rule in current.added(rules_of):
            self.since_ms[rule] = max(self.since_ms.get(rule, reached_ms), reached_ms)

    def knows(self, topic: str, partition: int) -> bool:
        """Return whether a section of the source was applied."""
        return self._current(topic, partition) is not None

    def note_missing(self, until_ms: int) -> None:
        """Record that records up to this time may be missing because reading started after them."""
        self.missing_until_ms = until_ms if self.missing_until_ms is None else max(self.missing_until_ms, until_ms)

    @property
    def rule_sets(self) -> frozenset[str]:
        """The rule sets that source partitions are projected with now."""
        rule_sets: frozenset[str] | None = self.__dict__.get("rule_sets")
        if rule_sets is None:
            rule_sets = self.__dict__["rule_sets"] = frozenset(source.rule_set for source in self.sources)
        return rule_sets

    def half_seen_until_ms(self, *, reach_ms: int) -> int | None:
        """Return the last time at which a trace may begin that some rule does not judge; None when there is none."""
        times_ms = [*self.since_ms.values(), *([] if self.missing_until_ms is None else [self.missing_until_ms])]
        return max(times_ms) + reach_ms if times_ms else None

    def judges_from(self, rules_of: RulesOf, *, reach_ms: int) -> dict[str, int]:
        """Return, by fingerprint, the record time from which a trace must begin for a rule to judge it; 0 is any."""
        return {rule: self._judges_from_tick(rule, reach_ms) * TICK_MS for rule in self._everywhere(rules_of)}

    def judging(self, rules_of: RulesOf, *, chain_first_ms: int, reach_ms: int) -> frozenset[str]:
        """Return the rules that saw all of a trace that began at `chain_first_ms`; `reach_ms` is gap + lateness."""
        everywhere = self._everywhere(rules_of)
        if not self.since_ms and self.missing_until_ms is None:
            return everywhere
        tick = chain_first_ms // TICK_MS
        return frozenset(rule for rule in everywhere if tick >= self._judges_from_tick(rule, reach_ms))

    def _judges_from_tick(self, rule: str, reach_ms: int) -> int:
        times_ms = [time_ms for time_ms in (self.since_ms.get(rule), self.missing_until_ms) if time_ms is not None]
        return (max(times_ms) + reach_ms) // TICK_MS + 1 if times_ms else 0

    def _everywhere(self, rules_of: RulesOf) -> frozenset[str]:
        rule_sets = self.rule_sets
        return frozenset.intersection(*map(rules_of, rule_sets)) if rule_sets else frozenset()

    def _current(self, topic: str, partition: int) -> ProjectedWith | None:
        index = self._indexes().get((topic, partition))
        return None if index is None else self.sources[index]

    def _put(self, source: ProjectedWith) -> None:
        key, indexes = (source.topic, source.partition), self._indexes()
        if key in indexes:
            self.sources[indexes[key]] = source
        else:
            indexes[key] = len(self.sources)
            self.sources.append(source)
        self.__dict__.pop("rule_sets", None)

    def _indexes(self) -> dict[tuple[str, int], int]:
        """Return the index of each source in `sources`; a linear search for each of thousands would take minutes."""
        indexes: dict[tuple[str, int], int] | None = self.__dict__.get("indexes")
        if indexes is None:
            indexes = {(at.topic, at.partition): index for index, at in enumerate(self.sources)}
            self.__dict__["indexes"] = indexes
        return indexes
