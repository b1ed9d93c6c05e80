"""What is on Kafka: the flow as data, in the order in which a span goes through it.

    Collector ─► SOURCE ─► ingest ─► FACTS ─► sessions ─┬─► SIGNALS ─► SIEM
                             │         RULES ──► both   ├─► VERDICTS ─► ledger ─► TREE_HEADS
                             ├─► AUDIT ─► audit trail   └─► CHECKPOINTS ─► sessions, at take-over
                             └─► DEAD_LETTERS

Each is a `TopicSpec` below. What its messages are is in the module of its name (`topics.records.facts`,
`topics.records.dead_letters`, …), what OpenTelemetry sends in `topics.otlp.requests`. `topics.partition` says where a
trace is, `topics.cluster.admin` makes the topics, `topics.embedded.broker` is a Kafka to try it all on.

This package knows what is on the topics, and nothing of rules.
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
    # The clock is the record's time; the broker's own cannot run back. How long records are kept is the operator's.
    config={"cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime"},
)
RULES = TopicSpec(
    name="rules",
    holds="rule sets, which of them is active, and every push",
    key="a set's fingerprint, a push's own, or `active`",
    partitions=Partitions.ONE,
    written_by="betrace rules push",
    read_by="ingest, sessions, ledger",
    # A message is a whole rule set. When a set was pushed is for the broker to say, not for whoever pushes.
    config=COMPACT | {"max.message.bytes": str(8 * MIB), "message.timestamp.type": "LogAppendTime"},
)
FACTS = TopicSpec(
    name="facts",
    holds="which spans satisfied which atoms; also the changelog of every window",
    key="none; the partition is the trace's",
    partitions=Partitions.FACTS,
    written_by="ingest",
    read_by="sessions",
    # Sessions itself deletes what no window needs.
    config=FOREVER,
)
CHECKPOINTS = TopicSpec(
    name="checkpoints",
    holds="how far each facts partition is judged and published",
    key="facts partition",
    partitions=Partitions.FACTS,
    written_by="sessions",
    read_by="sessions, at take-over",
    # A record each second, of which the last counts; only full segments are compacted.
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
# Not in the flow: the first replay that publishes makes it.
REPLAYED_SIGNALS = TopicSpec(
    name="signals.replay",
    holds="signals of the past under other rules, where a replay is asked to publish them",
    key="uid",
    partitions=Partitions.FACTS,
    written_by="betrace replay --publish",
    read_by="who asked for it",
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
