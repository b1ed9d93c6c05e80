"""Declares every metric once. Names follow Prometheus: base units, `_total` for counters, prefix `betrace_`."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

REGISTRY = CollectorRegistry()


def _counter(name: str, documentation: str, *labels: str) -> Counter:
    return Counter(name, documentation, labels, registry=REGISTRY, namespace="betrace")


def _gauge(name: str, documentation: str, *labels: str) -> Gauge:
    return Gauge(name, documentation, labels, registry=REGISTRY, namespace="betrace")


WHY_CLOSED = ("quiet", "max_duration", "end_of_input", "disk_limit")
"""The values of `streams.windows.close.CloseReason`, which is in a layer that this module must not import."""
WHEN_JUDGING = ("now", "later", "waiting")
STAGES = ("take", "flush", "apply", "publish", "store")
STAGE_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

RECORDS = _counter("records", "Source records read.", "topic")
RECORDS_PROJECTED = _counter("records_projected", "Source records decoded and projected.", "topic")
DEAD_LETTERS = _counter("dead_letters", "Source records that could not be read.", "topic", "reason")
SPANS = _counter("spans", "Spans and log records with a trace id read.", "topic")
SPANS_WITHOUT_TRACE = _counter("spans_without_trace", "Spans dropped: no valid trace id.", "topic")
LOGS_WITHOUT_TRACE = _counter("logs_without_trace", "Log records skipped: no trace id.", "topic")
RECORDS_SKEWED = _counter(
    "records_skewed", "Records whose time was far ahead of their neighbours', treated as if at theirs.", "topic"
)
RECORDS_KEPT = _counter("records_kept", "Records held until the next one confirmed their time.", "topic")
RECORDS_BEHIND = _counter(
    "records_behind", "Records stamped more than out_of_order before their partition's time.", "topic"
)
RECORDS_OUT_OF_BOUNDS = _counter(
    "records_out_of_bounds",
    "Records with a producer's timestamp outside the accepted bounds: their traces are incomplete.",
    "topic",
)
RECORDS_STALE = _counter(
    "records_stale", "Records fetched before a rebalance and left to the partition's new owner.", "topic"
)
AUDIT_RECORDS = _counter("audit_records", "Spans and log records of the audit trail.", "topic")
PARTITIONS_PAUSED = _gauge(
    "partitions_paused",
    "Source partitions that are paused or waiting: for slower ones, for brokers, for their start position.",
    "reason",
)
EPOCHS = _counter("epochs", "Source partitions whose reading was restarted.", "topic")
COMMITS_FAILED = _counter("commits_failed", "Commits of source offsets that Kafka rejected or did not answer.")
OFFSETS_LOST = _counter(
    "offsets_lost", "Source offsets that were deleted before they were read, or cannot be read.", "topic"
)
FACTS = _counter("facts", "Facts written; each means that a span satisfied an atom.", "topic")
FLUSHES = _counter("flushes", "Flushes of ingest.")
RULES_PROJECTED = _gauge("rules_projected", "Rules in the set with which records are projected.", "fingerprint")
RULES_REFUSED = _gauge("rules_refused", "1 while the active rule set cannot be read and the previous one is in use.")
WATERMARK = _gauge(
    "watermark_timestamp_seconds",
    "Record time below which no more records of a source partition are expected; time() minus it is its lag.",
    "topic",
    "source_partition",
)
RULES_JUDGING = _gauge(
    "rules_judging",
    "Active rules by when they judge: now, traces that begin later than the clock, or waiting for every "
    "source partition to be projected with them.",
    "state",
)
RULES_JUDGE_FROM = _gauge(
    "rules_judge_from_timestamp_seconds",
    "Record time from which a trace must begin for all active rules that do not wait to judge it; 0 means any time.",
    "fingerprint",
)
SOURCE_SAMPLED = _gauge("source_sampled", "1 if the source looks sampled: then a missing span proves little.", "reason")

LATE_TO_CLOCK = _counter("late_to_clock", "Facts and touches applied to windows at their tick.")
STALE_SECTIONS = _counter("stale_sections", "Sections skipped because a later ingest replaced their writer.")
PARTITIONS_GIVEN_UP = _counter("partitions_given_up", "Restarts of a facts partition after an error.")
CHECKPOINTS_PASSED_OVER = _counter(
    "checkpoints_passed_over", "Records on the checkpoints topic that are not checkpoints and were skipped."
)
CHECKPOINTS_LOST = _counter(
    "checkpoints_lost", "Facts partitions started without their checkpoint, or without the facts that it needs."
)
FACTS_PASSED_OVER = _counter("facts_passed_over", "Messages on the facts topic that are not facts and were skipped.")
FACTS_LOST = _counter("facts_lost", "Facts messages that no client can read: what they had is lost input.")
STORES_DISCARDED = _counter("stores_discarded", "Damaged stores that were deleted, to be rebuilt from the facts.")
WINDOWS_LOST = _counter("windows_lost", "Open windows whose facts were deleted before they were judged.")
FACTS_READ_ON = _counter("facts_read_on", "Facts messages that sessions read itself because Faust made no progress.")
WINDOWS_CLOSED = _counter("windows_closed", "Windows closed.", "reason")
TRACES_EVICTED = _counter("traces_evicted", "Traces forgotten because windows reached the disk limit.")
CLOCK = _gauge(
    "clock_timestamp_seconds",
    "Record time up to which every source partition is complete, so that windows may close.",
    "partition",
)
CLOCK_HELD = _gauge(
    "clock_held",
    "1 for the source partition whose watermark is the clock, so that windows wait for it.",
    "partition",
    "topic",
    "source_partition",
)
WINDOWS_OPEN = _gauge("windows_open", "Windows open.", "partition")
VERDICTS = _counter("verdicts", "Verdicts on traces.", "rule", "verdict")
EXCEPTED = _counter("excepted", "Traces that a rule would have applied to if not for an exception.", "rule")
SIGNALS = _counter("signals", "Signals published.", "rule", "severity")
SIGNALS_WITHHELD = _counter("signals_withheld", "Signals beyond the rule's hourly limit, not published.", "rule")

COMMITTED = _gauge("committed_timestamp_seconds", "Time of this stage's last commit.")
RULES_ACTIVE = Info("rules_active", "The rule set that this stage uses.", registry=REGISTRY, namespace="betrace")
STAGE = Histogram(
    "stage_seconds",
    "Duration of a part of the work: take and flush of ingest, apply, publish and store of sessions.",
    ("stage",),
    registry=REGISTRY,
    namespace="betrace",
    buckets=STAGE_BUCKETS_S,
)

LEDGER_SEALS = _counter("ledger_seals", "Seals stored, each with its signed tree head.")
LEDGER_ENTRIES = _counter("ledger_entries", "Records that became entries of the ledger.", "topic")
LEDGER_DOUBLES = _counter("ledger_doubles", "Records skipped because their source position is already sealed.", "topic")
LEDGER_OFFSETS_LOST = _counter(
    "ledger_offsets_lost",
    "Offsets that the ledger could not read: deleted before, or damaged.",
    "topic",
)
LEDGER_FOREIGN_TREE_HEADS = _counter(
    "ledger_foreign_tree_heads",
    "Records on the tree_heads topic with the ledger's origin that the ledger did not sign.",
)


COUNTERS = {
    "ingest": (
        RECORDS,
        RECORDS_PROJECTED,
        DEAD_LETTERS,
        SPANS,
        SPANS_WITHOUT_TRACE,
        LOGS_WITHOUT_TRACE,
        RECORDS_SKEWED,
        RECORDS_KEPT,
        RECORDS_BEHIND,
        RECORDS_OUT_OF_BOUNDS,
        RECORDS_STALE,
        AUDIT_RECORDS,
        EPOCHS,
        COMMITS_FAILED,
        OFFSETS_LOST,
        FACTS,
        FLUSHES,
    ),
    "sessions": (
        LATE_TO_CLOCK,
        STALE_SECTIONS,
        PARTITIONS_GIVEN_UP,
        CHECKPOINTS_PASSED_OVER,
        CHECKPOINTS_LOST,
        FACTS_PASSED_OVER,
        FACTS_LOST,
        STORES_DISCARDED,
        WINDOWS_LOST,
        FACTS_READ_ON,
        WINDOWS_CLOSED,
        TRACES_EVICTED,
        VERDICTS,
        EXCEPTED,
        SIGNALS,
        SIGNALS_WITHHELD,
    ),
    "ledger": (LEDGER_SEALS, LEDGER_ENTRIES, LEDGER_DOUBLES, LEDGER_OFFSETS_LOST, LEDGER_FOREIGN_TREE_HEADS),
}
"""The counters of each stage."""

for _reason in WHY_CLOSED:
    WINDOWS_CLOSED.labels(_reason)
for _stage in STAGES:
    STAGE.labels(_stage)


@dataclass(slots=True, kw_only=True)
class Tally:
    """The counts of a batch of records of one topic: taking a metric's own lock for every record is too expensive."""

    records: int = 0
    projected: int = 0
    spans: int = 0
    spans_without_trace: int = 0
    logs_without_trace: int = 0
    facts: int = 0
    stale: int = 0


