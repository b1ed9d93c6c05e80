"""Describes topics as data, and applies the operator's settings to them.

In: a `TopicSpec` and a `Layout`. Out: a `TopicPlan`: the topic's full name, its partition count and its settings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

DAY_MS = 86_400_000
MIB = 1 << 20

FOREVER = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
COMPACT = {"cleanup.policy": "compact"}

_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")


class Partitions(Enum):
    """How many partitions a topic has.

    ONE: a single one. FACTS: as many as `facts`. USERS: as many as its owner chose; if BeTrace creates it, as `facts`.
    """

    ONE = "one"
    FACTS = "facts"
    USERS = "users"


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """A topic of the flow; `name` lacks the prefix, and `config` has Kafka's names and values."""

    name: str
    holds: str
    key: str
    partitions: Partitions
    written_by: str
    read_by: str
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layout:
    """The operator's settings for topics; the broker chooses the replication factor when `replication` is None.

    Raises `ValueError` if Kafka would refuse them.
    """

    prefix: str = "betrace."
    source_topics: tuple[str, ...] = ("otlp_spans", "otlp_logs")
    facts_partitions: int = 12
    replication: int | None = None

    def __post_init__(self) -> None:
        """Validate the settings."""
        for what, count in (("facts-partitions", self.facts_partitions), ("replication", self.replication)):
            if count is not None and count < 1:
                raise ValueError(f"{what} is {count}, must be at least 1")
        for name in (f"{self.prefix}facts", *self.source_topics):
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} is not a topic name: use up to 249 letters, digits, dots, underscores and hyphens"
                )
        if len(set(self.source_topics)) < len(self.source_topics):
            raise ValueError(f"the source topics name a topic twice: {', '.join(self.source_topics)}")


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """A topic as it should be on the cluster."""

    name: str
    partition_count: int
    config: Mapping[str, str]
    spec: TopicSpec


def delete_after_days(count: int) -> dict[str, str]:
    """Return the settings of a topic that keeps records for `count` days.

    >>> delete_after_days(90)
    {'cleanup.policy': 'delete', 'retention.ms': '7776000000'}
    """
    return {"cleanup.policy": "delete", "retention.ms": str(count * DAY_MS)}


def topic_plans(spec: TopicSpec, layout: Layout) -> list[TopicPlan]:
    """Return the topics that `spec` describes: a single one of BeTrace's own, or every source topic.

    >>> spec = TopicSpec(name="facts", holds="", key="", partitions=Partitions.FACTS, written_by="", read_by="")
    >>> [(topic.name, topic.partition_count) for topic in topic_plans(spec, Layout(prefix="eu."))]
    [('eu.facts', 12)]
    """
    names = layout.source_topics if spec.partitions is Partitions.USERS else (layout.prefix + spec.name,)
    count = 1 if spec.partitions is Partitions.ONE else layout.facts_partitions
    return [TopicPlan(name, count, spec.config, spec) for name in names]
