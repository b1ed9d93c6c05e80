"""Metrics: what they are called, and their sums."""

from __future__ import annotations

import re

from prometheus_client import generate_latest

from streams import metrics
from streams.ingest.watermark import PartitionTime


def test_names_follow_prometheus() -> None:
    """Every metric has our prefix and a description, and counters end in _total where they are read."""
    families = list(metrics.REGISTRY.collect())

    assert [] == [each.name for each in families if not re.fullmatch(r"betrace(_[a-z]+)+", each.name)]
    assert [] == [each.name for each in families if not each.documentation.endswith(".")]
    counters = {f"{each.name}_total" for each in families if each.type == "counter"}
    declared = set(re.findall(r"# TYPE (\S+) counter", generate_latest(metrics.REGISTRY).decode()))
    assert counters == declared


def test_no_label_names_a_trace() -> None:
    """The labels are of small, closed sets: a trace id is never one."""
    labels = {label for each in metrics.REGISTRY._collector_to_names for label in getattr(each, "_labelnames", ())}

    assert {"topic", "reason", "partition", "rule", "verdict", "severity"} == labels


def test_totals_sum_over_labels() -> None:
    """A batch's counts are added by topic, and totals are sums over all topics."""
    before = metrics.totals()

    metrics.add("a", metrics.Tally(spans=3, facts=1))
    metrics.add("b", metrics.Tally(spans=4))

    after = metrics.totals()
    assert {"spans": 7.0, "facts": 1.0} == {
        name: after[name] - before[name] for name in after if after[name] != before[name]
    }


def test_tally_fills_a_counter_each() -> None:
    """Each number of a tally is a counter of its own."""
    before = metrics.totals()

    metrics.add("a", metrics.Tally(1, 2, 4, 8, 16, 32, 64))

    after = metrics.totals()
    grown = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert {
        "records": 1,
        "records_projected": 2,
        "spans": 4,
        "spans_without_trace": 8,
        "logs_without_trace": 16,
        "facts": 32,
        "records_stale": 64,
    } == grown


def test_times_fill_a_counter_each() -> None:
    """What a source partition's time counted is added once."""
    before = metrics.totals()
    time = PartitionTime[str](2_000, 2_000, 3_600_000, skewed_count=1, kept_count=2, behind_count=4)

    metrics.take_times("a", time)
    metrics.take_times("a", time)

    after = metrics.totals()
    grown = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert {"records_skewed": 1, "records_kept": 2, "records_behind": 4} == grown


def test_totals_name_every_counter() -> None:
    """What was never counted is 0, not absent."""
    named = metrics.totals().keys()

    assert {"records", "records_projected", "dead_letters", "late_to_clock", "windows_closed"} <= named
