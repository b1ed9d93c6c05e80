"""From the assignment of partitions to their reading, on a real Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.config.settings import Settings
from streams.ingest import assignment, group
from streams.ingest.assignment import Assignment
from streams.ingest.group import Commit
from streams.ingest.source import OffsetMetadata, SourcePartition, read_metadata, write_metadata
from streams.observe import metrics
from tests.support.ingesting import Site
from tests.support.waiting import wait_until
from topics.cluster import admin

pytestmark = pytest.mark.broker

COUNT = 10
NOW_MS = 1_000_000


@dataclass
class Worker:
    """A worker whose commits reach Kafka when `deliver` is called."""

    site: Site
    sent: list[list[TopicPartition]] = field(default_factory=list)
    assignment: Assignment = field(init=False)
    now_ms: int = NOW_MS

    def __post_init__(self) -> None:
        self.assignment = Assignment(self.site.settings, self.site.client, self.sent.append)

    def begun(self) -> dict[int, SourcePartition]:
        """Return the started partitions, as soon as there are any."""
        begun: list[SourcePartition] = []

        def is_begun() -> bool:
            begun.extend(self._step())
            return bool(begun)

        wait_until(is_begun, "reading begins")
        return {each.partition: each for each in begun}

    def writes(self, count: int) -> list[list[tuple[int, OffsetMetadata | None]]]:
        """Return the first commits, once there are `count`; nothing starts before they are delivered."""

        def are_sent() -> bool:
            assert [] == self._step()
            return len(self.sent) >= count

        wait_until(are_sent, "commits are sent")
        return [[(at.offset, read_metadata(at.metadata)) for at in each] for each in self.sent[:count]]

    def deliver(self) -> None:
        """Commit what was sent last."""
        commit(self.site, self.sent[-1])

    def _step(self) -> list[SourcePartition]:
        self.now_ms += 1
        return self.assignment.step(local_ms=self.now_ms)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QUERY_INTERVAL_S", "RETRY_S", "COMMIT_EVERY_S"):
        monkeypatch.setattr(assignment, name, 0.0)


@pytest.fixture
def site(kafka: str, fresh_prefix: str, tmp_path: Path) -> Site:
    """A source topic of two partitions, with records in the first."""
    made = Site.made(kafka, fresh_prefix, tmp_path, {"spans": 2})
    made.write(made.spans, 0, range(COUNT))
    return made


@pytest.fixture
def worker(site: Site) -> Worker:
    """A worker that was assigned both partitions."""
    made = Worker(site)
    made.assignment.add([(site.spans, 0), (site.spans, 1)])
    return made


def commit(site: Site, offsets: list[TopicPartition]) -> None:
    """Commit for ingest's group."""
    consumer = Consumer({**site.settings.client(), "group.id": site.settings.group("ingest")})
    consumer.commit(offsets=offsets, asynchronous=False)
    consumer.close()


def grown(before: dict[str, int], name: str) -> float:
    """Return by how much a counter grew."""
    return metrics.totals()[name] - before[name]


def waiting() -> float:
    """Return the partitions that wait for their start."""
    shown: Iterator[float] = (
        sample.value
        for metric in metrics.REGISTRY.collect()
        for sample in metric.samples
        if sample.labels.get("reason") == "beginning"
    )
    return sum(shown)


def test_reading_starts_once_the_epoch_is_committed(worker: Worker) -> None:
    """The same commit is repeated until it is confirmed; then both partitions start at once, in that epoch."""
    before = metrics.totals()
    first, *others = worker.writes(3)
    waited = waiting()
    worker.deliver()

    begun = worker.begun()

    [epoch] = {said.epoch for _, said in first if said is not None}
    assert [first, first] == others
    assert {(epoch, 0, 2)} == {(each.epoch, each.next_offset, each.builder.partition_count) for each in begun.values()}
    assert [] == worker.assignment.step(local_ms=NOW_MS)
    assert (2, 2, 0) == (grown(before, "epochs"), waited, waiting())


