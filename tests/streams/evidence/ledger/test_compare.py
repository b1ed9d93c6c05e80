"""Tests that what the ledger's operator omitted or invented shows against a second party's copy of coverage."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from streams.cli import main
from streams.evidence.ledger import log
from streams.evidence.ledger.storage import Directory
from streams.evidence.ledger.verify import Verification
from tests.support import evidence
from tests.support.evidence import MINUTE_MS, SIGNER, START_MS
from topics.records import verdicts
from topics.records.verdicts import Coverage

MINUTES = 6


def history(broken: Iterable[int], minutes: int = MINUTES) -> list[verdicts.Record]:
    """The records of a partition, with a broken trace in some minutes; in shadow, so no signal shows it."""
    records: list[verdicts.Record] = []
    reached = evidence.START
    for minute in range(minutes):
        held = 1 if minute in broken else 2
        counts = replace(evidence.counts(0, held, 2 - held, minute=minute, before=reached), mode="shadow")
        reached = reached.after(counts, verdicts.encode(counts))
        records += [counts, evidence.coverage(0, minute, reached)]
    return records


def sealed(root: Path, records: Iterable[verdicts.Record]) -> Directory:
    """Evidence of these records, signed with the ledger's key."""
    store = Directory(root)
    ledger = log.resume(store, [SIGNER])
    ledger.follow(("verdicts", 0), "id")
    for number, record in enumerate(records):
        ledger.take(("verdicts", 0), evidence.record(number, verdicts.encode(record)))
        if number % 2:
            evidence.store_seal(ledger, store, START_MS + number // 2 * MINUTE_MS)
    return store


def compare(root: Path, other: Path, tmp_path: Path) -> Result:
    """Runs the command."""
    key = tmp_path / "ledger.pub"
    key.write_text(SIGNER.verifier().encode() + "\n")
    return CliRunner().invoke(main, ["evidence", "compare", str(root), str(other), "--key", str(key)])


@pytest.fixture(params=["file", "evidence"])
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What a second party has: the output of a consumer, or its own evidence."""
    path = tmp_path / "copy"
    records = history({2, 4})
    if request.param == "file":
        path.write_bytes(b"".join(verdicts.encode(record) + b"\n" for record in records))
    else:
        sealed(path, records)
    return path


def test_an_honest_ledger_agrees(tmp_path: Path, copy: Path) -> None:
    """There are no differences, and the output says up to when."""
    sealed(tmp_path / "e", history({2, 4}))

    done = compare(tmp_path / "e", copy, tmp_path)

    assert 0 == done.exit_code, done.output
    until = "2026-01-05T12:06:00.000Z"
    assert [f"6 coverage records agree, up to {until} of record time", "no differences"] == done.stdout.splitlines()


def test_rebuilt_history_is_found(tmp_path: Path, copy: Path) -> None:
    """With all broken traces reported as held and the chain rebuilt, evidence verifies, and differs from the copy."""
    store = sealed(tmp_path / "e", history({}))

    done = compare(tmp_path / "e", copy, tmp_path)

    assert [] == [*Verification(store, [SIGNER.verifier()]).findings()]
    assert 1 == done.exit_code
    assert "facts partition 0: coverage up to 2026-01-05T12:03:00.000Z differs in the copy" in done.stdout
    assert "2 coverage records agree" in done.stdout


def test_omitted_counts_are_found(tmp_path: Path, copy: Path) -> None:
    """The counts of a minute are omitted, with what refers to them: there are fewer than in the copy."""
    records = history({2, 4})
    reached = evidence.START
    kept: list[verdicts.Record] = []
    for record in records[:4] + records[5:6]:
        if isinstance(record, Coverage):
            kept.append(replace(record, counted=reached))
        else:
            reached = reached.after(record, verdicts.encode(record))
            kept.append(record)
    sealed(tmp_path / "e", kept[:4])
    store = Directory(tmp_path / "e")
    ledger = log.resume(store, [SIGNER])
    ledger.take(("verdicts", 0), evidence.record(9, verdicts.encode(kept[4])))
    evidence.store_seal(ledger, store, START_MS + 9 * MINUTE_MS)

    done = compare(tmp_path / "e", copy, tmp_path)

    assert 1 == done.exit_code
    assert "differs in the copy, after 2 counts records here and 3 there" in done.stdout


def test_a_minute_without_coverage_is_found(tmp_path: Path, copy: Path) -> None:
    """It is in only one of them; times that only one covers are not compared."""
    records = history({2, 4}, MINUTES + 3)
    sealed(tmp_path / "e", records[:6] + records[8:])

    done = compare(tmp_path / "e", copy, tmp_path)

    assert 1 == done.exit_code
    assert ["facts partition 0: coverage up to 2026-01-05T12:04:00.000Z is only in the copy"] == [
        line for line in done.stdout.splitlines() if line.startswith("facts partition")
    ]


def test_changed_evidence_is_found_first(tmp_path: Path, copy: Path) -> None:
    """Coverage alone proves nothing: the evidence is verified too."""
    sealed(tmp_path / "e", history({2, 4}))
    seal = tmp_path / "e" / "seals/000/000/002.tlog"
    content = seal.read_bytes()
    seal.unlink()
    seal.write_bytes(content.replace(b'"broken":1', b'"broken":0'))

    done = compare(tmp_path / "e", copy, tmp_path)

    assert 1 == done.exit_code
    assert "seals/000/000/002.tlog" in done.stdout


@pytest.mark.parametrize("content", [b"", b"no record\n", None])
def test_a_copy_of_nothing_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """If nothing was compared, no agreement is reported."""
    sealed(tmp_path / "e", history({}))
    other = tmp_path / "other"
    if content is not None:
        other.write_bytes(content)

    assert 2 == compare(tmp_path / "e", other, tmp_path).exit_code


def test_a_copy_of_another_time_is_refused(tmp_path: Path) -> None:
    """Without a common period the comparison is an error."""
    records = history({}, MINUTES)
    sealed(tmp_path / "e", records[:4])
    sealed(tmp_path / "other", records[8:])

    assert 2 == compare(tmp_path / "e", tmp_path / "other", tmp_path).exit_code
