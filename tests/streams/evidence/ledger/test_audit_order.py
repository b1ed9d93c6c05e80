"""Tests the audit trail against a writer of its topic: nothing is suppressed, and what is out of order is found."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from streams.evidence.ledger import entry, log, seal, storage, verify
from streams.evidence.ledger.findings import Fault, Finding
from streams.evidence.ledger.log import Ledger, Record
from streams.evidence.ledger.storage import Directory
from streams.evidence.ledger.verify import Verification
from tests.support import evidence
from tests.support.evidence import MINUTE_MS, SIGNER, START_MS, in_parts_of
from topics.records import verdicts
from topics.records.audit import SourcePosition

AUDIT = ("audit", 0)
VERDICTS = ("verdicts", 0)
MINUTES = 22
"""More than the time between a record and its coverage."""


def at(offset: int, index: int = 0, topic: str = "otlp_spans") -> SourcePosition:
    """A source position."""
    return SourcePosition(topic=topic, partition=0, epoch=1, offset=offset, index=index)


def take(ledger: Ledger, position: SourcePosition | None, value: bytes) -> None:
    """Passes the next audit record to the ledger."""
    ledger.take(AUDIT, evidence.record(ledger.logs[AUDIT].next_offset, value, position))


def begun(root: Path) -> tuple[Directory, Ledger]:
    """A ledger without seals."""
    store = Directory(root)
    ledger = log.resume(store, [SIGNER])
    ledger.follow(AUDIT, "id")
    ledger.follow(VERDICTS, "id")
    return store, ledger


def values(store: Directory) -> list[bytes]:
    """Returns the audit records in the log."""
    last = storage.last_seal(store)
    found = []
    for number in range(0 if last is None else last + 1):
        parts = seal.split(store.read(storage.seal_path(number)))
        count = sum(state.added for state in seal.decode(parts.line).logs if state.topic == "audit")
        found += [entry.decode(line).value_bytes() for line in parts.entries[:count]]
    return found


def findings(store: Directory) -> list[Finding]:
    """Returns what verification finds."""
    return [*Verification(store, [SIGNER.verifier()]).findings()]


def test_forged_position_suppresses_no_record(tmp_path: Path) -> None:
    """After a record that claims the highest position, a hundred records of a source are sealed nevertheless.

    Verification names the records that do not follow it.
    """
    store, ledger = begun(tmp_path)
    take(ledger, at(0), b"first")
    take(ledger, at((1 << 63) - 1), b"forged")
    for number in range(1, 101):
        take(ledger, at(number), b"of mallory %d" % number)
        if number % 30 == 0:
            evidence.store_seal(ledger, store, START_MS + number)
    evidence.store_seal(ledger, store, START_MS + 101)

    found = findings(store)

    assert [b"first", b"forged", *(b"of mallory %d" % number for number in range(1, 101))] == values(store)
    assert {Fault.INCONSISTENT} == {finding.fault for finding in found}
    assert "the record at offset 2 claims position otlp_spans/0/1/1/0, which is not after" in found[0].message


def test_a_record_is_not_replaced(tmp_path: Path) -> None:
    """A record that takes the place of the next one is in the log beside it, and both are named."""
    store, ledger = begun(tmp_path)
    for position, value in ((at(0), b"one"), (at(1), b"forged"), (at(1), b"two"), (at(2), b"three")):
        take(ledger, position, value)
    evidence.store_seal(ledger, store, START_MS)

    found = findings(store)

    assert [b"one", b"forged", b"two", b"three"] == values(store)
    assert ["offset 2"] == [finding.message.partition("at ")[2][:8] for finding in found]


@pytest.mark.parametrize("seed", range(4))
def test_repeated_records_are_sealed_once(tmp_path: Path, seed: int) -> None:
    """Whatever was written again, from any seal, and however often the ledger was restarted: each is sealed once."""
    chance = random.Random(seed)
    store, ledger = begun(tmp_path)
    written: list[tuple[SourcePosition, bytes]] = []
    for number in range(60):
        topic = chance.choice(["otlp_spans", "otlp_logs"])
        written.append((at(number, chance.randrange(3), topic), b"%d" % number))
        take(ledger, *written[-1])
        for again in written[chance.randrange(len(written)) :] if chance.random() < 0.3 else ():
            take(ledger, *again)
        if chance.random() < 0.3:
            evidence.store_seal(ledger, store, START_MS + number)
            ledger = log.resume(store, [SIGNER]) if chance.random() < 0.5 else ledger
    evidence.store_seal(ledger, store, START_MS + 60)
    ledger = log.resume(store, [SIGNER])
    for again in written:
        take(ledger, *again)
    evidence.store_seal(ledger, store, START_MS + 61)

    unsealed = [value for _, value in written]
    assert sorted(unsealed) == sorted({*values(store)})
    assert len(unsealed) == len(values(store))
    assert [] == findings(store)


def test_a_repeat_of_a_damaged_seal_is_kept(tmp_path: Path) -> None:
    """If the sealed record cannot be read, the ledger seals a record twice rather than not at all."""
    store, ledger = begun(tmp_path)
    for number in range(3):
        take(ledger, at(number), b"%d" % number)
        evidence.store_seal(ledger, store, START_MS + number)
    (tmp_path / storage.seal_path(1)).unlink()

    take(ledger, at(1), b"1")
    take(ledger, at(2), b"2")

    assert 1 == len(ledger.logs[AUDIT].entries)


def test_highest_positions_are_those_of_the_entries(tmp_path: Path) -> None:
    """A ledger whose operator claims positions that no entry has is found: they would hide what comes below."""
    store, ledger = begun(tmp_path)
    take(ledger, at(0), b"one")
    ledger.logs[AUDIT].sources["otlp_spans", 0] = at(1000)
    evidence.store_seal(ledger, store, START_MS)

    assert ["the source positions in the seal are not those of its entries"] == [
        finding.message for finding in findings(store)
    ]


def judged(root: Path, forged: SourcePosition | None, minutes: int) -> Directory:
    """Minutes of coverage with audit records of what was read, and one record of what was not."""
    store, ledger = begun(root)
    reached = evidence.START
    for minute in range(minutes):
        take(ledger, at(minute * 100), b"%d" % minute)
        if minute == 3 and forged is not None:
            take(ledger, forged, b"forged")
        counted = evidence.counts(0, minute=minute, before=reached)
        reached = reached.after(counted, verdicts.encode(counted))
        for record in (counted, evidence.coverage(0, minute, reached)):
            offset = ledger.logs[VERDICTS].next_offset
            ledger.take(VERDICTS, Record(offset=offset, time_ms=START_MS, key=None, value=verdicts.encode(record)))
        evidence.store_seal(ledger, store, START_MS + minute * MINUTE_MS)
    return store


def test_records_of_what_was_read_are_in_order(tmp_path: Path) -> None:
    """Each record's offset is below the coverage."""
    assert [] == findings(judged(tmp_path, None, MINUTES))


@pytest.mark.parametrize(
    ("forged", "said"),
    [
        (at(10**6), "it was read up to 2200"),
        (SourcePosition(topic="otlp_spans", partition=0, epoch=7, offset=5, index=0), "nothing of this epoch was read"),
        (at(5, topic="otlp_logs"), "nothing of this epoch was read"),
    ],
)
def test_records_of_what_was_not_read_are_found(tmp_path: Path, forged: SourcePosition, said: str) -> None:
    """It is found as soon as windows of a later time are judged; until then nothing is known."""
    early = findings(judged(tmp_path / "early", forged, 6))
    late = findings(judged(tmp_path / "late", forged, MINUTES))

    assert not [finding for finding in early if "an audit record has offset" in finding.message]
    assert 1 == sum(said in finding.message for finding in late)


def test_passes_in_parts_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is the same however verification is split among processes."""
    store = judged(tmp_path, at(10**6), MINUTES)
    whole = findings(store)

    for share in (1, 5):
        monkeypatch.setattr(verify, "map_seal_ranges", in_parts_of(share))
        assert whole == findings(store)
