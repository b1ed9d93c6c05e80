"""Where sessions begins to read: before Faust starts, the group's offsets are made to agree with the stores.

In: the stores on this machine and what the group committed. Out: committed offsets no higher than what each store needs
next. A facts partition that has commits but no store (a lost disk, another state directory, other session bounds) is
read again from the beginning of the facts log: same windows, same signals.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.errors import StateError
from streams.sessions import LogIdentity
from streams.settings import Settings
from topics import admin as kafka

log = structlog.get_logger()

ANSWER_S = 30.0
EMPTY_S = 20.0
ASK_EVERY_S = 0.5

_PASSING = frozenset(
    {
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
    }
)
"""What a coordinator says while it moves or starts; librdkafka calls none of these retriable."""


def identify(admin: AdminClient, settings: Settings) -> LogIdentity:
    """Which facts log this is, and where its partitions begin; raises `AdminError`."""
    facts = settings.topic("facts")
    partitions = [TopicPartition(facts, number) for number in range(settings.facts_partitions)]
    begins = kafka.begin_offsets(admin, partitions)
    return LogIdentity(
        kafka.cluster_id(admin),
        kafka.topic_ids(admin, [facts])[facts],
        {number: offset for (_, number), offset in begins.items()},
    )


def rewind(settings: Settings, identity: LogIdentity) -> None:
    """Takes commits back that are above what the local stores need; see the module docstring.

    Kafka refuses it while other workers are in the group: its offsets are theirs then, and stay as they are. A
    partition that comes here without its store raises `StateError` at its first message.

    Raises:
        StateError: what the group committed cannot be known.
    """
    facts = settings.topic("facts")
    asked = [TopicPartition(facts, number) for number in range(settings.facts_partitions)]
    # Not by AdminClient: librdkafka 2.16 crashes in ListConsumerGroupOffsets while the coordinator is loading.
    consumer = Consumer(
        {**settings.client(), "group.id": settings.group("sessions"), "enable.auto.commit": False, "log_level": 0}
    )
    try:
        committed = [at for at in _committed(consumer, asked) if at.offset >= 0]
        behind = [TopicPartition(facts, at.partition, offset) for at, offset in _above(committed, settings, identity)]
        if behind:
            _take_back(consumer, behind)
    except KafkaException as error:
        group = settings.group("sessions")
        raise StateError(f"the offsets of {group} are not known: {error}", action="see what the brokers say") from error
    finally:
        consumer.close()


def _committed(consumer: Consumer, asked: list[TopicPartition]) -> list[TopicPartition]:
    deadline_s = time.monotonic() + ANSWER_S
    while True:
        try:
            return consumer.committed(asked, timeout=ANSWER_S)
        except KafkaException as error:
            if error.args[0].code() not in _PASSING or time.monotonic() > deadline_s:
                raise
            time.sleep(ASK_EVERY_S)


def _above(
    committed: list[TopicPartition], settings: Settings, identity: LogIdentity
) -> Iterator[tuple[TopicPartition, int]]:
    for at in committed:
        with identity.store(settings, at.partition) as store:
            position = store.position()
        needed = identity.begin_offsets[at.partition] if position is None else position.rows[0].facts_offset
        if at.offset > needed:
            yield at, needed


def _take_back(consumer: Consumer, offsets: list[TopicPartition]) -> None:
    partitions = [at.partition for at in offsets]
    log.warning("state is not on this disk, it is rebuilt from the facts log", partitions=partitions)
    deadline_s = time.monotonic() + EMPTY_S
    while True:
        try:
            consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            # A worker that was killed stays a member until its session ends.
            if time.monotonic() > deadline_s:
                log.warning("other workers are in the group, its offsets stay as they are", error=str(error))
                return
            time.sleep(ASK_EVERY_S)
        else:
            return
