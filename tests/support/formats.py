"""A record of each kind that has a format number, and where its fixture is.

python -m tests.support.formats    writes the fixtures of formats that have none yet; changes no other
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import msgspec

from streams.evidence.ledger import seal as seals
from streams.evidence.ledger.seal import LogState, Seal
from streams.evidence.ledger.seal_summary import PartitionSummary, RuleCounts, SealSummary
from tests.support import paths
from topics.records import audit, checkpoints, facts, verdicts
from topics.records.audit import AuditEvent, AuditRecord, SourcePosition
from topics.records.checkpoints import (
    Checkpoint,
    FirstWithheld,
    Holder,
    Hour,
    HourlySignals,
    JudgingTimes,
    PartitionStatus,
    RulesFrom,
    Withheld,
)
from topics.records.facts import Entry, Fact, Facts, Section, Touch, Witness, pack_touches
from topics.records.verdicts import (
    Counted,
    Coverage,
    JudgingRule,
    SourceCoverage,
    VerdictCounts,
    VerdictSums,
    judging_hash,
)

DIRECTORY = paths.ROOT / "tests" / "fixtures" / "formats"

TRACE_ID, SPAN_ID = bytes(range(16)), bytes(range(8))
RULE_SET, RULE = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
HOUR_MS = 1_795_255_200_000
TICK = HOUR_MS // facts.TICK_MS

_WITNESS = Witness(
    "db.query", "shop", 12_000_000, {"table": "users", "rows": 7, "share": 0.5, "cached": False, "actor": None}
)

FACTS = Facts(
    version=facts.VERSION,
    rules=RULE_SET,
    sections=[
        Section(
            topic="otlp_spans",
            partition=2,
            epoch=HOUR_MS - 100_000,
            replay=HOUR_MS - 50_000,
            start_ms=HOUR_MS - 40_000,
            partition_count=6,
            from_offset=3,
            to_offset=9,
            watermark_ms=HOUR_MS - 10_000,
            lost=[(4, 5)],
            touches=pack_touches([Touch(TRACE_ID, TICK + 1, 2)]),
            entries=[
                Entry(
                    TRACE_ID,
                    3,
                    5,
                    TICK,
                    4,
                    True,  # noqa: FBT003, positional for speed
                    [
                        Fact(bytes(range(16, 32)), SPAN_ID, HOUR_MS * 1_000_000, _WITNESS),
                        Fact(
                            bytes(range(32, 48)),
                            SPAN_ID,
                            None,
                            _WITNESS,
                            (((b"\1" * 8, b"\2" * 8), None), ((), (b"\3" * 8,))),
                        ),
                        Fact(
                            bytes(range(32, 48)),
                            SPAN_ID + bytes(range(17)),
                            HOUR_MS * 1_000_000 + 1,
                            None,
                            (((b"\1" * 8,), None),),
                        ),
                    ],
                    True,  # noqa: FBT003, as above
                )
            ],
            dead_letters=[(7, 8)],
            missing_until_ms=HOUR_MS - 200_000,
            lost_until_ms=HOUR_MS - 150_000,
            rules_since_ms=HOUR_MS - 140_000,
        )
    ],
    services=["shop", "pay"],
    has_more_services=True,
)

FACTS_SINCE: dict[int, dict[str, object]] = {
    3: {"dead_letters": None},
    4: {"missing_until_ms": None, "lost_until_ms": None, "rules_since_ms": None, "keys": None},
    5: {"services": [], "has_more_services": False, "is_incomplete": False},
}
"""What a format added to the one before, with the value of records without it."""

EVENTS_SINCE = 6
"""The format in which events without a witness have facts of their own."""


def facts_of(version: int) -> Facts:
    """Returns the sample as a record of an earlier format is read: what the format lacks has its default."""
    lacks = {
        name: default for since, names in FACTS_SINCE.items() if since > version for name, default in names.items()
    }

    def lacking(struct: Any, **changed: object) -> Any:  # noqa: ANN401, any struct of the message
        own = {name: default for name, default in lacks.items() if name in struct.__struct_fields__}
        return msgspec.structs.replace(struct, **own | changed)

    [section] = FACTS.sections
    is_written = [fact.witness is not None or version >= EVENTS_SINCE for fact in section.entries[0].facts]
    entries = [lacking(entry, facts=[*map(lacking, compress(entry.facts, is_written))]) for entry in section.entries]
    read: Facts = lacking(FACTS, version=version, sections=[lacking(section, entries=entries)])
    return read


_COUNTED = Counted(
    seq=4, head="ab" * 32, added=VerdictSums(held=3, broken=1), taken_back=VerdictSums(held=1), signals=1, withheld=2
)
_JUDGING = [JudgingRule("payments", RULE, "live", HOUR_MS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A record of the current format; `number` is the name of the field with the format's number."""

    record: msgspec.Struct
    version: int
    number: str
    suffix: str
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], object]

    def written(self) -> bytes:
        """Returns what is written today."""
        return self.encode(self.record)

    def written_as(self, version: int) -> bytes:
        """Returns the same record with another number."""
        return self.encode(msgspec.structs.replace(self.record, **{self.number: version}))


