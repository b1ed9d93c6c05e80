"""Sessions on one facts partition, driven with values, against a real broker."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from random import Random

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from structlog.testing import capture_logs

from streams.config.settings import Settings
from streams.errors import StateError
from streams.observe import metrics
from streams.rules import registry
from streams.sessions import checkpoint_queries, recovery, worker
from streams.sessions.last_checkpoint import last_checkpoint
from streams.sessions.publish import Publisher
from streams.sessions.recovery import store_path
from streams.sessions.worker import End
from tests.support import bombs
from tests.support.driven import AUDITED, FAR_MS, FEW, A, B, C, Driven, chained, compiled
from tests.support.installation import installed
from tests.support.record import read_topic
from tests.support.waiting import wait_until
from topics.cluster import admin
from topics.records import checkpoints, facts, verdicts
from topics.records.facts import VERSION, Facts, Section
from topics.records.verdicts import Coverage, JudgingRule, Leaf, VerdictCounts, VerdictSums, WindowBounds

pytestmark = pytest.mark.broker


@pytest.fixture
def settings(kafka: str, fresh_prefix: str, tmp_path: Path) -> Settings:
    """An installation with two facts partitions and a rule."""
    settings = installed(kafka, fresh_prefix, tmp_path)
    registry.push(settings, compiled(AUDITED), now_ms=1)
    return settings


def test_closed_window_is_a_signal_and_a_count(settings: Settings) -> None:
    """A closed window is judged at once; after the step, signals and counts are on their topics."""
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"), driven.entry(100, "pii.access", "audit.log", trace=B))
    driven.apply(FAR_MS)

    driven.step()

    assert [(A.hex(), "broken", 1)] == driven.signals()
    [counted] = [record for record in driven.verdicts() if isinstance(record, VerdictCounts)]
    assert ("audited", 0, FAR_MS, 0, "live", VerdictSums(held=1, broken=1), VerdictSums()) == (
        counted.rule,
        counted.partition,
        counted.clock_ms,
        counted.minute_ms,
        counted.mode,
        counted.added,
        counted.taken_back,
    )
    assert {
        Leaf(
            revision=revision,
            rule=counted.rule_fingerprint,
            trace_id=trace.hex(),
            verdict=verdict,
            window=WindowBounds(10_000, 10_000),
        ).hash()
        for trace, verdict, revision in ((A, "broken", 1), (B, "held", None))
    } == {*verdicts.hashes(counted.leaves)}


def test_coverage_records_adjoin(settings: Settings) -> None:
    """Each minute of record time, a record covers the input from where the previous one ended."""
    driven = Driven(settings)
    for watermark_ms in (10_000, 69_900, 70_000, 130_000):
        driven.apply(watermark_ms, driven.entry(watermark_ms // 100, "pii.access"))
        driven.step()

    records = [record for record in driven.verdicts() if isinstance(record, Coverage)]

    assert [(None, 10_000), (10_000, 70_000), (70_000, 130_000)] == [(one.from_ms, one.to_ms) for one in records]
    assert [(0, 1), (1, 3), (3, 4)] == [(one.facts_from, one.facts_to) for one in records]
    assert [[(0, 1)], [(1, 3)], [(3, 4)]] == [[(at.from_offset, at.to_offset) for at in one.sources] for one in records]
    assert [0, 1, 1] == [one.windows_judged for one in records]
    assert [(None, 10_000), (10_000, 69_900), (69_900, 130_000)] == [
        (one.settled_from_ms, one.settled_to_ms) for one in records
    ]
    [rule] = driven.rules.rules
    assert [[JudgingRule(rule.id, rule.fingerprint, "live", 0)], None, None] == [one.rules for one in records]


@pytest.mark.parametrize("disk", ["a disk", "no disk"])
@pytest.mark.parametrize("crash_at", range(1, 7))
def test_coverage_is_the_same_over_a_crash(settings: Settings, crash_at: int, disk: str) -> None:
    """A minute of input is covered once, wherever the worker is killed and with or without its store."""
    driven = Driven(settings)
    told = [(10_000, A), (20_000, B), (52_000, A), (60_000, B), (95_000, A), (200_000, B), (300_000, A)]
    for at, (watermark_ms, trace) in enumerate(told):
        if at == crash_at:
            driven.crash()
            driven = driven.again()
            if disk == "no disk":
                shutil.rmtree(settings.state_dir)
        driven.apply(watermark_ms, driven.entry(watermark_ms // 100, "pii.access", trace=trace))
        if at != 3:
            # The contents of the fourth message are not durable when the worker is killed after it.
            driven.step()

    records = [record for record in driven.verdicts() if isinstance(record, Coverage)]

    assert [(0, 1), (1, 5), (5, 6), (6, 7)] == [(one.facts_from, one.facts_to) for one in records]
    assert [0, 4, 1, 1] == [one.windows_judged for one in records]
    assert [1, 2, 1, 1] == [one.traces_seen_estimate for one in records]
    assert [[(0, 1)], [(1, 5)], [(5, 6)], [(6, 7)]] == [
        [(at.from_offset, at.to_offset) for at in one.sources] for one in records
    ]


def test_message_is_acknowledged_once_it_is_stored(settings: Settings) -> None:
    """What is still buffered is read again from the facts log; Faust need not deliver it again."""
    driven = Driven(settings)
    driven.apply(1_000, driven.entry(100, "pii.access"))
    driven.apply(2_000)
    driven.step()
    stepped = list(driven.acknowledged)
    driven.apply(20_000)

    driven.step()

    assert [0, 1] == stepped
    assert [0, 1, 2] == driven.acknowledged


def test_step_is_in_order(settings: Settings) -> None:
    """When a message is acknowledged, its signals are on the topic and its windows in the store."""
    driven = Driven(settings)
    seen: list[tuple[int, int, int]] = []

    def look() -> None:
        store = driven.worker._tasks[0]._store
        position = store.position()
        assert position is not None
        seen.append((len(driven.signals()), len(list(store.chains())), position.next_offset))

    driven.at_acknowledge = look
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.apply(100_000, driven.entry(1_000, "pii.access", trace=B))

    driven.apply(110_000)
    driven.step()

    assert [0, 1, 2] == driven.acknowledged
    assert 3 * [(1, 2, 3)] == seen


def test_refused_signal_stops_before_anything_is_stored(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """A signal that the brokers refuse ends the worker: nothing is stored or acknowledged, so nothing is lost."""
    client = AdminClient({"bootstrap.servers": kafka})
    topic = NewTopic(f"{fresh_prefix}signals", 2, config={"max.message.bytes": "100"})
    client.create_topics([topic])[topic.topic].result()
    admin.wait_until_available(client, [topic.topic])
    settings = installed(kafka, fresh_prefix, tmp_path)
    registry.push(settings, compiled(AUDITED), now_ms=1)
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.apply(FAR_MS)

    with pytest.raises(StateError, match=r"\S+sessions-0 could not publish: .*Action: "):
        driven.step()

    assert (None, []) == (driven.worker._tasks[0]._store.position(), driven.acknowledged)


def test_crash_before_the_step_repeats_and_loses_nothing(settings: Settings) -> None:
    """What was not stored is read again and gives the same signals; those of the unfinished step were discarded."""
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.step()
    driven.apply(FAR_MS)
    driven.crash()
    again = driven.again()

    again.deliver(0, 1)
    again.step()

    assert [(A.hex(), "broken", 1)] == again.signals()
    assert [0, 1] == again.acknowledged


def test_restart_after_a_step_publishes_nothing_twice(settings: Settings) -> None:
    """Messages that a stored position covers are acknowledged and ignored."""
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.apply(FAR_MS)
    driven.worker.close()
    again = driven.again()

    again.deliver(0, 1)
    again.step()

    assert [(A.hex(), "broken", 1)] == again.signals()
    assert [0, 1] == again.acknowledged


@pytest.mark.parametrize("crash_at", [None, 1, 2, 3])
def test_limit_of_signals_is_the_same_after_a_crash(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, crash_at: int | None
) -> None:
    """One signal is published, and one summary of the others at the end of the hour, wherever a worker is killed."""
    monkeypatch.setattr(checkpoint_queries, "QUERY_INTERVAL_S", 0.1)
    driven = Driven(dataclasses.replace(settings, signals_per_hour=1))
    for number, trace in enumerate((A, B, C)):
        if number == crash_at:
            driven.crash()
            shutil.rmtree(store_path(settings, 0))
            driven = driven.again()
            driven.deliver(*range(2 * number))
        driven.apply(100_000 * number + 10_000, driven.entry(1_000 * number + 100, "pii.access", trace=trace))
        driven.apply(100_000 * number + 90_000)
        if number != 1:
            driven.step()
    driven.step()

    assert [(A.hex(), "broken", 1)] == driven.signals()
    assert ["2 signals of this rule were withheld"] == summaries(driven)


@pytest.mark.parametrize("withholding", [(0, 1), (1, 0)])
def test_partitions_have_one_summary(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, withholding: tuple[int, int]
) -> None:
    """What two facts partitions withhold of a rule is one summary, whichever is first and killed meanwhile."""
    monkeypatch.setattr(checkpoint_queries, "QUERY_INTERVAL_S", 0.1)
    driven = Driven(dataclasses.replace(settings, signals_per_hour=1))
    traces = [number.to_bytes(16, "big") for number in range(5)]
    for number in withholding:
        entries = [driven.entry(100 + at, "pii.access", trace=trace) for at, trace in enumerate(traces)]
        driven.apply(20_000, *entries, number=number)
        driven.apply(100_000, number=number)
        driven.step()
        driven.crash()
        driven = driven.again()

    assert ["8 signals of this rule were withheld"] == summaries(driven)
    driven.crash()
    assert ["8 signals of this rule were withheld"] == summaries(driven.again())


def summaries(driven: Driven) -> list[str]:
    """Return the counts of the summaries on the topic, once both facts partitions have left the hour and know it."""

    def said() -> bool:
        for number in (0, 1):
            driven.apply(FAR_MS + driven.next_offset(number), number=number)
        driven.step()
        return not any(task.summaries.withheld for task in driven.worker._tasks.values())

    wait_until(said, "a summary was published and every facts partition knows it")
    frames = read_topic(driven.settings.bootstrap, driven.settings.topic("signals"))
    messages = [json.loads(frame.value)["message"] for frame in frames]
    return [message.split(" in the hour ")[0] for message in messages if "withheld in the hour" in message]


@pytest.mark.parametrize("loses_store", [False, True])
@pytest.mark.parametrize("crash_at", [None, 1, 2, 3])
def test_finding_that_was_withheld_is_not_amended(
    settings: Settings, crash_at: int | None, *, loses_store: bool
) -> None:
    """A receiver that never got the finding gets no repair, wherever a worker is killed."""
    driven = Driven(dataclasses.replace(settings, signals_per_hour=1))
    before = metrics.totals()["signals_withheld"]
    for number in range(4):
        if number == crash_at:
            driven.crash()
            if loses_store:
                shutil.rmtree(store_path(settings, 0))
            driven = driven.again()
            driven.deliver(*range(2 * number))
        name, traces = ("audit.log", (A, B, C)) if number == 3 else ("pii.access", ((A, B, C)[number],))
        entries = [driven.entry(1_000 * number + 100, name, trace=trace) for trace in traces]
        driven.apply(100_000 * number + 10_000, *entries)
        driven.apply(100_000 * number + 90_000)
        driven.step()

    assert [(A.hex(), "broken", 1), (A.hex(), "held", 2)] == driven.signals()
    assert 2 == metrics.totals()["signals_withheld"] - before


def test_step_updates_the_metrics(settings: Settings) -> None:
    """A step updates the metrics of the clock, its holder, and the duration of the parts."""
    driven = Driven(settings)
    before = metrics.REGISTRY.get_sample_value("betrace_stage_seconds_count", {"stage": "store"}) or 0
    driven.apply(10_000, driven.entry(100, "pii.access"))

    driven.step()

    [topic] = settings.source_topics
    held = {"partition": "0", "topic": topic, "source_partition": "0"}
    assert 1 == metrics.REGISTRY.get_sample_value("betrace_clock_held", held)
    assert 10 == metrics.REGISTRY.get_sample_value("betrace_clock_timestamp_seconds", {"partition": "0"})
    assert before + 1 == metrics.REGISTRY.get_sample_value("betrace_stage_seconds_count", {"stage": "store"})


def test_late_span_amends_after_a_restart(settings: Settings) -> None:
    """The verdicts on a chain are in the store: the amended signal is the next revision."""
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.apply(50_000)
    driven.worker.close()
    again = driven.again()

    again.apply(60_000, again.entry(600, "audit.log"))
    again.apply(FAR_MS)
    again.step()

    assert [(A.hex(), "broken", 1), (A.hex(), "held", 2)] == again.signals()


@pytest.mark.parametrize(
    "value",
    [
        facts.encode(Facts(version=VERSION + 1, rules="x", sections=[])),
        b"\x93\x01\xa1x",
        facts.encode(Facts(version=VERSION, rules="x", sections=[]))[:-1],
    ],
)
def test_unreadable_facts_end_the_worker(settings: Settings, value: bytes) -> None:
    """A facts message contains a whole flush: it is never skipped, and the error has its offset."""
    worker = Driven(settings).worker

    with pytest.raises(StateError, match=r"facts message 1/0 cannot be read: .*Action: upgrade sessions"):
        worker.apply(1, 0, value, lambda: None)


@pytest.mark.parametrize("crash_at", [None, 1, 2, 3])
def test_foreign_messages_are_skipped(settings: Settings, crash_at: int | None) -> None:
    """A message that no version can have written contains no flush: all others are judged, once, also over a crash."""
    producer = Producer({**settings.client()})
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    for at, value in enumerate((b"", b"\xc1", b"{}", b"\x91" * 100_000), 1):
        producer.produce(settings.topic("facts"), value, partition=0)
        producer.flush()
        driven.deliver(at)
        driven.step()
        if at == crash_at:
            driven.crash()
            shutil.rmtree(store_path(settings, 0))
            driven = driven.again()
    # Its source record follows that of the first message.
    [topic] = settings.source_topics
    section = Section(
        topic=topic,
        partition=0,
        epoch=1,
        replay=0,
        start_ms=None,
        partition_count=1,
        from_offset=1,
        to_offset=2,
        watermark_ms=FAR_MS,
        lost=[],
        touches=b"",
        entries=[],
    )
    producer.produce(
        settings.topic("facts"),
        facts.encode(Facts(version=VERSION, rules=driven.rules.fingerprint, sections=[section])),
        partition=0,
    )
    producer.flush()

    driven.deliver(5)
    driven.step()

    assert [(A.hex(), "broken", 1)] == driven.signals()
    covered = [record for record in driven.verdicts() if isinstance(record, Coverage)]
    assert 6 == covered[-1].facts_to


@pytest.mark.parametrize("crash_at", [None, "before the loss is seen", "after it"])
def test_facts_that_no_client_can_read_are_lost_input(settings: Settings, crash_at: str | None) -> None:
    """A trace of the time of lost facts is undetermined, later ones are judged, and coverage has the lost range.

    A worker that rebuilds its windows from the log says the same, wherever the crash was.
    """
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.step()
    bombs.send(settings.bootstrap, settings.topic("facts"))
    following = driven.write(20_000, driven.entry(150, "pii.access", trace=B))
    if crash_at == "before the loss is seen":
        driven = again_without_disk(driven)
    driven.deliver(following)
    driven.step()
    if crash_at == "after it":
        driven = again_without_disk(driven)
    driven.apply(FAR_MS, driven.entry(FAR_MS // 100, "pii.access", trace=C))
    driven.apply(2 * FAR_MS)
    driven.step()

    assert [(A.hex(), "undetermined", 1), (B.hex(), "undetermined", 1), (C.hex(), "broken", 1)] == sorted(
        driven.signals()
    )
    covered = [record for record in driven.verdicts() if isinstance(record, Coverage)]
    assert {(1, 3)} == {lost for record in covered for source in record.sources for lost in source.lost}
    assert 5 == covered[-1].facts_to


@pytest.mark.parametrize("disk", ["a disk", "no disk"])
def test_checkpoint_before_unreadable_records_is_the_last_one(settings: Settings, disk: str) -> None:
    """The verdicts show that nothing was published after it: the worker continues from it, and nothing counts twice."""
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.apply(FAR_MS)
    driven.step()
    damage_checkpoints(settings)
    driven = again_without_disk(driven) if disk == "no disk" else again_with_disk(driven)

    driven.apply(FAR_MS, driven.entry(FAR_MS // 100, "pii.access", trace=B))
    driven.apply(2 * FAR_MS)
    driven.step()

    assert [(A.hex(), "broken", 1), (B.hex(), "broken", 1)] == driven.signals()
    assert {0} == {record.generation for record in driven.verdicts()}
    chained(driven.verdicts())


def test_lost_checkpoint_is_restored_from_the_store(settings: Settings) -> None:
    """The verdicts show that a later checkpoint was published: what is left before the damage is not the last one."""
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.apply(FAR_MS)
    driven.step()
    earlier = last_checkpoint(settings, 0, lambda: False)
    assert earlier is not None
    driven.apply(FAR_MS, driven.entry(FAR_MS // 100, "pii.access", trace=B))
    driven.apply(2 * FAR_MS)
    driven.step()
    producer = Producer({**settings.client()})
    producer.produce(settings.topic("checkpoints"), checkpoints.encode(earlier), checkpoints.key(0), 0)
    producer.flush()
    damage_checkpoints(settings)
    driven = again_with_disk(driven)

    driven.apply(2 * FAR_MS, driven.entry(2 * FAR_MS // 100, "pii.access", trace=C))
    driven.apply(3 * FAR_MS)
    driven.step()

    assert [(A.hex(), "broken", 1), (B.hex(), "broken", 1), (C.hex(), "broken", 1)] == driven.signals()
    assert {0} == {record.generation for record in driven.verdicts()}
    chained(driven.verdicts())


def damage_checkpoints(settings: Settings) -> None:
    """Add records that no client can read after the last checkpoint."""
    bombs.send(settings.bootstrap, settings.topic("checkpoints"), key=checkpoints.key(0))


def again_with_disk(driven: Driven) -> Driven:
    """Another worker, after a crash."""
    driven.crash()
    return driven.again()


def again_without_disk(driven: Driven) -> Driven:
    """Another worker, after a crash in which the store was lost."""
    driven.crash()
    shutil.rmtree(store_path(driven.settings, 0))
    return driven.again()


def test_coverage_ends_with_an_orderly_end(settings: Settings) -> None:
    """The last step covers what was judged so far, however little; without input there is no record."""
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.step()
    driven.apply(40_500)
    driven.step()

    driven.worker.close()
    driven.again().worker.close()

    records = [record for record in driven.verdicts() if isinstance(record, Coverage)]
    assert [(None, 10_000, 0, 1), (10_000, 40_500, 1, 2)] == [
        (record.from_ms, record.to_ms, record.facts_from, record.facts_to) for record in records
    ]
    assert [0, 1] == [record.windows_judged for record in records]


def test_rules_that_were_pushed_meanwhile_are_fetched(settings: Settings) -> None:
    """Facts of a new rule set are judged with it, without a restart."""
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.rules = compiled(AUDITED + FEW)
    registry.push(settings, driven.rules, now_ms=2)

    driven.apply(FAR_MS)
    driven.step()

    assert [(A.hex(), "broken", 1)] == driven.signals()


def test_missing_rules_are_awaited(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is judged without the rules that facts were made with; once they exist, everything is."""
    monkeypatch.setattr(worker, "BACKOFF_S", (0.0, 0.0))
    driven = Driven(settings)
    driven.rules = compiled(FEW + AUDITED)
    with capture_logs() as logged:
        driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.step()
    signals = driven.signals()
    registry.push(settings, driven.rules, now_ms=2)

    driven.apply(FAR_MS)
    driven.step()

    assert [] == signals
    assert any("push those rules again with betrace rules push" in entry.get("reason", "") for entry in logged)
    assert [(A.hex(), "broken", 1)] == driven.signals()