def test_truncated_log_is_a_new_epoch(site: Site, worker: Worker) -> None:
    """After a log was truncated, a slow commit of the new epoch does not revive the old one."""
    [topic_id] = admin.topic_ids(site.client, [site.spans]).values()
    old = OffsetMetadata(epoch=1, topic_id=topic_id, record_ms=None, read_at_ms=0)
    commit(site, [TopicPartition(site.spans, number, 0, write_metadata(old)) for number in (0, 1)])
    worker.begun()
    worker.assignment.add([(site.spans, 0)], {(site.spans, 0): Commit(COUNT + 1, old)})
    worker.writes(3)
    worker.deliver()

    begun = worker.begun()

    assert {0: 0} == {number: each.next_offset for number, each in begun.items()}
    assert begun[0].epoch > 1


def test_position_of_this_worker_counts_more_than_what_it_committed(site: Site, worker: Worker) -> None:
    """Records deleted during reading are lost from the worker's own position, not from its last commit."""
    before = metrics.totals()
    worker.writes(1)
    worker.deliver()
    begun = worker.begun()
    for future in site.client.delete_records([TopicPartition(site.spans, 0, 8)]).values():
        future.result()

    worker.assignment.add([(site.spans, 0)], {(site.spans, 0): Commit(5, begun[0].offset_metadata())})

    again = worker.begun()[0]
    assert (8, [(5, 8)], begun[0].epoch) == (again.next_offset, again.builder.lost, again.epoch)
    assert 3 == grown(before, "offsets_lost")


def test_revoked_partitions_are_not_started(site: Site, worker: Worker) -> None:
    """A partition that moved to another worker is forgotten, with this worker's position in it."""
    worker.writes(1)
    worker.deliver()
    worker.assignment.add(
        [(site.spans, 0)],
        {(site.spans, 0): Commit(5, OffsetMetadata(epoch=9, topic_id="any", record_ms=None, read_at_ms=0))},
    )
    worker.assignment.remove([(site.spans, 0), (site.spans, 1)])
    taken = worker.assignment.step(local_ms=NOW_MS)
    worker.assignment.add([(site.spans, 0)])

    begun = worker.begun()

    assert [] == taken
    assert {0: 0} == {number: each.next_offset for number, each in begun.items()}


def test_recreated_topics_stay_in_their_replay(site: Site, worker: Worker) -> None:
    """Kafka deletes the commits with the topic: a worker that was reading knows that this was no reset."""
    worker.writes(1)
    worker.deliver()
    worker.begun()
    site.client.delete_consumer_groups([site.settings.group("ingest")])[site.settings.group("ingest")].result()
    facts = TopicPartition(site.settings.topic("facts"), 0)
    site.write(facts.topic, facts.partition, [0])
    site.remake(site.spans)
    sent_count = len(worker.sent)
    worker.assignment.add([(site.spans, 0)])

    [(_, said)] = worker.writes(sent_count + 1)[-1]

    assert said is not None
    assert (0, None) == (said.replay, said.start_ms)


def test_brokers_that_are_away_are_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an answer nothing starts, nothing is committed, and nothing is raised."""
    monkeypatch.setattr(admin, "TIMEOUT_S", 0.1)
    sent: list[list[TopicPartition]] = []
    away = AdminClient({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
    assigned = Assignment(site.settings, away, sent.append)
    assigned.add([(site.spans, 0)])
    looks = 0

    def has_looked() -> bool:
        nonlocal looks
        was_looking = assigned._query is not None
        assert [] == assigned.step(local_ms=NOW_MS)
        looks += was_looking and assigned._query is None
        return looks > 1

    wait_until(has_looked, "it looked twice")

    assert [] == sent


def test_lost_query_is_repeated(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A query that never returns does not keep the worker from reading."""
    fetch_snapshot = group.fetch_snapshot
    asked: list[int] = []

    def lost_at_first(client: AdminClient, settings: Settings) -> group.GroupSnapshot:
        asked.append(len(asked))
        if len(asked) == 1:
            Event().wait()
        return fetch_snapshot(client, settings)

    monkeypatch.setattr(group, "fetch_snapshot", lost_at_first)
    monkeypatch.setattr(assignment, "QUERY_TIMEOUT_S", 1.0)

    worker.writes(1)
    worker.deliver()

    assert {0, 1} == worker.begun().keys()
    assert len(asked) > 1
