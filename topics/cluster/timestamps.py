"""Reads and sets who stamps the records of a topic: the broker that appends them, or their producer.

In: an `AdminClient` and topic names. Out: the timestamp type of each topic, or topics altered to LogAppendTime. Records
that are already on a topic keep their timestamps.
"""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from topics.cluster import admin
from topics.cluster.admin import TIMEOUT_S
from topics.errors import AdminError

KEY = "message.timestamp.type"
LOG_APPEND_TIME = "LogAppendTime"


def types(client: AdminClient, names: Iterable[str]) -> dict[str, str]:
    """Return the timestamp type of each topic that exists; raises `AdminError`."""
    there = admin.partition_counts(client, names)
    return {name: config[KEY] for name, config in admin.configs(client, there).items()}


def use_log_append_time(client: AdminClient, names: Iterable[str]) -> list[str]:
    """Let the brokers stamp future records of these topics, if they exist; return the topics that were altered.

    Raises `AdminError`, also when the client lacks ALTER_CONFIGS.
    """
    altered = sorted(name for name, kind in types(client, names).items() if kind != LOG_APPEND_TIME)
    if not altered:
        return []
    entry = ConfigEntry(KEY, LOG_APPEND_TIME, incremental_operation=AlterConfigOpType.SET)
    resources = [ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry]) for name in altered]
    for resource, answer in client.incremental_alter_configs(resources, request_timeout=TIMEOUT_S).items():
        try:
            answer.result()
        except KafkaException as error:
            raise AdminError(f"{KEY} of {resource.name} was not altered: {error.args[0].str()}") from error
    return altered
