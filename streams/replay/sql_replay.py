"""Replays an archive with SQL: DuckDB counts what holds, and the engine judges the traces that need more detail.

In: an archive, rules, and a plan. Out: what a replay that decodes every record would find, signal for signal; the
number of records is not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from dsl import RuleSet
from streams.archive import query
from streams.archive.query import ArchiveRequest
from streams.config.settings import Settings
from streams.projection.budget import Budget
from streams.replay.outcome import OutputOptions, Signal, Verdicts
from streams.replay.plan import Plan
from streams.replay.source_reader import Read
from streams.replay.tally import Tally
from streams.replay.worker import projector
from streams.windows.chain import Bounds


class SqlReplay:
    """A replay; once `run` has ended, `read`, `chains` and `tallies` have the counts."""

    def __init__(
        self, url: str, settings: Settings, rules: RuleSet, plan: Plan, output: OutputOptions, *, now_ms: int
    ) -> None:
        """Query the archive.

        Raises:
            RefusedError: only the engine can answer.
            StateError: the archive cannot be read.
        """
        request = ArchiveRequest(
            projector=projector(settings, rules, output),
            bounds=Bounds.of(settings),
            from_ms=plan.read_from_ms,
            to_ms=plan.until_ms,
            topics=settings.source_topics,
            out_of_order_ms=settings.out_of_order_ms,
            clock_ms=plan.clock_ms,
            in_full=output.signals,
            lost=plan.lost,
            now_ms=now_ms,
            edge_ms=plan.edge_ms,
            budget=Budget(settings.record_budget),
        )
        figures = query.count(url, request, plan.period.from_ms, plan.period.to_ms)
        self.plan = plan
        self.read = Read(
            spans=figures.spans,
            unreadable=figures.unreadable,
            minutes=set(figures.minutes),
            names=set(figures.names),
        )
        self.chains = figures.traces
        self.tallies: dict[str, Tally] = {}
        self._closes = figures.closes
        self.half_seen: frozenset[bytes] = frozenset()
        self._verdicts = Verdicts(settings, rules, plan, output)
        for each in figures.counted:
            tally = self.tallies.setdefault(each.rule_id, Tally())
            tally.add(Tally(Counter({each.verdict.value: each.traces}), 0, each.first_ms, each.last_ms))

    def run(self) -> Iterator[list[Signal]]:
        """Yield the signals by the record time at which they were due, then by uid and revision."""
        yield sorted(self._verdicts.judge(self._closes))
        self.chains += self._verdicts.chains
        self.half_seen = frozenset(self._verdicts.half_seen)
        for rule, tally in self._verdicts.tallies.items():
            self.tallies.setdefault(rule, Tally()).add(tally)