def add(topic: str, tally: Tally) -> None:
    """Add the counts of a batch to the metrics."""
    RECORDS.labels(topic).inc(tally.records)
    RECORDS_PROJECTED.labels(topic).inc(tally.projected)
    SPANS.labels(topic).inc(tally.spans)
    SPANS_WITHOUT_TRACE.labels(topic).inc(tally.spans_without_trace)
    LOGS_WITHOUT_TRACE.labels(topic).inc(tally.logs_without_trace)
    FACTS.labels(topic).inc(tally.facts)
    RECORDS_STALE.labels(topic).inc(tally.stale)


@dataclass(slots=True)
class Judged:
    """The counts of the windows that one facts message closes: windows by reason, new verdicts by rule and verdict."""

    closed: collections.Counter[str] = field(default_factory=collections.Counter)
    verdicts: collections.Counter[tuple[str, str]] = field(default_factory=collections.Counter)


def add_judged(judged: Judged) -> None:
    """Add the counts to the metrics, and reset them to 0."""
    for reason, count in judged.closed.items():
        WINDOWS_CLOSED.labels(reason).inc(count)
    for (rule, verdict), count in judged.verdicts.items():
        VERDICTS.labels(rule, verdict).inc(count)
    judged.closed.clear()
    judged.verdicts.clear()


