"""What backfills say in coverage records: when which rules judged, who did it, and what was left out.

In: coverage records, as a report reads them. Out: a sum for each backfill.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import msgspec

from topics.records.verdicts import LIVE_ORIGIN, Backfilled, JudgingRule, SourceCoverage


class CoverageSaid(msgspec.Struct, tag_field="kind", tag="coverage", gc=False):
    """Of a coverage record what a report needs."""

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


@dataclass(slots=True)
class GatheredBackfill:
    """What one backfill says of the period: when it was done last (`made_ms`, of the wall clock), and by whom.

    `judging` has the times in which chains began that it judged, by facts partition and hash of the rules. The numbers
    of source records that could not be read are by facts partition, each of which is told of all; `half_seen` and
    `unfinished` count traces, as in `topics.records.verdicts.Backfilled`.
    """

    by: str
    made_ms: int
    judging: dict[tuple[int, str], list[tuple[int, int]]] = field(default_factory=dict)
    unreadable: dict[int, int] = field(default_factory=dict)
    half_seen: int = 0
    unfinished: int = 0

    @classmethod
    def of(cls, record: CoverageSaid) -> Self | None:
        """What one record says; None where it does not say what a backfill must."""
        if record.settled_from_ms is None or record.backfill is None:
            return None
        return cls(
            record.backfill.by,
            record.backfill.made_ms,
            {(record.partition, record.judging): [(record.settled_from_ms, record.settled_to_ms)]},
            {record.partition: sum(source.dead_letters or 0 for source in record.sources)},
            record.backfill.half_seen,
            record.backfill.unfinished,
        )

    @property
    def unreadable_count(self) -> int:
        """How many source records could not be read."""
        return max(self.unreadable.values(), default=0)

    def add(self, later: GatheredBackfill) -> None:
        """Adds what later seals say."""
        self.by, self.made_ms = later.by, max(self.made_ms, later.made_ms)
        for at, times in later.judging.items():
            self.judging.setdefault(at, []).extend(times)
        for partition, count in later.unreadable.items():
            self.unreadable[partition] = self.unreadable.get(partition, 0) + count
        self.half_seen += later.half_seen
        self.unfinished += later.unfinished
