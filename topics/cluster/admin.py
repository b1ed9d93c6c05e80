"""Creates and describes the topics on a Kafka cluster, and queries offsets, settings and groups.

In: an `AdminClient` and a `Layout`. Out: topics and their status. Nothing here alters a topic that exists: a status
lists what differs from the flow, and the operator decides.
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
"""librdkafka settings: `bootstrap.servers`, and those that the cluster's security requires."""

TIMEOUT_S = 10
SAFE_REPLICATION = 3

_POLL_INTERVAL_S = 0.05

_Result = TypeVar("_Result")


class TopicStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The status of a topic; a value is None when the topic is missing, `retention_ms` also when it has no limit.

    The program cannot run with a topic that has `faults`. It can run with one that has `differences`, which list where
    the topic differs from one that `create` would create.
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
    """The topics that `create` created, and the status of those that existed before."""

    created: list[str]
    existing: list[TopicStatus]


def connect(settings: ClientSettings) -> AdminClient:
    """Return a client that is connected to a cluster; raises `AdminError` when no broker answers."""
    admin = AdminClient({"log_level": 0, **settings})
    try:
        # Unlike other requests that need no topic, this one can be interrupted by Ctrl-C.
        admin.describe_cluster(request_timeout=TIMEOUT_S).result()
    except KafkaException as error:
        bootstrap = settings.get("bootstrap.servers")
        raise AdminError(f"no Kafka answers at {bootstrap} within {TIMEOUT_S} s ({_error_text(error)})") from error
    return admin


def create(admin: AdminClient, layout: Layout, specs: Sequence[TopicSpec] = FLOW) -> Creation:
    """Create the topics of the flow that are missing and wait until they are available; raises `AdminError`."""
    plans = _plans(layout, specs)
    existing = _descriptions(admin, [plan.name for plan in plans])
    made = _create_missing(admin, [plan for plan in plans if plan.name not in existing], layout)
    kept = [status for status in describe(admin, layout, specs) if status.name not in made]
    return Creation(made, kept)


def describe(admin: AdminClient, layout: Layout, specs: Sequence[TopicSpec] = FLOW) -> list[TopicStatus]:
    """Return the status of each topic of the flow, in its order; raises `AdminError`."""
    plans = _plans(layout, specs)
    existing = _descriptions(admin, [plan.name for plan in plans])
    configs = _configs(admin, ResourceType.TOPIC, list(existing))
    safe = layout.replication or min(SAFE_REPLICATION, len(_cluster(admin).nodes))
    statuses = {plan.name: TopicStatus(name=plan.name, present=False) for plan in plans}
    for plan in plans:
        if plan.name in existing:
            statuses[plan.name] = _status(plan, existing[plan.name], configs[plan.name], safe)
    return list(statuses.values())


def partition_counts(admin: AdminClient, names: Iterable[str]) -> dict[str, int]:
    """Return the partition count of each topic that exists; raises `AdminError`."""
    return {name: len(topic.partitions) for name, topic in _descriptions(admin, names).items()}


def topic_ids(admin: AdminClient, names: Iterable[str]) -> dict[str, str]:
    """Return the id of each topic that exists; a topic that was recreated has a new id. Raises `AdminError`."""
    return {name: str(topic.topic_id) for name, topic in _descriptions(admin, names).items()}


def cluster_id(admin: AdminClient) -> str:
    """Return the id of the cluster; raises `AdminError`."""
    return str(_cluster(admin).cluster_id)


def earliest_offsets(
    admin: AdminClient, partitions: Iterable[TopicPartition], *, timeout_s: float = TIMEOUT_S
) -> dict[tuple[str, int], int]:
    """Return the lowest offset that Kafka still has, by topic and partition; raises `AdminError`."""
    return _offsets(admin, partitions, OffsetSpec.earliest(), timeout_s)


def end_offsets(
    admin: AdminClient, partitions: Iterable[TopicPartition], *, timeout_s: float = TIMEOUT_S
) -> dict[tuple[str, int], int]:
    """Return the offset of the next record, by topic and partition; raises `AdminError`."""
    return _offsets(admin, partitions, OffsetSpec.latest(), timeout_s)


def last_stable_offsets(admin: AdminClient, partitions: Iterable[TopicPartition]) -> dict[tuple[str, int], int]:
    """Return the last stable offsets, by topic and partition: the ends for `read_committed`; raises `AdminError`."""
    infos = _offset_infos(admin, partitions, OffsetSpec.latest(), TIMEOUT_S, IsolationLevel.READ_COMMITTED)
    return {at: info.offset for at, info in infos.items()}


