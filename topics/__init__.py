"""Defines the topics on Kafka: the flow as data, in the order in which a span passes through it.

    Collector ─► SOURCE ─► ingest ─► FACTS ─► sessions ─┬─► SIGNALS ─► SIEM
                             │         RULES ──► both   ├─► VERDICTS ─► ledger ─► TREE_HEADS
                             ├─► AUDIT ─► audit trail   └─► CHECKPOINTS ─► sessions, in recovery
                             └─► DEAD_LETTERS

Each topic is a `TopicSpec` below. The module of the same name defines its messages (`topics.records.facts`,
`topics.records.dead_letters`, …); `topics.otlp.requests` defines what OpenTelemetry sends. `topics.partition` assigns
traces to partitions, `topics.cluster.admin` creates the topics, and `topics.embedded.broker` runs a Kafka for demos and
tests.

This package knows the formats on the topics and nothing about rules.
"""

from __future__ import annotations

from topics.spec import COMPACT, FOREVER, MIB, Partitions, TopicSpec, delete_after_days

SOURCE = TopicSpec(
    name="otlp_spans, otlp_logs",
    holds="spans and log records, as OTLP",
    key="trace id as 32 hex characters, or none",
    partitions=Partitions.USERS,
    written_by="OpenTelemetry Collector",
    read_by="ingest, replay, explain",
    # BeTrace's clock is the record's time, and only the broker's own never runs back. The operator sets the retention.
    config={"cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime"},
)
RULES = TopicSpec(
    name="rules",
    holds="rule sets, which of them is active, and every push",
    key="a set's fingerprint, a push's key, or `active`",
    partitions=Partitions.ONE,
    written_by="betrace rules push",
    read_by="ingest, sessions, ledger",
    # A message is a complete rule set. The broker stamps each push: the pusher's clock may be wrong.
    config=COMPACT | {"max.message.bytes": str(8 * MIB), "message.timestamp.type": "LogAppendTime"},
)
FACTS = TopicSpec(
    name="facts",
    holds="which spans satisfied which atoms; also the changelog of every window",
    key="none; the partition is that of the trace",
    partitions=Partitions.FACTS,
    written_by="ingest",
    read_by="sessions",
    # Sessions deletes the records that no window needs any more.
    config=FOREVER,
)
CHECKPOINTS = TopicSpec(
    name="checkpoints",
    holds="how far each facts partition has been judged and published",
    key="facts partition",
    partitions=Partitions.FACTS,
    written_by="sessions",
    read_by="sessions, in recovery",
    # Sessions writes a record each second, and only the last one counts. Kafka compacts closed segments only.
    config=COMPACT | {"segment.bytes": str(16 * MIB)},
)
SIGNALS = TopicSpec(
    name="signals",
    holds="a signal for each broken rule, and its amendments",
    key="uid",
    partitions=Partitions.FACTS,
    written_by="sessions, betrace rules backfill",
    read_by="the SIEM",
    config=delete_after_days(90),
)
# Not part of the flow: the first replay that publishes creates this topic.
REPLAYED_SIGNALS = TopicSpec(
    name="signals.replay",
    holds="the signals of replays that publish them: past traces judged by other rules",
    key="uid",
    partitions=Partitions.FACTS,
    written_by="betrace replay --publish",
    read_by="whoever ran the replay",
    config=delete_after_days(90),
)
VERDICTS = TopicSpec(
    name="verdicts",
    holds="how many traces held and broke each rule, with a hash of each verdict; which input was judged",
    key="rule id; none for coverage",
    partitions=Partitions.FACTS,
    written_by="sessions, betrace rules backfill",
    read_by="ledger, betrace rules backfill",
    config=delete_after_days(90),
)
AUDIT = TopicSpec(
    name="audit",
    holds="the spans that belong to the audit trail",
    key="trace id",
    partitions=Partitions.FACTS,
    written_by="ingest",
    read_by="the audit trail",
    config=delete_after_days(365),
)
TREE_HEADS = TopicSpec(
    name="tree_heads",
    holds="the ledger's signed tree heads",
    key="ledger origin",
    partitions=Partitions.ONE,
    written_by="ledger",
    read_by="evidence verify",
    config=FOREVER,
)
DEAD_LETTERS = TopicSpec(
    name="dead_letters",
    holds="which source records could not be read, and why; their bytes only encrypted",
    key="source topic and partition",
    partitions=Partitions.ONE,
    written_by="ingest",
    read_by="the operator",
    config=delete_after_days(30),
)

FLOW = (SOURCE, RULES, FACTS, CHECKPOINTS, SIGNALS, VERDICTS, AUDIT, TREE_HEADS, DEAD_LETTERS)
