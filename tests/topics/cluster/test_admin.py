"""The topics on a real Kafka."""

from __future__ import annotations

from dataclasses import replace

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from topics.cluster import admin
from topics.cluster.admin import AdminError, TopicStatus
from topics.spec import Layout

pytestmark = pytest.mark.broker


@pytest.fixture
def client(kafka: str) -> AdminClient:
    """Return a client of the test broker."""
    return admin.connect({"bootstrap.servers": kafka})


@pytest.fixture
def layout(fresh_prefix: str) -> Layout:
    """Return a small layout whose topics no other test uses."""
    return Layout(fresh_prefix, (f"{fresh_prefix}spans",), facts_partitions=2)


def make(client: AdminClient, name: str, partitions: int = 1, **config: str) -> None:
    """Create a topic outside BeTrace; `config` has underscores for dots."""
    settings = {key.replace("_", "."): value for key, value in config.items()}
    client.create_topics([NewTopic(name, partitions, config=settings)])[name].result()
    admin.wait_until_available(client, [name])


def row(rows: list[TopicStatus], name: str) -> TopicStatus:
    """Return the status of the topic `name`."""
    return next(row for row in rows if row.name == name)


def test_create_creates_the_whole_flow(client: AdminClient, layout: Layout) -> None:
    """On an empty cluster, create creates every topic of the flow as it should be."""
    creation = admin.create(client, layout)

    described = admin.describe(client, layout)
    assert creation.existing == []
    assert [row.name for row in described] == creation.created
    assert [row.faults + row.differences for row in described] == [[]] * len(described)


def test_second_create_creates_nothing(client: AdminClient, layout: Layout) -> None:
    """Create leaves existing topics unchanged and reports them."""
    made = admin.create(client, layout).created

    again = admin.create(client, layout)

    assert (again.created, [row.name for row in again.existing]) == ([], made)


def test_create_creates_only_missing_topics(client: AdminClient, layout: Layout) -> None:
    """An existing source topic keeps its partitions and its retention."""
    (source,) = layout.source_topics
    make(client, source, 5, retention_ms="1000")

    creation = admin.create(client, layout)

    assert source not in creation.created
    assert admin.partition_counts(client, [source]) == {source: 5}
    assert row(creation.existing, source).retention_ms == 1000


def test_topics_have_the_settings_of_the_flow(client: AdminClient, layout: Layout) -> None:
    """Partitions, cleanup, retention and timestamp type are those of the flow."""
    admin.create(client, layout)

    rows = admin.describe(client, layout)
    settings = {
        row.name.removeprefix(layout.prefix): (row.partition_count, row.cleanup, row.retention_ms, row.timestamp_type)
        for row in rows
    }
    week_ms, month_ms, quarter_ms, year_ms = 604_800_000, 2_592_000_000, 7_776_000_000, 31_536_000_000
    assert settings == {
        "spans": (2, "delete", week_ms, "LogAppendTime"),
        "rules": (1, "compact", None, "LogAppendTime"),
        "facts": (2, "delete", None, "CreateTime"),
        "checkpoints": (2, "compact", None, "CreateTime"),
        "signals": (2, "delete", quarter_ms, "CreateTime"),
        "verdicts": (2, "delete", quarter_ms, "CreateTime"),
        "audit": (2, "delete", year_ms, "CreateTime"),
        "tree_heads": (1, "delete", None, "CreateTime"),
        "dead_letters": (1, "delete", month_ms, "CreateTime"),
    }


def test_another_partition_count_is_a_fault_and_is_not_altered(client: AdminClient, layout: Layout) -> None:
    """A facts topic with too many partitions is not altered, and its status names the fault."""
    facts = f"{layout.prefix}facts"
    make(client, facts, 3, retention_ms="-1")

    creation = admin.create(client, layout)

    assert row(creation.existing, facts).faults == ["has 3 partitions, should have 2"]
    assert admin.partition_counts(client, [facts]) == {facts: 3}


def test_another_cleanup_is_a_fault(client: AdminClient, layout: Layout) -> None:
    """Compaction would delete all facts but the last of each key, so the program cannot work with it."""
    facts = f"{layout.prefix}facts"
    make(client, facts, 2, cleanup_policy="compact", retention_ms="-1")

    described = row(admin.describe(client, layout), facts)

    assert described.faults == ["cleanup.policy is compact, should be delete"]


def test_retention_of_facts_is_a_fault(client: AdminClient, layout: Layout) -> None:
    """A retention limit on the facts would silently lose open windows."""
    facts = f"{layout.prefix}facts"
    make(client, facts, 2, retention_ms="604800000")

    described = row(admin.describe(client, layout), facts)

    assert described.faults == ["retention.ms is 604800000, should be -1"]


def test_another_retention_of_signals_is_only_a_difference(client: AdminClient, layout: Layout) -> None:
    """The operator may choose the retention of signals; the status only lists the difference."""
    signals = f"{layout.prefix}signals"
    make(client, signals, 2, retention_ms="1000")

    described = row(admin.describe(client, layout), signals)

    assert (described.faults, described.differences) == ([], ["retention.ms is 1000, should be 7776000000"])


