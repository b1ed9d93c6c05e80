"""Tests what `betrace.verdicts` says about live and backfills, and waiting for it, on a real Kafka."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from msgspec.structs import replace

from streams.backfill import waiting
from streams.backfill.run import ROLE
from streams.backfill.verdict_log import LiveStart, VerdictLog
from streams.backfill.waiting import Patience
from streams.config.settings import Settings
from streams.errors import StateError
from streams.sessions.publish import FencedError, Publisher
from tests.support import bombs, evidence
from topics import RULES, SIGNALS, VERDICTS
from topics.cluster import admin
from topics.records import verdicts
from topics.records.verdicts import Backfilled, Coverage, JudgingRule, judging_hash
from topics.spec import Layout

pytestmark = pytest.mark.broker

PARTITIONS = 2
F0 = "0" * 64
IMPATIENT = Patience(0.0, lambda _: None)


@pytest.fixture
def settings(kafka: str, fresh_prefix: str, tmp_path: Path) -> Settings:
    """An installation with two facts partitions."""
    made = Settings(bootstrap=kafka, state_dir=tmp_path, prefix=fresh_prefix, facts_partitions=PARTITIONS)
    layout = Layout(prefix=fresh_prefix, facts_partitions=PARTITIONS)
    admin.create(AdminClient({"bootstrap.servers": kafka}), layout, (RULES, SIGNALS, VERDICTS))
    return made


def write(settings: Settings, *records: verdicts.Record) -> None:
    """Records of verdicts, each in its partition."""
    producer = Producer({"bootstrap.servers": settings.bootstrap})
    for record in records:
        producer.produce(settings.topic("verdicts"), verdicts.encode(record), None, record.partition)
    producer.flush()


def listing(partition: int, minute: int, *rules: JudgingRule) -> Coverage:
    """Live's coverage of a minute, with these rules."""
    return replace(evidence.coverage(partition, minute), judging=judging_hash(rules), rules=[*rules])


def of_log(settings: Settings) -> VerdictLog:
    """Returns the log from its beginning on."""
    return VerdictLog(settings, AdminClient({"bootstrap.servers": settings.bootstrap}), 0)


def test_earliest_time_counts(settings: Settings) -> None:
    """What live once judged stays judged, even if it states a later time afterwards; reading continues."""
    log = of_log(settings)
    write(settings, listing(0, 0), listing(0, 1, JudgingRule("few", F0, "live", 5_000)))
    log.read()
    first = dict(log.live)
    write(settings, listing(0, 2, JudgingRule("few", F0, "live", 9_000)), evidence.counts(1, minute=7))
    log.read()

    stated_ms = evidence.START_MS + evidence.MINUTE_MS
    assert {(0, F0): LiveStart(5_000, stated_ms)} == first == log.live
    clock_ms = evidence.START_MS + 3 * evidence.MINUTE_MS
    assert {0: clock_ms, 1: evidence.START_MS + 7 * evidence.MINUTE_MS} == log.clocks_ms


def test_unreadable_batches_are_skipped(settings: Settings) -> None:
    """The log names their range, and has what was written before and after them."""
    log, topic = of_log(settings), settings.topic("verdicts")
    write(settings, listing(0, 0), listing(0, 1, JudgingRule("few", F0, "live", 5_000)))
    bombs.send(settings.bootstrap, topic, count=3)
    write(settings, evidence.counts(0, minute=7))

    log.read(is_all=True)

    assert [(topic, 0, 2, 5)] == [(*lost.source, lost.from_offset, lost.to_offset) for lost in log.lost]
    assert ({0: evidence.START_MS + 7 * evidence.MINUTE_MS}, {(0, F0)}) == (log.clocks_ms, {*log.live})


