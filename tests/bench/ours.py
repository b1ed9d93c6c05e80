"""BeTrace as it is measured beside its peers: its own processes, and clocks that Kafka holds.

In: a source topic and the rules of the bench. Out: seconds. They count from a flush before the first facts, when the
first record was read at the earliest. Sessions has its facts partitions by then: what a program takes to start counts
for nobody. They end when the last offset is committed (ingest alone) or the last signal can be read (the whole).
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

from streams.config.settings import Settings
from streams.ingest.loop import BEHIND_MS
from streams.rules import registry
from tests.bench.topic import PARTITIONS, BenchError, Topic, rules
from tests.support.record import read_topic
from topics.cluster import admin
from topics.records import facts
from topics.spec import Layout

LOOK_EVERY_S = 0.05
STILL_S = 3.0
"""So long no signal came: then it is looked whether all are there."""
WAIT_S = 600
STOP_S = 30
OPENED = "facts partition opened"
"""What sessions logs once for each."""


def ingest_s(topic: Topic) -> float:
    """Seconds of one ingest process, until all it read is committed."""
    with _installed(topic) as settings, _stages(settings, "ingest", 1):
        begin_s = _first_facts_s(settings)
        source = [TopicPartition(topic.name, number) for number in range(PARTITIONS)]
        ends = {*admin.end_offsets(_client(settings), source).items()}
        asking = Consumer({**settings.client(), "group.id": settings.group("ingest"), "enable.auto.commit": False})
        _wait(lambda: {((at.topic, at.partition), at.offset) for at in asking.committed(source, WAIT_S)} == ends)
        end_s = time.time()
        asking.close()
        return end_s - begin_s


def run_s(topic: Topic, workers: int) -> float:
    """Seconds of so many processes of each stage, as `betrace run --workers` starts them, from spans to signals.

    Raises:
        BenchError: the signals are not those that the rules give.
    """
    with _installed(topic) as settings, _stages(settings, "sessions", workers) as logs:
        _wait(lambda: sum(log.read_text().count(OPENED) for log in logs) >= settings.facts_partitions)
        with _stages(settings, "ingest", workers):
            return _signals_s(settings, topic)


def _signals_s(settings: Settings, topic: Topic) -> float:
    begin_s = _first_facts_s(settings)
    while True:
        end_s = _still_since_s(settings)
        count = len(read_topic(settings.bootstrap, settings.topic("signals")))
        if count > topic.signal_count or time.time() - begin_s > WAIT_S:
            raise BenchError(f"{count} signals instead of {topic.signal_count}")
        if count == topic.signal_count:
            return end_s - begin_s


@contextmanager
def _installed(topic: Topic) -> Iterator[Settings]:
    """An installation with topics and a directory of its own, which go with the context; its rules are active."""
    with tempfile.TemporaryDirectory(prefix="betrace-bench-", ignore_cleanup_errors=True) as directory:
        prefix = f"bench{uuid.uuid4().hex[:8]}."
        settings = Settings(
            bootstrap=topic.bootstrap, state_dir=Path(directory), source_topics=(topic.name,), prefix=prefix
        )
        admin.create(_client(settings), Layout(prefix, settings.source_topics))
        registry.push(settings, rules(), now_ms=time.time_ns() // 1_000_000)
        try:
            yield settings
        finally:
            _delete(settings)


@contextmanager
def _stages(settings: Settings, role: str, count: int) -> Iterator[list[Path]]:
    """So many processes of a role, as long as the context lasts; gives the files that they log to."""
    logs = [settings.state_dir / f"{role}-{number}.log" for number in range(count)]
    processes = [_start(settings, role, log) for log in logs]
    try:
        yield logs
        for process in processes:
            process.terminate()
        for process, log in zip(processes, logs, strict=True):
            if process.wait(STOP_S):
                raise BenchError(f"{role} ended with {process.returncode}: {log.read_text()[-4000:]}")
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _start(settings: Settings, role: str, log: Path) -> subprocess.Popen[bytes]:
    where = ["--bootstrap", settings.bootstrap, "--prefix", settings.prefix]
    own = ["--source-topics", ",".join(settings.source_topics), "--state-dir", str(log.with_suffix(""))]
    command = [sys.executable, "-m", "streams.cli", "run", "--role", role, "--allow-create-time", *where, *own]
    with log.open("wb") as said:
        return subprocess.Popen(command, stderr=said, stdin=subprocess.DEVNULL, start_new_session=True)


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
                return (message.timestamp()[1] - BEHIND_MS) / 1000
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
            raise BenchError("a stage did not come to the end")
        time.sleep(LOOK_EVERY_S)
