"""Tests that contradictory counts are found, also if they were forged with the ledger's key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from streams.evidence.ledger import verify
from streams.evidence.ledger.findings import Fault, Finding
from streams.evidence.ledger.log import Ledger
from streams.evidence.ledger.storage import Directory
from streams.evidence.ledger.verify import Verification
from tests.support import evidence
from tests.support.evidence import MINUTE_MS, ORIGIN, SIGNER, START_MS, in_parts_of
from tests.support.findings import FINDING
from topics.records import signals, verdicts
from topics.records.verdicts import Counted, Coverage, Leaf, Retraction, VerdictCounts, VerdictSums, WindowBounds

MINUTES = 22
"""More than the time between a verdict and its signal."""
BOUNDS = WindowBounds(START_MS, START_MS)
Forge = Callable[[list[verdicts.Record]], Iterable[verdicts.Record | bytes]]


def leaves(count: int) -> bytes:
    """Returns hashes of this many verdicts."""
    return b"".join(
        Leaf(revision=None, rule="f" * 64, trace_id=f"{at:032x}", verdict="held", window=BOUNDS).hash()
        for at in range(count)
    )


def retractions(count: int) -> bytes:
    """Returns hashes of this many retracted verdicts."""
    return b"".join(
        Retraction(revision=None, rule="f" * 64, trace_id=f"{at:032x}", verdict="broken", window=BOUNDS).hash()
        for at in range(count)
    )


def history() -> list[verdicts.Record]:
    """A partition's twenty minutes: in each a trace holds, in the third and the sixth one breaks as well.

    In the ninth the one of the third is repaired.
    """
    records: list[verdicts.Record] = []
    reached = Counted()
    for minute in range(MINUTES):
        added = VerdictSums(held=1, broken=int(minute in {3, 6}))
        back = VerdictSums(broken=int(minute == 9))
        counts = replace(
            evidence.counts(0, minute=minute, before=reached),
            added=added,
            leaves=leaves(added.applicable),
            taken_back=back,
            retractions=retractions(back.applicable),
        )
        reached = reached.after(counts, verdicts.encode(counts))
        reached = replace(reached, signals=reached.signals + added.broken + back.broken)
        records += [counts, evidence.coverage(0, minute, reached)]
    return records


def sealed(root: Path, records: Iterable[verdicts.Record | bytes], signalled: Iterable[int] = (3, 6, 9)) -> Directory:
    """Evidence of these records, two a minute, and of signals in these minutes, signed with the ledger's key."""
    store, ledger = Directory(root), Ledger(ORIGIN)
    for topic in ("signals", "verdicts"):
        ledger.follow((topic, 0), topic)
    values = [record if isinstance(record, bytes) else verdicts.encode(record) for record in records]
    for minute in range(MINUTES):
        for value in values[2 * minute : 2 * minute + 2 if minute + 1 < MINUTES else None]:
            ledger.take(("verdicts", 0), evidence.record(ledger.logs["verdicts", 0].next_offset, value))
        if minute in signalled:
            ledger.take(("signals", 0), evidence.record(minute, signal(minute)))
        evidence.store_seal(ledger, store, START_MS + minute * MINUTE_MS)
    return store


def signal(minute: int) -> bytes:
    """A signal of the rule; that of the ninth minute says that the trace held after all."""
    finding = replace(
        FINDING,
        rule=replace(FINDING.rule, id="pii"),
        verdict="held" if minute == 9 else "broken",
        revision=2 if minute == 9 else 1,
    )
    return signals.record(finding, logged_ms=1, source="sessions", format=signals.SignalFormat.OCSF).value


def found(store: Directory) -> list[Finding]:
    """Returns what verification finds."""
    return [*Verification(store, [SIGNER.verifier()]).findings()]


def test_an_honest_history_has_no_findings(tmp_path: Path) -> None:
    """Amended verdicts and their signals verify."""
    assert [] == found(sealed(tmp_path, history()))


