"""Tests that records of backfills are verified like those of live, also against the holder of the ledger's key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from streams.evidence.ledger import verify
from streams.evidence.ledger.compare import Comparison
from streams.evidence.ledger.findings import Fault, Finding
from streams.evidence.ledger.log import Ledger
from streams.evidence.ledger.parallel import T
from streams.evidence.ledger.storage import Directory
from streams.evidence.ledger.verify import Verification
from tests.support import evidence
from tests.support.backfilled import backfill
from tests.support.evidence import ORIGIN, SIGNER, START_MS
from tests.support.lifetime import NAMES, Lifetime
from topics.records import verdicts
from topics.records.verdicts import Counted, Coverage, VerdictCounts, VerdictSums, is_backfill

HOUR = 36_000
Forge = Callable[[list[verdicts.Record]], Iterable[verdicts.Record]]


@pytest.fixture(scope="module")
def life() -> Lifetime:
    """Three hours before a push and one after it, with a backfill of them."""
    made = Lifetime()
    for number in range(24):
        if number == 18:
            made.push("both")
        made.write(number + 1, *(NAMES if number % 2 else ("pii.access", "agent.tool")))
        made.wait(HOUR // 6)
        made.step()
    made.end()
    backfill(made, "few")
    return made


def sealed(root: Path, life: Lifetime, records: Iterable[verdicts.Record]) -> Directory:
    """Evidence of these records and of the signals of that life, signed with the ledger's key; a seal per minute."""
    store, ledger = Directory(root), Ledger(ORIGIN)
    for topic in ("signals", "verdicts"):
        ledger.follow((topic, 0), topic)
    for offset, value in enumerate(life.records("signals")):
        ledger.take(("signals", 0), evidence.record(offset, value))
    for offset, record in enumerate(records):
        ledger.take(("verdicts", 0), evidence.record(offset, verdicts.encode(record)))
        evidence.store_seal(ledger, store, START_MS + offset * evidence.MINUTE_MS)
    for late in range(12):
        evidence.store_seal(ledger, store, START_MS + 1_000 * evidence.MINUTE_MS + late)
    return store


def found(store: Directory) -> list[Finding]:
    """Returns what verification finds."""
    return [*Verification(store, [SIGNER.verifier()]).findings()]


def all_of(life: Lifetime) -> list[verdicts.Record]:
    """The records of verdicts."""
    return [*map(verdicts.decode, life.records("verdicts"))]


def rechained(records: Iterable[verdicts.Record]) -> Iterator[verdicts.Record]:
    """Returns the backfill's chain rebuilt, as the holder of the ledger's key who writes the topics can do."""
    reached = Counted()
    for record in records:
        if not is_backfill(record.origin):
            yield record
        elif isinstance(record, VerdictCounts):
            linked = replace(record, seq=reached.seq, prev=reached.head)
            reached = reached.after(linked, verdicts.encode(linked))
            yield linked
        else:
            reached = replace(reached, signals=record.counted.signals)
            yield replace(record, counted=reached)


def counts(record: verdicts.Record) -> bool:
    """Returns whether it is a counts record of a backfill."""
    return isinstance(record, VerdictCounts) and is_backfill(record.origin)


def coverage(record: verdicts.Record) -> bool:
    """Returns whether it is a coverage record of a backfill."""
    return isinstance(record, Coverage) and is_backfill(record.origin)


def without(
    records: list[verdicts.Record], is_meant: Callable[[verdicts.Record], bool], at: int
) -> Iterator[verdicts.Record]:
    """Returns the records without the matching ones."""
    meant = [index for index, record in enumerate(records) if is_meant(record)]
    return (record for index, record in enumerate(records) if index != meant[at])


def changed(records: list[verdicts.Record], **changes: object) -> Iterator[verdicts.Record]:
    """Returns the records with other values in the second counts record of a backfill."""
    meant = [index for index, record in enumerate(records) if counts(record)]
    return (replace(record, **changes) if index == meant[1] else record for index, record in enumerate(records))


