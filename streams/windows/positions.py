"""Defines how far a facts partition has come: what a worker stores beside its windows so that it can resume.

The structs are stored as MessagePack arrays, by `streams.windows.rocksdb` and in checkpoints.
"""

from __future__ import annotations

import msgspec

from streams.windows.chain import EndedChain
from streams.windows.clock import SourceProgress
from streams.windows.presence import LongPresence
from streams.windows.rule_times import RuleTimes
from streams.windows.sessions import LostTime
from topics.records.checkpoints import HourlySignals
from topics.records.verdicts import Counted


class StoredProgress(msgspec.Struct, frozen=True, array_like=True):
    """A source partition with its progress, as stored."""

    topic: str
    partition: int
    progress: SourceProgress


class ResumePoint(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """All state but the chains, as it was before facts message `facts_offset`, where reading can start again.

    `lost` lists the lost input that may affect an open chain, `rules` knows from when rules may judge, and
    `hourly_signals` counts the signals published in the hour so far, by rule. `log_start_missing`: earlier facts were
    deleted, and not every source partition has sent a section since. `facts_lost` are the source partitions that have
    sent no records since facts were lost (`streams.windows.lost_facts`).
    """

    facts_offset: int
    clock_ms: int | None
    generation: int
    progress: list[StoredProgress]
    lost: list[LostTime]
    rules: RuleTimes
    hourly_signals: HourlySignals | None = None
    log_start_missing: bool = False
    facts_lost: list[tuple[str, int]] = []


class Position(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """The position of a partition at the end of a step.

    Every facts message below `next_offset` has been processed, and everything below tick `applied_tick` has been
    applied. A worker that has the chains, which are of generation `generation`, resumes at `resume_point`, the last of
    `resume_points` at or below `buffered_from_offset`; one that has not resumes at the first, see
    `without_local_state`. `ended_chains` are removed chains whose tail is still in the log after the first resume
    point; `long_presences` are presences for which the log is not kept. `evictions` are the facts offsets before which
    everything was, or will be, evicted because of the disk limit. In a store, `counted` and `covered` are those of a
    checkpoint at the end of this step, whether or not one was published.
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
        """Return the position before the first message of a log that begins at `offset`.

        `missing_until_ms` is the record time up to which source records are missing from the log, None if none are.
        `log_start_missing`: some are missing, and the first sections will tell which.
        """
        rules = RuleTimes(missing_until_ms=missing_until_ms)
        return cls(
            next_offset=offset,
            applied_tick=None,
            buffered_from_offset=offset,
            generation=0,
            resume_points=[
                ResumePoint(
                    facts_offset=offset,
                    clock_ms=None,
                    generation=0,
                    progress=[],
                    lost=[],
                    rules=rules,
                    log_start_missing=log_start_missing,
                )
            ],
            ended_chains=[],
        )

    @property
    def resume_point(self) -> ResumePoint:
        """Where a worker that has the chains resumes reading."""
        return [point for point in self.resume_points if point.facts_offset <= self.buffered_from_offset][-1]

    def without_local_state(self) -> Position:
        """Return the position from which a worker without the chains resumes."""
        first = self.resume_points[0]
        offset = first.facts_offset
        ended = [each for each in self.ended_chains if each.first_offset < offset]
        long = [each for each in self.long_presences if each.first_offset < offset]
        evictions = [each for each in self.evictions if each >= offset]
        return Position(
            next_offset=offset,
            applied_tick=None,
            buffered_from_offset=offset,
            generation=first.generation,
            resume_points=[first],
            ended_chains=ended,
            long_presences=long,
            evictions=evictions,
        )
