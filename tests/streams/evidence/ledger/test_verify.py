"""Tests that verification finds every change of evidence, and nothing in unchanged evidence."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.evidence.ledger import notes, parallel, seal, storage, tree_head
from streams.evidence.ledger.findings import Fault, Finding
from streams.evidence.ledger.log import Ledger
from streams.evidence.ledger.notes import Algorithm, Signer
from streams.evidence.ledger.storage import Directory
from streams.evidence.ledger.tree_head import TreeHead
from streams.evidence.ledger.verify import Verification
from tests.support import evidence
from tests.support.evidence import ORIGIN, SIGNER, START_MS
from tests.support.gotools import GoMissingError, gonote
from topics.records import verdicts

MINUTES = 4


def findings(root: Path, *known: TreeHead, keys: tuple[Signer, ...] = (SIGNER,)) -> list[Finding]:
    """Returns what verification finds."""
    return [*Verification(Directory(root), [key.verifier() for key in keys], known).findings()]


def head(root: Path, number: int) -> TreeHead:
    """The tree head of a seal."""
    return tree_head.decode(notes.decode(seal.note_in(Directory(root).read(storage.seal_path(number)))).text)


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
    """Everything is in order, the head is the last tree head, and everything was read."""
    verification = Verification(Directory(root), [SIGNER.verifier()], [head(root, number) for number in range(MINUTES)])

    found = [*verification.findings()]

    assert [] == found
    assert head(root, MINUTES - 1) == verification.head
    assert verification.totals.entries == {"verdicts": 12, "signals": 3, "audit": 3}
    assert verification.totals.verdicts == 12
    assert verification.totals.judged_to_ms == dict.fromkeys((0, 1), START_MS + 3 * evidence.MINUTE_MS)


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    """A change of any single byte of any file is a finding at that seal."""
    evidence.make(tmp_path, 2, partitions=1)
    unseen = []
    for path in files(tmp_path):
        path.chmod(0o644)
        content = path.read_bytes()
        for at in range(len(content)):
            path.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
            if path.stem not in {Path(finding.location.split(" ")[0]).stem for finding in findings(tmp_path)}:
                unseen.append((path.name, at))
        path.write_bytes(content)

    assert [] == unseen
    assert [] == findings(tmp_path)


def test_every_missing_file_is_found(root: Path, tmp_path: Path) -> None:
    """A deleted file is reported as missing, and nothing else is; the last one is truncation."""
    known = head(root, MINUTES - 1)
    found = {}
    for path in files(root):
        kept = path.rename(tmp_path / "kept")
        found[path] = [(root / one.location, one.fault) for one in findings(root, known)]
        kept.rename(path)

    expected = {path: [(path, Fault.MISSING)] for path in files(root)}
    last = files(root)[-1]
    assert expected | {last: [(last, Fault.TRUNCATED)]} == found
    assert len(found) == MINUTES


@pytest.mark.parametrize("pair", [(0, 1), (0, 3), (1, 2), (2, 3)])
def test_swapped_files_are_found(root: Path, pair: tuple[int, int]) -> None:
    """Two swapped minutes are both found."""
    one, other = (root / storage.seal_path(number) for number in pair)
    contents = one.read_bytes(), other.read_bytes()

    other.write_bytes(contents[0])
    one.write_bytes(contents[1])

    places = {finding.location for finding in findings(root) if finding.fault is Fault.CHANGED}
    assert {storage.seal_path(number) for number in pair} <= places


@pytest.mark.parametrize("pair", [(0, 1), (0, 3), (1, 2), (2, 3)])
def test_swapped_tree_heads_are_found(root: Path, pair: tuple[int, int]) -> None:
    """Two seals with swapped tree heads are both found."""
    one, other = (root / storage.seal_path(number) for number in pair)
    parts = [seal.split(path.read_bytes()) for path in (one, other)]

    one.write_bytes(seal.join(parts[0].line, parts[0].entries, parts[1].note))
    other.write_bytes(seal.join(parts[1].line, parts[1].entries, parts[0].note))

    places = {finding.location for finding in findings(root) if finding.fault is Fault.CHANGED}
    assert {storage.seal_path(number) for number in pair} <= places


CHANGES: dict[str, Callable[[bytes, bytes], bytes]] = {
    "no empty line": lambda body, note: body + note,
    "two empty lines": lambda body, note: body + b"\n\n" + note,
    "an empty line in the note": lambda body, note: body + b"\n" + note.replace(b"\n\n", b"\n\n\n"),
    "an empty line at the end": lambda body, note: body + b"\n" + note + b"\n",
    "bytes after the note": lambda body, note: body + b"\n" + note + b"{}\n",
    "no end of the last line": lambda body, note: body + b"\n" + note[:-1],
    "a line before the note": lambda body, note: body + b"\n{}\n" + note,
    "the note twice": lambda body, note: body + b"\n" + note + b"\n" + note,
    "the note twice without a line between": lambda body, note: body + b"\n" + note + note,
    "a signature twice": lambda body, note: body + b"\n" + note + note.partition(b"\n\n")[2],
    "no signature": lambda body, note: body + b"\n" + note.partition(b"\n\n")[0] + b"\n\n",
    "no note": lambda body, _: body + b"\n",
    "nothing under the entries": lambda body, _: body,
    "the note alone": lambda _, note: note,
    "an empty line above": lambda body, note: b"\n" + body + b"\n" + note,
    "an empty line among the entries": lambda body, note: body.replace(b"\n", b"\n\n", 1) + b"\n" + note,
    "CRLF": lambda body, note: (body + b"\n" + note).replace(b"\n", b"\r\n"),
    "CRLF at the joint": lambda body, note: body + b"\r\n" + note,
    "CRLF in the note": lambda body, note: body + b"\n" + note.replace(b"\n", b"\r\n"),
    "a space at the end of a line": lambda body, note: body[:-1] + b" \n\n" + note,
    "empty": lambda _, __: b"",
}


@pytest.mark.parametrize("number", [1, MINUTES - 1])
@pytest.mark.parametrize("change", CHANGES)
def test_changes_between_seal_and_note_are_found(root: Path, number: int, change: str) -> None:
    """Any change where the seal ends and its tree head begins is found, at that seal alone."""
    path = root / storage.seal_path(number)
    body, note = path.read_bytes().split(b"\n\n", 1)

    path.write_bytes(CHANGES[change](body + b"\n", note))

    found = [finding for finding in findings(root) if finding.fault is not Fault.GAP]
    assert {path} == {root / finding.location.split(" ")[0] for finding in found}


def test_every_inserted_or_removed_byte_is_found(tmp_path: Path) -> None:
    """A byte added or removed anywhere in a file is found at that seal."""
    evidence.make(tmp_path, 1, partitions=1)
    path = tmp_path / storage.seal_path(0)
    path.chmod(0o644)
    content = path.read_bytes()
    unseen = []
    for at in range(len(content)):
        for changed in (content[:at] + content[at + 1 :], content[:at] + b"\n" + content[at:], content[:at]):
            path.write_bytes(changed)
            if storage.seal_path(0) not in {finding.location.split(" ")[0] for finding in findings(tmp_path)}:
                unseen.append((at, len(changed) - len(content)))

    assert [] == unseen


@pytest.mark.go
def test_note_follows_the_empty_line_of_a_file(root: Path) -> None:
    """`sed` extracts the signed note, and Go verifies it."""
    path = root / storage.seal_path(1)

    cut = subprocess.run(["sed", "1,/^$/d", path], capture_output=True, check=True).stdout

    assert seal.split(path.read_bytes()).note == cut
    try:
        opened = gonote("verify", SIGNER.verifier().encode(), text=cut)
    except GoMissingError as error:
        pytest.skip(str(error))
    assert head(root, 1).text().encode() == opened.stdout


@pytest.mark.parametrize("left", range(MINUTES))
def test_truncation_is_found_with_a_head(root: Path, left: int) -> None:
    """If the last minutes are missing, a head obtained elsewhere shows it."""
    known = head(root, MINUTES - 1)
    for number in range(left, MINUTES):
        (root / storage.seal_path(number)).unlink()

    found = findings(root, known)

    assert (storage.seal_path(left), Fault.TRUNCATED) == (found[-1].location, found[-1].fault)
    assert left == 0 or len(found) == 1


def test_lines_of_a_seal_are_bound_to_their_position(root: Path) -> None:
    """Entries that are swapped, removed or duplicated are found, in their log."""
    path = root / storage.seal_path(1)
    parts = seal.split(path.read_bytes())
    entries = parts.entries
    changes = {
        "swapped": [*entries[:-2], entries[-1], entries[-2]],
        "removed": entries[:-1],
        "doubled": [*entries, entries[-1]],
        "replaced": [*entries[:-1], entries[-2]],
    }

    found = {}
    for change, lines in changes.items():
        path.write_bytes(seal.join(parts.line, lines, parts.note))
        found[change] = {finding.location.split(" ")[-1] for finding in findings(root)}

    assert "verdicts-1" in found["swapped"] & found["removed"] & found["replaced"]
    assert {storage.seal_path(1)} == found["doubled"]


@pytest.mark.parametrize(
    "name",
    ["note.txt", "seals/more", "seals/001", "seals/000/000/extra.tlog", "seals/000/000/1.tlog", "checkpoints"],
)
def test_unknown_files_are_found(root: Path, name: str) -> None:
    """A file that the ledger did not make is found."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(b"")

    found = findings(root)

    assert [Fault.UNKNOWN] == [finding.fault for finding in found]
    assert found[0].location.startswith(name)


