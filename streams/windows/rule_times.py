"""From when each rule may judge.

In: which rule set each section was projected with. Out: the rules that may judge a chain. A rule judges only chains of
which every record was projected with it: their first arrival lies more than gap + lateness behind the record time from
which *every* source partition was projected with the rule. So no rule ever judges a trace it saw half of.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

RulesOf = Callable[[str], frozenset[str]]
"""The fingerprints of the rules in the set with this fingerprint."""


class ProjectedWith(msgspec.Struct, array_like=True, frozen=True):
    """The rule set that a source partition is projected with now."""

    topic: str
    partition: int
    rule_set: str


class RuleTimes(msgspec.Struct, array_like=True):
    """Which set each source partition is projected with.

    `since_ms` is by rule fingerprint: the record time from which the rule is known everywhere. A rule that is not in
    it was there when its sources were first seen.
    """

    sources: list[ProjectedWith] = msgspec.field(default_factory=list)
    since_ms: dict[str, int] = msgspec.field(default_factory=dict)

    def copy(self) -> RuleTimes:
        """These times as they are now."""
        return RuleTimes(list(self.sources), dict(self.since_ms))

    def take_in(self, topic: str, partition: int, rule_set: str, reached_ms: int, rules_of: RulesOf) -> None:
        """From now on the source is projected with `rule_set`; its records so far are not above `reached_ms`."""
        before = self._current(topic, partition)
        if before is not None and before.rule_set == rule_set:
            return
        self.sources = [source for source in self.sources if source is not before]
        self.sources.append(ProjectedWith(topic, partition, rule_set))
        if before is not None:
            for rule in rules_of(rule_set) - rules_of(before.rule_set):
                self.since_ms[rule] = max(self.since_ms.get(rule, reached_ms), reached_ms)

    def judging(self, rules_of: RulesOf, *, chain_first_ms: int, reach_ms: int) -> frozenset[str]:
        """The rules that saw all of a chain that began at `chain_first_ms`; `reach_ms` is gap + lateness."""
        everywhere = self._everywhere(rules_of)
        if not self.since_ms:
            return everywhere
        return frozenset(
            rule
            for rule in everywhere
            if chain_first_ms > self.since_ms.get(rule, chain_first_ms - reach_ms - 1) + reach_ms
        )

    def judges_from(self, rules_of: RulesOf, *, reach_ms: int) -> dict[str, int]:
        """The record time from which on each rule judges all chains that begin, by the rule's fingerprint.

        A rule that does not judge at present is not in it.
        """
        return {
            rule: self.since_ms[rule] + reach_ms + 1 if rule in self.since_ms else 0
            for rule in self._everywhere(rules_of)
        }

    def _everywhere(self, rules_of: RulesOf) -> frozenset[str]:
        rule_sets = {source.rule_set for source in self.sources}
        return frozenset.intersection(*map(rules_of, rule_sets)) if rule_sets else frozenset()

    def _current(self, topic: str, partition: int) -> ProjectedWith | None:
        return next((at for at in self.sources if (at.topic, at.partition) == (topic, partition)), None)