FORGED: dict[str, tuple[Forge, Fault, str]] = {
    "its first counts left out": (
        lambda records: without(records, counts, 0),
        Fault.INCONSISTENT,
        "counts record 1 does not follow the one before it, after which 0 comes",
    ),
    "counts left out": (lambda records: without(records, counts, 2), Fault.INCONSISTENT, "does not follow"),
    "counts twice": (
        lambda records: [*records, next(filter(counts, records))],
        Fault.INCONSISTENT,
        "counts record 0 does not follow",
    ),
    "an hour left out": (
        lambda records: without(records, coverage, 1),
        Fault.GAP,
        "record time continues at",
    ),
    "an hour judged twice": (
        lambda records: rechained([*records, next(record for record in reversed(records) if coverage(record))]),
        Fault.INCONSISTENT,
        "are judged again",
    ),
    "taken back without having been added, the chain made anew": (
        lambda records: rechained(
            changed(records, taken_back=VerdictSums(held=9), retractions=bytes(range(9)) * verdicts.HASH_BYTES)
        ),
        Fault.INCONSISTENT,
        "more held of rule few are retracted than there were",
    ),
    "more verdicts than windows, the chain made anew": (
        lambda records: rechained(
            changed(records, added=VerdictSums(held=99), leaves=bytes(range(99)) * verdicts.HASH_BYTES)
        ),
        Fault.INCONSISTENT,
        "verdicts of rule few on",
    ),
    "more broken ones than signals, the chain made anew": (
        lambda records: rechained(
            changed(records, added=VerdictSums(broken=2), leaves=bytes(range(2)) * verdicts.HASH_BYTES)
        ),
        Fault.INCONSISTENT,
        "verdicts call for a signal",
    ),
    "traces of tomorrow, the chain made anew": (
        lambda records: rechained(changed(records, minute_ms=60_000_000_000)),
        Fault.INCONSISTENT,
        "are of traces that began at",
    ),
}


def in_parts_of(count: int) -> Callable[[Callable[[int, int], T], int, int], Iterator[T]]:
    """Does what `map_seal_ranges` does, with ranges of this many seals, in this process."""

    def parts(work: Callable[[int, int], T], first: int, end: int) -> Iterator[T]:
        for begin in range(first, end, count):
            yield work(begin, min(begin + count, end))

    return parts


@pytest.mark.parametrize("share", [1, 3, 7, 1_000])
def test_honest_backfill_has_no_findings(
    tmp_path: Path, life: Lifetime, monkeypatch: pytest.MonkeyPatch, share: int
) -> None:
    """The result is the same wherever the seals are split."""
    monkeypatch.setattr(verify, "map_seal_ranges", in_parts_of(share))

    assert [] == found(sealed(tmp_path, life, all_of(life)))


@pytest.mark.parametrize("share", [2, 1_000])
@pytest.mark.parametrize("forged", FORGED)
def test_forged_backfill_is_found(
    tmp_path: Path, life: Lifetime, monkeypatch: pytest.MonkeyPatch, forged: str, share: int
) -> None:
    """A forgery that was sealed and signed is found by its content."""
    forge, fault, message = FORGED[forged]
    monkeypatch.setattr(verify, "map_seal_ranges", in_parts_of(share))

    findings = found(sealed(tmp_path, life, forge(all_of(life))))

    assert any(one.fault is fault and message in one.message for one in findings), findings


def test_signals_of_a_backfill_are_counted_with_live(tmp_path: Path, life: Lifetime) -> None:
    """A signal that neither live nor the backfill counted is found."""
    signals = life.records("signals")
    store, ledger = Directory(tmp_path), Ledger(ORIGIN)
    for topic in ("signals", "verdicts"):
        ledger.follow((topic, 0), topic)
    for offset, value in enumerate([*signals, signals[-1]]):
        ledger.take(("signals", 0), evidence.record(offset, value))
    for offset, record in enumerate(all_of(life)):
        ledger.take(("verdicts", 0), evidence.record(offset, verdicts.encode(record)))
    evidence.store_seal(ledger, store, START_MS)
    evidence.store_seal(ledger, store, START_MS + 100 * evidence.MINUTE_MS)

    assert any("signals of rule few say broken" in one.message for one in found(store))


def test_without_its_marker_a_backfill_is_no_record() -> None:
    """A coverage record of a backfill names who ran it, and one of live does not."""
    record = evidence.coverage(0, 0)

    assert verdicts.invalid_reason(record) is None
    assert verdicts.invalid_reason(replace(record, origin="backfill/3f9a")) is not None


def test_backfill_in_a_copy_is_compared_by_itself(life: Lifetime) -> None:
    """A copy with a part of live and of the backfill, which covers earlier times, agrees; a forged one does not."""
    ours = [record for record in all_of(life) if isinstance(record, Coverage)]
    theirs = ours[len(ours) // 2 :]
    other = [replace(record, windows_judged=99) if coverage(record) else record for record in theirs]

    assert [] == [*Comparison().differences(ours, theirs)]
    assert all("of backfill/" in each for each in Comparison().differences(ours, other))
    assert [*Comparison().differences(ours, other)]
