"""Evidence of a period with three rules, as an auditor meets it: sealed once an hour, without Kafka.

Hours without coverage are gaps. Rules are pushed at the start, and one of them becomes another later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random

from msgspec.structs import replace

from dsl import Rule, RuleSet, compile_texts
from streams.evidence.ledger.log import Ledger, Record
from streams.evidence.ledger.storage import Directory
from streams.windows.outcomes import rule_text
from tests.support import trails
from tests.support.evidence import ORIGIN, sketch, store_seal
from tests.support.findings import FINDING, shown
from topics.records import audit, rules, signals, verdicts
from topics.records.verdicts import (
    Counted,
    Coverage,
    JudgingRule,
    SourceCoverage,
    VerdictCounts,
    VerdictSums,
    judging_hash,
)
from topics.signals.finding import Finding

START_MS = 1_767_225_600_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
PARTITIONS = 2

TEXT = """
rules:
  - id: pii-access-is-logged
    title: "SOC2 CC6.7: access to personal data is logged"
    severity: high
    owner: privacy@example.com
    controls: [SOC2/CC6.7, HIPAA/164.312(b)]
    condition: |
      when { pii.access }
      always { audit.log }
    exceptions:
      - where: service.name == "batch-export"
        owner: data-platform@example.com
        reason: migration, ticket 4711
        expires: 2026-03-31
  - id: payments-are-authorised
    title: Payments above 1000 are approved first
    severity: critical
    owner: payments@example.com
    controls: [SOC2/CC6.1]
    condition: |
      when { payment.charge.where(amount > 1000) }
      always { payment.approve }
  - id: agents-do-not-delete
    title: An agent deletes nothing without a person
    severity: medium
    controls: [SOC2/CC6.1]
    condition: |
      when { agent.delete }
      always { human.approval }
