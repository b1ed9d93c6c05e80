"""Two workers that both claim a facts partition, crashes during a rebuild, disks that return."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from streams.config.settings import Settings
from streams.rules import registry
from streams.sessions import recovery, task
from streams.sessions import worker as sessions
from streams.sessions.last_checkpoint import last_checkpoint
from streams.sessions.publish import FencedError, Publisher
from tests.support.driven import AUDITED, FAR_MS, A, B, Driven, compiled
from tests.support.installation import installed
from topics.cluster import admin
from topics.records.checkpoints import Checkpoint

pytestmark = pytest.mark.broker

HERE, THERE = "here", "there"


@pytest.fixture
def settings(kafka: str, fresh_prefix: str, tmp_path: Path) -> Settings:
    """An installation with one facts partition and a rule."""
    settings = installed(kafka, fresh_prefix, tmp_path, facts_partitions=1)
    registry.push(settings, compiled(AUDITED), now_ms=1)
    return settings


def worker(settings: Settings, disk: str) -> Driven:
    """Create a worker with this disk, whatever is on it."""
    return Driven(dataclasses.replace(settings, state_dir=settings.state_dir / disk))


def own_checkpoint(settings: Settings) -> Checkpoint:
    """Return the checkpoint on the topic."""
    identity = recovery.identify(AdminClient({**settings.client()}), settings)
    found = recovery.of_log(last_checkpoint(settings, 0, lambda: False), identity.topic_id)
    assert found is not None
    return found


def chains(driven: Driven) -> dict[bytes, bytes]:
    """Return all chains of the worker."""
    of = driven.worker._tasks[0].partition.sessions.chains
    return {trace_id: msgspec.msgpack.encode(of.get(trace_id)) for trace_id in of}


def test_worker_that_lost_its_partition_publishes_nothing(settings: Settings) -> None:
    """What it had sent but not committed is on no topic; what it does later is refused, and it closes the task.

    The worker was suspended and wakes up without having learned that its partition moved.
    """
    paused = worker(settings, HERE)
    paused.apply(10_000, paused.entry(100, "pii.access"))
    paused.step()
    paused.apply(FAR_MS)
    other = worker(settings, THERE)
    other.apply(FAR_MS + 1)
    other.step()

    paused.step()

    assert [(A.hex(), "broken", 1)] == other.signals()
    assert {} == paused.worker._tasks
    assert [0] == paused.acknowledged


def test_fenced_publisher_raises_in_every_call(settings: Settings) -> None:
    """Fencing is detected when records are sent as well as when they are committed."""
    topic = settings.topic("signals")
    fenced = Publisher(settings, 0, lambda: False)
    fenced.send(topic, 0, b"key", b"value")
    Publisher(settings, 0, lambda: False).close()

    with pytest.raises(FencedError, match="another worker has the partition"):
        fenced.commit()
    with pytest.raises(FencedError, match="another worker has the partition"):
        fenced.send(topic, 0, b"key", b"value")
    fenced.close()


def test_worker_that_lost_its_partition_does_not_fence_the_new_owner(settings: Settings) -> None:
    """Facts that Faust had fetched before the suspension do not make it fence the new owner."""
    paused = worker(settings, HERE)
    paused.apply(10_000, paused.entry(100, "pii.access"))
    other = worker(settings, THERE)
    other.apply(FAR_MS)
    other.step()
    paused.deliver(1)
    paused.step()
    paused.deliver(1)
    other.apply(FAR_MS + 1)

    other.step()

    assert {0} == other.worker._tasks.keys()
    assert [(A.hex(), "broken", 1)] == other.signals()


def test_published_offset_never_goes_back(settings: Settings) -> None:
    """A worker that dies during a rebuild leaves the checkpoint unchanged."""
    first = worker(settings, HERE)
    first.apply(10_000, first.entry(100, "pii.access"))
    first.apply(50_000, first.entry(480, "pii.access", trace=B))
    first.step()
    first.crash()
    before = own_checkpoint(settings)
    second = worker(settings, "second")
    second.deliver(0)
    second.step()
    second.crash()

    third = worker(settings, "third")
    third.apply(FAR_MS)
    third.step()

    assert 2 == before.published_to
    assert [] == second.acknowledged
    assert [(A.hex(), "broken", 1), (B.hex(), "broken", 1)] == third.signals()
    assert 3 == own_checkpoint(settings).published_to


def test_old_store_is_brought_up_to_date(settings: Settings) -> None:
    """A partition that returns to a worker finds its old store, and continues after the worker in between."""
    first = worker(settings, HERE)
    first.apply(10_000, first.entry(100, "pii.access"))
    first.release(0)
    between = worker(settings, THERE)
    between.apply(50_000, between.entry(480, "pii.access", trace=B))
    between.apply(60_000, between.entry(590, "audit.log"))
    between.step()
    remembered = chains(between)
    between.release(0)

    again = worker(settings, HERE)
    again.apply(61_000)
    caught_up = chains(again)
    again.apply(FAR_MS)
    again.step()

    assert {A, B} == remembered.keys()
    assert remembered == caught_up
    assert [(A.hex(), "broken", 1), (A.hex(), "held", 2), (B.hex(), "broken", 1)] == sorted(again.signals())


def test_store_that_is_too_old_is_discarded(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the facts that the old store requires are gone, the windows are rebuilt from the rest."""
    monkeypatch.setattr(sessions, "TRIM_INTERVAL_S", 0.0)
    first = worker(settings, HERE)
    first.apply(10_000, first.entry(100, "pii.access"))
    first.release(0)
    between = worker(settings, THERE)
    between.apply(2_000_000)
    between.step()
    between.apply(2_001_000, between.entry(20_005, "pii.access", trace=B))
    await_cut(settings, between, to_offset=2)
    remembered = chains(between)
    between.release(0)

    again = worker(settings, HERE)
    again.apply(2_001_000)

    assert {B} == remembered.keys()
    assert remembered == chains(again)
    assert [(A.hex(), "broken", 1)] == again.signals()


