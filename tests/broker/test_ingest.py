"""Ingest on a real Kafka: where it begins, in which epoch, and that nothing is lost or read twice."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from streams.errors import StateError
from streams.ingest import loop
from streams.ingest.loop import Ingest
from streams.rules import registry
from tests.support.ingesting import Site, holes, rules
from tests.support.waiting import WAIT_S, wait_until

pytestmark = pytest.mark.broker

FIRST_MS = 1_700_000_000_000
COUNT = 40


@pytest.fixture
def site(kafka: str, fresh_prefix: str, tmp_path: Path) -> Site:
    """Two source topics, with two partitions and one."""
    return Site.made(kafka, fresh_prefix, tmp_path, {"spans": 2, "logs": 1})


def sources(site: Site) -> list[tuple[str, int]]:
    """The source partitions of `site`."""
    spans, logs = site.settings.source_topics
    return [(spans, 0), (spans, 1), (logs, 0)]


def fill(site: Site) -> None:
    """So many records in each source partition, one a second; the numbers say partition and offset."""
    for place, (topic, partition) in enumerate(sources(site)):
        numbers = range(place * 1000, place * 1000 + COUNT)
        site.write(topic, partition, numbers, (FIRST_MS + 1000 * at for at in range(COUNT)))


def expected(site: Site, first: int = 0) -> dict[tuple[str, int], list[int]]:
    """The records from offset `first` on."""
    return {source: [*range(place * 1000 + first, place * 1000 + COUNT)] for place, source in enumerate(sources(site))}


def test_every_record_is_read_once_and_committed(site: Site) -> None:
    """All partitions of all topics are read from the beginning, in no replay, without a gap; all is committed."""
    fill(site)

    site.ingest_all(3 * COUNT)

    assert expected(site) == site.hits()
    assert [] == holes(site.sections())
    assert {(0, None)} == {(section.replay, section.start_ms) for section in site.sections()}
    assert {COUNT} == {commit.offset for commit in site.committed().values()}


def test_restart_continues(site: Site) -> None:
    """A second worker reads only later records, in the same epoch."""
    fill(site)
    site.ingest_all(3 * COUNT)
    site.write(site.spans, 0, [7000])

    site.ingest_all(1)

    assert [*range(COUNT), 7000] == site.hits()[site.spans, 0]
    assert len(sources(site)) == len({(section.topic, section.partition, section.epoch) for section in site.sections()})


def test_reset_to_earliest(site: Site) -> None:
    """Everything is read again in a replay of its own, which a restart continues."""
    fill(site)
    site.ingest_all(3 * COUNT)
    site.reset("--all-topics", "--to-earliest")

    site.ingest_all(3 * COUNT)
    site.write(site.spans, 0, [7000])
    site.ingest_all(1)

    [replay] = {section.replay for section in site.sections()} - {0}
    replayed = [section for section in site.sections() if section.replay == replay]
    again = {source: {*numbers} for source, numbers in expected(site).items()}
    assert again | {(site.spans, 0): {*range(COUNT), 7000}} == site.hits_since(replay)
    assert {replay} == {section.epoch for section in replayed}
    assert {FIRST_MS} == {section.start_ms for section in replayed if section.from_offset > 0 or section.entries}
    assert {(replay, FIRST_MS)} == {
        (commit.metadata.replay, commit.metadata.start_ms) for commit in site.committed().values() if commit.metadata
    }


def test_reset_to_a_time(site: Site) -> None:
    """The replay begins at the first record of that time."""
    fill(site)
    site.ingest_all(3 * COUNT)
    moment = datetime.fromtimestamp(FIRST_MS / 1000 + 10, UTC)
    site.reset("--all-topics", "--to-datetime", f"{moment:%Y-%m-%dT%H:%M:%S}.000")

    site.ingest_all(3 * (COUNT - 10))

    [replay] = {section.replay for section in site.sections()} - {0}
    assert {source: {*numbers} for source, numbers in expected(site, 10).items()} == site.hits_since(replay)
    starts_ms = {section.start_ms for section in site.sections() if section.replay == replay and section.entries}
    assert {FIRST_MS + 10_000} == starts_ms


def test_reset_after_the_clock_was_set_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second reset has a higher replay number than the first, although the local clock has a lower time."""
    fill(site)
    site.ingest_all(3 * COUNT)
    site.reset("--all-topics", "--to-earliest")
    site.ingest_all(3 * COUNT)
    [first] = {section.replay for section in site.sections()} - {0}
    site.reset("--all-topics", "--to-earliest")
    monkeypatch.setattr(loop, "_now_ms", lambda: first - 3_600_000)

    site.ingest_all(3 * COUNT)

    [second] = {section.replay for section in site.sections()} - {0, first}
    assert second > first
    assert {source: {*numbers} for source, numbers in expected(site).items()} == site.hits_since(second)


def test_two_workers_share_one_replay_after_a_reset(site: Site) -> None:
    """Whichever worker starts first, all partitions are in the same replay."""
    fill(site)
    site.ingest_all(3 * COUNT)
    site.reset("--all-topics", "--to-earliest")

    with site.ingesting(), site.ingesting():
        wait_until(lambda: {COUNT} == {commit.offset for commit in site.committed().values()}, "all is committed")

    [replay] = {section.replay for section in site.sections()} - {0}
    assert {source: {*numbers} for source, numbers in expected(site).items()} == site.hits_since(replay)
    assert [] == holes(site.sections())


