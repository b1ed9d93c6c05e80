"""How far a facts partition has come: what a worker stores beside its windows, to continue from it.

In: nothing. Out: structs, stored as MessagePack arrays by `streams.windows.rocksdb` and in the checkpoints.
"""

from __future__ import annotations

import msgspec

from streams.windows.chain import Ended
from streams.windows.clock import Mark
from streams.windows.presence import LongPresence
from streams.windows.rule_times import RuleTimes
from streams.windows.sessions import LostTime
from topics.records.checkpoints import HourlySignals
from topics.records.verdicts import Counted


class SourceMark(msgspec.Struct, frozen=True, array_like=True):
    """A source partition and its mark, as stored."""

    topic: str
    partition: int
    mark: Mark


class Row(msgspec.Struct, frozen=True, array_like=True):
    """All but the chains, as it was before facts message `facts_offset`: reading can start again there.

    `lost` is where input was lost that an open chain may still have missed, `rules` from when rules may judge, `said`
    how many signals of each rule were published in the hour by then. `is_midway`: facts before these are gone, and not
    every source partition has been heard of since.
    """

    facts_offset: int
    clock_ms: int | None
    generation: int
    marks: list[SourceMark]
    lost: list[LostTime]
    rules: RuleTimes
    said: HourlySignals | None = None
    is_midway: bool = False


class Position(msgspec.Struct, frozen=True, array_like=True):
    """Where a partition stands at the end of a step.

    Every facts message below `next_offset` was taken in, and of those everything below tick `applied_tick` was applied.
    With the chains, of generation `generation`, reading goes on at the last of `rows` that is at or below
    `waiting_offset`; without them, at the first: see `rebuilt`. `ended` are the chains that are gone, but of which the
    log from the first row on holds the tail; `long` are presences that the log is not kept for. `evictions` are the
    facts offsets before whose messages everything was, or is to be, forgotten for want of disk. In a store `counted`
    and `covered` are those of a checkpoint at the end of this step, whether one was published or not.
    """

    next_offset: int
    applied_tick: int | None
    waiting_offset: int
    generation: int
    rows: list[Row]
    ended: list[Ended]
    long: list[LongPresence] = msgspec.field(default_factory=list)
    evictions: list[int] = msgspec.field(default_factory=list)
    counted: Counted | None = None
    covered: bytes = b""

    @classmethod
    def beginning(cls, offset: int, *, missing_until_ms: int | None = None, is_midway: bool = False) -> Position:
        """The position in a log that begins at `offset` and of which nothing was read.

        Source records up to `missing_until_ms` are not in it, None: all are. `is_midway`: some are not, and which is
        known from what comes first.
        """
        rules = RuleTimes(begun_ms=missing_until_ms)
        return cls(offset, None, offset, 0, [Row(offset, None, 0, [], [], rules, is_midway=is_midway)], [])

    @property
    def refill_row(self) -> Row:
        """Where reading goes on when the chains are there."""
        return [row for row in self.rows if row.facts_offset <= self.waiting_offset][-1]

    def rebuilt(self) -> Position:
        """Where to begin without the chains."""
        first = self.rows[0]
        offset = first.facts_offset
        ended = [each for each in self.ended if each.first_offset < offset]
        long = [each for each in self.long if each.first_offset < offset]
        evictions = [each for each in self.evictions if each >= offset]
        return Position(offset, None, offset, first.generation, [first], ended, long, evictions)
