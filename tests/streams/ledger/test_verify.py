"""Verification finds every change of evidence, and nothing where nothing was changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.ledger import checkpoint, notes, storage, verify
from streams.ledger.checkpoint import Checkpoint
from streams.ledger.findings import Fault, Finding
from streams.ledger.log import Ledger
from streams.ledger.notes import Algorithm, Signer
from streams.ledger.storage import Directory
from streams.ledger.verify import Verification
from tests.streams.ledger import evidence
from tests.streams.ledger.evidence import ORIGIN, SIGNER, START_MS
from topics import verdicts

MINUTES = 4


def findings(root: Path, *known: Checkpoint, keys: tuple[Signer, ...] = (SIGNER,)) -> list[Finding]:
    """What verification says."""
    return [*Verification(Directory(root), [key.verifier() for key in keys], known).findings()]


def head(root: Path, number: int) -> Checkpoint:
    """The checkpoint of a seal."""
    return checkpoint.decode(notes.decode(Directory(root).read(storage.checkpoint_path(number))).text)


def files(root: Path) -> list[Path]:
    """Every file of the evidence."""
    return sorted(path for path in root.rglob("*") if path.is_file())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Small evidence."""
    evidence.make(tmp_path / "evidence", MINUTES)
    for path in (tmp_path / "evidence").rglob("*"):
        path.chmod(0o755)
    return tmp_path / "evidence"


def test_evidence_that_was_not_changed_has_no_findings(root: Path) -> None:
    """All is in order, the head is the last checkpoint, and everything was read."""
    verification = Verification(Directory(root), [SIGNER.verifier()], [head(root, number) for number in range(MINUTES)])

    found = [*verification.findings()]

    assert [] == found
    assert head(root, MINUTES - 1) == verification.head
    assert verification.totals.entries == {"verdicts": 12, "signals": 3, "audit": 3}
    assert verification.totals.verdicts == 12
    assert verification.totals.judged_to_ms == dict.fromkeys((0, 1), START_MS + 3 * evidence.MINUTE_MS)


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    """Whichever single byte of whichever file is changed, there is a finding, and it is at that seal."""
    evidence.make(tmp_path, 2, partitions=1)
    unseen = []
    for path in files(tmp_path):
        path.chmod(0o644)
        content = path.read_bytes()
        for at in range(len(content)):
            path.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
            if path.stem not in {Path(finding.place.split(" ")[0]).stem for finding in findings(tmp_path)}:
                unseen.append((path.name, at))
        path.write_bytes(content)

    assert [] == unseen
    assert [] == findings(tmp_path)


def test_every_missing_file_is_found(root: Path, tmp_path: Path) -> None:
    """Whichever file is deleted, it is said to be missing, and nothing else is said."""
    found = {}
    for path in files(root):
        kept = path.rename(tmp_path / "kept")
        found[path] = [(root / one.place, one.fault) for one in findings(root)]
        kept.rename(path)

    assert {path: [(path, Fault.MISSING)] for path in files(root)} == found
    assert len(found) == 2 * MINUTES


@pytest.mark.parametrize("kind", [storage.seal_path, storage.checkpoint_path])
@pytest.mark.parametrize("pair", [(0, 1), (0, 3), (1, 2), (2, 3)])
def test_swapped_files_are_found(root: Path, kind: Callable[[int], str], pair: tuple[int, int]) -> None:
    """Two files of a kind that change places are both found."""
    one, other = (root / kind(number) for number in pair)
    contents = one.read_bytes(), other.read_bytes()

    other.write_bytes(contents[0])
    one.write_bytes(contents[1])

    assert {storage.seal_path(number) for number in pair} <= {finding.place for finding in findings(root)}


def test_swapped_minutes_are_found(root: Path) -> None:
    """Two minutes that change places, seal and checkpoint, are found."""
    for kind in (storage.seal_path, storage.checkpoint_path):
        one, other = root / kind(1), root / kind(2)
        contents = one.read_bytes(), other.read_bytes()
        other.write_bytes(contents[0])
        one.write_bytes(contents[1])

    places = {finding.place for finding in findings(root) if finding.fault is Fault.CHANGED}

    assert {storage.seal_path(1), storage.seal_path(2)} <= places