"""
PII, PAYMENTS, AGENTS = "pii-access-is-logged", "payments-are-authorised", "agents-do-not-delete"


@cache
def compiled(text: str = TEXT) -> RuleSet:
    """The rules."""
    found, _ = compile_texts({"rules.yaml": text})
    return found


def judging(rules: RuleSet, from_ms: int = 0) -> list[JudgingRule]:
    """The rules of a set as coverage lists them, all judging since one moment."""
    return [JudgingRule(rule.id, rule.fingerprint, "live", from_ms) for rule in rules.rules]


@dataclass(slots=True)
class Quarter:
    """A ledger that is fed hour by hour; `broken` are the hours in which one access was not logged.

    In the hours `audited` a role was changed, by `u-0` to `u-4`.

    `told` are the counts that went into it, `judging` the rules that its coverage names.
    """

    root: Path
    days: int
    broken: Collection[int] = ()
    not_judged: Collection[int] = ()
    lost: tuple[int, int] | None = None
    dead_letters: int | None = 0
    audited: Collection[int] = ()
    seed: int = 7
    told: list[VerdictCounts] = field(default_factory=list)
    judging: list[JudgingRule] = field(default_factory=lambda: judging(compiled()))
    _counted: dict[int, Counted] = field(default_factory=dict)

    def make(self) -> Directory:
        """Makes it."""
        store, ledger, chance = Directory(self.root), Ledger(ORIGIN), Random(self.seed)
        for topic in ("audit", "signals", "verdicts"):
            for partition in range(PARTITIONS):
                ledger.follow((topic, partition), f"id-of-{topic}")
        ledger.follow(("rules", 0), "id-of-rules")
        self._push(ledger, START_MS - DAY_MS, compiled(TEXT.replace("1000", "5000")), "grace")
        for hour in range(24 * self.days):
            if hour == 24 * (self.days // 3):
                self._push(ledger, START_MS + hour * HOUR_MS, compiled(), "ada")
            self._hour(ledger, hour, chance)
            store_seal(ledger, store, START_MS + (hour + 1) * HOUR_MS)
        return store

    def _push(self, ledger: Ledger, time_ms: int, pushed: RuleSet, by: str) -> None:
        record = rules.RuleSetRecord(texts=dict(pushed.texts), pushed_by=by, pushed_ms=time_ms)
        for key, value in (
            (pushed.fingerprint.encode(), rules.encode(record)),
            (rules.ACTIVE_KEY, pushed.fingerprint.encode()),
        ):
            ledger.take(
                ("rules", 0), Record(offset=ledger.logs["rules", 0].next_offset, time_ms=time_ms, key=key, value=value)
            )

    def _hour(self, ledger: Ledger, hour: int, chance: Random) -> None:
        if hour in self.not_judged:
            return
        time_ms = START_MS + hour * HOUR_MS
        if hour in self.audited:
            _take(ledger, "audit", 0, time_ms, audit.encode(trails.record(hour, time_ms)))
        for partition in range(PARTITIONS):
            judged: list[verdicts.Record] = [*self._counts(hour, partition, chance), self._coverage(hour, partition)]
            for record in judged:
                _take(ledger, "verdicts", partition, time_ms, verdicts.encode(record))
        if hour in self.broken:
            finding = _finding(time_ms, hour)
            made = signals.record(
                finding, logged_ms=time_ms, source="betrace.sessions", format=signals.SignalFormat.OCSF
            )
            _take(ledger, "signals", 0, time_ms, made.value)

    def _counts(self, hour: int, partition: int, chance: Random) -> Iterator[VerdictCounts]:
        busy = 3 if 8 <= hour % 24 < 18 and hour // 24 % 7 < 5 else 1
        for rule in compiled().rules:
            is_broken = rule.id == PII and hour in self.broken and partition == 0
            before = self._counted.setdefault(partition, Counted())
            added = VerdictSums(
                held=busy * chance.randint(4, 9) * (1 if rule.id == AGENTS else 5),
                broken=int(is_broken),
                undetermined=int(rule.id == AGENTS and hour % 97 == 0),
                excepted=int(rule.id == PII and hour % 24 == 1),
            )
            counts = VerdictCounts(
                partition=partition,
                seq=before.seq,
                prev=before.head,
                rule=rule.id,
                rule_fingerprint=rule.fingerprint,
                minute_ms=START_MS + hour * HOUR_MS,
                clock_ms=START_MS + hour * HOUR_MS + 1,
                added=added,
                leaves=bytes(32 * added.applicable),
            )
            self._counted[partition] = replace(
                before.after(counts, verdicts.encode(counts)),
                signals=before.signals + added.broken,
                withheld=before.withheld + added.undetermined,
            )
            self.told.append(counts)
            yield counts

    def _coverage(self, hour: int, partition: int) -> Coverage:
        lost = [self.lost] if self.lost and hour * 1000 <= self.lost[0] < (hour + 1) * 1000 else []
        return Coverage(
            partition=partition,
            from_ms=START_MS + hour * HOUR_MS,
            to_ms=START_MS + (hour + 1) * HOUR_MS,
            settled_from_ms=START_MS + hour * HOUR_MS,
            settled_to_ms=START_MS + (hour + 1) * HOUR_MS,
            final_to_ms=START_MS + (hour + 1) * HOUR_MS,
            facts_from=hour * 10,
            facts_to=hour * 10 + 10,
            sources=[
                SourceCoverage(
                    topic="otlp_spans",
                    partition=0,
                    epoch=1,
                    from_offset=hour * 1000,
                    to_offset=hour * 1000 + 1000,
                    lost=lost,
                    dead_letters=self.dead_letters,
                )
            ],
            rule_sets=[compiled().fingerprint],
            judging=judging_hash(self.judging),
            rules=self.judging,
            counted=self._counted.setdefault(partition, Counted()),
            windows_judged=200,
            traces_seen_estimate=240,
            traces_seen_sketch=sketch(partition, 240 * (hour % 24), 240),
        )


def _take(ledger: Ledger, topic: str, partition: int, time_ms: int, value: bytes) -> None:
    log = ledger.logs[topic, partition]
    ledger.take((topic, partition), Record(offset=log.next_offset, time_ms=time_ms, key=None, value=value))


def _finding(time_ms: int, hour: int) -> Finding:
    rule: Rule = next(rule for rule in compiled().rules if rule.id == PII)
    start_ns = time_ms * 1_000_000
    spans = [("POST /export", 0, 212_000_000), ("export users", 31_000_000, 104_000_000)]
    witnesses = [
        replace(
            shown("pii.access", name=name, **{"user.id": f"u-{hour % 23}"}), start_ns=start_ns + at, duration_ns=took
        )
        for name, at, took in spans
    ]
    return replace(
        FINDING,
        rule=rule_text(rule),
        trace_id=hour.to_bytes(16, "big"),
        witnesses=tuple(witnesses),
        first_fact_ms=time_ms,
        first_ms=time_ms,
        last_ms=time_ms,
        closed_ms=time_ms + 30_000,
        first_published_ms=time_ms + 30_000,
    )
