"""Tests who made which rule set active, according to the evidence."""

from __future__ import annotations

from pathlib import Path

from dsl import compile_texts
from streams.evidence.ledger.log import Ledger, Record
from streams.evidence.ledger.storage import Directory
from streams.evidence.report.history import Activation, read
from tests.support import evidence
from topics.records import rules
from topics.records.rules import BY_HEADER, PUSH_HEADER, Origin, PushRecord, RuleSetRecord


def test_each_push_has_its_own_author_and_revision(tmp_path: Path) -> None:
    """A set that is pushed again keeps its first push, and a rollback names who rolled back."""
    found, _ = compile_texts({"a.rules": '// "Access is audited"\npii.access and audit.log\n'})
    record = RuleSetRecord(texts=dict(found.texts), pushed_by="ann", pushed_ms=1, revision="v1")
    ledger, store = Ledger(evidence.ORIGIN), Directory(tmp_path)
    ledger.follow(("rules", 0), "id-of-rules")
    written: list[tuple[bytes, bytes, list[tuple[str, bytes | None]]]] = [
        (found.fingerprint.encode(), rules.encode(record), []),
        (rules.ACTIVE_KEY, found.fingerprint.encode(), []),
        (rules.ACTIVE_KEY, b"other", [(BY_HEADER, b"bob")]),
        (b"push/1", rules.encode(push(found.fingerprint, "cyd", "v2")), []),
        (rules.ACTIVE_KEY, found.fingerprint.encode(), [(BY_HEADER, b"cyd"), (PUSH_HEADER, b"push/1")]),
    ]
    for offset, (key, value, headers) in enumerate(written):
        ledger.take(("rules", 0), Record(offset=offset, time_ms=100 + offset, key=key, value=value, headers=headers))
    evidence.store_seal(ledger, store, 1_000)

    history = read(store)

    assert [
        Activation(from_ms=101, rule_set=found.fingerprint, pushed_by="ann", revision="v1", sealed_ms=1_000),
        Activation(from_ms=102, rule_set="other", pushed_by="bob", revision=None, sealed_ms=1_000),
        Activation(from_ms=104, rule_set=found.fingerprint, pushed_by="cyd", revision="v2", sealed_ms=1_000),
    ] == history.activations
    assert [found.fingerprint] == list(history.sets)


def push(fingerprint: str, by: str, revision: str) -> PushRecord:
    """A push of the set."""
    return PushRecord(rule_set=fingerprint, pushed_by=by, pushed_ms=1, origin=Origin.PUSH, revision=revision)


def test_backdated_push_shows_when_it_was_sealed(tmp_path: Path) -> None:
    """Whoever may set the time of a record can backdate an activation, but not when the ledger sealed it."""
    found, _ = compile_texts({"a.rules": '// "Access is audited"\npii.access and audit.log\n'})
    record = RuleSetRecord(texts=dict(found.texts), pushed_by="ann", pushed_ms=1)
    ledger, store = Ledger(evidence.ORIGIN), Directory(tmp_path)
    ledger.follow(("rules", 0), "id-of-rules")
    ledger.take(("rules", 0), Record(offset=0, time_ms=100, key=found.fingerprint.encode(), value=rules.encode(record)))
    ledger.take(("rules", 0), Record(offset=1, time_ms=100, key=rules.ACTIVE_KEY, value=found.fingerprint.encode()))
    evidence.store_seal(ledger, store, 90_000_000)

    [version] = read(store).versions(found.rules[0].id)

    assert (100, 90_000_000) == (version.from_ms, version.sealed_ms)
