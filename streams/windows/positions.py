"""How far a facts partition has come: what a worker stores beside its windows, to continue from it.

In: nothing. Out: structs, stored as MessagePack arrays by `streams.windows.rocksdb` and in the checkpoints.
"""

from __future__ import annotations

import msgspec

from streams.windows.chain import EndedChain
from streams.windows.clock import SourceProgress
from streams.windows.presence import LongPresence
from streams.windows.rule_times import RuleTimes
from streams.windows.sessions import LostTime
from topics.records.checkpoints import Said
from topics.records.verdicts import Counted


class StoredProgress(msgspec.Struct, frozen=True, array_like=True):
    """A source partition and its mark, as stored."""

    topic: str
    partition: int
    progress: SourceProgress


class ResumePoint(msgspec.Struct, frozen=True, array_like=True):
    """All but the chains, as it was before facts message `facts_offset`: reading can start again there.

    `lost` is where input was lost that an open chain may still have missed, `rules` from when rules may judge,
    `hourly_signals` how many signals of each rule were published in the hour by then. `log_start_missing`: facts before
    these are gone, and not every source partition has been heard of since.
    """

    facts_offset: int
    clock_ms: int | None
    generation: int
    progress: list[StoredProgress]
    lost: list[LostTime]
    rules: RuleTimes
    hourly_signals: Said | None = None
    log_start_missing: bool = False


class Position(msgspec.Struct, frozen=True, array_like=True):
    """Where a partition stands at the end of a step.

    Every facts message below `next_offset` was taken in, and of those everything below tick `applied_tick` was applied.
    With the chains, of generation `generation`, reading goes on at the last of `resume_points` that is at or below
    `buffered_from_offset`; without them, at the first: see `rebuilt`. `ended_chains` are the chains that are gone, but
    of which the log from the first row on holds the tail; `long_presences` are presences that the log is not kept for.
    `evictions` are the facts offsets before whose messages everything was, or is to be, forgotten for want of disk. In
    a store `counted` and `covered` are those of a checkpoint at the end of this step, whether one was published or not.
    """

    next_offset: int
    applied_tick: int | None
    buffered_from_offset: int
    generation: int
    resume_points: list[ResumePoint]
    ended_chains: list[EndedChain]
    long_presences: list[LongPresence] = msgspec.field(default_factory=list)
    evictions: list[int] = msgspec.field(default_factory=list)
    counted: Counted | None = None
    covered: bytes = b""

    @classmethod
    def initial(cls, offset: int, *, missing_until_ms: int | None = None, log_start_missing: bool = False) -> Position:
        """The position in a log that begins at `offset` and of which nothing was read.

        Source records up to `missing_until_ms` are not in it, None: all are. `log_start_missing`: some are not, and
        which is known from what comes first.
        """
        rules = RuleTimes(missing_until_ms=missing_until_ms)
        return cls(
            offset,
            None,
            offset,
            0,
            [ResumePoint(offset, None, 0, [], [], rules, log_start_missing=log_start_missing)],
            [],
        )

    @property
    def resume_point(self) -> ResumePoint:
        """Where reading goes on when the chains are there."""
        return [point for point in self.resume_points if point.facts_offset <= self.buffered_from_offset][-1]

    def without_local_state(self) -> Position:
        """Where to begin without the chains."""
        first = self.resume_points[0]
        offset = first.facts_offset
        ended = [each for each in self.ended_chains if each.first_offset < offset]
        long = [each for each in self.long_presences if each.first_offset < offset]
        evictions = [each for each in self.evictions if each >= offset]
        return Position(offset, None, offset, first.generation, [first], ended, long, evictions)
