"""Sums up withheld findings: one summary for each rule and hour, over all facts partitions and workers.

In: the findings that this facts partition withheld, and the checkpoints of other facts partitions. Out: what this
partition's checkpoint must store and, in the facts partition that publishes, the summaries that are due.

Each facts partition counts what it withheld, by rule and hour, and puts the counts into its checkpoint together with
the hour that its clock has reached: it withholds nothing more of an earlier hour. Facts partition 0 publishes. Once
every facts partition has left an hour, the counts of that hour are final. Partition 0 adds them up, publishes a summary
for each rule and, in the same transaction, stores the hour up to which it has done so in its own checkpoint
(`summarized_to`). The other partitions read that, and forget the counts.

Invariants: a summary follows from the records alone, because final counts do; each rule and hour has one summary,
because `summarized_to` moves in the transaction of the summaries; and none is missing, because no count is forgotten
before `summarized_to` has passed it. A crash at any point loses nothing that a checkpoint does not have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from topics.records.checkpoints import Checkpoint, FirstWithheld, Hour, Withheld
from topics.signals.finding import HOUR_MS, Finding, RuleText

PUBLISHER = 0
"""The facts partition that publishes all summaries."""


class Summaries:
    """What one facts partition withheld, and what it knows of the others.

    `log` is the topic id of the facts log, `last` the partition's last checkpoint, of any log. Without a limit on
    signals (`is_limited`) no checkpoints are required, unless there was a limit before: what was withheld then is still
    due.
    """

    def __init__(
        self, number: int, partitions: int, log: str, last: Checkpoint | None, *, is_limited: bool = True
    ) -> None:
        self.summarized_to = None if last is None else last.summarized_to
        if is_limited and self.summarized_to is None and number == PUBLISHER:
            self.summarized_to = Hour(log, 0, 0)
        self._withheld = {} if last is None else {(each.hour, each.rule): each for each in last.withheld}
        self._number = number
        self._other_numbers = frozenset(range(partitions)) - {number}
        self._log = log
        self._others: Mapping[int, Checkpoint | None] = {}

    @property
    def withheld(self) -> list[Withheld]:
        """What must be stored: everything withheld that may not have been summarized yet."""
        return [*self._withheld.values()]

    def add(self, hour: Hour, finding: Finding, rule_set: str) -> None:
        """Count a finding that is withheld in an hour; `rule_set` is the fingerprint of a set that has its rule."""
        key = (hour, finding.rule.id)
        before = self._withheld.get(key)
        if before is None:
            self._withheld[key] = Withheld(hour, finding.rule.id, 1, _first(self._number, hour, finding, rule_set))
        else:
            self._withheld[key] = msgspec.structs.replace(before, count=before.count + 1)

    def required_checkpoints(self, reached: Hour) -> frozenset[int]:
        """Return the partitions whose checkpoints are required now; `reached` is the hour of this partition's clock."""
        if self._number == PUBLISHER:
            is_due = self.summarized_to is not None and _order(self.summarized_to, self._log) < _order(reached)
            return self._other_numbers if is_due else frozenset()
        waits = any(_is_over(each.hour, reached) for each in self._withheld.values())
        return frozenset({PUBLISHER}) if waits else frozenset()

    def receive_checkpoints(self, checkpoints: Mapping[int, Checkpoint | None]) -> None:
        """Take in the last checkpoints of the required partitions; None stands for a partition without one."""
        if self._number == PUBLISHER:
            self._others = checkpoints
            return
        publisher = checkpoints.get(PUBLISHER)
        if publisher is not None and publisher.summarized_to is not None:
            self._forget(publisher.summarized_to)

    def take(self, reached: Hour) -> list[Withheld]:
        """Return the sums of every rule and hour to publish now, in order; always empty in the other partitions.

        They count as published from here on: if the transaction fails, discard this object.
        """
        if self.summarized_to is None or self._number != PUBLISHER:
            return []
        others = [each for number in self._other_numbers if (each := self._others.get(number)) is not None]
        ends = [other.reached for other in others if other.topic_id == self._log and other.reached is not None]
        if len(ends) < len(self._other_numbers):
            # A facts partition has no checkpoint of this log yet, or its worker is of an earlier version.
            return []
        to = min([reached, *ends], key=_order)
        if _order(to) <= _order(self.summarized_to, self._log):
            return []
        withheld = [*self._withheld.values(), *(each for other in others for each in other.withheld)]
        due = [each for each in withheld if _is_over(each.hour, to) and not self._is_summarized(each.hour)]
        self._others = {}
        self._forget(to)
        self.summarized_to = to
        return _sums(due)

    def _forget(self, summarized_to: Hour) -> None:
        self.summarized_to = summarized_to
        self._withheld = {key: each for key, each in self._withheld.items() if not self._is_summarized(each.hour)}

    def _is_summarized(self, hour: Hour) -> bool:
        """Return whether the summaries of an hour have been published.

        When the publisher reaches the first hour of the current log, every hour of an earlier log has passed.
        """
        to = self.summarized_to
        if to is None:
            return False
        return _order(hour) < _order(to) if hour.log == to.log else to.log == self._log


