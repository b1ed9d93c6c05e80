"""Reports from when the rules of a sessions worker judge, as metrics and at `/readyz`.

In: the worker's tasks. Out: of the rule set that the furthest task has reached, how many rules judge and from when, in
all tasks together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from streams.observe import metrics
from streams.observe.health import Health
from streams.rules import judging
from streams.rules.registry import RuleSets
from streams.sessions.task import PartitionTask


class JudgingReporter:
    """The report; it is recomputed only when a partition, its rules or its times change."""

    def __init__(self, known: RuleSets, health: Health) -> None:
        self._known = known
        self._health = health
        self._reported: tuple[str, list[dict[str, int]]] | None = None
        self._moments: Counter[int | None] = Counter()

    def show(self, tasks: Collection[PartitionTask]) -> None:
        """Report the current state."""
        tasks_now = [(task.partition.clock.now_ms or 0, task.rule_set, task) for task in tasks]
        clocks = [(clock_ms, rule_set) for clock_ms, rule_set, _ in tasks_now if rule_set is not None]
        if not clocks:
            self._reported = None
            self._health.judge([])
            metrics.hide_judging()
            return
        _, rule_set = max(clocks)
        times = [task.judges_from() for task in tasks]
        if self._reported is None or not _is_same(self._reported, (rule_set, times)):
            self._reported = rule_set, times
            starts = judging.starts(self._known.sets[rule_set], times)
            self._moments = Counter(each.from_ms for each in starts)
            self._health.judge(judging.sentences(starts), {each.rule: each.from_ms for each in starts})
        metrics.show_judging(rule_set, self._moments, min(clock_ms for clock_ms, _ in clocks))


def _is_same(one: tuple[str, list[dict[str, int]]], other: tuple[str, list[dict[str, int]]]) -> bool:
    """Return whether the rule sets are equal and the times identical; times that change are new objects."""
    return one[0] == other[0] and [*map(id, one[1])] == [*map(id, other[1])]
