"""Tests `betrace topics`."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result
from confluent_kafka.admin import AdminClient, NewTopic

from streams.cli import main
from topics.cluster import admin, timestamps

pytestmark = pytest.mark.broker


@pytest.fixture
def environment(kafka: str, fresh_prefix: str) -> dict[str, str]:
    """Settings for the test broker and topics of this test only."""
    return {
        "BETRACE_BOOTSTRAP": kafka,
        "BETRACE_PREFIX": fresh_prefix,
        "BETRACE_SOURCE_TOPICS": f"{fresh_prefix}spans",
        "BETRACE_FACTS_PARTITIONS": "2",
    }


def call(environment: dict[str, str], *arguments: str) -> Result:
    """Runs `betrace topics` with `arguments`."""
    return CliRunner(env=environment).invoke(main, ["topics", *arguments])


def test_create_prints_the_created_topics(environment: dict[str, str], fresh_prefix: str) -> None:
    """The names of created topics are on stdout, one a line, in the order of the flow."""
    result = call(environment, "create")

    names = ["spans", "rules", "facts", "checkpoints", "signals", "verdicts", "audit", "tree_heads", "dead_letters"]
    assert (result.exit_code, result.stdout, result.stderr) == (
        0,
        "".join(f"{fresh_prefix}{name}\n" for name in names),
        "",
    )


def test_create_again_is_silent(environment: dict[str, str]) -> None:
    """If nothing is missing or wrong, nothing is printed."""
    call(environment, "create")

    result = call(environment, "create")

    assert (result.exit_code, result.output) == (0, "")


def test_create_with_other_partitions_says_so_and_exits_2(environment: dict[str, str], fresh_prefix: str) -> None:
    """A facts topic with another partition count is named, and the exit code is that of a configuration error."""
    call(environment, "create")

    result = call(environment, "create", "--facts-partitions", "3")

    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{fresh_prefix}facts: has 2 partitions, should have 3\n" in result.stderr
    assert f"Error: unusable topics: {fresh_prefix}facts, " in result.stderr


def test_create_reports_a_difference_and_continues(environment: dict[str, str], kafka: str, fresh_prefix: str) -> None:
    """A source topic stamped by producers is reported on stderr; the rest is created."""
    client = AdminClient({"bootstrap.servers": kafka})
    client.create_topics([NewTopic(f"{fresh_prefix}spans", 4)])[f"{fresh_prefix}spans"].result()
    admin.wait_until_available(client, [f"{fresh_prefix}spans"])

    result = call(environment, "create")

    said = f"{fresh_prefix}spans: message.timestamp.type is CreateTime, should be LogAppendTime\n"
    assert (result.exit_code, result.stderr) == (0, said)


def test_create_can_change_who_stamps(environment: dict[str, str], kafka: str, fresh_prefix: str) -> None:
    """With `--log-append-time` Kafka stamps the records of existing source topics, and nothing is reported."""
    topic = f"{fresh_prefix}spans"
    client = AdminClient({"bootstrap.servers": kafka})
    client.create_topics([NewTopic(topic, 4)])[topic].result()
    admin.wait_until_available(client, [topic])
    before = timestamps.types(client, [topic, f"{fresh_prefix}none"])

    result = call(environment, "create", "--log-append-time")

    assert (0, "") == (result.exit_code, result.stderr)
    assert ({topic: "CreateTime"}, {topic: "LogAppendTime"}) == (before, timestamps.types(client, [topic]))
    assert [] == timestamps.use_log_append_time(client, [topic])


def test_describe_is_a_table(environment: dict[str, str], fresh_prefix: str) -> None:
    """The text output has a line per topic, in columns."""
    call(environment, "create")

    result = call(environment, "describe")

    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["TOPIC", "PARTITIONS", "REPLICATION", "CLEANUP", "RETENTION", "TIMESTAMPS"]
    assert lines[1] == [f"{fresh_prefix}spans", "2", "1", "delete", "7d", "LogAppendTime"]
    assert lines[3] == [f"{fresh_prefix}facts", "2", "1", "delete", "unlimited", "CreateTime"]


def test_describe_says_what_is_missing(environment: dict[str, str], fresh_prefix: str) -> None:
    """On an empty cluster every topic is missing."""
    result = call(environment, "describe")

    assert result.stdout.splitlines()[3].split() == [f"{fresh_prefix}facts", "missing"]


def test_describe_as_json_is_an_object_a_line(environment: dict[str, str], fresh_prefix: str) -> None:
    """JSON output has the same content, one line per topic."""
    call(environment, "create")

    result = call(environment, "describe", "--format", "json")

    rows = {row["name"]: row for row in map(json.loads, result.stdout.splitlines())}
    assert rows[f"{fresh_prefix}rules"] == {
        "name": f"{fresh_prefix}rules",
        "present": True,
        "partition_count": 1,
        "replication": 1,
        "cleanup": "compact",
        "retention_ms": None,
        "timestamp_type": "LogAppendTime",
        "faults": [],
        "differences": [],
    }
