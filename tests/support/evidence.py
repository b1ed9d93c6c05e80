"""Evidence to look at: a ledger fed with records, without Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar
from weakref import WeakKeyDictionary

from streams.evidence.ledger import storage
from streams.evidence.ledger.log import Ledger, LogKey, Record, Sealed
from streams.evidence.ledger.notes import Signer
from streams.evidence.ledger.storage import Directory, Storage
from topics.distinct import DistinctTraces
from topics.records import verdicts
from topics.records.audit import POSITION_HEADER, SourcePosition
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

ORIGIN = "example.com/betrace"
SIGNER = Signer.generated(ORIGIN)
MINUTE_MS = 60_000
START_MS = 1_767_614_400_000
START = Counted()
JUDGING = [JudgingRule("pii", "f" * 64, "live", 0)]
T = TypeVar("T")
TOPICS = ("audit", "signals", "verdicts")


_chains: WeakKeyDictionary[Ledger, dict[int, Counted]] = WeakKeyDictionary()
"""Where the chains of the partitions are that a ledger was fed with."""


def leaf(number: int, verdict: str = "held") -> bytes:
    """The hash of a verdict."""
    return Leaf(
        revision=None,
        rule="f" * 64,
        trace_id=f"{number:032x}",
        verdict=verdict,
        window=WindowBounds(START_MS, START_MS + number),
    ).hash()


def counts(
    partition: int, held: int = 2, broken: int = 0, *, minute: int = 0, before: Counted = START
) -> VerdictCounts:
    """What a step judged in a minute, counted from 0; `before` is the chain that it goes on."""
    return VerdictCounts(
        rule="pii",
        rule_fingerprint="f" * 64,
        partition=partition,
        seq=before.seq,
        prev=before.head,
        minute_ms=START_MS,
        clock_ms=START_MS + minute * MINUTE_MS,
        added=VerdictSums(held=held, broken=broken),
        leaves=b"".join(leaf(number) for number in range(held + broken)),
    )


@cache
def sketch(partition: int, first: int, count: int) -> bytes:
    """The sketch of `count` traces of a facts partition, numbered from `first` on."""
    traces = DistinctTraces()
    traces.add(number.to_bytes(12, "big") + partition.to_bytes(4, "big") for number in range(first, first + count))
    return traces.encode()


def coverage(partition: int, minute: int, counted: Counted = START) -> Coverage:
    """The coverage record of a minute, counted from 0; one of its five traces goes on in the next minute."""
    from_ms = None if minute == 0 else START_MS + minute * MINUTE_MS
    to_ms = START_MS + (minute + 1) * MINUTE_MS
    return Coverage(
        partition=partition,
        from_ms=from_ms,
        to_ms=to_ms,
        settled_from_ms=from_ms,
        settled_to_ms=to_ms,
        final_to_ms=to_ms,
        facts_from=minute * 10,
        facts_to=minute * 10 + 10,
        sources=[
            SourceCoverage(
                topic="otlp_spans",
                partition=0,
                epoch=1,
                from_offset=minute * 100,
                to_offset=minute * 100 + 100,
                dead_letters=0,
            )
        ],
        rule_sets=["s" * 64],
        judging=judging_hash(JUDGING),
        rules=JUDGING,
        windows_judged=2,
        traces_seen_estimate=5,
        traces_seen_sketch=sketch(partition, 4 * minute, 5),
        counted=counted,
    )


def record(offset: int, value: bytes, position: SourcePosition | None = None) -> Record:
    """A record as Kafka delivers it."""
    headers = [] if position is None else [(POSITION_HEADER, position.encode())]
    return Record(offset=offset, time_ms=START_MS + offset, key=b"key", value=value, headers=headers)


def chain(partition: int, minutes: int) -> Counted:
    """Where the chain of a partition is after so many minutes; a ledger that was resumed does not know it."""
    reached = START
    for number in range(minutes):
        counted = counts(partition, minute=number, before=reached)
        reached = reached.after(counted, verdicts.encode(counted))
    return reached


def minute(ledger: Ledger, number: int, partitions: int = 2) -> None:
    """Takes in what a minute brings: counts and coverage on each partition, a signal, and an audit record."""
    chains = _chains.setdefault(ledger, {})
    for partition in range(partitions):
        before = chains.get(partition) or chain(partition, number if ledger.number else 0)
        counted = counts(partition, minute=number, before=before)
        chains[partition] = before.after(counted, verdicts.encode(counted))
        said: tuple[verdicts.Record, ...] = (counted, coverage(partition, number, chains[partition]))
        for at, verdict in enumerate(said):
            ledger.take(("verdicts", partition), record(number * 10 + at, verdicts.encode(verdict)))
    ledger.take(("signals", 0), record(number, b'{"signal":%d}' % number))
    ledger.take(("audit", 0), record(number, b'{"audit":%d}' % number))


def follow(ledger: Ledger, partitions: int = 2) -> None:
    """Keeps logs of all topics."""
    keys: Iterable[LogKey] = ((topic, partition) for topic in TOPICS for partition in range(partitions))
    for topic, partition in keys:
        ledger.follow((topic, partition), f"id-of-{topic}")


def store_seal(ledger: Ledger, store: Storage, now_ms: int, signers: Iterable[Signer] = (SIGNER,)) -> Sealed:
    """Seals what was taken."""
    sealed = ledger.seal(now_ms, [*signers])
    store.create(storage.seal_path(ledger.number), sealed.content)
    ledger.advance(sealed.seal_line, sealed.note)
    return sealed


def make(root: Path, minutes: int = 4, partitions: int = 2) -> Directory:
    """Small evidence: a seal a minute; the third is of an idle minute without a record."""
    store, ledger = Directory(root), Ledger(ORIGIN)
    follow(ledger, partitions)
    for number in range(minutes):
        if number != 2:
            minute(ledger, number - (number > 2), partitions)
        store_seal(ledger, store, START_MS + number * MINUTE_MS)
    return store


def in_parts_of(count: int) -> Callable[[Callable[[int, int], T], int, int], Iterator[T]]:
    """As `map_seal_ranges`, with parts of so many seals, all in this process."""

    def parts(work: Callable[[int, int], T], first: int, end: int) -> Iterator[T]:
        for begin in range(first, end, count):
            yield work(begin, min(begin + count, end))

    return parts
