"""The topics on a real Kafka: making those that are missing, and saying how the others are.

In: an `AdminClient` and a `Layout`. Out: topics, and what is known of them. A topic that exists is never altered: what
is not as it should be is said, and the operator decides.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import TypeAlias, TypeVar

import msgspec
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    ConfigResource,
    DescribeClusterResult,
    ListOffsetsResultInfo,
    NewTopic,
    OffsetSpec,
    ResourceType,
    TopicDescription,
)

from topics import FLOW
from topics.errors import AdminError
from topics.spec import FOREVER, Layout, Partitions, TopicPlan, TopicSpec, topic_plans

__all__ = [
    "AdminError",
    "ClientSettings",
    "Creation",
    "TopicStatus",
    "cluster_id",
    "configs",
    "connect",
    "create",
    "describe",
    "earliest_offsets",
    "end_offsets",
    "first_record_times",
    "group_members",
    "max_message_bytes",
    "offsets_at",
    "partition_counts",
    "retention_ms",
    "topic_ids",
    "wait_until_available",
]

ClientSettings: TypeAlias = Mapping[str, str | int | float | bool]
"""librdkafka settings: `bootstrap.servers`, and whatever the cluster's security asks for."""

TIMEOUT_S = 10
SAFE_REPLICATION = 3

_SEEN_EVERY_S = 0.05

_Answer = TypeVar("_Answer")


class TopicStatus(msgspec.Struct, frozen=True):
    """How a topic is; None for what it does not have: a topic that is missing, a retention without limit.

    `faults` are what the program cannot work with, `differences` what is only not as `create` would make it.
    """

    name: str
    present: bool
    partition_count: int | None = None
    replication: int | None = None
    cleanup: str | None = None
    retention_ms: int | None = None
    timestamp_type: str | None = None
    faults: list[str] = []
    differences: list[str] = []


class Creation(msgspec.Struct, frozen=True):
    """What `create` made, and the topics that were there before, as they are."""

    made: list[str]
    kept: list[TopicStatus]


def connect(settings: ClientSettings) -> AdminClient:
    """A client of a cluster that answers; raises `AdminError` when none does."""
    admin = AdminClient({"log_level": 0, **settings})
    try:
        # Of all requests that need no topic this is one that a Ctrl-C can interrupt.
        admin.describe_cluster(request_timeout=TIMEOUT_S).result()
    except KafkaException as error:
        bootstrap = settings.get("bootstrap.servers")
        raise AdminError(f"no Kafka answers at {bootstrap} within {TIMEOUT_S} s ({_text(error)})") from error
    return admin


def create(admin: AdminClient, layout: Layout, specs: Sequence[TopicSpec] = FLOW) -> Creation:
    """Make the topics of the flow that are missing, and wait until they are seen; raises `AdminError`."""
    wanted = _plans(layout, specs)
    there = _descriptions(admin, [topic.name for topic in wanted])
    made = _make(admin, [topic for topic in wanted if topic.name not in there], layout)
    kept = [row for row in describe(admin, layout, specs) if row.name not in made]
    return Creation(made, kept)


def describe(admin: AdminClient, layout: Layout, specs: Sequence[TopicSpec] = FLOW) -> list[TopicStatus]:
    """How the topics of the flow are, in its order; raises `AdminError`."""
    wanted = _plans(layout, specs)
    there = _descriptions(admin, [topic.name for topic in wanted])
    configs = _configs(admin, ResourceType.TOPIC, list(there))
    safe = layout.replication or min(SAFE_REPLICATION, len(_cluster(admin).nodes))
    rows = {topic.name: TopicStatus(topic.name, present=False) for topic in wanted}
    for topic in wanted:
        if topic.name in there:
            rows[topic.name] = _status(topic, there[topic.name], configs[topic.name], safe)
    return list(rows.values())


def partition_counts(admin: AdminClient, names: Iterable[str]) -> dict[str, int]:
    """The partition count of each topic that is there; raises `AdminError`."""
    return {name: len(topic.partitions) for name, topic in _descriptions(admin, names).items()}


def topic_ids(admin: AdminClient, names: Iterable[str]) -> dict[str, str]:
    """The id of each topic that is there; a topic that was deleted and made again has another. Raises `AdminError`."""
    return {name: str(topic.topic_id) for name, topic in _descriptions(admin, names).items()}


def cluster_id(admin: AdminClient) -> str:
    """The id of the cluster; raises `AdminError`."""
    return str(_cluster(admin).cluster_id)


def earliest_offsets(
    admin: AdminClient, partitions: Iterable[TopicPartition], *, timeout_s: float = TIMEOUT_S
) -> dict[tuple[str, int], int]:
    """The lowest offset still there, by topic and partition; raises `AdminError`."""
    return _offsets(admin, partitions, OffsetSpec.earliest(), timeout_s)