def counts_of(records: list[verdicts.Record]) -> list[VerdictCounts]:
    """The counts records."""
    return [record for record in records if isinstance(record, VerdictCounts)]


def inserted(counts: VerdictCounts) -> Forge:
    """Returns the records with one more before the last minute's."""
    return lambda records: [*records[:-2], counts, *records[-2:]]


def deltas(_: list[verdicts.Record]) -> bytes:
    """A former forgery: it retracts what was never added, and has no leaves."""
    value = verdicts.encode(evidence.counts(0, minute=5))
    return value.replace(b'"added":{"held":2}', b'"added":{"held":24,"broken":-24}')


def repaired(records: list[verdicts.Record]) -> list[verdicts.Record]:
    """A record added by a reader of the topic: it follows the last one and retracts existing verdicts."""
    reached = Counted()
    for one in counts_of(records[:-2]):
        reached = reached.after(one, verdicts.encode(one))
    forged = replace(
        evidence.counts(0, held=1, minute=MINUTES - 2, before=reached),
        taken_back=VerdictSums(broken=1),
        retractions=retractions(1),
    )
    return [*records[:-2], forged, *records[-2:]]


def rechained(records: Iterable[verdicts.Record]) -> Iterator[verdicts.Record]:
    """Returns the chain rebuilt, as the holder of the ledger's key who writes the topics can do."""
    reached = Counted()
    for record in records:
        if isinstance(record, VerdictCounts):
            linked = replace(record, seq=reached.seq, prev=reached.head)
            reached = reached.after(linked, verdicts.encode(linked))
            yield linked
        else:
            reached = replace(reached, signals=record.counted.signals)
            yield replace(record, counted=reached)


FORGED: dict[str, tuple[Forge, Fault, str]] = {
    "negative counts": (
        lambda records: [*records[:-2], deltas(records), *records[-2:]],
        Fault.GAP,
        "not a verdict record",
    ),
    "counts without leaves": (
        lambda records: [
            *records[:-2],
            verdicts.encode(replace(counts_of(records)[-2], added=VerdictSums(held=48_000_456))),
            *records[-2:],
        ],
        Fault.GAP,
        "not a verdict record",
    ),
    "a record that nobody made": (
        inserted(evidence.counts(0, minute=21)),
        Fault.INCONSISTENT,
        "counts record 0 does not follow",
    ),
    "a repair that nobody judged": (
        repaired,
        Fault.INCONSISTENT,
        "counts record 21 does not follow",
    ),
    "a record twice": (
        lambda records: [*records[:-2], records[-4], *records[-2:]],
        Fault.INCONSISTENT,
        "counts record 20 does not follow",
    ),
    "broken ones left out": (
        lambda records: [one for one in records if not isinstance(one, VerdictCounts) or not one.added.broken],
        Fault.INCONSISTENT,
        "coverage states 4 counts records, there are 3, or different ones",
    ),
    "broken ones called held": (
        lambda records: [
            replace(one, added=VerdictSums(held=2)) if isinstance(one, VerdictCounts) and one.added.broken else one
            for one in records
        ],
        Fault.INCONSISTENT,
        "coverage states",
    ),
    "broken ones left out, the chain made anew": (
        lambda records: rechained(one for one in records if not isinstance(one, VerdictCounts) or not one.added.broken),
        Fault.INCONSISTENT,
        "1 more broken of rule pii are retracted than there were",
    ),
    "more verdicts than windows": (
        lambda records: rechained(
            replace(one, added=VerdictSums(held=3), leaves=leaves(3))
            if isinstance(one, VerdictCounts) and one.seq == 11
            else one
            for one in records
        ),
        Fault.INCONSISTENT,
        "3 verdicts of rule pii on 2 windows",
    ),
    "more broken ones than signals": (
        lambda records: rechained(
            replace(one, added=VerdictSums(broken=1)) if isinstance(one, VerdictCounts) and one.seq == 11 else one
            for one in records
        ),
        Fault.INCONSISTENT,
        "1 verdicts call for a signal, 0 were published or withheld",
    ),
    "a clock that goes back": (
        lambda records: rechained(
            replace(one, clock_ms=START_MS) if isinstance(one, VerdictCounts) and one.seq == 11 else one
            for one in records
        ),
        Fault.INCONSISTENT,
        "come after those at",
    ),
    "traces of tomorrow": (
        lambda records: rechained(
            replace(one, minute_ms=START_MS + 86_400_000) if isinstance(one, VerdictCounts) and one.seq == 11 else one
            for one in records
        ),
        Fault.INCONSISTENT,
        "are of traces that began at",
    ),
    "other rules than were listed": (
        lambda records: [
            replace(one, rules=None, judging="0" * 64) if isinstance(one, Coverage) and one.facts_from == 110 else one
            for one in records
        ],
        Fault.INCONSISTENT,
        "no earlier record lists the rules that judge",
    ),
    "sums that are others": (
        lambda records: [
            replace(one, counted=replace(one.counted, added=VerdictSums(held=99)))
            if isinstance(one, Coverage) and one.facts_from == 110
            else one
            for one in records
        ],
        Fault.INCONSISTENT,
        "coverage states sums that differ from those of its counts records",
    ),
}


