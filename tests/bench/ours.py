"""`betrace run` as it is measured beside its peers: processes as a user starts them, and clocks that Kafka holds.

In: a source topic and the rules of the bench. Out: seconds. They count from a flush before the first facts, when the
first record was read at the earliest, so they leave out what a process takes to start and to join its group, as the
peers' do. They end when the last offset is committed (ingest alone) or the last signal can be read (the whole).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Consumer, IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from streams import ruleset
from streams.ingest import group
from streams.settings import Settings
from tests.bench.topic import PARTITIONS, RULES, BenchError, Topic, rules
from tests.broker.record import read_topic
from topics import admin, facts
from topics.spec import Layout

LOOK_EVERY_S = 0.05
STILL_S = 3.0
"""So long no signal came: then it is looked whether all are there."""
WAIT_S = 600
STOP_S = 30


def ingest_s(topic: Topic) -> float:
    """Seconds of one ingest process, until all it read is committed."""
    with _running(topic, "--role", "ingest") as settings:
        begin_s = _first_facts_s(settings)
        source = [TopicPartition(topic.name, number) for number in range(PARTITIONS)]
        ends = admin.end_offsets(_client(settings), source)
        _wait(lambda: {at: commit.offset for at, commit in group.committed_offsets(settings, source).items()} == ends)
        return time.time() - begin_s


def run_s(topic: Topic, workers: int) -> float:
    """Seconds of the whole program, from spans on Kafka to signals on Kafka.

    Raises:
        BenchError: the signals are not those that the rules give.
    """
    with _running(topic, "--rules", str(RULES), "--workers", str(workers)) as settings:
        begin_s = _first_facts_s(settings)
        while True:
            end_s = _still_since_s(settings)
            count = len(read_topic(settings.bootstrap, settings.topic("signals")))
            if count > topic.signal_count or time.time() - begin_s > WAIT_S:
                raise BenchError(f"{count} signals instead of {topic.signal_count}")
            if count == topic.signal_count:
                return end_s - begin_s


@contextmanager
def _running(topic: Topic, *options: str) -> Iterator[Settings]:
    """An installation with topics of its own, which go with the context; its rules are active."""
    with tempfile.TemporaryDirectory(prefix="betrace-bench-", ignore_cleanup_errors=True) as directory:
        prefix = f"bench{uuid.uuid4().hex[:8]}."
        settings = Settings(topic.bootstrap, Path(directory), source_topics=(topic.name,), prefix=prefix)
        layout = Layout(prefix, settings.source_topics)
        admin.create(_client(settings), layout)
        ruleset.push(settings, rules(), now_ms=time.time_ns() // 1_000_000)
        where = ["--bootstrap", settings.bootstrap, "--prefix", prefix, "--source-topics", topic.name]
        command = [sys.executable, "-m", "streams.cli", "run", *where, "--state-dir", directory, *options]
        log = Path(directory) / "log"
        with log.open("wb") as said:
            program = subprocess.Popen(command, stderr=said, stdin=subprocess.DEVNULL)
        try:
            yield settings
            program.terminate()
            if program.wait(STOP_S):
                raise BenchError(f"betrace run ended with {program.returncode}: {log.read_text()[-4000:]}")
        finally:
            program.kill()
            program.wait()
            _delete(settings)


def _client(settings: Settings) -> AdminClient:
    return admin.connect(settings.client())


def _delete(settings: Settings) -> None:
    client = _client(settings)
    ours = [name for name in client.list_topics(timeout=10).topics if name.startswith(settings.prefix)]
    for deleted in client.delete_topics(ours).values():
        deleted.result()


def _first_facts_s(settings: Settings) -> float:
    """The Unix time of the flush before the one that wrote the first facts; every flush writes to every partition."""
    consumer = Consumer({**settings.client(), "group.id": "bench-facts", "fetch.wait.max.ms": 10})
    consumer.assign([TopicPartition(settings.topic("facts"), 0, 0)])
    deadline_s = time.monotonic() + WAIT_S
    try:
        while time.monotonic() < deadline_s:
            message = consumer.poll(1.0)
            if message is not None and message.error() is None and _tells(message.value() or b""):
                return (message.timestamp()[1] - settings.flush_ms) / 1000
        raise BenchError("no facts were written")
    finally:
        consumer.close()


def _tells(value: bytes) -> bool:
    """Something was read before this was written."""
    return any(section.from_offset < section.to_offset for section in facts.decode(value).sections)


def _still_since_s(settings: Settings) -> float:
    """Waits until no signal comes any more; returns since when that is so, as Unix time."""
    client = _client(settings)
    signals = settings.topic("signals")
    asked = {TopicPartition(signals, number): OffsetSpec.latest() for number in range(settings.facts_partitions)}
    last, last_s = 0, time.time()
    while not last or time.time() - last_s < STILL_S:
        answers = client.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED)
        committed = sum(answer.result().offset for answer in answers.values())
        if committed != last:
            last, last_s = committed, time.time()
        elif not last and time.time() - last_s > WAIT_S:
            raise BenchError("no signal was published")
        time.sleep(LOOK_EVERY_S)
    return last_s


def _wait(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not is_so():
        if time.monotonic() > deadline_s:
            raise BenchError("ingest did not come to the end")
        time.sleep(LOOK_EVERY_S)