def test_no_evidence_is_a_finding(tmp_path: Path) -> None:
    """An empty directory is not evidence."""
    assert [Fault.MISSING] == [finding.fault for finding in findings(tmp_path)]


def test_rewritten_history_is_found_with_a_head(root: Path, tmp_path: Path) -> None:
    """The holder of the key can make other evidence, but not with a known head."""
    known = head(root, 2)
    evidence.make(tmp_path / "other", MINUTES, partitions=1)

    found = findings(tmp_path / "other", known)

    assert [(storage.seal_path(2), Fault.CHANGED)] == [(one.location, one.fault) for one in found]


def test_another_key_is_found(root: Path) -> None:
    """Evidence that the given key did not sign is reported as not signed."""
    found = findings(root, keys=(Signer.generated(ORIGIN),))

    assert [Fault.UNSIGNED] * MINUTES == [finding.fault for finding in found]


def test_a_witness_alone_is_not_enough(root: Path) -> None:
    """A tree head that only a witness signed is not the log's."""
    witness = Signer.generated(ORIGIN, Algorithm.COSIGNATURE_V1)
    path = root / storage.seal_path(MINUTES - 1)
    parts = seal.split(path.read_bytes())
    text = notes.decode(parts.note).text
    cosigned = notes.Note(text, (witness.sign(text, 5),)).encode()
    path.write_bytes(seal.join(parts.line, parts.entries, cosigned))

    [found] = findings(root, keys=(SIGNER, witness))

    assert (storage.seal_path(MINUTES - 1), Fault.UNSIGNED) == (found.location, found.fault)


