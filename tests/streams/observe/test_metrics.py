"""Tests the names and sums of metrics."""

from __future__ import annotations

import re

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from streams.ingest.watermark import PartitionTime
from streams.observe import metrics
from streams.windows.close import CloseReason


def test_names_follow_prometheus() -> None:
    """Every metric has our prefix and a description, and counters end in _total where they are read."""
    families = list(metrics.REGISTRY.collect())

    assert [] == [each.name for each in families if not re.fullmatch(r"betrace(_[a-z]+)+", each.name)]
    assert [] == [each.name for each in families if not each.documentation.endswith(".")]
    counters = {f"{each.name}_total" for each in families if each.type == "counter"}
    declared = set(re.findall(r"# TYPE (\S+) counter", generate_latest(metrics.REGISTRY).decode()))
    assert counters == declared


def test_no_label_names_a_trace() -> None:
    """Labels have small, closed sets of values: never a trace id."""
    labels = {label for each in metrics.REGISTRY._collector_to_names for label in getattr(each, "_labelnames", ())}

    known = {"topic", "source_partition", "reason", "partition", "rule", "fingerprint", "verdict", "severity", "stage"}
    assert known | {"state"} == labels


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

    metrics.add(
        "a",
        metrics.Tally(
            records=1, projected=2, spans=4, spans_without_trace=8, logs_without_trace=16, facts=32, stale=64
        ),
    )

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
    """Counts of a source partition's clock are added once."""
    before = metrics.totals()
    time = PartitionTime[str](
        out_of_order_ms=2_000,
        idle_lag_ms=2_000,
        max_clock_skew_ms=5_000,
        skewed_count=1,
        held_back_count=2,
        behind_count=4,
        out_of_bounds_count=8,
    )

    metrics.take_times("a", time)
    metrics.take_times("a", time)

    after = metrics.totals()
    grown = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert {"records_skewed": 1, "records_kept": 2, "records_behind": 4, "records_out_of_bounds": 8} == grown


def test_totals_name_every_counter() -> None:
    """What was never counted is 0, not absent."""
    named = metrics.totals().keys()

    assert {"records", "records_projected", "dead_letters", "late_to_clock", "windows_closed"} <= named


def test_each_counter_is_of_one_stage() -> None:
    """The totals of the stages together are all totals, each exactly once."""
    stages = [metrics.totals(stage) for stage in metrics.COUNTERS]

    assert sorted(metrics.totals()) == sorted(name for totals in stages for name in totals)


def test_every_metric_is_shown() -> None:
    """A scrape returns what the module declares, each metric under its own name with its help."""
    table = [each for each in vars(metrics).values() if hasattr(each, "_documentation")]
    declared = {f"{each._name}_info" if each._type == "info" else each._name: each._documentation for each in table}
    families = text_string_to_metric_families(generate_latest(metrics.REGISTRY).decode())

    shown = {each.name: each.documentation for each in families if not each.name.endswith("_created")}

    assert declared == shown
    assert all(declared.values())


def shown(name: str) -> dict[tuple[str, ...], float]:
    """Returns the samples of a metric by the values of their labels."""
    families = [each for each in metrics.REGISTRY.collect() if each.name == f"betrace_{name}"]
    return {tuple(sample.labels.values()): sample.value for each in families for sample in each.samples}


def test_every_reason_of_a_close_is_shown_from_the_start() -> None:
    """A closed window is counted by its reason; a reason that did not occur is 0, not absent."""
    reasons = {labels[0] for labels in shown("windows_closed")}

    assert {reason.value for reason in CloseReason} == reasons


def test_watermark_is_removed_with_its_partition() -> None:
    """A watermark is shown in seconds once it is known, and removed when another worker reads the partition."""
    metrics.show_watermark("w", 3, None)
    before = shown("watermark_timestamp_seconds")
    metrics.show_watermark("w", 3, 1500)
    known = shown("watermark_timestamp_seconds")
    metrics.hide_watermark("w", 3)
    metrics.hide_watermark("w", 3)

    assert [None, 1.5, None] == [each.get(("w", "3")) for each in (before, known, shown("watermark_timestamp_seconds"))]


def test_only_the_last_holder_of_a_clock_is_shown() -> None:
    """The holder of the clock changes; the clock of a partition of another worker is removed."""
    clock = metrics.ClockShown(77)
    clock.show(None, ("spans", 0), 1)
    clock.show(2000, ("spans", 1), 2)
    held = [labels for labels in shown("clock_held") if labels[0] == "77"]
    times = shown("clock_timestamp_seconds")
    clock.hide()

    assert [("77", "spans", "1")] == held
    assert 2.0 == times[("77",)]
    assert [] == [
        labels for name in ("clock_held", "clock_timestamp_seconds") for labels in shown(name) if "77" in labels
    ]
    assert 0 == shown("windows_open")[("77",)]


def test_rules_by_when_they_judge() -> None:
    """Shows how many rules of a set judge now, later or wait, and the latest time; at that time itself they judge."""
    metrics.show_judging("f1", {0: 2}, 5_000)
    metrics.show_judging("f2", {0: 2, 5_000: 3, 6_500: 4, None: 5}, 5_000)
    counts, moment = shown("rules_judging"), shown("rules_judge_from_timestamp_seconds")
    metrics.hide_judging()

    assert {("now",): 5, ("later",): 4, ("waiting",): 5} == counts
    assert {("f2",): 6.5} == moment
    assert not shown("rules_judging") | shown("rules_judge_from_timestamp_seconds")


def test_no_moment_while_every_rule_waits() -> None:
    """Before a rule judges anything there is no time to show."""
    metrics.show_judging("f1", {None: 5}, 5_000)
    counts, moment = shown("rules_judging"), shown("rules_judge_from_timestamp_seconds")
    metrics.hide_judging()

    assert {("now",): 0, ("later",): 0, ("waiting",): 5} == counts
    assert {} == moment
