"""Sums what coverage records say about backfills: when which rules judged, who ran it, and what was left out.

In: coverage records, as a report reads them. Out: a sum for each backfill.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import msgspec

from topics.records.verdicts import LIVE_ORIGIN, Backfilled, JudgingRule, SourceCoverage


class CoverageRecord(msgspec.Struct, tag_field="kind", tag="coverage", gc=False, kw_only=True):
    """The part of a coverage record that a report needs."""

    schema: int
    partition: int
    generation: int
    from_ms: int | None
    to_ms: int
    settled_from_ms: int | None
    settled_to_ms: int
    final_to_ms: int
    sources: list[SourceCoverage]
    rule_sets: list[str]
    judging: str
    windows_judged: int
    traces_seen_sketch: bytes
    reset_ms: int | None = None
    start_ms: int | None = None
    rules: list[JudgingRule] | None = None
    origin: str = LIVE_ORIGIN
    backfill: Backfilled | None = None
    services: list[str] = []
    has_more_services: bool = False


@dataclass(slots=True, kw_only=True)
class GatheredBackfill:
    """What one backfill says about the period: when it last ran (`made_ms`, wall clock), and who ran it.

    `judging` has the times in which chains began that it judged, by facts partition and hash of the rules. The numbers
    of source records that could not be read are by facts partition, and every partition reports all of them;
    `half_seen` and `unfinished` count traces, as in `topics.records.verdicts.Backfilled`.
    """

    by: str
    made_ms: int
    judging: dict[tuple[int, str], list[tuple[int, int]]] = field(default_factory=dict)
    unreadable: dict[int, int] = field(default_factory=dict)
    half_seen: int = 0
    unfinished: int = 0

    @classmethod
    def of(cls, record: CoverageRecord) -> Self | None:
        """Return the content of one record; None if it is incomplete."""
        if record.settled_from_ms is None or record.backfill is None:
            return None
        return cls(
            by=record.backfill.by,
            made_ms=record.backfill.made_ms,
            judging={(record.partition, record.judging): [(record.settled_from_ms, record.settled_to_ms)]},
            unreadable={record.partition: sum(source.dead_letters or 0 for source in record.sources)},
            half_seen=record.backfill.half_seen,
            unfinished=record.backfill.unfinished,
        )

    @property
    def unreadable_count(self) -> int:
        """The number of source records that could not be read."""
        return max(self.unreadable.values(), default=0)

    def add(self, later: GatheredBackfill) -> None:
        """Add the content of later seals."""
        self.by, self.made_ms = later.by, max(self.made_ms, later.made_ms)
        for key, times in later.judging.items():
            self.judging.setdefault(key, []).extend(times)
        for partition, count in later.unreadable.items():
            self.unreadable[partition] = self.unreadable.get(partition, 0) + count
        self.half_seen += later.half_seen
        self.unfinished += later.unfinished