def show_watermark(topic: str, partition: int, watermark_ms: int | None) -> None:
    """Set the gauge of a source partition's watermark; None before the first."""
    if watermark_ms is not None:
        WATERMARK.labels(topic, str(partition)).set(watermark_ms / 1000)


def hide_watermark(topic: str, partition: int) -> None:
    """Remove the gauge of a source partition that this worker no longer owns."""
    _remove(WATERMARK, topic, str(partition))


def show_judging(rule_set: str, moments: Mapping[int | None, int], clock_ms: int) -> None:
    """Set how many rules of a set judge, and from which record time in ms, None not yet; `clock_ms` is now."""
    later = {from_ms: count for from_ms, count in moments.items() if from_ms is not None and from_ms > clock_ms}
    counts = {"waiting": moments.get(None, 0), "later": sum(later.values())}
    for state in WHEN_JUDGING:
        RULES_JUDGING.labels(state).set(counts.get(state, sum(moments.values()) - sum(counts.values())))
    RULES_JUDGE_FROM.clear()
    times_ms = [from_ms for from_ms in moments if from_ms is not None]
    if times_ms:
        RULES_JUDGE_FROM.labels(rule_set).set(max(times_ms) / 1000)


def hide_judging() -> None:
    """Remove the gauges of judging: this worker judges no facts partition."""
    RULES_JUDGING.clear()
    RULES_JUDGE_FROM.clear()


class ClockShown:
    """The gauges of one facts partition's clock; its holder changes, and only the last one is shown."""

    def __init__(self, number: int) -> None:
        self._number = str(number)
        self._holder: tuple[str, str] | None = None

    def show(self, clock_ms: int | None, holder: tuple[str, int] | None, open_windows: int) -> None:
        """Set the gauges."""
        WINDOWS_OPEN.labels(self._number).set(open_windows)
        if clock_ms is not None:
            CLOCK.labels(self._number).set(clock_ms / 1000)
        named = None if holder is None else (holder[0], str(holder[1]))
        if self._holder is not None and named != self._holder:
            _remove(CLOCK_HELD, self._number, *self._holder)
        self._holder = named
        if named is not None:
            CLOCK_HELD.labels(self._number, *named).set(1)

    def hide(self) -> None:
        """Remove the gauges of a facts partition that this worker no longer owns."""
        self.show(None, None, 0)
        _remove(CLOCK, self._number)


def _remove(gauge: Gauge, *labels: str) -> None:
    with suppress(KeyError):
        gauge.remove(*labels)


class Times(Protocol):
    """The counts of a source partition's clock since the last call."""

    skewed_count: int
    held_back_count: int
    behind_count: int
    out_of_bounds_count: int


def take_times(topic: str, times: Times) -> None:
    """Add the counts of a source partition's clock to the metrics, and reset them to 0."""
    RECORDS_SKEWED.labels(topic).inc(times.skewed_count)
    RECORDS_KEPT.labels(topic).inc(times.held_back_count)
    RECORDS_BEHIND.labels(topic).inc(times.behind_count)
    RECORDS_OUT_OF_BOUNDS.labels(topic).inc(times.out_of_bounds_count)
    times.skewed_count = times.held_back_count = times.behind_count = times.out_of_bounds_count = 0


def totals(stage: str | None = None) -> dict[str, int]:
    """Return the sum over its labels of every counter, or of every one of a stage, by name without the prefix."""
    named = {metric.name for counter in COUNTERS.get(stage or "", ()) for metric in counter.describe()}
    return {
        metric.name.removeprefix("betrace_"): int(
            sum(sample.value for sample in metric.samples if sample.name.endswith("_total"))
        )
        for metric in REGISTRY.collect()
        if metric.type == "counter" and (stage is None or metric.name in named)
    }