def offsets_at(admin: AdminClient, partitions: Iterable[TopicPartition], time_ms: int) -> dict[tuple[str, int], int]:
    """Return the first offset with a record time of at least `time_ms`; the end offset when there is no such record.

    The keys are topic and partition; raises `AdminError`.
    """
    at = list(partitions)
    offsets = _offsets(admin, at, OffsetSpec.for_timestamp(time_ms), TIMEOUT_S)
    ends = end_offsets(admin, at)
    return {key: ends[key] if offset < 0 else offset for key, offset in offsets.items()}


def first_record_times(admin: AdminClient, partitions: Iterable[TopicPartition]) -> dict[tuple[str, int], int | None]:
    """Return the time of the first record that Kafka still has, in Unix ms, None without one; raises `AdminError`."""
    infos = _offset_infos(admin, partitions, OffsetSpec.for_timestamp(0), TIMEOUT_S)
    return {at: info.timestamp if info.offset >= 0 else None for at, info in infos.items()}


def retention_ms(admin: AdminClient, name: str) -> int | None:
    """Return the age that a record of `name` reaches before Kafka may delete it.

    None when Kafka also deletes by size, which may affect a record of any age, and when it does not delete by age.
    Raises `AdminError`, also when the topic does not exist.
    """
    config = _configs(admin, ResourceType.TOPIC, [name])[name]
    kept_ms, kept_bytes = int(config["retention.ms"]), int(config["retention.bytes"])
    return None if kept_ms < 0 or kept_bytes >= 0 else kept_ms


def group_members(admin: AdminClient, group: str) -> int | None:
    """Count the members of a consumer group; None when the client lacks DESCRIBE on it; raises `AdminError`."""
    [future] = admin.describe_consumer_groups([group], request_timeout=TIMEOUT_S).values()
    try:
        return len(future.result().members)
    except KafkaException as error:
        code = error.args[0].code()
        if code == KafkaError.GROUP_AUTHORIZATION_FAILED:
            return None
        if code == KafkaError.GROUP_ID_NOT_FOUND:
            return 0
        raise AdminError(f"Kafka did not return the members of {group}: {_error_text(error)}") from error


def max_message_bytes(admin: AdminClient, name: str) -> int:
    """Return the size of the largest record batch that `name` accepts; raises `AdminError`, also without the topic."""
    return int(_configs(admin, ResourceType.TOPIC, [name])[name]["max.message.bytes"])


