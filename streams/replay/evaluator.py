"""Evaluates the rules on a share of the traces.

In: facts messages, in the order of their numbers. Out: signals, and tallies per rule; for a backfill its outcomes.
Windows are those of `streams.windows`. What does not fit into memory is spilled to disk, as in sessions, and deleted
with the replay.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from dsl import RuleSet
from streams.config.settings import Settings
from streams.replay.outcome import Counts, OutputOptions, Signal, Verdicts
from streams.replay.plan import Plan
from streams.replay.selection import SelectedVerdicts, Selection
from streams.rules.registry import RuleSets
from streams.windows.chain import Bounds
from streams.windows.partition import Partition
from streams.windows.positions import Position
from streams.windows.rocksdb import FORMAT, Identity, Store
from streams.windows.sessions import Sessions
from topics.records.facts import Facts

CHANGED_CHAINS = 100_000
"""The most chains in memory, whatever their size; 450,000 take a GiB (tests/bench/bench_windows.py)."""

MEMORY_BYTES = 1 << 30


class Evaluator:
    """The windows and verdicts of a share of the traces; `directory` is for what does not fit into memory.

    With a selection, for a backfill, there are no signals: `selected` has the outcomes.
    """

    def __init__(
        self,
        settings: Settings,
        rules: RuleSet,
        plan: Plan,
        directory: Path,
        output: OutputOptions,
        selection: Selection | None = None,
    ) -> None:
        self.selected = None if selection is None else SelectedVerdicts(settings, rules, plan, selection)
        self._verdicts = self.selected or Verdicts(settings, rules, plan, output)
        self._store = Store(directory / "windows", Identity(FORMAT, "", "", ""))
        self.partition = _partition(settings, rules, plan, self._store, selection)

    @property
    def clock_ms(self) -> int | None:
        """The time up to which everything is judged."""
        return self.partition.clock.now_ms

    def apply(self, message: Facts) -> list[Signal]:
        """Apply the next facts message, and return the signals of the windows it closes."""
        partition = self.partition
        signals = list(self._verdicts.judge(partition.apply(partition.next_offset, message)))
        sessions = partition.sessions
        if len(sessions.chains.changed) + len(sessions.presences.tiers.changed) >= CHANGED_CHAINS:
            self._store.write(sessions.chains, partition.position(), sessions.presences)
            sessions.cool(MEMORY_BYTES)
        sessions.buffer.spill(MEMORY_BYTES // 4)
        return signals

    def end(self) -> list[Signal]:
        """End the input: close every window, and return the signals."""
        with closing(self._store):
            return list(self._verdicts.judge(self.partition.sessions.end()))

    def counts(self) -> Counts:
        """Return the counts."""
        return self._verdicts.counts()


def _partition(settings: Settings, rules: RuleSet, plan: Plan, store: Store, selection: Selection | None) -> Partition:
    known = RuleSets()
    known.add(rules)
    sessions = Sessions(Bounds.of(settings), known.counted(), store, memory_bytes=MEMORY_BYTES)
    partition = Partition(
        tuple({each.topic for each in plan.inputs}),
        sessions,
        known.rule_fingerprints,
        out_of_order_ms=settings.out_of_order_ms,
        position=Position.initial(0, missing_until_ms=plan.edge_ms),
    )
    if selection is not None:
        # As live did for what began before it judged, note since when each trace is present.
        reach_ms = settings.gap_ms + settings.lateness_ms
        partition.rules.since_ms = dict.fromkeys(selection.fingerprints, selection.live_from_ms - reach_ms)
        sessions.track_presence(partition.rules.half_seen_until_ms(reach_ms=reach_ms))
    sessions.lost = list(plan.lost)
    return partition
