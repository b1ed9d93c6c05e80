"""Decides from the offsets of ingest's consumer group what to commit before its source partitions may be read.

In: a snapshot of the group, its source topics and the facts topic. Out: commits to make first, or start positions. An
epoch is committed before its first facts, so a crash cannot give the same facts two epochs.

Kafka's offset tool moves a group's offsets and clears their metadata. Such a reset is detected here and becomes a new
replay number. The number must be the same for all partitions, however many workers there are, so one worker decides:
the one that has the group's first partition writes the new metadata of all partitions in one commit, and the others
wait for it. So nobody ever sees part of a reset, unless only part was reset, which is refused. A first start works the
same way; hence a partition without a commit beside others that have one was added later, and is read from its
beginning.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from streams.config.settings import Settings
from streams.errors import StateError
from streams.ingest.source import Log, OffsetMetadata, StartPosition, read_metadata, start_position
from topics.cluster import admin as kafka
from topics.errors import AdminError

Source = tuple[str, int]
"""A source partition: topic, partition."""

TIMEOUT_S = 10
RETRY_S = 0.1

_COORDINATOR_MOVES = frozenset(
    {KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR}
)


@dataclass(frozen=True, slots=True)
class Commit:
    """A committed offset; `metadata` is None when its metadata is not ours."""

    offset: int
    metadata: OffsetMetadata | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSnapshot:
    """Every partition of every source topic, the committed offsets, and whether facts were ever written.

    `latest_fact_ms` is the highest record time of the facts that still exist, 0 when there are none. `replay` is the
    group's replay number as this worker knows it if all topics that it read have been recreated since, else None: Kafka
    deletes a topic's commits with the topic, which is not a reset.
    """

    logs: Mapping[Source, Log]
    committed: Mapping[Source, Commit]
    has_facts: bool
    latest_fact_ms: int = 0
    replay: int | None = None

    def metadata_of(self, source: Source) -> OffsetMetadata | None:
        """Return our metadata of a source partition, None when there is none."""
        commit = self.committed.get(source)
        return None if commit is None else commit.metadata


@dataclass(frozen=True, slots=True)
class Plan:
    """What to commit before the next snapshot, or else where to start; both are empty while another worker decides."""

    commits: Mapping[Source, StartPosition] = field(default_factory=dict)
    starts: Mapping[Source, StartPosition] = field(default_factory=dict)


def fetch_snapshot(client: AdminClient, settings: Settings) -> GroupSnapshot:
    """Fetch a snapshot; block while the brokers do not answer.

    The order of the queries matters. Facts are written after a commit: in the opposite order, the facts of a worker
    that starts at this moment would look like those of a deleted group. And a log's end that was queried before the
    commits may lie below one of them.

    Raises:
        AdminError: the brokers do not answer.
    """
    facts = [TopicPartition(settings.topic("facts"), number) for number in range(settings.facts_partitions)]
    has_facts, latest_fact_ms = any(kafka.end_offsets(client, facts).values()), _highest_ms(client, facts)
    counts = kafka.partition_counts(client, settings.source_topics)
    topic_ids = kafka.topic_ids(client, settings.source_topics)
    partitions = [TopicPartition(topic, number) for topic in topic_ids for number in range(counts.get(topic, 0))]
    committed = committed_offsets(settings, partitions)
    lows, highs = kafka.earliest_offsets(client, partitions), kafka.end_offsets(client, partitions)
    logs = {source: Log(topic_ids[source[0]], lows[source], highs[source]) for source in highs}
    return GroupSnapshot(logs=logs, committed=committed, has_facts=has_facts, latest_fact_ms=latest_fact_ms)


def committed_offsets(settings: Settings, partitions: list[TopicPartition]) -> dict[Source, Commit]:
    """Return what the ingest group committed, without the partitions that have no commit.

    This uses a consumer that joins nothing: confluent-kafka 2.16.1 crashes when its `AdminClient` gets an error in the
    answer to this query, such as that of a coordinator that has just moved.

    Raises:
        AdminError: the brokers do not answer.
    """
    if not partitions:
        return {}
    group = settings.group("ingest")
    consumer = Consumer({**settings.client(), "group.id": group, "enable.auto.commit": False})
    try:
        committed = _committed(consumer, partitions, until_s=time.monotonic() + TIMEOUT_S)
    except KafkaException as error:
        raise AdminError(f"cannot read the committed offsets of {group}: {error.args[0].str()}") from error
    finally:
        consumer.close()
    for at in committed:
        if at.error is not None:
            raise AdminError(f"cannot read the committed offset of {at.topic}-{at.partition}: {at.error.str()}")
    return {
        (at.topic, at.partition): Commit(at.offset, read_metadata(at.metadata)) for at in committed if at.offset >= 0
    }


def _committed(consumer: Consumer, partitions: list[TopicPartition], *, until_s: float) -> list[TopicPartition]:
    while True:
        try:
            return consumer.committed(partitions, timeout=TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() not in _COORDINATOR_MOVES or time.monotonic() > until_s:
                raise
            time.sleep(RETRY_S)


def plan(snapshot: GroupSnapshot, mine: Collection[Source], *, start: str, now_ms: int) -> Plan:
    """Return what the worker that has the partitions `mine` does next.

    Raises:
        StateError: the offsets of some partitions were reset and those of others were not.
    """
    positions = start_positions(snapshot, start=start, now_ms=now_ms)
    if not _known_metadata(snapshot):
        decides = min(snapshot.logs, default=None) in mine
        return Plan(commits=positions if decides else {})
    if not snapshot.logs.keys() >= {*mine}:
        return Plan()
    ours = {source: positions[source] for source in sorted(mine)}
    new = {source: each for source, each in ours.items() if each.is_new}
    return Plan(commits=new) if new else Plan(starts=ours)


def start_positions(snapshot: GroupSnapshot, *, start: str, now_ms: int) -> dict[Source, StartPosition]:
    """Return where a worker that starts now would read each source partition from.

    Raises:
        StateError: the offsets of some partitions were reset and those of others were not.
    """
    # A reset removes the last replay number. Facts were written after it was chosen, so the new number is higher even
    # if the clock was set back.
    now_ms = max(now_ms, snapshot.latest_fact_ms + 1)
    known = _known_metadata(snapshot)
    if known and len(known) < len(snapshot.committed):
        raise _partial_reset_error(snapshot.committed.keys() - known.keys(), known)
    if known:
        return _start_positions(
            snapshot, start="earliest", now_ms=now_ms, replay=max(each.replay for each in known.values())
        )
    return _start_positions(snapshot, start=start, now_ms=now_ms, replay=_first_replay(snapshot, now_ms))


def _known_metadata(snapshot: GroupSnapshot) -> dict[Source, OffsetMetadata]:
    return {source: commit.metadata for source, commit in snapshot.committed.items() if commit.metadata is not None}


def _first_replay(snapshot: GroupSnapshot, now_ms: int) -> int:
    """Return the replay number of a group that has none of our metadata."""
    if snapshot.committed or (snapshot.has_facts and snapshot.replay is None):
        # A group that was deleted, or whose offsets expired, reads everything again: that is a reset, too.
        return now_ms
    return snapshot.replay or 0


def _start_positions(snapshot: GroupSnapshot, *, start: str, now_ms: int, replay: int) -> dict[Source, StartPosition]:
    positions: dict[Source, StartPosition] = {}
    for source, log in sorted(snapshot.logs.items()):
        commit = snapshot.committed.get(source)
        offset = None if commit is None else commit.offset
        positions[source] = start_position(
            offset, snapshot.metadata_of(source), log, start=start, now_ms=now_ms, replay=replay
        )
    return positions


def _partial_reset_error(reset: Iterable[Source], known: Iterable[Source]) -> StateError:
    return StateError(
        f"the group's offsets were reset for {_named(reset)} but not for {_named(known)}",
        action="stop all workers, reset the whole group (--all-topics), then start again",
    )


def _named(sources: Iterable[Source]) -> str:
    """Format partitions by topic.

    >>> _named([("b", 0), ("a", 2), ("a", 1)])
    'a[1,2], b[0]'
    """
    numbers: defaultdict[str, list[str]] = defaultdict(list)
    for topic, number in sorted(sources):
        numbers[topic].append(str(number))
    return ", ".join(f"{topic}[{','.join(each)}]" for topic, each in numbers.items())


def _highest_ms(client: AdminClient, partitions: Iterable[TopicPartition]) -> int:
    specs = dict.fromkeys(partitions, OffsetSpec.max_timestamp())
    try:
        times_ms: list[int] = [
            answer.result().timestamp for answer in client.list_offsets(specs, request_timeout=TIMEOUT_S).values()
        ]
    except KafkaException as error:
        raise AdminError(f"cannot read the times of the facts: {error.args[0].str()}") from error
    return max(0, *times_ms)