@pytest.mark.parametrize("when", ["before the first facts", "after a restart"])
def test_unreadable_rules_are_awaited(settings: Settings, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """The message names the required set and the reason; once it is pushed again, everything is judged, once."""
    monkeypatch.setattr(worker, "BACKOFF_S", (0.0, 0.0))
    rules = compiled(AUDITED)
    if when != "before the first facts":
        first = Driven(settings)
        first.apply(10_000, first.entry(100, "pii.access"))
        first.step()
        first.crash()
    producer = Producer({**settings.client()})
    producer.produce(settings.topic("rules"), b"garbage", rules.fingerprint)
    producer.flush()
    driven = Driven(settings)
    with capture_logs() as logged:
        driven.apply(20_000, driven.entry(200, "pii.access", trace=B))
        driven.step()
    registry.push(settings, rules, now_ms=2)

    driven.apply(FAR_MS)
    driven.step()

    traces = [B] if when == "before the first facts" else [A, B]
    assert [(trace.hex(), "broken", 1) for trace in traces] == driven.signals()
    reasons = [entry.get("reason", "") for entry in logged]
    assert any("cannot be read" in each and "betrace rules push" in each for each in reasons), reasons


def test_released_partition_can_be_opened_by_another_worker(settings: Settings) -> None:
    """The state of a released partition is flushed first, and its store closed; the others continue."""
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.apply(20_000, number=1)

    driven.release(0, 7)

    again = driven.again()
    again.deliver(0)
    again.apply(FAR_MS)
    again.step()
    driven.apply(30_000, number=1)
    driven.step()
    assert [(A.hex(), "broken", 1)] == again.signals()
    assert [0, 0, 1] == driven.acknowledged


def test_store_of_another_worker_is_not_shared(settings: Settings) -> None:
    """Two workers on one state directory would overwrite each other's state: the second one fails."""
    Driven(settings).apply(10_000)

    with pytest.raises(StateError, match=r"cannot be opened: .*Action: stop the other worker"):
        Driven(settings).apply(10_000)


def test_damaged_store_is_built_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The facts log suffices to rebuild a store: the worker does so, and nothing is lost or duplicated."""
    monkeypatch.setattr(worker, "BACKOFF_S", (0.0, 0.0))
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.step()
    driven.crash()
    (store_path(settings, 0) / "CURRENT").write_text("no manifest\n")
    before = metrics.totals()["stores_discarded"]
    driven = driven.again()
    driven.apply(20_000, driven.entry(200, "pii.access", trace=B))

    driven.apply(FAR_MS)
    driven.step()

    assert [(A.hex(), "broken", 1), (B.hex(), "broken", 1)] == driven.signals()
    assert 1 == metrics.totals()["stores_discarded"] - before


def test_idle_partition_has_read_all_and_no_open_window(settings: Settings) -> None:
    """A facts partition is idle beyond the given ends, in no older epoch, and without an open window."""
    driven = Driven(settings)
    [topic] = settings.source_topics
    ends = {topic: {0: End(3, 1)}}
    looks = [driven.worker.idle(ends)]
    for number in (0, 1):
        driven.apply(10_000, driven.entry(100, "pii.access"), number=number)
        driven.apply(10_200, number=number)
    looks.append(driven.worker.idle(ends))
    for number in (0, 1):
        driven.apply(FAR_MS, number=number)
        looks.append(driven.worker.idle(ends))

    looks.append(driven.worker.idle({topic: {0: End(4, 1)}}))
    looks.append(driven.worker.idle({topic: {0: End(3, 2)}}))

    assert [set(), set(), {0}, {0, 1}, set(), set()] == looks


def test_each_partition_has_its_own_store(settings: Settings) -> None:
    """Each facts partition of each installation has its own directory."""
    other = dataclasses.replace(settings, prefix="other.")

    places = {store_path(each, number) for each in (settings, other) for number in (0, 1)}

    assert 4 == len(places)
    assert {settings.state_dir} == {place.parents[1] for place in places}


def test_fenced_worker_publishes_nothing_and_resumes(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fenced worker publishes nothing; if the partition returns, it resumes from durable state."""
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.apply(FAR_MS)
    before = metrics.totals()
    other = Publisher(settings, 0, lambda: False)

    driven.step()
    driven.apply(FAR_MS + 1)
    driven.step()

    assert [] == driven.signals()
    assert [] == driven.acknowledged
    assert 1 == metrics.totals()["partitions_given_up"] - before["partitions_given_up"]
    other.close()
    monkeypatch.setattr(worker, "FENCED_BACKOFF_S", 0.0)
    driven.worker._backoffs.clear()
    driven.apply(FAR_MS + 2)
    driven.step()
    assert [(A.hex(), "broken", 1)] == driven.signals()
    assert [0, 1, 2, 3] == driven.acknowledged


def test_messages_that_faust_does_not_deliver_are_read(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """If Faust delivers nothing although the log grows, the messages are read nevertheless, and only once."""
    monkeypatch.setattr(worker, "SILENCE_S", 0.0)
    driven = Driven(settings)
    driven.write(10_000, driven.entry(100, "pii.access"))
    driven.write(FAR_MS)
    before = metrics.totals()

    driven.step()
    driven.step()
    driven.step()
    driven.deliver(0, 1)
    driven.step()

    assert [(A.hex(), "broken", 1)] == driven.signals()
    assert [0, 1] == driven.acknowledged
    assert 2 == metrics.totals()["facts_read_on"] - before["facts_read_on"]


def test_long_catching_up_is_committed_in_parts(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Brokers abort a transaction that stays open too long, so steps come in between; nothing is lost or repeated."""
    monkeypatch.setattr(worker, "CATCH_UP_S", 0.0)
    monkeypatch.setattr(worker, "LEAST_CATCH_UP_S", 0.0)
    driven = Driven(settings)
    driven.write(10_000, driven.entry(100, "pii.access"))
    driven.write(FAR_MS)
    driven.write(FAR_MS + 10_000, driven.entry(FAR_MS // 100 + 100, "pii.access", trace=B))
    driven.write(2 * FAR_MS)
    found = []

    driven.deliver(3)
    for _ in range(3):
        found.append((len(driven.signals()), [*driven.acknowledged]))
        driven.step()
    driven.step()
    driven.apply(2 * FAR_MS + 1)
    driven.step()

    assert [(0, []), (0, []), (1, [])] == found
    assert [(A.hex(), "broken", 1), (B.hex(), "broken", 1)] == driven.signals()
    assert [3, 4] == driven.acknowledged


def test_earlier_messages_are_read_from_the_log(settings: Settings) -> None:
    """Faust starts at the committed offset; a worker without a disk reads earlier messages itself."""
    driven = Driven(settings)
    driven.write(10_000, driven.entry(100, "pii.access"))
    driven.write(FAR_MS)

    driven.deliver(1)
    driven.step()

    assert [(A.hex(), "broken", 1)] == driven.signals()


def test_sections_of_a_replaced_ingest_are_counted(settings: Settings) -> None:
    """Sections of an ingest worker that wakes up after its topic was recreated are ignored, and counted once."""
    driven = Driven(settings)
    before = metrics.totals()
    driven.deliver(driven.write(10_000, epoch=2))

    driven.apply(20_000, driven.entry(100, "pii.access"))
    driven.step()
    driven.crash()
    driven.again().deliver(1)

    assert 1 == metrics.totals()["stale_sections"] - before["stale_sections"]


def test_ten_thousand_source_partitions(settings: Settings) -> None:
    """Their coverage record and checkpoint exceed the default size of a message, and are written nevertheless."""
    count, random = 10_000, Random(6)
    [topic] = settings.source_topics
    ends = [random.randrange(1 << 40) for _ in range(count)]
    driven = Driven(settings)
    for at, watermark_ms in enumerate((10_000, 80_000)):
        sections = [
            Section(
                topic=topic,
                partition=number,
                epoch=1,
                replay=0,
                start_ms=None,
                partition_count=count,
                from_offset=end + at,
                to_offset=end + at + 1,
                watermark_ms=watermark_ms,
                lost=[],
                touches=b"",
                entries=[],
            )
            for number, end in enumerate(ends)
        ]
        producer = Producer({**settings.client()})
        value = facts.encode(Facts(version=VERSION, rules=driven.rules.fingerprint, sections=sections))
        producer.produce(settings.topic("facts"), value, partition=0)
        producer.flush()
        driven.deliver(at)
        driven.step()
        driven.crash()
        shutil.rmtree(store_path(settings, 0))
        driven = driven.again()

    records = [record for record in driven.verdicts() if isinstance(record, Coverage)]
    found = last_checkpoint(settings, 0, lambda: False)

    assert [count, count] == [len(record.sources) for record in records]
    assert [{(end, end + 1) for end in ends}, {(end + 1, end + 2) for end in ends}] == [
        {(source.from_offset, source.to_offset) for source in record.sources} for record in records
    ]
    assert len(verdicts.encode(records[-1])) > 1 << 20
    assert found is not None
    assert len(checkpoints.encode(found)) > 1 << 20


def test_open_windows_are_shown(settings: Settings) -> None:
    """The gauge has the open windows of each facts partition, none for a released one."""
    driven = Driven(settings)
    driven.apply(10_300, driven.entry(100, "pii.access"), driven.entry(100, "pii.access", trace=B))
    shown = metrics.WINDOWS_OPEN.labels("0")
    driven.step()
    open_windows = shown._value.get()

    driven.release(0)

    assert (2, 0) == (open_windows, shown._value.get())


def test_facts_log_is_trimmed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The facts log is trimmed below the start of a worker without a disk; such a worker gives the same results."""
    monkeypatch.setattr(worker, "TRIM_INTERVAL_S", 0.0)
    driven = Driven(settings)
    driven.apply(10_000, driven.entry(100, "pii.access"))
    driven.apply(FAR_MS)
    driven.step()
    driven.apply(2 * FAR_MS, driven.entry(2 * FAR_MS // 100 + 1, "pii.access", trace=B))
    driven.step()
    driven.apply(2 * FAR_MS + 300)
    driven.step()
    wait_until(lambda: begins_at(settings) > 0, "the facts log is cut")
    driven.crash()
    shutil.rmtree(settings.state_dir)
    again = driven.again()

    again.apply(3 * FAR_MS)
    again.step()

    assert [(A.hex(), "broken", 1), (B.hex(), "broken", 1)] == again.signals()


def begins_at(settings: Settings) -> int:
    """Return the first offset of facts partition 0."""
    return recovery.log_bounds(AdminClient({**settings.client()}), settings, 0, timeout_s=10).start
