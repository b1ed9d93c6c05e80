"""kill -9 of the ledger: one log, every record in it once."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer

from streams.config.settings import Settings
from streams.evidence.ledger import entry, notes, seal, storage, tree_head
from streams.evidence.ledger.notes import Signer
from streams.evidence.ledger.storage import Directory
from streams.evidence.ledger.verify import Verification
from streams.kafka.reader import read
from tests.support import evidence
from tests.support.waiting import wait_until
from topics.cluster import admin
from topics.records import verdicts
from topics.records.verdicts import Counted
from topics.spec import Layout

pytestmark = [pytest.mark.broker, pytest.mark.crash]

PARTITIONS = 2
KILLS = {"short": 5, "long": 20}
ALIVE_S = (1.0, 3.5)
END_S = 60
ABORT_EVERY = 7


class Written:
    """Writes verdicts and signals in transactions, some of them aborted, until it is stopped."""

    def __init__(self, settings: Settings) -> None:
        self.committed: dict[tuple[str, int], list[str]] = defaultdict(list)
        self._counted = dict.fromkeys(range(PARTITIONS), Counted())
        self._settings = settings
        self._producer = Producer({**settings.client(), "transactional.id": f"{settings.prefix}test"})
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Writes for as long as the context lasts."""
        self._thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            self._thread.join()

    def _run(self) -> None:
        self._producer.init_transactions()
        step = 0
        while not self._stopped.is_set():
            self._step(step)
            step += 1

    def _step(self, step: int) -> None:
        self._producer.begin_transaction()
        sent, counted = [], {}
        for partition in range(PARTITIONS):
            record = evidence.counts(partition, held=step % 3, before=self._counted[partition])
            encoded = verdicts.encode(record)
            counted[partition] = self._counted[partition].after(record, encoded)
            sent += [("verdicts", partition, encoded.decode()), ("signals", partition, f'{{"step":{step}}}')]
        for topic, partition, value in sent:
            self._producer.produce(self._settings.topic(topic), value, partition=partition)
        if step % ABORT_EVERY == 0:
            self._producer.abort_transaction()
            return
        self._producer.commit_transaction()
        self._counted |= counted
        for topic, partition, value in sent:
            self.committed[topic, partition].append(value)


@contextmanager
def running(settings: Settings, root: Path, key: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The ledger; what is left of it at the end of the context is killed."""
    where = ["--bootstrap", settings.bootstrap, "--prefix", settings.prefix]
    ledger = [sys.executable, "-m", "streams.cli", "ledger", "--evidence", str(root), "--ledger-key", str(key)]
    run = subprocess.Popen([*ledger, *where, "--seal-every", "50ms"], stderr=subprocess.PIPE)
    try:
        yield run
    finally:
        run.kill()
        run.wait(END_S)


def wait_for_seal(root: Path, before: int | None) -> None:
    """Waits until there is a later seal than this one."""
    wait_until(lambda: storage.last_seal(Directory(root)) != before, "there is a new seal")


@pytest.fixture
def settings(kafka: str, fresh_prefix: str, tmp_path: Path) -> Settings:
    """Topics of its own."""
    made = Settings(bootstrap=kafka, state_dir=tmp_path, prefix=fresh_prefix, facts_partitions=PARTITIONS)
    admin.create(
        admin.connect(made.client()),
        Layout(fresh_prefix, (f"{fresh_prefix}otlp_spans",), facts_partitions=PARTITIONS),
    )
    return made


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    """The ledger's key, in the file `key`."""
    (tmp_path / "key").write_text(evidence.SIGNER.encode())
    return evidence.SIGNER


def entries(store: Directory) -> dict[tuple[str, int], list[str]]:
    """The values of all entries, by topic and partition, in the order of the logs."""
    found: dict[tuple[str, int], list[str]] = defaultdict(list)
    last = storage.last_seal(store)
    assert last is not None
    for number in range(last + 1):
        parts = seal.split(store.read(storage.seal_path(number)))
        lines = parts.entries
        for state in seal.decode(parts.line).logs:
            added, lines = lines[: state.added], lines[state.added :]
            found[state.topic, state.partition] += [entry.decode(one).value_bytes().decode() for one in added]
    return {key: values for key, values in found.items() if values}


def published(settings: Settings) -> list[bytes]:
    """The tree heads on the topic."""
    return [message.value() or b"" for message in read(settings, settings.topic("tree_heads"))]


def test_kills_leave_one_complete_log(
    settings: Settings, signer: Signer, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """A ledger that is killed repeatedly while records arrive has each committed record once, in one signed history."""
    root, moments = tmp_path / "evidence", random.Random(1)
    written = Written(settings)

    with written.writing():
        for number in range(KILLS["long" if pytestconfig.getoption("--long") else "short"]):
            size = storage.last_seal(Directory(root))
            with running(settings, root, tmp_path / "key") as run:
                if number % 2:
                    # However slowly it starts: every other one is killed at its work.
                    wait_for_seal(root, size)
                time.sleep(moments.uniform(*ALIVE_S))
                assert run.poll() is None
                run.kill()
    with running(settings, root, tmp_path / "key") as run:
        wait_for_seal(root, storage.last_seal(Directory(root)))
        run.terminate()
        code = run.wait(END_S)

    store = Directory(root)
    verification = Verification(store, [signer.verifier()])
    heads = [tree_head.decode(notes.decode(note).text) for note in published(settings)]
    assert code == 0
    assert [] == [*verification.findings()]
    assert dict(written.committed) == entries(store)
    assert [*range(1, len(heads) + 1)] == [head.size for head in heads]
    assert heads[-1] == verification.head
    assert len(heads) > 2


def test_second_ledger_takes_over(settings: Settings, signer: Signer, tmp_path: Path) -> None:
    """The first ledger exits with 3 and says why, and the log has one history."""
    root = tmp_path / "evidence"
    with running(settings, root, tmp_path / "key") as first:
        wait_for_seal(root, None)
        with running(settings, root, tmp_path / "key") as second:
            code = first.wait(END_S)
            size = storage.last_seal(Directory(root))
            wait_for_seal(root, size)
            still_running = second.poll() is None
            second.terminate()
            second.wait(END_S)
        assert first.stderr is not None
        said = first.stderr.read().decode()

    heads = [tree_head.decode(notes.decode(note).text).size for note in published(settings)]
    assert code == 3, said
    assert "another ledger" in said
    assert still_running
    assert [] == [*Verification(Directory(root), [signer.verifier()]).findings()]
    assert [*range(1, len(heads) + 1)] == heads
