"""Records that cannot be read, and where they end."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams.config.settings import Settings
from streams.errors import NotDoneError
from streams.kafka.unreadable import ERRORS_TO_PROBE, UnreadableRange, UnreadableTracker, find_batch_end
from tests.support import bombs
from tests.support.waiting import wait_until
from topics.cluster import admin

SOURCE = ("spans", 0)
DAMAGED = KafkaError(KafkaError._BAD_COMPRESSION)
AWAY = KafkaError(KafkaError._TRANSPORT)


def found(obstacles: UnreadableTracker) -> list[UnreadableRange]:
    """Return the ranges, as soon as there are any."""
    wait_until(lambda: not obstacles.is_probing, "it was looked at")
    return obstacles.step()


@dataclass
class Ends:
    """Unreadable records that end a fixed number of offsets after the one that is probed."""

    length: int
    asked: list[int] = field(default_factory=list)

    def find(self, at: TopicPartition) -> int:
        """Return the end."""
        self.asked.append(at.offset)
        return at.offset + self.length


def test_same_error_at_the_same_offset() -> None:
    """It is probed after enough errors, and returned once."""
    ends = Ends(3)
    obstacles = UnreadableTracker(ends.find)

    few = [obstacles.note(SOURCE, 5, DAMAGED) for _ in range(ERRORS_TO_PROBE - 1)]
    before = list(ends.asked)
    last = obstacles.note(SOURCE, 5, DAMAGED)

    assert ([True] * ERRORS_TO_PROBE, []) == ([*few, last], before)
    assert [UnreadableRange(SOURCE, 5, 8, DAMAGED.str())] == found(obstacles)
    assert ([5], []) == (ends.asked, obstacles.step())


def test_errors_at_other_offsets() -> None:
    """Progress in between resets the count."""
    ends = Ends(1)
    obstacles = UnreadableTracker(ends.find)

    for _ in range(ERRORS_TO_PROBE):
        obstacles.note(SOURCE, 5, DAMAGED)
        obstacles.note(SOURCE, 6, DAMAGED)

    assert ([], []) == (ends.asked, obstacles.step())


def test_errors_of_brokers() -> None:
    """Brokers that are away return: no record is skipped because of them."""
    ends = Ends(1)
    obstacles = UnreadableTracker(ends.find)

    noted = {obstacles.note(SOURCE, 5, AWAY) for _ in range(2 * ERRORS_TO_PROBE)}

    assert ({False}, []) == (noted, ends.asked)


def test_records_that_a_second_consumer_reads() -> None:
    """If a second consumer can read it, nothing is lost, the first one retries, and the count starts over."""
    ends = Ends(0)
    obstacles = UnreadableTracker(ends.find)

    for _ in range(ERRORS_TO_PROBE):
        obstacles.note(SOURCE, 5, DAMAGED)
    said = found(obstacles)
    obstacles.note(SOURCE, 5, DAMAGED)

    assert [UnreadableRange(SOURCE, 5, 5, DAMAGED.str())] == said
    assert ([5], []) == (ends.asked, obstacles.step())


def test_failed_probe_is_repeated() -> None:
    """A failed probe is repeated after as many errors again."""
    answers: list[int | None] = [None, 9]

    def find_end(_: TopicPartition) -> int:
        answer = answers.pop(0)
        if answer is None:
            raise NotDoneError("no broker answers")
        return answer

    obstacles = UnreadableTracker(find_end)
    for _ in range(ERRORS_TO_PROBE):
        obstacles.note(SOURCE, 5, DAMAGED)
    assert [] == found(obstacles)
    for _ in range(ERRORS_TO_PROBE):
        obstacles.note(SOURCE, 5, DAMAGED)

    assert [UnreadableRange(SOURCE, 5, 9, DAMAGED.str())] == found(obstacles)


@pytest.mark.broker
def test_where_unreadable_batches_end(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """Each batch ends where the next one begins, unreadable or not, and the last one at the end of the log."""
    topic = f"{fresh_prefix}spans"
    client = AdminClient({"bootstrap.servers": kafka})
    client.create_topics([NewTopic(topic, 1)])[topic].result()
    admin.wait_until_available(client, [topic])
    producer = Producer({"bootstrap.servers": kafka})
    producer.produce(topic, b"readable", partition=0)
    producer.flush()
    for count in (1, 11, 4):
        bombs.send(kafka, topic, count=count)
    producer.produce(topic, b"readable", partition=0)
    producer.flush()
    bombs.send(kafka, topic)
    settings = Settings(bootstrap=kafka, state_dir=tmp_path)

    ends = [find_batch_end(settings, TopicPartition(topic, 0, offset)) for offset in (0, 1, 2, 7, 13, 16, 17, 18)]

    assert [0, 2, 13, 13, 17, 17, 17, 19] == ends
