"""Which records cannot be read, and where they end."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams.config.settings import Settings
from streams.errors import NotDoneError
from streams.kafka.unreadable import TIMES, Obstacles, Unreadable, end_of
from tests.support import bombs
from tests.support.waiting import wait_until
from topics.cluster import admin

SOURCE = ("spans", 0)
DAMAGED = KafkaError(KafkaError._BAD_COMPRESSION)
AWAY = KafkaError(KafkaError._TRANSPORT)


def found(obstacles: Obstacles) -> list[Unreadable]:
    """What is said as soon as anything is."""
    wait_until(lambda: not obstacles.is_looking, "it was looked at")
    return obstacles.step()


@dataclass
class Ends:
    """Where unreadable records end, so many offsets behind the one that is asked for."""

    length: int
    asked: list[int] = field(default_factory=list)

    def find(self, at: TopicPartition) -> int:
        """The end."""
        self.asked.append(at.offset)
        return at.offset + self.length


def test_same_error_at_the_same_offset() -> None:
    """It is looked at when it has come often enough, and said once."""
    ends = Ends(3)
    obstacles = Obstacles(ends.find)

    few = [obstacles.note(SOURCE, 5, DAMAGED) for _ in range(TIMES - 1)]
    before = list(ends.asked)
    last = obstacles.note(SOURCE, 5, DAMAGED)

    assert ([True] * TIMES, []) == ([*few, last], before)
    assert [Unreadable(SOURCE, 5, 8, DAMAGED.str())] == found(obstacles)
    assert ([5], []) == (ends.asked, obstacles.step())


def test_errors_at_other_offsets() -> None:
    """What is read in between is no obstacle any more."""
    ends = Ends(1)
    obstacles = Obstacles(ends.find)

    for _ in range(TIMES):
        obstacles.note(SOURCE, 5, DAMAGED)
        obstacles.note(SOURCE, 6, DAMAGED)

    assert ([], []) == (ends.asked, obstacles.step())


def test_errors_of_brokers() -> None:
    """Brokers that are away come back: no record is given up for them."""
    ends = Ends(1)
    obstacles = Obstacles(ends.find)

    noted = {obstacles.note(SOURCE, 5, AWAY) for _ in range(2 * TIMES)}

    assert ({False}, []) == (noted, ends.asked)


def test_what_a_second_consumer_reads() -> None:
    """Then nothing is lost, the first is to ask again, and the errors count anew."""
    ends = Ends(0)
    obstacles = Obstacles(ends.find)

    for _ in range(TIMES):
        obstacles.note(SOURCE, 5, DAMAGED)
    said = found(obstacles)
    obstacles.note(SOURCE, 5, DAMAGED)

    assert [Unreadable(SOURCE, 5, 5, DAMAGED.str())] == said
    assert ([5], []) == (ends.asked, obstacles.step())


def test_answer_that_does_not_come() -> None:
    """It is asked for again when the error has come as often again."""
    answers: list[int | None] = [None, 9]

    def find_end(_: TopicPartition) -> int:
        answer = answers.pop(0)
        if answer is None:
            raise NotDoneError("no broker answers")
        return answer

    obstacles = Obstacles(find_end)
    for _ in range(TIMES):
        obstacles.note(SOURCE, 5, DAMAGED)
    assert [] == found(obstacles)
    for _ in range(TIMES):
        obstacles.note(SOURCE, 5, DAMAGED)

    assert [Unreadable(SOURCE, 5, 9, DAMAGED.str())] == found(obstacles)


@pytest.mark.broker
def test_where_unreadable_batches_end(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """Each batch ends where the next one begins, be that unreadable too, and the last one at the end of the log."""
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
    settings = Settings(kafka, tmp_path)

    ends = [end_of(settings, TopicPartition(topic, 0, offset)) for offset in (0, 1, 2, 7, 13, 16, 17, 18)]

    assert [0, 2, 13, 13, 17, 17, 17, 19] == ends