@pytest.mark.parametrize("left", range(MINUTES))
def test_a_cut_tail_is_found_against_a_head(root: Path, left: int) -> None:
    """When the last minutes are gone, a head that is known from elsewhere shows it."""
    known = head(root, MINUTES - 1)
    for number in range(left, MINUTES):
        (root / storage.seal_path(number)).unlink()
        (root / storage.checkpoint_path(number)).unlink()

    found = findings(root, known)

    assert (storage.seal_path(left), Fault.CUT) == (found[-1].place, found[-1].fault)
    assert left == 0 or len(found) == 1


def test_lines_of_a_seal_are_bound_to_their_place(root: Path) -> None:
    """Entries that change places, are removed, or are there twice are found, in the log that they are of."""
    path = root / storage.seal_path(1)
    seal, *entries = path.read_bytes().splitlines(keepends=True)
    changes = {
        "swapped": [*entries[:-2], entries[-1], entries[-2]],
        "removed": entries[:-1],
        "doubled": [*entries, entries[-1]],
        "replaced": [*entries[:-1], entries[-2]],
    }

    found = {}
    for change, lines in changes.items():
        path.write_bytes(b"".join([seal, *lines]))
        found[change] = {finding.place.split(" ")[-1] for finding in findings(root)}

    assert "verdicts-1" in found["swapped"] & found["removed"] & found["replaced"]
    assert {storage.seal_path(1)} == found["doubled"]


@pytest.mark.parametrize(
    "name",
    ["note.txt", "seals/more", "seals/001", "seals/000/000/extra.jsonl", "seals/000/000/1.jsonl", "checkpoints/a/b/c"],
)
def test_files_of_nobody_are_found(root: Path, name: str) -> None:
    """A file that the ledger did not make is found."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(b"")

    found = findings(root)

    assert [Fault.UNKNOWN] == [finding.fault for finding in found]
    assert found[0].place.startswith(name)


def test_no_evidence_is_a_finding(tmp_path: Path) -> None:
    """An empty directory is not evidence of anything."""
    assert [Fault.MISSING] == [finding.fault for finding in findings(tmp_path)]


def test_a_history_rewritten_with_the_key_shows_against_a_head(root: Path, tmp_path: Path) -> None:
    """Whoever has the key can make other evidence, but not one that has the head that is known."""
    known = head(root, 2)
    evidence.make(tmp_path / "other", MINUTES, partitions=1)

    found = findings(tmp_path / "other", known)

    assert [(storage.seal_path(2), Fault.CHANGED)] == [(one.place, one.fault) for one in found]


def test_another_key_is_found(root: Path) -> None:
    """Evidence that the given key did not sign is not signed."""
    found = findings(root, keys=(Signer.generated(ORIGIN),))

    assert [Fault.UNSIGNED] * MINUTES == [finding.fault for finding in found]


def test_a_witness_alone_is_not_enough(root: Path) -> None:
    """A checkpoint that only a witness signed is not the log's."""
    witness = Signer.generated(ORIGIN, Algorithm.COSIGNATURE_V1)
    path = root / storage.checkpoint_path(MINUTES - 1)
    note = notes.decode(path.read_bytes())
    path.write_bytes(notes.Note(note.text, (witness.sign(note.text, 5),)).encode())

    [found] = findings(root, keys=(SIGNER, witness))

    assert (storage.checkpoint_path(MINUTES - 1), Fault.UNSIGNED) == (found.place, found.fault)


def test_keys_may_change(tmp_path: Path) -> None:
    """A log that went on with another key verifies with both, and each checkpoint says whose it is."""
    store, ledger, later = Directory(tmp_path), Ledger(ORIGIN), Signer.generated(ORIGIN)
    for number, signers in enumerate([(SIGNER,), (later, SIGNER), (later,)]):
        evidence.store_seal(ledger, store, START_MS + number, signers)

    assert [] == findings(tmp_path, keys=(SIGNER, later))
    assert [storage.checkpoint_path(1), storage.checkpoint_path(2)] == [one.place for one in findings(tmp_path)]


