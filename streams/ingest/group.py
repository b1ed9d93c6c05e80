"""What ingest's consumer group has committed, and what must be committed before its source partitions may be read.

In: one look at the group, its source topics and the facts topic. Out: commits to make first, or where to begin. An
epoch is committed before its first facts, so a crash cannot give the same facts two epochs.

Kafka's offset tool moves a group's offsets and clears their metadata. Such a reset is noticed here and becomes a new
replay number. It must be the same for all partitions however many workers there are, so one worker decides: the one
that has the group's first partition writes the new metadata of all partitions in one commit, the others wait for it.
Hence nobody ever sees a part of a reset, unless a part is all that was reset: that is refused. A first start goes the
same way, so a partition without a commit beside others that have one was added later, and is read from its beginning.
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
from streams.ingest.source import Begin, Committed, Log, begin, read_metadata
from topics.cluster import admin as kafka
from topics.errors import AdminError

Source = tuple[str, int]
"""A source partition: topic, partition."""

TIMEOUT_S = 10
ASK_AGAIN_S = 0.1

_COORDINATOR_MOVES = frozenset(
    {KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR}
)


@dataclass(frozen=True, slots=True)
class Commit:
    """A committed offset; `said` is None when the metadata beside it is not ours."""

    offset: int
    said: Committed | None


@dataclass(frozen=True, slots=True)
class Seen:
    """One look: every partition of every source topic, what is committed, and whether facts were ever written.

    `told_ms` is the highest record time of the facts that are still there, 0 when there are none. `replay` is the
    group's number as this worker knows it when all topics it read were made again since, else None: Kafka deletes a
    topic's commits with the topic, which is no reset.
    """

    logs: Mapping[Source, Log]
    committed: Mapping[Source, Commit]
    is_written: bool
    told_ms: int = 0
    replay: int | None = None

    def said(self, source: Source) -> Committed | None:
        """Our metadata of a source partition, None when there is none."""
        commit = self.committed.get(source)
        return None if commit is None else commit.said


@dataclass(frozen=True, slots=True)
class Plan:
    """What to commit before another look, or else where to begin; both are empty while another worker decides."""

    writes: Mapping[Source, Begin] = field(default_factory=dict)
    begins: Mapping[Source, Begin] = field(default_factory=dict)


def look(client: AdminClient, settings: Settings) -> Seen:
    """Looks; blocks while the brokers do not answer.

    The order matters. Facts are written after a commit: asked for the other way round, the facts of a worker that
    starts at this moment would look like those of a group that was deleted. And a log's end that was asked for before
    the commits may lie below one of them.

    Raises:
        AdminError: there is no answer.
    """
    facts = [TopicPartition(settings.topic("facts"), number) for number in range(settings.facts_partitions)]
    is_written, told_ms = any(kafka.end_offsets(client, facts).values()), _highest_ms(client, facts)
    counts = kafka.partition_counts(client, settings.source_topics)
    topic_ids = kafka.topic_ids(client, settings.source_topics)
    places = [TopicPartition(topic, number) for topic in topic_ids for number in range(counts.get(topic, 0))]
    committed = committed_offsets(settings, places)
    lows, highs = kafka.earliest_offsets(client, places), kafka.end_offsets(client, places)
    logs = {source: Log(topic_ids[source[0]], lows[source], highs[source]) for source in highs}
    return Seen(logs, committed, is_written, told_ms)


def committed_offsets(settings: Settings, places: list[TopicPartition]) -> dict[Source, Commit]:
    """What the ingest group committed; partitions without a commit are left out.

    Asked with a consumer that joins nothing: confluent-kafka 2.16.1 crashes where its `AdminClient` gets an error in
    answer to this question, such as that of a coordinator that has just moved.

    Raises:
        AdminError: there is no answer.
    """
    if not places:
        return {}
    group = settings.group("ingest")
    consumer = Consumer({**settings.client(), "group.id": group, "enable.auto.commit": False})
    try:
        found = _committed(consumer, places, until_s=time.monotonic() + TIMEOUT_S)
    except KafkaException as error:
        raise AdminError(f"Kafka does not say the offsets of {group}: {error.args[0].str()}") from error
    finally:
        consumer.close()
    for at in found:
        if at.error is not None:
            raise AdminError(f"Kafka does not say the offset of {at.topic}-{at.partition}: {at.error.str()}")
    return {(at.topic, at.partition): Commit(at.offset, read_metadata(at.metadata)) for at in found if at.offset >= 0}


def _committed(consumer: Consumer, places: list[TopicPartition], *, until_s: float) -> list[TopicPartition]:
    while True:
        try:
            return consumer.committed(places, timeout=TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() not in _COORDINATOR_MOVES or time.monotonic() > until_s:
                raise
            time.sleep(ASK_AGAIN_S)


def plan(seen: Seen, mine: Collection[Source], *, start: str, now_ms: int) -> Plan:
    """What the worker that has the partitions `mine` does next.

    Raises:
        StateError: the offsets of some partitions were reset and of others were not.
    """
    found = begins(seen, start=start, now_ms=now_ms)
    if not _kept(seen):
        decides = min(seen.logs, default=None) in mine
        return Plan(writes=found if decides else {})
    if not seen.logs.keys() >= {*mine}:
        return Plan()
    ours = {source: found[source] for source in sorted(mine)}
    new = {source: each for source, each in ours.items() if each.is_new}
    return Plan(writes=new) if new else Plan(begins=ours)


def begins(seen: Seen, *, start: str, now_ms: int) -> dict[Source, Begin]:
    """Where each source partition would be begun by a worker that looks now.

    Raises:
        StateError: the offsets of some partitions were reset and of others were not.
    """
    # A reset takes the last number away; facts were written after it, so not even a clock turned back gives it again.
    now_ms = max(now_ms, seen.told_ms + 1)
    kept = _kept(seen)
    if kept and len(kept) < len(seen.committed):
        raise _mixture(seen.committed.keys() - kept.keys(), kept)
    if kept:
        return _begins(seen, start="earliest", now_ms=now_ms, replay=max(said.replay for said in kept.values()))
    return _begins(seen, start=start, now_ms=now_ms, replay=_first_replay(seen, now_ms))


def _kept(seen: Seen) -> dict[Source, Committed]:
    return {source: commit.said for source, commit in seen.committed.items() if commit.said is not None}


def _first_replay(seen: Seen, now_ms: int) -> int:
    """The replay number of a group that has none of our metadata."""
    if seen.committed or (seen.is_written and seen.replay is None):
        # A group that was deleted, or whose offsets expired, reads everything again: that is a reset too.
        return now_ms
    return seen.replay or 0


def _begins(seen: Seen, *, start: str, now_ms: int, replay: int) -> dict[Source, Begin]:
    found: dict[Source, Begin] = {}
    for source, log in sorted(seen.logs.items()):
        commit = seen.committed.get(source)
        offset = None if commit is None else commit.offset
        found[source] = begin(offset, seen.said(source), log, start=start, now_ms=now_ms, replay=replay)
    return found


def _mixture(reset: Iterable[Source], kept: Iterable[Source]) -> StateError:
    return StateError(
        f"the group's offsets were reset for {_named(reset)} but not for {_named(kept)}",
        action="stop all workers, reset the whole group (--all-topics), then start again",
    )


def _named(sources: Iterable[Source]) -> str:
    """Partitions by topic.

    >>> _named([("b", 0), ("a", 2), ("a", 1)])
    'a[1,2], b[0]'
    """
    numbers: defaultdict[str, list[str]] = defaultdict(list)
    for topic, number in sorted(sources):
        numbers[topic].append(str(number))
    return ", ".join(f"{topic}[{','.join(each)}]" for topic, each in numbers.items())


def _highest_ms(client: AdminClient, places: Iterable[TopicPartition]) -> int:
    asked = dict.fromkeys(places, OffsetSpec.max_timestamp())
    try:
        found: list[int] = [
            answer.result().timestamp for answer in client.list_offsets(asked, request_timeout=TIMEOUT_S).values()
        ]
    except KafkaException as error:
        raise AdminError(f"Kafka does not say the times of the facts: {error.args[0].str()}") from error
    return max(0, *found)