def test_partial_reset_is_refused(site: Site) -> None:
    """If only one topic was reset, ingest exits with 3; the message names the topic and an action."""
    fill(site)
    site.ingest_all(3 * COUNT)
    site.reset("--topic", site.settings.source_topics[1], "--to-earliest")
    registry.push(site.settings, rules(), now_ms=FIRST_MS)

    run = subprocess.run(site.command(), capture_output=True, text=True, timeout=WAIT_S, check=False)

    assert run.returncode == 3, run.stderr
    spans, logs = site.settings.source_topics
    assert f"were reset for {logs}[0] but not for {spans}[0,1]" in run.stderr
    assert "reset the whole group (--all-topics), then start again" in run.stderr


def test_deleted_group_is_a_replay(site: Site) -> None:
    """An operator who deletes the group wants everything to be read again."""
    fill(site)
    site.ingest_all(3 * COUNT)
    group = site.settings.group("ingest")
    site.client.delete_consumer_groups([group])[group].result()

    site.ingest_all(3 * COUNT)

    [replay] = {section.replay for section in site.sections()} - {0}
    assert {source: {*numbers} for source, numbers in expected(site).items()} == site.hits_since(replay)


def test_added_partition_is_read_from_its_beginning(site: Site) -> None:
    """It is detected while ingest runs; until then the sections' partition count holds the clock."""
    fill(site)
    with site.ingesting() as worker:
        wait_until(lambda: worker.read_count == 3 * COUNT, "all is read")
        site.grow(site.spans, 3)
        site.write(site.spans, 2, [7000])

        wait_until(lambda: (site.spans, 2) in site.hits(), "the new partition is read")

    added = [section for section in site.sections() if (site.spans, 2) == (section.topic, section.partition)]
    assert (3, 0) == (added[0].partition_count, added[0].from_offset)
    assert {2, 3} == {section.partition_count for section in site.sections() if section.topic == site.spans}
    assert [] == holes(site.sections())


def test_topic_recreated_while_ingest_runs(site: Site) -> None:
    """Every record of the new topic is read, in a new epoch and in no replay."""
    fill(site)
    logs = site.settings.source_topics[1]
    with site.ingesting() as worker:
        wait_until(lambda: worker.read_count == 3 * COUNT, "all is read")
        site.remake(logs)
        site.write(logs, 0, range(7000, 7000 + 2 * COUNT))

        wait_until(lambda: 7000 in site.hits()[logs, 0], "the new topic is read")

    assert {*range(2000, 2000 + COUNT), *range(7000, 7000 + 2 * COUNT)} == {*site.hits()[logs, 0]}
    assert 2 == len({section.epoch for section in site.sections() if section.topic == logs})
    assert {0} == {section.replay for section in site.sections()}


def test_topic_recreated_while_ingest_was_stopped(site: Site) -> None:
    """The committed offset belongs to the earlier topic, so the new one is read from its beginning."""
    fill(site)
    site.ingest_all(3 * COUNT)
    logs = site.settings.source_topics[1]
    site.remake(logs)
    site.write(logs, 0, range(7000, 7000 + 2 * COUNT))

    site.ingest_all(2 * COUNT)

    assert [*range(2000, 2000 + COUNT), *range(7000, 7000 + 2 * COUNT)] == site.hits()[logs, 0]


def test_deleted_records_are_reported_as_lost(site: Site) -> None:
    """A section covers the records that were deleted before they were read, and lists them as lost."""
    fill(site)
    site.ingest_all(3 * COUNT)
    site.write(site.spans, 0, range(7000, 7010))
    asked = [TopicPartition(site.spans, 0, COUNT + 4)]
    for future in site.client.delete_records(asked).values():
        future.result()

    site.ingest_all(6)

    assert [*range(COUNT), *range(7004, 7010)] == site.hits()[site.spans, 0]
    assert {(COUNT, COUNT + 4)} == {lost for section in site.sections() for lost in section.lost}
    assert [] == holes(site.sections())


def test_only_topic_recreated_with_more_partitions(kafka: str, fresh_prefix: str, tmp_path: Path) -> None:
    """Kafka deletes the group's commits with the topic; this is no replay either, because nobody reset the offsets."""
    site = Site.made(kafka, fresh_prefix, tmp_path, {"spans": 1})
    site.write(site.spans, 0, range(COUNT))
    with site.ingesting() as worker:
        wait_until(lambda: worker.read_count == COUNT, "all is read")
        site.remake(site.spans, 2)
        for number in (0, 1):
            site.write(site.spans, number, [7000 + number])

        wait_until(lambda: len(site.committed()) == 2 and worker.read_count == COUNT + 2, "the new topic is read")

    assert {(site.spans, 0): [*range(COUNT), 7000], (site.spans, 1): [7001]} == site.hits()
    assert {0} == {section.replay for section in site.sections()}


def test_topic_that_stays_deleted_ends_ingest(site: Site) -> None:
    """If a source topic is deleted and not recreated, ingest ends and names it."""
    logs = site.settings.source_topics[1]
    worker = Ingest(site.settings, rules())
    site.client.delete_topics([logs])[logs].result()

    with pytest.raises(StateError, match=f"source topic not found: {logs}"):
        worker.run()