def test_source_topic_with_producer_timestamps_is_a_difference(client: AdminClient, layout: Layout) -> None:
    """The status of a source topic lists the timestamp type if producers set it, and no other setting."""
    (source,) = layout.source_topics
    make(client, source, 5, cleanup_policy="compact,delete")

    described = row(admin.describe(client, layout), source)

    expected = ["message.timestamp.type is CreateTime, should be LogAppendTime"]
    assert (described.faults, described.differences) == ([], expected)


def test_too_few_replicas_are_a_difference(client: AdminClient, layout: Layout) -> None:
    """The status lists a replication factor below the one in the layout."""
    admin.create(client, layout)

    described = row(admin.describe(client, replace(layout, replication=3)), f"{layout.prefix}facts")

    assert described.differences == ["replication is 1, should be 3"]


def test_missing_topics_are_described_as_missing(client: AdminClient, layout: Layout) -> None:
    """Describing an empty cluster lists every topic and creates none."""
    described = admin.describe(client, layout)

    assert {row.present for row in described} == {False}
    assert admin.partition_counts(client, [row.name for row in described]) == {}


def test_refusal_of_kafka_is_an_error_with_the_topic(client: AdminClient, layout: Layout) -> None:
    """Kafka refuses more replicas than brokers, and the message names the topic."""
    with pytest.raises(AdminError, match=f"topic {layout.prefix}spans was not created: "):
        admin.create(client, replace(layout, replication=3))


def test_own_topic_as_source_topic_is_refused(client: AdminClient, layout: Layout) -> None:
    """Reading BeTrace's own dead letters as spans would never end."""
    own = replace(layout, source_topics=(f"{layout.prefix}dead_letters",))

    with pytest.raises(AdminError, match="a source topic is one of BeTrace's own topics"):
        admin.create(client, own)


def test_earliest_and_end_offsets(client: AdminClient, kafka: str, fresh_prefix: str) -> None:
    """The earliest offset moves when records are deleted, the end offset when they are written."""
    topic = f"{fresh_prefix}numbers"
    make(client, topic, 2)
    producer = Producer({"bootstrap.servers": kafka})
    for _ in range(5):
        producer.produce(topic, b"x", partition=1)
    producer.flush(30)
    for future in client.delete_records([TopicPartition(topic, 1, 2)]).values():
        future.result()
    at = [TopicPartition(topic, 0), TopicPartition(topic, 1)]

    offsets = (admin.earliest_offsets(client, at), admin.end_offsets(client, at))

    assert offsets == ({(topic, 0): 0, (topic, 1): 2}, {(topic, 0): 0, (topic, 1): 5})


def test_offsets_at_a_time(client: AdminClient, kafka: str, fresh_prefix: str) -> None:
    """The offset of a time is that of the first record at or after it, or else the end offset."""
    topic = f"{fresh_prefix}times"
    make(client, topic, 2)
    producer = Producer({"bootstrap.servers": kafka})
    for second in (10, 20, 15, 30):
        producer.produce(topic, b"x", partition=1, timestamp=second * 1000)
    producer.flush()
    at = [TopicPartition(topic, 0), TopicPartition(topic, 1)]

    offsets = [admin.offsets_at(client, at, time_ms)[topic, 1] for time_ms in (0, 10_000, 10_001, 30_000, 30_001)]

    assert offsets == [0, 0, 1, 3, 4]
    assert admin.offsets_at(client, at, 5)[topic, 0] == 0


def test_offsets_of_a_missing_topic_are_an_error(client: AdminClient, fresh_prefix: str) -> None:
    """A query for a partition that does not exist raises an error that names it."""
    with pytest.raises(AdminError, match=f"the offsets of {fresh_prefix}none-0"):
        admin.end_offsets(client, [TopicPartition(f"{fresh_prefix}none", 0)])


def test_recreated_topic_has_another_id(client: AdminClient, fresh_prefix: str) -> None:
    """A topic that was recreated under the same name has another id."""
    topic = f"{fresh_prefix}again"
    make(client, topic)
    first = admin.topic_ids(client, [topic])
    client.delete_topics([topic])[topic].result()
    while admin.topic_ids(client, [topic]):
        pass
    make(client, topic)

    second = admin.topic_ids(client, [topic])

    assert first.keys() == second.keys()
    assert first != second


def test_missing_topics_have_no_id(client: AdminClient, fresh_prefix: str) -> None:
    """A missing topic is omitted and is not an error."""
    assert admin.topic_ids(client, [f"{fresh_prefix}none"]) == {}


def test_message_limit_is_the_topics_own(client: AdminClient, layout: Layout) -> None:
    """The rules topic accepts a complete rule set in a message; the facts topic has Kafka's default limit."""
    admin.create(client, layout)

    limits = [admin.max_message_bytes(client, f"{layout.prefix}{name}") for name in ("rules", "facts")]

    assert limits == [8_388_608, 1_048_588]


def test_cluster_has_an_id(client: AdminClient) -> None:
    """Two queries for the cluster's id return the same one."""
    first, second = admin.cluster_id(client), admin.cluster_id(client)

    assert first == second
    assert len(first) == 22


def test_no_answer_is_an_error_with_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no Kafka answers, the message has the address."""
    monkeypatch.setattr(admin, "TIMEOUT_S", 0.2)

    with pytest.raises(AdminError, match=r"no Kafka answers at 127\.0\.0\.1:1 within 0\.2 s"):
        admin.connect({"bootstrap.servers": "127.0.0.1:1"})