def configs(admin: AdminClient, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the settings of topics that exist; raises `AdminError`."""
    return _configs(admin, ResourceType.TOPIC, list(names))


def wait_until_available(admin: AdminClient, names: Iterable[str]) -> None:
    """Wait until topics that were just created are available; raises `AdminError` when they are not within 10 s.

    Kafka confirms a topic when the controller has created it; the brokers learn of it a moment later.
    """
    expected = set(names)
    deadline = time.monotonic() + TIMEOUT_S
    while missing := expected - _available(admin, expected):
        if time.monotonic() > deadline:
            raise AdminError(
                f"topics were created but are not available after {TIMEOUT_S} s: {', '.join(sorted(missing))}"
            )
        time.sleep(_POLL_INTERVAL_S)


def _available(admin: AdminClient, names: Iterable[str]) -> set[str]:
    """Return the topics all of whose partitions have a leader that answers."""
    existing = _descriptions(admin, names)
    queries = {
        TopicPartition(name, number): OffsetSpec.latest()
        for name, topic in existing.items()
        for number in range(len(topic.partitions))
    }
    answers = admin.list_offsets(queries, request_timeout=TIMEOUT_S) if queries else {}
    return existing.keys() - {at.topic for at, future in answers.items() if future.exception() is not None}


def _plans(layout: Layout, specs: Sequence[TopicSpec]) -> list[TopicPlan]:
    plans = [topic for spec in specs for topic in topic_plans(spec, layout)]
    if len({topic.name for topic in plans}) < len(plans):
        raise AdminError(f"a source topic is one of BeTrace's own topics: {', '.join(layout.source_topics)}")
    return plans


def _create_missing(admin: AdminClient, plans: list[TopicPlan], layout: Layout) -> list[str]:
    if not plans:
        return []
    replication = layout.replication or _default_replication(admin)
    safety = {"unclean.leader.election.enable": "false"}
    if replication is not None and replication >= SAFE_REPLICATION:
        safety["min.insync.replicas"] = "2"
    requests = [
        NewTopic(plan.name, plan.partition_count, layout.replication or -1, config={**plan.config, **safety})
        for plan in plans
    ]
    futures = admin.create_topics(requests, request_timeout=TIMEOUT_S)
    made = [name for name, future in futures.items() if _is_created(name, future)]
    wait_until_available(admin, [plan.name for plan in plans])
    return made


def _is_created(name: str, future: Future[None]) -> bool:
    """Return False when another client has created the topic; raises `AdminError` when Kafka refuses."""
    try:
        future.result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise AdminError(f"topic {name} was not created: {_error_text(error)}") from error
    return True


def _default_replication(admin: AdminClient) -> int | None:
    """Return the brokers' `default.replication.factor`; None when the client may not read it."""
    broker = str(_cluster(admin).nodes[0].id)
    try:
        return int(_configs(admin, ResourceType.BROKER, [broker])[broker]["default.replication.factor"])
    except (AdminError, KeyError):
        return None


def _status(
    plan: TopicPlan, description: TopicDescription, config: Mapping[str, str], safe_replication: int
) -> TopicStatus:
    replication = min((len(partition.replicas) for partition in description.partitions), default=0)
    retention_ms = int(config["retention.ms"])
    faults, differences = _compare(plan, len(description.partitions), config)
    if replication < safe_replication:
        differences.append(f"replication is {replication}, should be {safe_replication}")
    return TopicStatus(
        name=plan.name,
        present=True,
        partition_count=len(description.partitions),
        replication=replication,
        cleanup=config["cleanup.policy"],
        retention_ms=retention_ms if retention_ms >= 0 and "delete" in config["cleanup.policy"] else None,
        timestamp_type=config["message.timestamp.type"],
        faults=faults,
        differences=differences,
    )


def _compare(plan: TopicPlan, partition_count: int, config: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the faults and the differences of a topic; of a source topic only the timestamp type matters."""
    faults: list[str] = []
    differences: list[str] = []
    if plan.spec.partitions is Partitions.USERS:
        vital, compared = set[str](), {"message.timestamp.type"}
    else:
        vital = set(FOREVER) if plan.config == FOREVER else {"cleanup.policy"}
        compared = set(plan.config)
        if partition_count != plan.partition_count:
            faults.append(f"has {partition_count} partitions, should have {plan.partition_count}")
    for name in sorted(compared):
        if config[name] != plan.config[name]:
            text = f"{name} is {config[name]}, should be {plan.config[name]}"
            (faults if name in vital else differences).append(text)
    return faults, differences


def _descriptions(admin: AdminClient, names: Iterable[str]) -> dict[str, TopicDescription]:
    """Describe the topics that exist; unlike a metadata request, this never creates a topic on any broker."""
    futures = admin.describe_topics(TopicCollection(list(names)), request_timeout=TIMEOUT_S)
    descriptions = {}
    for name, future in futures.items():
        try:
            descriptions[name] = future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise AdminError(f"topic {name} cannot be described: {_error_text(error)}") from error
    return descriptions


def _cluster(admin: AdminClient) -> DescribeClusterResult:
    cluster: DescribeClusterResult = _result(admin.describe_cluster(request_timeout=TIMEOUT_S), "the cluster")
    return cluster


def _configs(admin: AdminClient, kind: ResourceType, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    futures = admin.describe_configs([ConfigResource(kind, name) for name in names], request_timeout=TIMEOUT_S)
    answers = {
        resource.name: _result(future, f"the settings of {resource.name}") for resource, future in futures.items()
    }
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
    queries = dict.fromkeys(at, spec)
    futures = admin.list_offsets(queries, request_timeout=timeout_s, isolation_level=isolation) if queries else {}
    return {
        (key.topic, key.partition): _result(future, f"the offsets of {key.topic}-{key.partition}")
        for key, future in futures.items()
    }


def _result(future: Future[_Result], subject: str) -> _Result:
    try:
        return future.result()
    except KafkaException as error:
        raise AdminError(f"Kafka did not return {subject}: {_error_text(error)}") from error


def _error_text(error: KafkaException) -> str:
    return str(error.args[0].str())