SAMPLES = {
    "facts": Sample(
        record=FACTS,
        version=facts.VERSION,
        number="version",
        suffix="msgpack",
        encode=facts.encode,
        decode=facts.decode,
    ),
    "checkpoint": Sample(
        record=Checkpoint(
            version=checkpoints.VERSION,
            topic_id="MkU3OEVBNTcwNTJENDM2Qg",
            published_to=9,
            start_offset=3,
            start=b"windows",
            covered=b"coverage",
            status=PartitionStatus(
                clock_ms=HOUR_MS,
                held_by=Holder("otlp_spans", 2, HOUR_MS),
                open_windows=5,
                rules=RULE_SET,
                judging=JudgingTimes([RULE_SET], HOUR_MS, [RulesFrom(HOUR_MS + 1, bytes(8))]),
            ),
            hourly_signals=HourlySignals(HOUR_MS // 3_600_000, {"payments": 2}, 1),
            counted=_COUNTED,
            first_generation=1,
            generation=2,
            withheld=[
                Withheld(
                    Hour("MkU3OEVBNTcwNTJENDM2Qg", 1, HOUR_MS // 3_600_000),
                    "payments",
                    2,
                    FirstWithheld(
                        partition=2,
                        rule_set=RULE_SET,
                        fingerprint=RULE,
                        closed_ms=HOUR_MS,
                        first_fact_ms=HOUR_MS - 1_000,
                        trace_id=TRACE_ID,
                        verdict="broken",
                        late=False,
                        close_reason="gap",
                        first_ms=HOUR_MS - 2_000,
                        last_ms=HOUR_MS - 1_000,
                        spans=3,
                        root_seen=True,
                    ),
                )
            ],
            reached=Hour("MkU3OEVBNTcwNTJENDM2Qg", 1, HOUR_MS // 3_600_000),
            summarized_to=Hour("MkU3OEVBNTcwNTJENDM2Qg", 1, HOUR_MS // 3_600_000 - 1),
        ),
        version=checkpoints.VERSION,
        number="version",
        suffix="msgpack",
        encode=checkpoints.encode,
        decode=checkpoints.decode,
    ),
    "counts": Sample(
        record=VerdictCounts(
            partition=2,
            seq=4,
            prev="ab" * 32,
            generation=1,
            rule="payments",
            rule_fingerprint=RULE,
            minute_ms=HOUR_MS,
            clock_ms=HOUR_MS + 30_000,
            added=VerdictSums(held=1, not_applicable=2, excepted=1),
            taken_back=VerdictSums(broken=1),
            leaves=bytes(32),
            retractions=bytes(32),
        ),
        version=verdicts.SCHEMA,
        number="schema",
        suffix="json",
        encode=verdicts.encode,
        decode=verdicts.decode,
    ),
    "coverage": Sample(
        record=Coverage(
            partition=2,
            generation=1,
            reset_ms=HOUR_MS - 50_000,
            start_ms=HOUR_MS - 40_000,
            from_ms=HOUR_MS,
            to_ms=HOUR_MS + 60_000,
            settled_from_ms=HOUR_MS - 60_000,
            settled_to_ms=HOUR_MS,
            final_to_ms=HOUR_MS - 60_000,
            facts_from=3,
            facts_to=9,
            sources=[
                SourceCoverage(
                    topic="otlp_spans",
                    partition=2,
                    epoch=HOUR_MS - 100_000,
                    from_offset=3,
                    to_offset=9,
                    lost=[(4, 5)],
                    dead_letters=1,
                )
            ],
            rule_sets=[RULE_SET],
            judging=judging_hash(_JUDGING),
            rules=_JUDGING,
            windows_judged=7,
            traces_seen_estimate=8,
            traces_seen_sketch=b"",
            counted=_COUNTED,
            services=["pay", "shop"],
            has_more_services=True,
        ),
        version=verdicts.SCHEMA,
        number="schema",
        suffix="json",
        encode=verdicts.encode,
        decode=verdicts.decode,
    ),
}

SAMPLES |= {
    "audit": Sample(
        record=AuditRecord(
            schema=audit.SCHEMA,
            trace_id=TRACE_ID.hex(),
            span_id=SPAN_ID.hex(),
            name="user.deleted",
            service="accounts",
            start_ns=HOUR_MS * 1_000_000,
            end_ns=HOUR_MS * 1_000_000 + 12_000_000,
            kind="server",
            status="ok",
            attributes={"audit.actor": "m.ito", "audit.count": 2, "audit.tags": ["a", 1.5, None]},
            events=[AuditEvent("approved", {"by": "a.cole"})],
            resource={"service.name": "accounts"},
            scope_name="accounts",
        ),
        version=audit.SCHEMA,
        number="schema",
        suffix="json",
        encode=audit.encode,
        decode=audit.decode,
    ),
    "seal": Sample(
        record=Seal(
            origin="ledger.example/betrace",
            number=7,
            time_ms=HOUR_MS,
            previous="ab" * 32,
            peaks=bytes(32),
            logs=[
                LogState(
                    topic="betrace.audit",
                    partition=2,
                    topic_id="MkU3OEVBNTcwNTJENDM2Qg",
                    size=5,
                    added=1,
                    next_offset=9,
                    peaks=bytes(64),
                    doubles=1,
                    lost=[(4, 5)],
                    sources=[
                        SourcePosition(topic="otlp_spans", partition=2, epoch=HOUR_MS - 100_000, offset=8, index=1)
                    ],
                )
            ],
            cover=SealSummary(
                partitions=[
                    PartitionSummary(
                        partition=2,
                        generation=1,
                        from_ms=HOUR_MS,
                        to_ms=HOUR_MS + 60_000,
                        settled_from_ms=HOUR_MS - 60_000,
                        settled_to_ms=HOUR_MS,
                        judging=judging_hash(_JUDGING),
                        counted=_COUNTED,
                        windows_judged=7,
                        traces_seen_estimate=8,
                    )
                ],
                rule_sets=[RULE_SET],
                counts=[
                    RuleCounts(
                        generation=1, rule="payments", rule_fingerprint=RULE, mode="live", added=VerdictSums(held=1)
                    )
                ],
                unreadable=1,
            ),
        ),
        version=seals.SCHEMA,
        number="schema",
        suffix="json",
        encode=seals.line,
        decode=seals.decode,
    ),
}


def path(kind: str) -> Path:
    """Returns the fixture of the current format of this kind of record."""
    sample = SAMPLES[kind]
    return DIRECTORY / f"{kind}-{sample.version}.{sample.suffix}"


if __name__ == "__main__":
    for kind, sample in SAMPLES.items():
        if not path(kind).exists():
            path(kind).write_bytes(sample.written())