def end_offsets(
    admin: AdminClient, partitions: Iterable[TopicPartition], *, timeout_s: float = TIMEOUT_S
) -> dict[tuple[str, int], int]:
    """The offset that the next record gets, by topic and partition; raises `AdminError`."""
    return _offsets(admin, partitions, OffsetSpec.latest(), timeout_s)


def last_stable_offsets(admin: AdminClient, partitions: Iterable[TopicPartition]) -> dict[tuple[str, int], int]:
    """As `end_offsets`, below the first open transaction: a reader of what is committed gets no further now."""
    infos = _offset_infos(admin, partitions, OffsetSpec.latest(), TIMEOUT_S, IsolationLevel.READ_COMMITTED)
    return {at: info.offset for at, info in infos.items()}


def offsets_at(admin: AdminClient, partitions: Iterable[TopicPartition], time_ms: int) -> dict[tuple[str, int], int]:
    """The first offset with a record time of at least `time_ms`, the end offset when there is none.

    By topic and partition; raises `AdminError`.
    """
    asked = list(partitions)
    found = _offsets(admin, asked, OffsetSpec.for_timestamp(time_ms), TIMEOUT_S)
    ends = end_offsets(admin, asked)
    return {at: ends[at] if offset < 0 else offset for at, offset in found.items()}


def first_record_times(admin: AdminClient, partitions: Iterable[TopicPartition]) -> dict[tuple[str, int], int | None]:
    """The time of the first record that is still there, in Unix ms, None when there is none; raises `AdminError`."""
    found = _offset_infos(admin, partitions, OffsetSpec.for_timestamp(0), TIMEOUT_S)
    return {at: info.timestamp if info.offset >= 0 else None for at, info in found.items()}


def retention_ms(admin: AdminClient, name: str) -> int | None:
    """How old a record of `name` must at least be to be deleted; None when one may be deleted at any age.

    Raises `AdminError`, also when there is no such topic.
    """
    config = _configs(admin, ResourceType.TOPIC, [name])[name]
    kept_ms, kept_bytes = int(config["retention.ms"]), int(config["retention.bytes"])
    return None if kept_ms < 0 or kept_bytes >= 0 else kept_ms


def group_members(admin: AdminClient, group: str) -> int | None:
    """How many members a consumer group has, None when we may not know; raises `AdminError`."""
    [future] = admin.describe_consumer_groups([group], request_timeout=TIMEOUT_S).values()
    try:
        return len(future.result().members)
    except KafkaException as error:
        code = error.args[0].code()
        if code == KafkaError.GROUP_AUTHORIZATION_FAILED:
            return None
        if code == KafkaError.GROUP_ID_NOT_FOUND:
            return 0
        raise AdminError(f"Kafka does not say who is in {group}: {_text(error)}") from error


def max_message_bytes(admin: AdminClient, name: str) -> int:
    """The largest record batch that `name` takes; raises `AdminError`, also when there is no such topic."""
    return int(_configs(admin, ResourceType.TOPIC, [name])[name]["max.message.bytes"])


