"""Tests the ledger on a real Kafka."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from structlog.testing import capture_logs

from streams.config.settings import Settings
from streams.errors import ConfigError, StateError
from streams.evidence.ledger import notes, storage, tree_head
from streams.evidence.ledger.notes import Signer
from streams.evidence.ledger.publish import STEPS_BACK, last_published
from streams.evidence.ledger.storage import Directory
from streams.evidence.ledger.verify import Verification
from streams.evidence.ledger.worker import LedgerSettings, LedgerWorker, check
from streams.observe import metrics
from tests.support import bombs
from tests.support.evidence import ORIGIN, SIGNER
from tests.support.waiting import wait_until
from topics.cluster import admin
from topics.spec import Layout

pytestmark = pytest.mark.broker

END_S = 30


@pytest.fixture
def settings(kafka: str, fresh_prefix: str, tmp_path: Path) -> Settings:
    """Topics of its own, with a partition each."""
    made = Settings(bootstrap=kafka, state_dir=tmp_path, prefix=fresh_prefix, facts_partitions=1)
    admin.create(admin.connect(made.client()), Layout(fresh_prefix, (f"{fresh_prefix}otlp_spans",), facts_partitions=1))
    return made


@pytest.fixture
def own(tmp_path: Path) -> LedgerSettings:
    """A ledger that seals often."""
    return LedgerSettings(Directory(tmp_path / "evidence"), [SIGNER], seal_every_s=0.05)


def produce(settings: Settings, *values: bytes) -> None:
    """Writes signals."""
    producer = Producer({**settings.client()})
    for value in values:
        producer.produce(settings.topic("signals"), value, partition=0)
    producer.flush()


@contextmanager
def working(settings: Settings, own: LedgerSettings) -> Iterator[LedgerWorker]:
    """Runs a ledger within the context, then stops it."""
    worker = LedgerWorker(settings, own)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(END_S)
        assert not thread.is_alive()


def verify(own: LedgerSettings) -> tuple[list[str], Verification]:
    """Returns what verification finds."""
    verification = Verification(own.store, [SIGNER.verifier()])
    return [finding.text() for finding in verification.findings()], verification


def test_existing_records_are_sealed_at_the_end(settings: Settings, own: LedgerSettings) -> None:
    """A ledger that is stopped at once still seals what was on the topics."""
    produce(settings, b"1", b"2")
    before = metrics.totals()

    with working(settings, replace(own, seal_every_s=END_S)):
        pass

    found, verification = verify(own)
    after = metrics.totals()
    grown = {name: after[name] - before[name] for name in after if name.startswith("ledger_")}
    assert {"ledger_seals": 1, "ledger_entries": 2} == {name: count for name, count in grown.items() if count}
    assert [] == found
    assert {"signals": 2} == {topic: count for topic, count in verification.totals.entries.items() if count}


def test_an_idle_ledger_signs_too(settings: Settings, own: LedgerSettings) -> None:
    """Tree heads are signed while nothing is judged, and each is published."""
    with working(settings, own):
        wait_until(lambda: (storage.last_seal(own.store) or 0) >= 3, "there are three seals")

    _, verification = verify(own)
    note = last_published(settings, ORIGIN, [SIGNER.verifier()])
    assert note is not None
    assert verification.head == tree_head.decode(notes.decode(note).text)
    assert verification.totals.seals >= 3


def test_records_that_kafka_deleted_are_a_gap(settings: Settings, own: LedgerSettings) -> None:
    """What was deleted before it was read is recorded in the seal, and found."""
    produce(settings, b"1", b"2", b"3")
    client = AdminClient({**settings.client()})
    for done in client.delete_records([TopicPartition(settings.topic("signals"), 0, 2)]).values():
        done.result()

    with working(settings, own):
        pass

    [found], verification = verify(own)
    assert found.endswith("signals-0: gap: the ledger could not read offsets 0 to 2: deleted before, or damaged")
    assert verification.totals.entries["signals"] == 1


def test_records_that_no_client_can_read_are_a_gap(settings: Settings, own: LedgerSettings) -> None:
    """A batch that cannot be inflated is recorded in a seal as lost; what follows it is sealed."""
    produce(settings, b"1")
    bombs.send(settings.bootstrap, settings.topic("signals"), count=2)
    produce(settings, b"2")

    with working(settings, own) as worker:
        wait_until(lambda: worker._ledger.logs["signals", 0].next_offset == 4, "all offsets are taken")

    [found], verification = verify(own)
    assert found.endswith("signals-0: gap: the ledger could not read offsets 1 to 3: deleted before, or damaged")
    assert verification.totals.entries["signals"] == 2


def test_truncated_evidence_is_not_continued(settings: Settings, own: LedgerSettings, tmp_path: Path) -> None:
    """If the topic has a tree head that the storage lacks, no other history is started."""
    produce(settings, b"1")
    with working(settings, own):
        pass
    last = storage.last_seal(own.store)
    assert last is not None
    (tmp_path / "evidence" / storage.seal_path(last)).unlink()

    with pytest.raises(StateError, match="which the evidence of"):
        LedgerWorker(settings, own)


def unsigned(size: int, origin: str = ORIGIN) -> bytes:
    """What somebody without the key can write."""
    return tree_head.TreeHead(origin, size, bytes(32), bytes(32)).text().encode() + b"\n"


OTHER_SIGNER = Signer.generated(ORIGIN)


@pytest.mark.parametrize(
    "note",
    [
        b"garbage",
        unsigned(999_999),
        notes.sign(unsigned(999_999)[:-1].decode(), [OTHER_SIGNER]).encode(),
        notes.sign(unsigned(999_999, "example.com/other")[:-1].decode(), [SIGNER]).encode(),
    ],
)
@pytest.mark.parametrize("count", [1, STEPS_BACK[0] + 1])
def test_foreign_tree_heads_are_skipped(settings: Settings, own: LedgerSettings, note: bytes, count: int) -> None:
    """Other writers to the topic do not stop the ledger; a warning names their records."""
    produce(settings, b"1")
    with working(settings, own):
        pass
    producer = Producer({**settings.client()})
    for _ in range(count):
        producer.produce(settings.topic("tree_heads"), note, ORIGIN.encode())
    producer.flush()
    before = metrics.totals()["ledger_foreign_tree_heads"]
    produce(settings, b"2")

    with capture_logs() as logged:
        check(settings, own.store, own.signers)
        counted = metrics.totals()["ledger_foreign_tree_heads"] - before
        with working(settings, own):
            pass

    found, verification = verify(own)
    assert ([], 2) == (found, verification.totals.entries["signals"])
    assert verification.head is not None
    last = last_published(settings, ORIGIN, [SIGNER.verifier()])
    assert last is not None
    assert verification.head == tree_head.decode(notes.decode(last).text)
    assert count == counted
    assert any(entry.get("count") == count for entry in logged), logged


def test_unpublished_tree_heads_are_published(settings: Settings, own: LedgerSettings) -> None:
    """Tree heads that a killed ledger stored are published once the next one has started."""
    produce(settings, b"1")
    with working(settings, own) as worker:
        pass
    sealed = worker._ledger.seal(5, [SIGNER])
    own.store.create(storage.seal_path(sealed.seal.number), sealed.content)

    with working(settings, replace(own, seal_every_s=END_S)):
        pass

    assert last_published(settings, ORIGIN, [SIGNER.verifier()]) == sealed.note
    assert [] == verify(own)[0]


def test_a_damaged_seal_is_not_published(settings: Settings, own: LedgerSettings) -> None:
    """An unpublished tree head that cannot be read is an error; nothing is left out."""
    produce(settings, b"1")
    with working(settings, own) as worker:
        pass
    ledger = worker._ledger
    damaged = ledger.seal(5, [SIGNER])
    own.store.create(storage.seal_path(ledger.number), b"damaged")
    ledger.advance(damaged.seal_line, damaged.note)
    own.store.create(storage.seal_path(ledger.number), ledger.seal(6, [SIGNER]).content)

    with pytest.raises(StateError, match="cannot be read"):
        LedgerWorker(settings, own)


def test_missing_topics_are_an_error(kafka: str, fresh_prefix: str, own: LedgerSettings, tmp_path: Path) -> None:
    """Without its topics the ledger names the command to run."""
    with pytest.raises((ConfigError, StateError)):
        LedgerWorker(Settings(bootstrap=kafka, state_dir=tmp_path, prefix=fresh_prefix), own)