def test_keys_may_change(tmp_path: Path) -> None:
    """A log that continued with another key verifies with both, and each tree head names its key."""
    store, ledger, later = Directory(tmp_path), Ledger(ORIGIN), Signer.generated(ORIGIN)
    for number, signers in enumerate([(SIGNER,), (later, SIGNER), (later,)]):
        evidence.store_seal(ledger, store, START_MS + number, signers)

    assert [] == findings(tmp_path, keys=(SIGNER, later))
    assert [storage.seal_path(1), storage.seal_path(2)] == [one.location for one in findings(tmp_path)]


def test_several_processes_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Split in the middle, valid evidence verifies; a change, a gap and a wrong signature at the joint are found."""
    store, ledger = Directory(tmp_path), Ledger(ORIGIN)
    evidence.follow(ledger)
    for number in range(6):
        evidence.minute(ledger, number + (number > 2))
        evidence.store_seal(ledger, store, START_MS + number)
    monkeypatch.setattr(parallel, "RANGE_SEALS", 3)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)

    with_gap = Verification(store, [SIGNER.verifier()])
    found = [*with_gap.findings()]
    path = tmp_path / storage.seal_path(2)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-9] + b"AAAAAAA=\n")
    unsigned = findings(tmp_path)

    assert [(f"{storage.seal_path(3)} verdicts-{at // 3}", Fault.GAP) for at in range(6)] == [
        (one.location, one.fault) for one in sorted(found, key=lambda one: one.location)
    ]
    assert (with_gap.head, with_gap.totals.seals) == (head(tmp_path, 5), 6)
    assert (storage.seal_path(2), Fault.UNSIGNED) in {(one.location, one.fault) for one in unsigned}


def gaps(tmp_path: Path, *records: verdicts.Record | bytes) -> list[str]:
    """Returns what verification finds in verdict records, all of one partition."""
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
        "facts continue at 20, but the record before ended at 10",
        "record time continues at 2026-01-05T12:02:00.000Z, but the record before ended at 2026-01-05T12:01:00.000Z",
        "otlp_spans[0] continues at 200, but the record before ended at 100",
    ] == [one.removeprefix("facts partition 0: ") for one in said]


def test_partitions_and_epochs_are_independent(tmp_path: Path) -> None:
    """Another facts partition may begin anywhere, and so may a source whose topic was recreated."""
    second = evidence.coverage(0, 1)
    again = verdicts.Coverage(
        **{
            **{name: getattr(second, name) for name in second.__struct_fields__},
            "sources": [verdicts.SourceCoverage(topic="otlp_spans", partition=0, epoch=2, from_offset=0, to_offset=3)],
        }
    )

    assert [] == gaps(tmp_path, evidence.coverage(0, 0), evidence.coverage(1, 5), again)


def test_lost_input_is_a_gap(tmp_path: Path) -> None:
    """Source records that were deleted before they could be read are reported."""
    source = verdicts.SourceCoverage(
        topic="otlp_logs", partition=3, epoch=1, from_offset=0, to_offset=9, lost=[(2, 5)], dead_letters=None
    )
    first = evidence.coverage(0, 0)
    lost = verdicts.Coverage(
        **{**{name: getattr(first, name) for name in first.__struct_fields__}, "sources": [source]}
    )

    said = gaps(tmp_path, lost)

    assert ["facts partition 0: otlp_logs[3] offsets 2 to 5 were deleted before they could be read"] == said


def test_a_foreign_record_is_a_gap(tmp_path: Path) -> None:
    """A record that is not a verdict record is kept, and reported."""
    said = gaps(tmp_path, b"\xff\x00", b"[]", b"")

    assert len(said) == 3
    assert all("is not a verdict record" in one for one in said)


def test_what_the_ledger_lost_is_a_gap(tmp_path: Path) -> None:
    """Records that Kafka deleted before the ledger read them are reported."""
    store, ledger = Directory(tmp_path), Ledger(ORIGIN)
    ledger.follow(("signals", 0), "id")
    ledger.lose(("signals", 0), 17)
    evidence.store_seal(ledger, store, START_MS)

    [found] = findings(tmp_path)

    assert Fault.GAP is found.fault
    assert f"{storage.seal_path(0)} signals-0" == found.location
    assert "the ledger could not read offsets 0 to 17: deleted before, or damaged" == found.message