def summary(withheld: Withheld, rule: RuleText) -> Finding:
    """Return the finding that represents all findings of a rule that were withheld in an hour."""
    first = withheld.first
    return Finding(
        rule=msgspec.structs.replace(rule, fingerprint=first.fingerprint),
        trace_id=first.trace_id,
        verdict=first.verdict,
        revision=1,
        previous_verdict=None,
        late=first.late,
        close_reason=first.close_reason,
        first_fact_ms=first.first_fact_ms,
        first_ms=first.first_ms,
        last_ms=first.last_ms,
        closed_ms=first.closed_ms,
        first_published_ms=first.closed_ms,
        spans=first.spans,
        root_seen=first.root_seen,
        missing=(),
        present=(),
        witnesses=(),
        sources=(),
        withheld=withheld.count,
    )


def _first(partition: int, hour: Hour, finding: Finding, rule_set: str) -> FirstWithheld:
    return FirstWithheld(
        partition=partition,
        # At the end of the input, windows close as of their last record, which may lie in the hour before.
        closed_ms=max(finding.closed_ms, hour.number * HOUR_MS),
        first_fact_ms=finding.first_fact_ms,
        trace_id=finding.trace_id,
        rule_set=rule_set,
        fingerprint=finding.rule.fingerprint,
        verdict=finding.verdict,
        late=finding.late,
        close_reason=finding.close_reason,
        first_ms=finding.first_ms,
        last_ms=finding.last_ms,
        spans=finding.spans,
        root_seen=finding.root_seen,
    )


def _sums(withheld: Iterable[Withheld]) -> list[Withheld]:
    """Return one sum for each rule and hour, about the earliest of the withheld findings."""
    parts: defaultdict[tuple[Hour, str], list[Withheld]] = defaultdict(list)
    for each in withheld:
        parts[each.hour, each.rule].append(each)
    return [
        Withheld(hour, rule, sum(each.count for each in each_part), min((each.first for each in each_part), key=_age))
        for (hour, rule), each_part in sorted(parts.items(), key=lambda part: (*_order(part[0][0]), part[0][1]))
    ]


def _age(first: FirstWithheld) -> tuple[int, int, bytes]:
    return first.closed_ms, first.first_fact_ms, first.trace_id


def _order(hour: Hour, log: str | None = None) -> tuple[int, int]:
    """Return the sort key of an hour within one log; an hour of an earlier log than `log` sorts before all."""
    return (hour.replay, hour.number) if log is None or hour.log == log else (-1, -1)


def _is_over(hour: Hour, reached: Hour) -> bool:
    """Return whether a partition that has reached an hour can withhold nothing more in `hour`."""
    return hour.log != reached.log or _order(hour) < _order(reached)