def test_facts_below_the_checkpoint_are_deleted(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is trimmed below the checkpoint; a worker without a disk rebuilds the same windows from the rest."""
    monkeypatch.setattr(sessions, "TRIM_INTERVAL_S", 0.0)
    first = worker(settings, HERE)
    first.apply(10_000, first.entry(100, "pii.access"))
    first.apply(2_000_000)
    first.step()
    first.apply(2_001_000, first.entry(20_005, "pii.access", trace=B))
    first.apply(2_050_000)
    first.step()
    await_cut(settings, first, to_offset=2)
    remembered = chains(first)
    first.crash()

    bare = worker(settings, THERE)
    bare.apply(2_051_000)

    assert {B} == remembered.keys()
    assert remembered == chains(bare)


def test_next_rebuild_skips_facts_that_nothing_requires(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next rebuild skips what nothing required any more at the end of this one."""
    monkeypatch.setattr(task, "RESUME_POINT_EVERY", 1)
    first = worker(settings, HERE)
    first.apply(10_000, first.entry(100, "pii.access"))
    first.apply(2_000_000)
    first.apply(2_001_000, first.entry(20_005, "pii.access", trace=B))
    first.step()
    before = own_checkpoint(settings)
    first.crash()
    bare = worker(settings, THERE)
    bare.apply(2_050_000)

    bare.step()

    assert 0 == before.start_offset
    assert 2 == own_checkpoint(settings).start_offset


def await_cut(settings: Settings, driven: Driven, *, to_offset: int) -> None:
    """Step until the facts log starts at `to_offset`; the brokers answer in another thread."""
    client = AdminClient({**settings.client()})
    at = TopicPartition(settings.topic("facts"), 0)
    for _ in range(1_000):
        driven.step()
        [begin] = admin.earliest_offsets(client, [at]).values()
        if begin >= to_offset:
            return
    pytest.fail(f"the log begins at {begin}")
