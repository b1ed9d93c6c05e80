"""The flow as data, and the operator's settings."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.paths import ROOT
from topics import FACTS, FLOW, REPLAYED_SIGNALS, SOURCE
from topics.spec import Layout, Partitions, topic_plans


def test_flow_has_each_topic_once() -> None:
    """The flow has every topic exactly once."""
    names = [spec.name for spec in FLOW if spec is not SOURCE]

    assert names == [
        "rules",
        "facts",
        "checkpoints",
        "signals",
        "verdicts",
        "audit",
        "tree_heads",
        "dead_letters",
    ]


def test_flow_has_writer_and_reader_of_each_topic() -> None:
    """Each topic has a description, a key, a writer and a reader."""
    unsaid = [spec.name for spec in FLOW if not all((spec.holds, spec.key, spec.written_by, spec.read_by))]

    assert unsaid == []


def test_page_lists_each_topic() -> None:
    """The table of topics/README.md lists the flow and the topic of replays."""
    page = (ROOT / "topics" / "README.md").read_text().splitlines()

    rows = [
        f"| `{spec.name.replace(', ', '`, `')}` | {spec.holds} | {spec.key} | {spec.partitions.value} | "
        f"{spec.written_by} | {spec.read_by} |"
        for spec in (*FLOW, REPLAYED_SIGNALS)
    ]
    start = page.index(rows[0])
    assert rows == page[start : start + len(rows)]


def test_topics_partitioned_like_facts() -> None:
    """Checkpoints, signals, verdicts and audit have the facts' partitions, so a worker writes where it reads."""
    alike = {spec.name for spec in FLOW if spec.partitions is Partitions.FACTS}

    assert alike == {"facts", "checkpoints", "signals", "verdicts", "audit"}


def test_facts_are_retained_forever() -> None:
    """Kafka never deletes facts by itself; sessions deletes those that it no longer needs."""
    config = FACTS.config

    assert (config["retention.ms"], config["retention.bytes"]) == ("-1", "-1")


def test_source_topics_have_no_prefix() -> None:
    """Source topics have the names that the operator gave; only BeTrace's own topics have the prefix."""
    layout = Layout(prefix="eu.", source_topics=("spans", "logs"))

    assert [topic.name for spec in (SOURCE, FACTS) for topic in topic_plans(spec, layout)] == [
        "spans",
        "logs",
        "eu.facts",
    ]


def test_created_source_topic_has_the_partitions_of_facts() -> None:
    """In a keyed source with as many partitions as the facts, each trace is in its facts partition."""
    layout = Layout(source_topics=("spans",), facts_partitions=5)

    assert [topic.partition_count for topic in topic_plans(SOURCE, layout)] == [5]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"facts_partitions": 0}, "facts-partitions is 0, must be at least 1"),
        ({"replication": 0}, "replication is 0, must be at least 1"),
        ({"prefix": "a b"}, "'a bfacts' is not a topic name"),
        ({"source_topics": ("",)}, "'' is not a topic name"),
        ({"source_topics": ("s" * 250,)}, "is not a topic name"),
        ({"source_topics": ("spans", "spans")}, "the source topics name a topic twice: spans, spans"),
    ],
)
def test_layout_refuses_invalid_settings(settings: dict[str, Any], message: str) -> None:
    """A setting that Kafka would refuse is refused at once, with its value and the limit."""
    with pytest.raises(ValueError, match=message):
        Layout(**settings)
