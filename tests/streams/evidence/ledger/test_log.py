"""Tests the ledger's state: every record once, whenever it was killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from streams.errors import StateError
from streams.evidence.ledger import entry, log, seal, storage
from streams.evidence.ledger.log import Ledger, Record
from streams.evidence.ledger.notes import Signer
from streams.evidence.ledger.storage import Directory
from streams.evidence.ledger.verify import Verification
from tests.support import evidence
from tests.support.evidence import ORIGIN, SIGNER, START_MS
from topics.records.audit import SourcePosition

SIGNALS = ("signals", 0)
AUDIT = ("audit", 0)


def entries(store: Directory) -> list[int]:
    """The offsets of all entries, in the order of the log."""
    last = storage.last_seal(store)
    contents = [store.read(storage.seal_path(number)) for number in range(0 if last is None else last + 1)]
    return [entry.decode(line).offset for content in contents for line in seal.split(content).entries]


def findings(store: Directory) -> list[str]:
    """Returns what verification finds."""
    return [finding.text() for finding in Verification(store, [SIGNER.verifier()]).findings()]


def test_a_record_is_taken_once() -> None:
    """A record that Kafka delivers again is skipped."""
    ledger = Ledger(ORIGIN)
    ledger.follow(SIGNALS, "id")

    for offset in (0, 1, 1, 0, 4):
        ledger.take(SIGNALS, evidence.record(offset, b"x"))

    assert len(ledger.logs[SIGNALS].entries) == 3
    assert ledger.follow(SIGNALS, "id") == 5


@pytest.mark.parametrize("killed_after", ["nothing", "seal"])
def test_killed_ledger_continues(tmp_path: Path, killed_after: str) -> None:
    """If killed before or after it stored the seal, the next ledger has every record once, in one log."""
    store, ledger = Directory(tmp_path), Ledger(ORIGIN)
    ledger.follow(SIGNALS, "id")
    for offset in range(3):
        ledger.take(SIGNALS, evidence.record(offset, b"x"))
        if offset < 2:
            evidence.store_seal(ledger, store, START_MS + offset)
    sealed = ledger.seal(START_MS + 2, [SIGNER])
    if killed_after != "nothing":
        store.create(storage.seal_path(2), sealed.content)

    resumed = log.resume(store, [SIGNER])
    for offset in range(resumed.follow(SIGNALS, "id"), 5):
        resumed.take(SIGNALS, evidence.record(offset, b"x"))
    evidence.store_seal(resumed, store, START_MS + 9)

    assert [0, 1, 2, 3, 4] == entries(store)
    assert [] == findings(store)


def test_only_one_of_two_ledgers_creates_the_seal(tmp_path: Path) -> None:
    """The second ledger to create a seal gets an error, and the log has one history."""
    store = evidence.make(tmp_path)
    one, other = log.resume(store, [SIGNER]), log.resume(store, [SIGNER])
    evidence.minute(one, 3)
    evidence.store_seal(one, store, START_MS)

    with pytest.raises(FileExistsError):
        evidence.store_seal(other, store, START_MS)

    assert [] == findings(store)


def test_a_seal_is_the_same_until_it_is_stored() -> None:
    """Sealing changes nothing; records that arrive meanwhile are in the next attempt."""
    ledger = Ledger(ORIGIN)
    evidence.follow(ledger)
    evidence.minute(ledger, 0)

    assert ledger.seal(START_MS, [SIGNER]) == ledger.seal(START_MS, [SIGNER])


def test_repeated_audit_record_is_skipped(tmp_path: Path) -> None:
    """A record whose source position is already in the log is skipped and counted, also after a restart."""
    store, ledger = Directory(tmp_path), Ledger(ORIGIN)
    ledger.follow(AUDIT, "id")
    positions = [
        SourcePosition(topic="otlp_logs", partition=0, epoch=1, offset=offset, index=index)
        for offset, index in ((5, 0), (5, 1), (8, 0))
    ]
    again = SourcePosition(topic="otlp_logs", partition=0, epoch=2, offset=0, index=0)
    other = SourcePosition(topic="otlp_logs", partition=1, epoch=1, offset=0, index=0)

    for offset, position in enumerate([*positions, positions[1], other]):
        ledger.take(AUDIT, evidence.record(offset, b"x", position))
    evidence.store_seal(ledger, store, START_MS)
    resumed = log.resume(store, [SIGNER])
    for offset, position in enumerate([positions[2], again, other], start=5):
        resumed.take(AUDIT, evidence.record(offset, b"x", position))
    sealed = evidence.store_seal(resumed, store, START_MS + 1)

    assert [0, 1, 2, 4, 6] == entries(store)
    assert [2] == [state.doubles for state in sealed.seal.logs]
    assert [] == findings(store)


@pytest.mark.parametrize("header", [b"", b"otlp/x/1/2/3", b"\xff", b"otlp_logs/0/1/-2/0"])
def test_an_audit_record_of_unknown_source_is_kept(header: bytes) -> None:
    """A record without a readable position is never skipped."""
    ledger = Ledger(ORIGIN)
    ledger.follow(AUDIT, "id")

    for offset in range(2):
        ledger.take(
            AUDIT, Record(offset=offset, time_ms=START_MS, key=None, value=b"x", headers=[("betrace_source", header)])
        )

    assert len(ledger.logs[AUDIT].entries) == 2


def test_recreated_topic_is_refused(tmp_path: Path) -> None:
    """The log rejects offsets of another topic of the same name."""
    ledger = log.resume(evidence.make(tmp_path), [SIGNER])

    with pytest.raises(StateError, match="was recreated"):
        ledger.follow(SIGNALS, "another id")


def change(root: Path) -> None:
    """A digit of the last seal is changed."""
    path = root / storage.seal_path(3)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content.replace(b'"time_ms":1', b'"time_ms":2', 1))


def cut(root: Path) -> None:
    """The last seal ends in the middle of a line."""
    path = root / storage.seal_path(3)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:100])


def add(root: Path) -> None:
    """There is a file whose name is not a number."""
    (root / "seals/zzz/000").mkdir(parents=True)
    (root / "seals/zzz/000/000.tlog").write_bytes(b"")


def rename(root: Path) -> None:
    """The last seal has the number of the next."""
    (root / storage.seal_path(3)).rename(root / storage.seal_path(4))


@pytest.mark.parametrize("damage", [change, cut, add, rename])
def test_damaged_evidence_is_not_continued(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """The ledger does not continue evidence that would not verify."""
    store = evidence.make(tmp_path)
    damage(tmp_path)

    with pytest.raises(StateError, match="cannot be continued"):
        log.resume(store, [SIGNER])


@pytest.mark.parametrize("signer", [Signer.generated(ORIGIN), Signer.generated("other.example")])
def test_evidence_of_another_key_is_not_continued(tmp_path: Path, signer: Signer) -> None:
    """A key that did not sign the last tree head is accepted only together with one that did."""
    store = evidence.make(tmp_path)

    with pytest.raises(StateError, match="cannot be continued"):
        log.resume(store, [signer])

    assert log.resume(store, [Signer.generated(ORIGIN), SIGNER]).number == 4


def test_seal_sums_what_was_judged(tmp_path: Path) -> None:
    """A seal sums the counts per rule and the input of its coverage records."""
    evidence.make(tmp_path, 1)

    line = seal.split((tmp_path / storage.seal_path(0)).read_bytes()).line

    cover = msgspec.to_builtins(seal.decode(line).cover)
    assert cover["counts"] == [
        {
            "generation": 0,
            "rule": "pii",
            "rule_fingerprint": "f" * 64,
            "mode": "live",
            "added": {"held": 4},
            "taken_back": {},
        }
    ]
    assert [1, 1] == [one["counted"]["seq"] for one in cover["partitions"]]
    assert [(0, 2, 5), (1, 2, 5)] == [
        (one["partition"], one["windows_judged"], one["traces_seen_estimate"]) for one in cover["partitions"]
    ]
    assert [("otlp_spans", 0, 0, 100, 0)] == [
        (one["topic"], one["partition"], one["from_offset"], one["to_offset"], one["dead_letters"])
        for one in cover["sources"]
    ]
    assert cover["rule_sets"] == ["s" * 64]


def test_a_truncated_seal_is_refused() -> None:
    """A file without an empty line before a note is truncated."""
    for content in (b"", b"{}", b"{}\n{}", b"{}\n\n", b"{}\n\ntext\n"):
        with pytest.raises(msgspec.DecodeError, match="truncated"):
            seal.split(content)


@pytest.mark.parametrize("line", [b"{}", b"\xff", b"[" * 100_000, b'{"schema":4}'])
def test_invalid_seal(line: bytes) -> None:
    """Anything that is not a seal is refused."""
    with pytest.raises(msgspec.DecodeError):
        seal.decode(line)


def test_a_seal_of_another_schema_says_so(tmp_path: Path) -> None:
    """A seal of another version is refused with its number."""
    evidence.make(tmp_path, 1)
    line = seal.split((tmp_path / storage.seal_path(0)).read_bytes()).line

    with pytest.raises(msgspec.DecodeError, match="seal schema 1, this program reads 3: it was never released"):
        seal.decode(line.replace(b'"schema":3', b'"schema":1', 1))


def test_parts_of_a_file_round_trip(tmp_path: Path) -> None:
    """Line, entries and note form the same file again, and the note is the signed one."""
    store, ledger = Directory(tmp_path), Ledger(ORIGIN)
    evidence.follow(ledger)
    evidence.minute(ledger, 0)
    sealed = evidence.store_seal(ledger, store, START_MS)

    parts = seal.split(sealed.content)

    assert (sealed.seal_line, sealed.note) == (parts.line, parts.note)
    assert sealed.content == seal.join(parts.line, parts.entries, parts.note)
    assert len(parts.entries) == 6
