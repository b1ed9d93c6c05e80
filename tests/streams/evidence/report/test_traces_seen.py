"""Tests how many traces a report says were seen."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from streams.evidence.ledger.log import Ledger
from streams.evidence.ledger.storage import Directory, seal_path
from streams.evidence.report import history
from streams.evidence.report.gather import gather
from streams.evidence.report.gathered import Gathered
from streams.evidence.report.model import Evidence, Report, ReportRequest
from streams.evidence.report.report import report
from tests.support.evidence import MINUTE_MS, ORIGIN, START_MS, coverage, follow, record, sketch, store_seal
from topics.records import verdicts
from topics.records.verdicts import Coverage

PARTITIONS = 4
MINUTES = 10
TRACES = 200_000
FEW = 6


def seen(partition: int, minute: int, count: int, generation: int = 0) -> Coverage:
    """The record of a minute in which a partition saw `count` traces, half of them also in the minute before."""
    return replace(
        coverage(partition, minute),
        generation=generation,
        traces_seen_estimate=count,
        traces_seen_sketch=sketch(partition, minute * count // 2, count),
    )


def sealed(root: Path, minutes: list[list[Coverage]]) -> Directory:
    """Evidence with a seal for each of these lists."""
    store, ledger = Directory(root), Ledger(ORIGIN)
    follow(ledger, PARTITIONS)
    for number, records in enumerate(minutes):
        for one in records:
            key = ("verdicts", one.partition)
            ledger.take(key, record(ledger.logs[key].next_offset, verdicts.encode(one)))
        store_seal(ledger, store, START_MS + number * MINUTE_MS)
    return store


def gathered(store: Directory) -> Gathered:
    """Returns what is gathered of all minutes."""
    return gather(store, START_MS, START_MS + MINUTES * MINUTE_MS)


def reported(store: Directory) -> Report:
    """Returns the report on all minutes."""
    found = gathered(store)
    evidence = Evidence(
        place="",
        origin=ORIGIN,
        first_seal=0,
        end_seal=0,
        head_size=0,
        head_root=None,
        head_file="",
        head_sha256=None,
        head_file_sha256=None,
        unreadable=found.unreadable,
        verified=None,
    )
    asked = ReportRequest(from_ms=START_MS, to_ms=START_MS + MINUTES * MINUTE_MS, control=None, made_ms=0, verify="")
    return report(asked, found, history.read(store), evidence)


def test_a_trace_counts_once_over_minutes_partitions_and_readings(tmp_path: Path) -> None:
    """For 200,000 traces seen in two minutes each, and again after a reset, the error is as stated."""
    # The first and the last half of a minute's traces are seen once.
    count = 2 * TRACES // (PARTITIONS * (MINUTES + 1))
    expected = PARTITIONS * (MINUTES + 1) * (count // 2)
    minutes = [
        [seen(partition, minute, count // 2 * 2, generation) for partition in range(PARTITIONS)]
        for generation in range(2)
        for minute in range(MINUTES)
    ]

    found = reported(sealed(tmp_path, minutes)).input.traces_seen_estimate

    assert 0.99 * TRACES < expected <= TRACES
    assert abs(found - expected) <= 0.016 * expected


def test_few_traces_are_counted_exactly(tmp_path: Path) -> None:
    """A trace that continues over all minutes is one trace."""
    once = [replace(seen(0, minute, FEW), traces_seen_sketch=sketch(0, 0, FEW)) for minute in range(MINUTES)]

    assert FEW == reported(sealed(tmp_path, [[one] for one in once])).input.traces_seen_estimate


def test_a_damaged_sketch_is_a_record_that_cannot_be_read(tmp_path: Path) -> None:
    """The seal that contains it is named, and the traces of the other records are counted."""
    damaged = replace(seen(0, 1, FEW), traces_seen_sketch=b"damaged")

    found = gathered(sealed(tmp_path, [[seen(0, 0, FEW)], [damaged]]))

    assert [seal_path(1)] == found.unreadable
    assert {0: FEW} == {number: one.traces.estimate() for number, one in found.partitions.items()}