def configs(admin: AdminClient, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """The settings of topics that are there; raises `AdminError`."""
    return _configs(admin, ResourceType.TOPIC, list(names))


def wait_until_available(admin: AdminClient, names: Iterable[str]) -> None:
    """Wait until topics that were just made can be used; raises `AdminError` when they are not seen in 10 s.

    A topic is made when the controller says so; the brokers know it a moment later.
    """
    wanted = set(names)
    deadline = time.monotonic() + TIMEOUT_S
    while missing := wanted - _usable(admin, wanted):
        if time.monotonic() > deadline:
            raise AdminError(f"topics were made but are not seen after {TIMEOUT_S} s: {', '.join(sorted(missing))}")
        time.sleep(_SEEN_EVERY_S)


def _usable(admin: AdminClient, names: Iterable[str]) -> set[str]:
    """The topics of which every partition has a leader that answers."""
    there = _descriptions(admin, names)
    asked = {
        TopicPartition(name, number): OffsetSpec.latest()
        for name, topic in there.items()
        for number in range(len(topic.partitions))
    }
    answers = admin.list_offsets(asked, request_timeout=TIMEOUT_S) if asked else {}
    return there.keys() - {at.topic for at, future in answers.items() if future.exception() is not None}


def _plans(layout: Layout, specs: Sequence[TopicSpec]) -> list[TopicPlan]:
    plans = [topic for spec in specs for topic in topic_plans(spec, layout)]
    if len({topic.name for topic in plans}) < len(plans):
        raise AdminError(f"a source topic is one of our own: {', '.join(layout.source_topics)}")
    return plans


def _make(admin: AdminClient, wanted: list[TopicPlan], layout: Layout) -> list[str]:
    if not wanted:
        return []
    replication = layout.replication or _default_replication(admin)
    safety = {"unclean.leader.election.enable": "false"}
    if replication is not None and replication >= SAFE_REPLICATION:
        safety["min.insync.replicas"] = "2"
    asked = [
        NewTopic(topic.name, topic.partition_count, layout.replication or -1, config={**topic.config, **safety})
        for topic in wanted
    ]
    futures = admin.create_topics(asked, request_timeout=TIMEOUT_S)
    made = [name for name, future in futures.items() if _was_made(name, future)]
    wait_until_available(admin, [topic.name for topic in wanted])
    return made


def _was_made(name: str, future: Future[None]) -> bool:
    """False when another one was faster; raises `AdminError` when Kafka refuses."""
    try:
        future.result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise AdminError(f"topic {name} is not made: {_text(error)}") from error
    return True


def _default_replication(admin: AdminClient) -> int | None:
    """The brokers' `default.replication.factor`, None when we may not know."""
    broker = str(_cluster(admin).nodes[0].id)
    try:
        return int(_configs(admin, ResourceType.BROKER, [broker])[broker]["default.replication.factor"])
    except (AdminError, KeyError):
        return None


def _status(
    wanted: TopicPlan, found: TopicDescription, config: Mapping[str, str], safe_replication: int
) -> TopicStatus:
    replication = min((len(partition.replicas) for partition in found.partitions), default=0)
    retention_ms = int(config["retention.ms"])
    faults, differences = _compare(wanted, len(found.partitions), config)
    if replication < safe_replication:
        differences.append(f"replication is {replication}, should be {safe_replication}")
    return TopicStatus(
        name=wanted.name,
        present=True,
        partition_count=len(found.partitions),
        replication=replication,
        cleanup=config["cleanup.policy"],
        retention_ms=retention_ms if retention_ms >= 0 and "delete" in config["cleanup.policy"] else None,
        timestamp_type=config["message.timestamp.type"],
        faults=faults,
        differences=differences,
    )


def _compare(wanted: TopicPlan, partition_count: int, config: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The faults and the differences of a topic of ours; of a source topic only its clock is our business."""
    faults: list[str] = []
    differences: list[str] = []
    if wanted.spec.partitions is Partitions.USERS:
        vital, compared = set[str](), {"message.timestamp.type"}
    else:
        vital = set(FOREVER) if wanted.config == FOREVER else {"cleanup.policy"}
        compared = set(wanted.config)
        if partition_count != wanted.partition_count:
            faults.append(f"has {partition_count} partitions, should have {wanted.partition_count}")
    for name in sorted(compared):
        if config[name] != wanted.config[name]:
            text = f"{name} is {config[name]}, should be {wanted.config[name]}"
            (faults if name in vital else differences).append(text)
    return faults, differences


def _descriptions(admin: AdminClient, names: Iterable[str]) -> dict[str, TopicDescription]:
    """The topics that are there. Unlike a metadata request it makes none, whatever the broker's settings."""
    futures = admin.describe_topics(TopicCollection(list(names)), request_timeout=TIMEOUT_S)
    found = {}
    for name, future in futures.items():
        try:
            found[name] = future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise AdminError(f"topic {name} cannot be described: {_text(error)}") from error
    return found


def _cluster(admin: AdminClient) -> DescribeClusterResult:
    cluster: DescribeClusterResult = _answer(admin.describe_cluster(request_timeout=TIMEOUT_S), "what the cluster is")
    return cluster


def _configs(admin: AdminClient, kind: ResourceType, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    futures = admin.describe_configs([ConfigResource(kind, name) for name in names], request_timeout=TIMEOUT_S)
    answers = {asked.name: _answer(future, f"the settings of {asked.name}") for asked, future in futures.items()}
    return {name: {key: entry.value for key, entry in answer.items()} for name, answer in answers.items()}


def _offsets(
    admin: AdminClient, at: Iterable[TopicPartition], spec: OffsetSpec, timeout_s: float
) -> dict[tuple[str, int], int]:
    return {at: info.offset for at, info in _offset_infos(admin, at, spec, timeout_s).items()}


def _offset_infos(
    admin: AdminClient,
    at: Iterable[TopicPartition],
    spec: OffsetSpec,
    timeout_s: float,
    isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
) -> dict[tuple[str, int], ListOffsetsResultInfo]:
    asked = dict.fromkeys(at, spec)
    futures = admin.list_offsets(asked, request_timeout=timeout_s, isolation_level=isolation) if asked else {}
    return {
        (asked.topic, asked.partition): _answer(future, f"the offsets of {asked.topic}-{asked.partition}")
        for asked, future in futures.items()
    }


def _answer(future: Future[_Answer], asked: str) -> _Answer:
    try:
        return future.result()
    except KafkaException as error:
        raise AdminError(f"Kafka does not say {asked}: {_text(error)}") from error


def _text(error: KafkaException) -> str:
    return str(error.args[0].str())
