"""`betrace archive` on a real Kafka: every record is in the archive, once, whenever the archiver is killed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions
from confluent_kafka.cimpl import NewTopic

from streams.archive import schema
from streams.archive.names import HOUR_MS, Hole
from streams.archive.read import records
from streams.archive.rows import RawRecord
from streams.archive.store import Store
from streams.archive.write import PartitionWriter
from streams.config.units import rfc3339_ns
from streams.kafka.clients import PARTITION_EOF
from tests.support import bombs
from tests.support.load import CORPUS
from tests.support.waiting import next_line, wait_until
from topics.cluster import admin
from topics.embedded import capture

pytestmark = pytest.mark.broker

RUN_S = 120
START_MS = time.time_ns() // 1_000_000 // HOUR_MS * HOUR_MS - 3 * HOUR_MS
PARTITIONS = 2


@dataclass(frozen=True)
class Archive:
    """An archive of two source topics of its own."""

    bootstrap: str
    prefix: str
    path: Path

    @property
    def topics(self) -> tuple[str, str]:
        """The source topics."""
        return f"{self.prefix}otlp_logs", f"{self.prefix}otlp_spans"

    def client(self) -> AdminClient:
        """A client of the cluster; whoever waits for an answer must keep it."""
        return AdminClient({"bootstrap.servers": self.bootstrap})

    def make_topics(self) -> None:
        """Makes the source topics."""
        client = self.client()
        # Kafka itself refuses records that are more than an hour ahead, unless it is told otherwise.
        config = {"message.timestamp.after.max.ms": str(1 << 60)}
        topics = [NewTopic(name, PARTITIONS, config=config) for name in self.topics]
        for made in client.create_topics(topics).values():
            made.result()
        admin.wait_until_available(client, self.topics)

    def write(self, name: str, topic: str, *, from_ms: int = START_MS, partitions: int = PARTITIONS) -> None:
        """Writes captured records over two hours, with headers, and some that are no OTLP."""
        producer = Producer({"bootstrap.servers": self.bootstrap})
        frames = list(capture.read(CORPUS / f"{name}.bin.gz"))
        for number, frame in enumerate(frames):
            time_ms = from_ms + number * 2 * HOUR_MS // len(frames)
            producer.produce(
                topic, frame.value, frame.key, number % partitions, timestamp=time_ms, headers=[("n", b"1")]
            )
        producer.produce(topic, b"no request", None, 0, timestamp=from_ms)
        producer.produce(topic, None, b"tombstone", 1, timestamp=from_ms)
        producer.flush()

    def command(self, *options: str) -> list[str]:
        """The command line."""
        where = ["--bootstrap", self.bootstrap, "--prefix", self.prefix, "--source-topics", ",".join(self.topics)]
        return [sys.executable, "-m", "streams.cli", "archive", str(self.path), *where, *options]

    def run_until_idle(self) -> list[dict[str, object]]:
        """Archives what is there; returns the lines it printed."""
        done = self.run("--until-idle")
        assert done.returncode == 0, done.stderr[-6000:]
        return [json.loads(line) for line in done.stdout.splitlines()]

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Runs to the end."""
        return subprocess.run(self.command(*options), capture_output=True, text=True, timeout=RUN_S, check=False)

    @contextmanager
    def running(self, *options: str) -> Iterator[subprocess.Popen[str]]:
        """Runs for as long as the context lasts."""
        run = subprocess.Popen(self.command(*options), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            yield run
        finally:
            run.kill()
            run.communicate(timeout=RUN_S)

    def on_kafka(self) -> list[RawRecord]:
        """Every record of the source topics, by topic, partition and offset."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "look", "enable.partition.eof": True})
        counts = admin.partition_counts(self.client(), self.topics)
        places = [TopicPartition(topic, at, 0) for topic, count in counts.items() for at in range(count)]
        consumer.assign(places)
        found, ends = [], 0
        while ends < len(places):
            for message in consumer.consume(1000, 1.0):
                if (error := message.error()) is not None:
                    assert error.code() == PARTITION_EOF
                    ends += 1
                    continue
                found.append(raw(message))
        consumer.close()
        return sorted(found, key=lambda record: record[:3])


def raw(message: Message) -> RawRecord:
    """A message as the archive has it."""
    found = message.headers() or []
    pairs = found.items() if isinstance(found, dict) else found
    headers = tuple((key, value.encode() if isinstance(value, str) else value) for key, value in pairs)
    where = (message.topic() or "", message.partition() or 0, message.offset() or 0, message.timestamp()[1])
    return RawRecord(*where, message.key(), message.value(), headers)


@pytest.fixture
def archive(kafka: str, fresh_prefix: str, tmp_path: Path) -> Archive:
    """An empty archive of empty topics."""
    made = Archive(kafka, fresh_prefix, tmp_path / "archive")
    made.make_topics()
    return made


def test_archive_has_every_record(archive: Archive) -> None:
    """Every record, even an unreadable one, has its position, time, key, headers and bytes; each hour is one file."""
    logs, spans = archive.topics
    archive.write("partitioned_proto", spans)
    archive.write("unkeyed_json_logs", logs)

    lines = archive.run_until_idle()

    assert archive.on_kafka() == list(records(str(archive.path)))
    found = Store.at(str(archive.path)).listing()
    assert ((), ()) == (found.holes, found.leftovers)
    assert sorted(str(line["file"]) for line in lines) == sorted(file.name for file in found.files)
    assert len(archive.on_kafka()) == sum(int(str(line["records"])) for line in lines)
    assert sum(int(str(line["unreadable"])) for line in lines) == 4
    hours = {(file.topic, file.partition, file.hour_ms) for file in found.files if file.topic == spans}
    assert {(spans, at, START_MS + hour * HOUR_MS) for at in range(PARTITIONS) for hour in (0, 1)} == hours


def test_unreadable_batch_is_a_hole(archive: Archive) -> None:
    """A batch that no client can inflate is missing, which the archive shows; the records after it are archived."""
    _, spans = archive.topics
    archive.write("partitioned_proto", spans)
    end = admin.end_offsets(archive.client(), [TopicPartition(spans, 0)])[spans, 0]
    bombs.send(archive.bootstrap, spans, 0, count=3)
    archive.write("unkeyed_proto", spans)

    archive.run_until_idle()

    found = Store.at(str(archive.path)).listing()
    assert [(spans, 0, end, end + 3)] == [*map(places, found.holes)]
    numbers = [record.offset for record in records(str(archive.path)) if record[:2] == (spans, 0)]
    assert [*range(end), *range(end + 3, numbers[-1] + 1)] == numbers


def places(hole: Hole) -> tuple[str, int, int, int]:
    """Where a hole is."""
    return hole.topic, hole.partition, hole.from_offset, hole.to_offset


def test_second_run_continues_where_the_first_ended(archive: Archive) -> None:
    """A second run adds new records and new partitions, and nothing twice; its consumer lag is visible."""
    _, spans = archive.topics
    archive.write("partitioned_proto", spans)
    archive.run_until_idle()
    client = archive.client()
    for made in client.create_partitions([NewPartitions(spans, PARTITIONS + 1)]).values():
        made.result()
    admin.wait_until_available(client, [spans])
    archive.write("unkeyed_proto", spans, from_ms=START_MS + 2 * HOUR_MS, partitions=PARTITIONS + 1)

    archive.run_until_idle()
    again = archive.run_until_idle()

    assert archive.on_kafka() == list(records(str(archive.path)))
    assert again == []
    assert committed(archive, spans) == {
        at: archived for at in range(PARTITIONS + 1) if (archived := end(archive, spans, at)) is not None
    }


def committed(archive: Archive, topic: str) -> dict[int, int]:
    """The committed offsets of the archive's group."""
    asked = ConsumerGroupTopicPartitions(f"{archive.prefix}archive")
    client = archive.client()
    [answer] = client.list_consumer_group_offsets([asked]).values()
    return {at.partition: at.offset for at in answer.result().topic_partitions if at.topic == topic}


def end(archive: Archive, topic: str, partition: int) -> int | None:
    """Where the archive of a partition ends."""
    return Store.at(str(archive.path)).listing().end_offset(topic, partition)


def test_repeated_kills_lose_and_duplicate_nothing(archive: Archive) -> None:
    """Killed at any moment, the archiver neither loses nor duplicates a record."""
    logs, spans = archive.topics
    chance = random.Random(7)
    for _ in range(6):
        # Each partition gets new records, so that there is a file to write, hence a line, for each of the four.
        archive.write("partitioned_proto", spans)
        archive.write("partitioned_proto_logs", logs)
        with archive.running("--every", "100ms") as run:
            assert run.stdout is not None
            for _ in range(chance.randrange(1, 4)):
                next_line(run.stdout, "a file is written")

    archive.run_until_idle()

    assert archive.on_kafka() == list(records(str(archive.path)))
    assert not list(archive.path.rglob("*.part"))


def test_sigterm_writes_everything_that_was_read(archive: Archive) -> None:
    """On SIGTERM it exits with 0 without waiting for the end of the hour."""
    _, spans = archive.topics
    archive.write("unkeyed_proto", spans)
    with archive.running() as run:
        assert run.stdout is not None
        next_line(run.stdout, "a file is written")
        run.send_signal(signal.SIGTERM)
        run.wait(RUN_S)

    assert run.returncode == 0
    assert not list(archive.path.rglob("*.part"))
    assert Store.at(str(archive.path)).listing().leftovers == ()


def test_recreated_topic_is_refused(archive: Archive) -> None:
    """An archive belongs to one topic: a recreated topic of the same name is refused, with an action."""
    _, spans = archive.topics
    archive.write("unkeyed_proto", spans)
    archive.run_until_idle()
    client = archive.client()
    for deleted in client.delete_topics([spans]).values():
        deleted.result()
    wait_until(lambda: not admin.partition_counts(client, [spans]), "the topic is gone")
    for made in client.create_topics([NewTopic(spans, PARTITIONS)]).values():
        made.result()
    admin.wait_until_available(client, [spans])

    done = archive.run("--until-idle")

    assert done.returncode == 3
    assert "it was recreated. Action: archive to another directory" in done.stderr


def test_topic_deleted_during_the_run(archive: Archive) -> None:
    """What was read is written before the program ends: there is no other copy of it."""
    _, spans = archive.topics
    producer = Producer({"bootstrap.servers": archive.bootstrap})
    for number in range(10):
        producer.produce(spans, b"no request", None, 0, timestamp=START_MS + number)
    producer.flush()
    sent, client = archive.on_kafka(), archive.client()
    with archive.running() as run:
        wait_until(lambda: list(archive.path.rglob("partition-*.part")), "a file is begun")
        for deleted in client.delete_topics([spans]).values():
            deleted.result()
        run.wait(RUN_S)

    assert run.returncode == 3
    assert sent == list(records(str(archive.path)))


def test_missing_topic(archive: Archive) -> None:
    """A topic that does not exist is a configuration error."""
    wrong = Archive(archive.bootstrap, f"{archive.prefix}other", archive.path)

    done = wrong.run("--until-idle")

    assert done.returncode == 2
    assert "name the topics your Collectors write with --source-topics" in done.stderr


def test_range_of_time(archive: Archive) -> None:
    """Only records in the requested range are archived; a second run with the same range adds nothing."""
    _, spans = archive.topics
    archive.write("partitioned_proto", spans)
    from_ms, to_ms = START_MS + HOUR_MS // 2, START_MS + 3 * HOUR_MS // 2
    asked = ("--from", rfc3339_ns(from_ms * 1_000_000), "--to", rfc3339_ns(to_ms * 1_000_000))

    first, second = archive.run(*asked), archive.run(*asked)

    expected = [record for record in archive.on_kafka() if from_ms <= record.timestamp_ms < to_ms]
    assert expected
    assert expected == list(records(str(archive.path)))
    assert (0, 0, "") == (first.returncode, second.returncode, second.stdout)

    archive.run_until_idle()

    begins = {at: min(record.offset for record in expected if record.partition == at) for at in range(PARTITIONS)}
    assert [record for record in archive.on_kafka() if record.offset >= begins[record.partition]] == list(
        records(str(archive.path))
    )


def test_range_without_records(archive: Archive) -> None:
    """A range in which Kafka has no records is an error, and nothing is written."""
    _, spans = archive.topics
    archive.write("unkeyed_proto", spans)

    done = archive.run("--from", "2001-01-01T00:00:00Z", "--to", "2001-01-02T00:00:00Z")

    assert done.returncode == 2
    assert "no record since 2001-01-01T00:00:00.000000000Z before 2001-01-02" in done.stderr
    assert not archive.path.exists()


def test_archive_of_a_newer_version(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that a newer version wrote is left unchanged."""
    _, spans = archive.topics
    archive.write("unkeyed_proto", spans)
    newer = str(int(schema.FORMAT) + 1)
    with monkeypatch.context() as patched:
        patched.setattr(schema, "FORMAT", newer)
        writer = PartitionWriter(
            store=Store.at(str(archive.path)), topic=spans, partition=0, first_offset=0, topic_id="id"
        )
        writer.add(RawRecord(spans, 0, 0, START_MS, None, b"no request"))
        writer.cut(1)
    before = sorted(archive.path.rglob("*"))

    done = archive.run("--until-idle")

    assert done.returncode == 3
    assert f"files of format {newer}, this version reads format {schema.FORMAT}. Action:" in done.stderr
    assert before == sorted(archive.path.rglob("*"))


def test_unwritable_target(archive: Archive) -> None:
    """A target in which no file can be created is an error at once."""
    archive.path.touch()

    done = archive.run()

    assert done.returncode == 2
    assert "is not writable" in done.stderr


def test_records_from_the_future(archive: Archive) -> None:
    """A sender whose clock is a day ahead does not cause a file per record."""
    _, spans = archive.topics
    producer = Producer({"bootstrap.servers": archive.bootstrap})
    now_ms = START_MS + 3 * HOUR_MS
    for number in range(50):
        producer.produce(spans, b"no request", None, 0, timestamp=now_ms + number % 2 * 24 * HOUR_MS)
    producer.flush()

    lines = archive.run_until_idle()

    assert len(lines) == 2
    assert archive.on_kafka() == list(records(str(archive.path)))


def test_records_deleted_before_they_were_archived(archive: Archive) -> None:
    """Records that Kafka deleted between two runs are a hole that the archive shows."""
    _, spans = archive.topics
    archive.write("unkeyed_proto", spans)
    archive.run_until_idle()
    archived = end(archive, spans, 0)
    assert archived is not None
    archive.write("unkeyed_proto", spans)
    client = archive.client()
    for deleted in client.delete_records([TopicPartition(spans, 0, archived + 1)]).values():
        deleted.result()

    archive.run_until_idle()

    [hole] = Store.at(str(archive.path)).listing().holes
    assert (spans, 0, archived, archived + 1) == (hole.topic, hole.partition, hole.from_offset, hole.to_offset)
