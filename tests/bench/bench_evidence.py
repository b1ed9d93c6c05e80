"""How long `betrace evidence verify` and `report` take over days of evidence.

    python -m tests.bench.bench_evidence [--days 90] [--verdicts 3000000] [--partitions 12]

Makes evidence with a seal a minute, in each of which every facts partition has its coverage record and counts, verifies
it, and gathers a report of all of it. Prints one line of JSON; `_cpu_s` is the time on all processors. Goal: 90 days
with 3,000,000 verdicts are verified in less than 30 s, and reported in less than 20 s.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import msgspec

from streams.cli.evidence_report import build
from streams.evidence.ledger.log import Ledger, Record
from streams.evidence.ledger.notes import Signer
from streams.evidence.ledger.storage import open_storage, seal_path
from streams.evidence.ledger.verify import Verification
from tests.support.evidence import sketch
from topics.records import verdicts
from topics.records.verdicts import (
    Counted,
    Coverage,
    JudgingRule,
    Leaf,
    SourceCoverage,
    VerdictCounts,
    VerdictSums,
    WindowBounds,
    judging_hash,
)

START_MS = 1_767_225_600_000
MINUTE_MS = 60_000
MINUTES_A_DAY = 1440
DAY_MS = MINUTES_A_DAY * MINUTE_MS
SOURCES = 4
T = TypeVar("T")

STEP = 12
"""Offsets that a minute brings in each partition of each topic."""

SKEW = 7
"""Source records by which a facts partition is ahead of the one before it when its minute ends."""

SIGNER = Signer.generated("example.com/bench")


class Figures(msgspec.Struct):
    """What was verified and reported, and how long it took."""

    seals: int
    entries: int
    verdicts: int
    megabytes: int
    making_s: float
    verifying_s: float
    verifying_cpu_s: float
    reporting_s: float
    reporting_cpu_s: float
    findings: int
    is_whole: bool


JUDGING = [JudgingRule("pii-access-is-logged", "f" * 64, "live", 0)]


def coverage(partition: int, minute: int, counted: Counted) -> Coverage:
    """A minute's coverage record; the facts partitions end it a few source records apart."""
    from_ms, to_ms = START_MS + minute * MINUTE_MS, START_MS + (minute + 1) * MINUTE_MS
    return Coverage(
        partition=partition,
        from_ms=from_ms,
        to_ms=to_ms,
        settled_from_ms=from_ms,
        settled_to_ms=to_ms,
        final_to_ms=to_ms,
        facts_from=minute * 1200,
        facts_to=(minute + 1) * 1200,
        sources=[
            SourceCoverage(
                topic="otlp_spans",
                partition=number,
                epoch=START_MS,
                from_offset=minute * 1000 + partition * SKEW,
                to_offset=(minute + 1) * 1000 + partition * SKEW,
                dead_letters=0,
            )
            for number in range(SOURCES)
        ],
        rule_sets=["5" * 64],
        judging=judging_hash(JUDGING),
        rules=JUDGING if minute % 60 == 0 else None,
        windows_judged=4,
        traces_seen_estimate=40,
        traces_seen_sketch=sketch(partition, 40 * (minute % 60), 40),
        counted=counted,
    )


def counts(partition: int, minute: int, first: int, count: int, before: Counted) -> VerdictCounts:
    """Verdicts on traces `first` and the `count` - 1 after it."""
    bounds = WindowBounds(START_MS + minute * MINUTE_MS, START_MS + minute * MINUTE_MS + 700)
    leaves = [
        Leaf(revision=None, rule="f" * 64, trace_id=f"{trace:032x}", verdict="held", window=bounds).hash()
        for trace in range(first, first + count)
    ]
    return VerdictCounts(
        partition=partition,
        seq=before.seq,
        prev=before.head,
        rule="pii-access-is-logged",
        rule_fingerprint="f" * 64,
        minute_ms=bounds.first_ms,
        clock_ms=bounds.last_ms,
        added=VerdictSums(held=count),
        leaves=b"".join(leaves),
    )


def take_minute(ledger: Ledger, minute: int, per_partition: list[tuple[int, int]], chains: dict[int, Counted]) -> None:
    """A minute on every partition; `per_partition` has the first trace and how many, `chains` where the counts are."""
    for partition, (first, count) in enumerate(per_partition):
        reached = chains.setdefault(partition, Counted())
        said: list[tuple[bytes | None, bytes]] = []
        if count:
            record = counts(partition, minute, first, count, reached)
            value = verdicts.encode(record)
            chains[partition] = reached.after(record, value)
            said.append((record.rule.encode(), value))
        said.append((None, verdicts.encode(coverage(partition, minute, chains[partition]))))
        for at, (key, value) in enumerate(said):
            time_ms = START_MS + (minute + 1) * MINUTE_MS
            ledger.take(
                ("verdicts", partition), Record(offset=minute * STEP + at, time_ms=time_ms, key=key, value=value)
            )


def make(root: Path, *, minutes: int, verdict_count: int, partitions: int) -> int:
    """Makes the evidence; returns its bytes. Written without the care of a real ledger, which costs a flush a file."""
    ledger = Ledger(SIGNER.name)
    size_bytes = 0
    chains: dict[int, Counted] = {}
    for partition in range(partitions):
        for topic in ("audit", "signals", "verdicts"):
            ledger.follow((topic, partition), "an id of 22 characters")
    for minute in range(minutes):
        bounds = [verdict_count * (minute * partitions + at) // (minutes * partitions) for at in range(partitions + 1)]
        take_minute(ledger, minute, [(first, end - first) for first, end in pairwise(bounds)], chains)
        sealed = ledger.seal(START_MS + minute * MINUTE_MS, [SIGNER])
        target = root / seal_path(minute)
        target.parent.mkdir(parents=True, exist_ok=True)
        size_bytes += target.write_bytes(sealed.content)
        ledger.advance(sealed.seal_line, sealed.note)
    return size_bytes


def measure(*, days: int, verdict_count: int, partitions: int) -> Figures:
    """Makes evidence, verifies it and reports it."""
    with tempfile.TemporaryDirectory() as directory:
        start_s = time.perf_counter()
        size_bytes = make(
            Path(directory), minutes=days * MINUTES_A_DAY, verdict_count=verdict_count, partitions=partitions
        )
        made_s = time.perf_counter()
        verification = Verification(open_storage(directory), [SIGNER.verifier()])
        findings, verifying = timed(lambda: len([*verification.findings()]))
        made, reporting = timed(lambda: build(directory, START_MS, START_MS + days * DAY_MS, None))
    totals = verification.totals
    return Figures(
        totals.seals,
        sum(totals.entries.values()),
        totals.verdicts,
        size_bytes >> 20,
        round(made_s - start_s, 1),
        *verifying,
        *reporting,
        findings,
        made.is_whole,
    )


def timed(work: Callable[[], T]) -> tuple[T, tuple[float, float]]:
    """What `work` returns, and the seconds it took: on the clock, and on processors, other processes included."""
    begin_s, begin = time.perf_counter(), os.times()
    done = work()
    end_s, end = time.perf_counter(), os.times()
    cpu_s = sum(end[:4]) - sum(begin[:4])
    return done, (round(end_s - begin_s, 1), round(cpu_s, 1))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--verdicts", type=int, default=3_000_000)
    parser.add_argument("--partitions", type=int, default=12)
    asked = parser.parse_args()
    figures = measure(days=asked.days, verdict_count=asked.verdicts, partitions=asked.partitions)
    print(msgspec.json.encode(figures).decode())  # noqa: T201, it is a command


if __name__ == "__main__":
    main()