def test_backfill_is_known_by_its_markers(settings: Settings) -> None:
    """A backfill's state has its end, its rules, its chain of counts and each source; live is unaffected."""
    rule = JudgingRule("few", F0, "live", 1_000)
    chain = evidence.chain(1, 3)
    marker = replace(
        listing(1, 4, rule),
        origin="backfill/3f9a",
        settled_from_ms=2_000,
        settled_to_ms=3_000,
        final_to_ms=3_000,
        counted=chain,
        backfill=Backfilled(by="ann", made_ms=1),
    )
    write(settings, marker, replace(marker, settled_from_ms=3_000, settled_to_ms=4_000, final_to_ms=4_000, sources=[]))

    log = of_log(settings)
    log.read()

    done = log.backfills["backfill/3f9a"][1]
    assert (1_000, 4_000, chain) == (done.begin_ms, done.settled_to_ms, done.counted)
    assert {("otlp_spans", 0): 500} == done.read_to
    assert {F0: [(2_000, 3_000), (3_000, 4_000)]} == done.times
    assert ({}, {}) == (log.live, log.clocks_ms)


def test_wait_for_rules_names_the_partitions_that_lack_them(settings: Settings) -> None:
    """A rule that no worker judges in a facts partition is named, with the partition."""
    write(settings, listing(0, 0, JudgingRule("few", F0, "live", 5_000)))

    with pytest.raises(StateError, match=r"no worker judges with few in facts partitions 1\b"):
        waiting.until_judged(of_log(settings), {F0: "few"}, IMPATIENT)

    write(settings, listing(1, 0, JudgingRule("few", F0, "live", 5_000)))
    waiting.until_judged(of_log(settings), {F0: "few"}, IMPATIENT)


def test_wait_for_the_clock_names_the_slowest_partition(settings: Settings) -> None:
    """The slowest facts partition is named; when all have passed the time the wait ends."""
    until_ms = evidence.START_MS + 2 * evidence.MINUTE_MS
    write(settings, evidence.coverage(0, 1), evidence.coverage(1, 0))

    with pytest.raises(StateError, match="facts partition 1 has judged nothing"):
        waiting.until_past(of_log(settings), settings, until_ms, IMPATIENT)

    write(settings, evidence.coverage(1, 1))
    waiting.until_past(of_log(settings), settings, until_ms, IMPATIENT)
    assert until_ms < time.time_ns() // 1_000_000


def test_open_transaction_is_awaited_only_on_request(settings: Settings) -> None:
    """An open transaction of a killed program hides what follows, until a producer with its id starts."""
    transactional_id = f"{settings.group(ROLE)}-0"
    killed = Producer({"bootstrap.servers": settings.bootstrap, "transactional.id": transactional_id})
    killed.init_transactions()
    killed.begin_transaction()
    killed.produce(settings.topic("verdicts"), verdicts.encode(evidence.coverage(0, 7)), None, 0)
    killed.flush()
    write(settings, listing(0, 0, JudgingRule("few", F0, "live", 5_000)))
    log = of_log(settings)

    log.read()
    before = dict(log.live)
    Publisher(settings, 0, lambda: False, ROLE).close()
    log.read(is_all=True)

    assert {} == before
    assert {(0, F0)} == log.live.keys()
    assert {0: evidence.START_MS + evidence.MINUTE_MS} == log.clocks_ms


def test_invalid_record_ends_the_backfill(settings: Settings) -> None:
    """Its content is unknown: a backfill that continued could judge a time twice."""
    producer = Producer({"bootstrap.servers": settings.bootstrap})
    producer.produce(settings.topic("verdicts"), b'{"kind":"other"}', None, 0)
    producer.flush()

    with pytest.raises(StateError, match="cannot be read"):
        of_log(settings).read()


def test_backfill_fences_other_backfills_only(settings: Settings) -> None:
    """The last one to start publishes; live continues."""
    live = Publisher(settings, 0, lambda: False)
    first = Publisher(settings, 0, lambda: False, ROLE)
    second = Publisher(settings, 0, lambda: False, ROLE)
    try:
        for publisher in (live, second):
            publisher.send(settings.topic("signals"), 0, b"key", b"value")
            publisher.commit()
        with pytest.raises(FencedError):
            publish(settings, first)
    finally:
        for publisher in (live, first, second):
            publisher.close()


def publish(settings: Settings, publisher: Publisher) -> None:
    """One transaction."""
    publisher.send(settings.topic("signals"), 0, b"key", b"value")
    publisher.commit()