def test_several_processes_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Split in the middle, good evidence is good, and a change, a gap and a wrong signature at the joint are found."""
    store, ledger = Directory(tmp_path), Ledger(ORIGIN)
    evidence.follow(ledger)
    for number in range(6):
        evidence.minute(ledger, number + (number > 2))
        evidence.store_seal(ledger, store, START_MS + number)
    monkeypatch.setattr(verify, "SHARE", 3)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)

    with_gap = Verification(store, [SIGNER.verifier()])
    found = [*with_gap.findings()]
    path = tmp_path / storage.checkpoint_path(2)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-9] + b"AAAAAAA=\n")
    unsigned = findings(tmp_path)

    assert [(f"{storage.seal_path(3)} verdicts-{at // 3}", Fault.GAP) for at in range(6)] == [
        (one.place, one.fault) for one in sorted(found, key=lambda one: one.place)
    ]
    assert (with_gap.head, with_gap.totals.seals) == (head(tmp_path, 5), 6)
    assert (storage.checkpoint_path(2), Fault.UNSIGNED) in {(one.place, one.fault) for one in unsigned}


def gaps(tmp_path: Path, *records: verdicts.Record | bytes) -> list[str]:
    """What verification says of verdict records, all of one partition."""
    store, ledger = Directory(tmp_path), Ledger(ORIGIN)
    ledger.follow(("verdicts", 0), "id")
    for offset, said in enumerate(records):
        value = said if isinstance(said, bytes) else verdicts.encode(said)
        ledger.take(("verdicts", 0), evidence.record(offset, value))
        evidence.store_seal(ledger, store, START_MS + offset)
    found = findings(tmp_path)
    assert {Fault.GAP} >= {finding.fault for finding in found}
    return [finding.message for finding in found]


def test_a_minute_without_coverage_is_a_gap(tmp_path: Path) -> None:
    """A missing coverage record shows in facts, record time and source offsets."""
    said = gaps(tmp_path, evidence.coverage(0, 0), evidence.coverage(0, 2))

    assert [
        "facts go on at 20, the record before ended at 10",
        "record time goes on at 2026-01-05T12:02:00.000Z, the record before ended at 2026-01-05T12:01:00.000Z",
        "otlp_spans[0] goes on at 200, the record before ended at 100",
    ] == [one.removeprefix("facts partition 0: ") for one in said]


def test_partitions_and_epochs_are_on_their_own(tmp_path: Path) -> None:
    """Another facts partition begins anywhere, and so does a source whose topic was made again."""
    second = evidence.coverage(0, 1)
    again = verdicts.Coverage(
        **{
            **{name: getattr(second, name) for name in second.__struct_fields__},
            "sources": [verdicts.SourceCoverage(topic="otlp_spans", partition=0, epoch=2, from_offset=0, to_offset=3)],
        }
    )

    assert [] == gaps(tmp_path, evidence.coverage(0, 0), evidence.coverage(1, 5), again)


def test_lost_input_is_a_gap(tmp_path: Path) -> None:
    """Source records that were gone before they could be read are said."""
    source = verdicts.SourceCoverage(
        topic="otlp_logs", partition=3, epoch=1, from_offset=0, to_offset=9, lost=[(2, 5)], dead_letters=None
    )
    first = evidence.coverage(0, 0)
    lost = verdicts.Coverage(
        **{**{name: getattr(first, name) for name in first.__struct_fields__}, "sources": [source]}
    )

    said = gaps(tmp_path, lost)

    assert ["facts partition 0: otlp_logs[3] offsets 2 to 5 were gone before they could be read"] == said


def test_a_foreign_record_is_a_gap(tmp_path: Path) -> None:
    """A record that no verdict is written as is kept, and said."""
    said = gaps(tmp_path, b"\xff\x00", b"[]", b"")

    assert len(said) == 3
    assert all("is no verdict record" in one for one in said)


def test_what_the_ledger_lost_is_a_gap(tmp_path: Path) -> None:
    """Records that Kafka deleted before the ledger read them are said."""
    store, ledger = Directory(tmp_path), Ledger(ORIGIN)
    ledger.follow(("signals", 0), "id")
    ledger.lose(("signals", 0), 17)
    evidence.store_seal(ledger, store, START_MS)

    [found] = findings(tmp_path)

    assert Fault.GAP is found.fault
    assert f"{storage.seal_path(0)} signals-0" == found.place
    assert "offsets 0 to 17 were gone before the ledger could read them" == found.message