@pytest.mark.parametrize("is_split", [False, True], ids=["one process", "several"])
@pytest.mark.parametrize("forged", FORGED)
def test_contradictions_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forged: str, *, is_split: bool
) -> None:
    """A forgery that was sealed and signed is found by its content."""
    forge, fault, message = FORGED[forged]
    if is_split:
        monkeypatch.setattr(verify, "map_seal_ranges", in_parts_of(5))

    findings = found(sealed(tmp_path, forge(history())))

    assert any(one.fault is fault and message in one.message for one in findings), findings


def test_valid_history_verifies_wherever_seals_are_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the seals are split, the state before each part is known from the parts before."""
    store = sealed(tmp_path, history())

    for share in (1, 3, 4, 7):
        monkeypatch.setattr(verify, "map_seal_ranges", in_parts_of(share))
        assert [] == found(store)


def test_verdicts_without_their_signals_are_found(tmp_path: Path) -> None:
    """Signals that were published but not sealed are reported, and so are missing verdicts of signals."""
    [missing] = found(sealed(tmp_path / "a", history(), signalled=(3, 9)))
    [more] = found(sealed(tmp_path / "b", history(), signalled=(2, 3, 4, 6, 9)))

    assert (Fault.INCONSISTENT, "3 signals were published, 2 are sealed") == (missing.fault, missing.message)
    assert (Fault.INCONSISTENT, "4 signals of rule pii say broken, 2 verdicts do") == (more.fault, more.message)


def test_verdicts_and_signals_left_out_together_are_found(tmp_path: Path) -> None:
    """If all broken verdicts and their signals are omitted before sealing, the chain has a gap."""
    kept = [one for one in history() if not isinstance(one, VerdictCounts) or not one.added.broken]

    findings = found(sealed(tmp_path, kept, signalled=()))

    assert {Fault.INCONSISTENT} == {one.fault for one in findings}


def test_a_chain_that_was_lost_in_part_is_a_gap(tmp_path: Path) -> None:
    """What Kafka deleted before the ledger read it is reported, and what follows is accepted unchecked."""
    store, ledger = Directory(tmp_path), Ledger(ORIGIN)
    for topic in ("signals", "verdicts"):
        ledger.follow((topic, 0), topic)
    ledger.lose(("verdicts", 0), 10)
    for at, record in enumerate(history()[10:], 10):
        ledger.take(("verdicts", 0), evidence.record(at, verdicts.encode(record)))
    evidence.store_seal(ledger, store, START_MS)

    assert [(Fault.GAP, "the ledger could not read offsets 0 to 10: deleted before, or damaged")] == [
        (one.fault, one.message) for one in found(store)
    ]
