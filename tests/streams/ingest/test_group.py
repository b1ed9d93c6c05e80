"""What is committed before reading starts, and by which worker; and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import StateError
from streams.ingest.group import Commit, GroupSnapshot, Plan, Source, plan
from streams.ingest.source import Log, OffsetMetadata, StartPosition

LOGS_0, SPANS_0, SPANS_1 = ("logs", 0), ("spans", 0), ("spans", 1)
ALL = {LOGS_0, SPANS_0, SPANS_1}
NOW_MS = 1_000_000


def ours(offset: int = 15, *, epoch: int = 1, replay: int = 0, start_ms: int | None = None) -> Commit:
    """Create a commit of ingest."""
    return Commit(
        offset,
        OffsetMetadata(epoch=epoch, topic_id="id", record_ms=900, read_at_ms=950, replay=replay, start_ms=start_ms),
    )


CLEARED = Commit(15, None)


def seen(committed: dict[Source, Commit], *, has_facts: bool = True) -> GroupSnapshot:
    """Create a snapshot of three source partitions with offsets 10 to 20."""
    return GroupSnapshot(
        logs={source: Log("id", 10, 20) for source in sorted(ALL)}, committed=committed, has_facts=has_facts
    )


def planned(found: GroupSnapshot, mine: set[Source], start: str = "earliest") -> Plan:
    """Return the plan of a worker with the partitions `mine`."""
    return plan(found, mine, start=start, now_ms=NOW_MS)


def after(found: GroupSnapshot, writes: dict[Source, StartPosition]) -> GroupSnapshot:
    """Return the next snapshot, after these commits."""
    commits = {source: Commit(each.offset, each.initial_metadata("id")) for source, each in writes.items()}
    return seen({**found.committed, **commits}, has_facts=found.has_facts)


@pytest.mark.parametrize(("start", "offset"), [("earliest", 10), ("latest", 20)])
def test_first_start_commits_epochs_before_it_reads(start: str, offset: int) -> None:
    """Without commits, the worker with the first partition commits an epoch of each, outside any replay."""
    said = [planned(seen({}, has_facts=False), mine, start) for mine in ({LOGS_0, SPANS_1}, {SPANS_0})]

    assert [Plan(commits={source: StartPosition(offset=offset, epoch=NOW_MS) for source in ALL}), Plan()] == said


def test_committed_epochs_are_continued() -> None:
    """When all its partitions have a commit of ours, a worker starts there."""
    committed = ours(replay=7, start_ms=300)

    said = planned(seen(dict.fromkeys(ALL, committed)), {SPANS_0})

    assert (
        Plan(starts={SPANS_0: StartPosition(offset=15, epoch=1, committed=committed.metadata, replay=7, start_ms=300)})
        == said
    )


def test_nothing_starts_while_a_commit_is_missing() -> None:
    """If one partition has no commit, its epoch is committed first, then all start."""
    said = planned(seen({SPANS_0: ours()}), {SPANS_0, SPANS_1})

    assert Plan(commits={SPANS_1: StartPosition(offset=10, epoch=NOW_MS)}) == said


def test_new_partition_takes_part_in_the_replay() -> None:
    """An added partition is read from its beginning, whatever `--start` is, in the replay of the others."""
    said = planned(seen({LOGS_0: ours(replay=7), SPANS_0: ours(replay=7)}), {SPANS_1}, "latest")

    assert Plan(commits={SPANS_1: StartPosition(offset=10, epoch=NOW_MS, replay=7)}) == said


def test_reset_group_is_renewed_as_a_whole() -> None:
    """The worker with the first partition commits a replay for all partitions, new and other workers' ones too."""
    said = planned(seen({SPANS_0: CLEARED, SPANS_1: Commit(5, None)}), {LOGS_0})

    renewed = {
        at: StartPosition(offset=offset, epoch=NOW_MS, replay=NOW_MS)
        for at, offset in ((LOGS_0, 10), (SPANS_0, 15), (SPANS_1, 10))
    }
    assert Plan(commits=renewed) == said


def test_others_wait_for_the_renewal() -> None:
    """A worker without the first partition waits, and starts when the renewal is committed."""
    found = seen(dict.fromkeys(ALL, CLEARED))
    waited = planned(found, {SPANS_1})
    renewal = planned(found, {LOGS_0, SPANS_0}).commits

    said = planned(after(found, dict(renewal)), {SPANS_1})

    assert Plan() == waited
    assert [(15, NOW_MS, NOW_MS)] == [(each.offset, each.epoch, each.replay) for each in said.starts.values()]


@pytest.mark.parametrize(("start", "offset"), [("earliest", 10), ("latest", 20)])
def test_deleted_group_is_a_reset(start: str, offset: int) -> None:
    """Facts without a single commit mean that the group was deleted or expired; everything is read again."""
    said = planned(seen({}), ALL, start)

    assert Plan(commits={source: StartPosition(offset=offset, epoch=NOW_MS, replay=NOW_MS) for source in ALL}) == said


@pytest.mark.parametrize("replay", [0, 7])
def test_recreated_topics_are_not_a_reset(replay: int) -> None:
    """Kafka deletes commits with their topic: a worker that knows the replay continues in it, in a new epoch."""
    found = replace(seen({}), replay=replay)

    said = planned(found, ALL)

    assert Plan(commits={source: StartPosition(offset=10, epoch=NOW_MS, replay=replay) for source in ALL}) == said


def test_clock_that_was_set_back() -> None:
    """A reset removes the last replay number: the new one exceeds the time of any facts, and so the last one."""
    found = replace(seen(dict.fromkeys(ALL, CLEARED)), latest_fact_ms=NOW_MS + 9)

    said = planned(found, ALL)

    assert {(NOW_MS + 10, NOW_MS + 10)} == {(each.epoch, each.replay) for each in said.commits.values()}


def test_reset_of_recreated_topics_is_a_reset() -> None:
    """Offsets without our metadata are a reset, whatever a worker knows."""
    found = replace(seen(dict.fromkeys(ALL, CLEARED)), replay=7)

    said = planned(found, ALL)

    assert {NOW_MS} == {each.replay for each in said.commits.values()}


def test_partial_reset_is_refused() -> None:
    """If only some partitions were reset, the message names both groups and an action."""
    found = seen({LOGS_0: CLEARED, SPANS_0: ours(replay=7), SPANS_1: ours(replay=7)})

    with pytest.raises(StateError) as refused:
        planned(found, {SPANS_0})

    assert str(refused.value) == (
        "the group's offsets were reset for logs[0] but not for spans[0,1]. "
        "Action: stop all workers, reset the whole group (--all-topics), then start again"
    )


def test_deleted_topic_is_not_started() -> None:
    """A partition of a topic that no longer exists is not started."""
    said = planned(seen({}, has_facts=False), {("gone", 0)})

    assert Plan() == said


commits = st.none() | st.just(CLEARED) | st.sampled_from([ours(), ours(5), ours(25), ours(replay=7), ours(replay=8)])
groups = st.tuples(*[commits] * len(ALL)).map(
    lambda drawn: {at: commit for at, commit in zip(sorted(ALL), drawn, strict=True) if commit is not None}
)


@given(committed=groups, mine=st.sets(st.sampled_from(sorted(ALL))), has_facts=st.booleans())
def test_all_workers_read_in_the_same_replay(
    committed: dict[Source, Commit], mine: set[Source], *, has_facts: bool
) -> None:
    """Two workers, in turns: unless refused, both start soon, with one replay number, not lower than any before."""
    found = seen(committed, has_facts=has_facts)
    workers = [mine, ALL - mine]
    kinds = {commit.metadata is None for commit in committed.values()}
    if len(kinds) > 1:
        with pytest.raises(StateError):
            planned(found, mine)
        return

    for _ in range(3):
        for worker in workers:
            found = after(found, dict(planned(found, worker).commits))
    begins = {at: each for worker in workers for at, each in planned(found, worker).starts.items()}

    before = [commit.metadata.replay for commit in committed.values() if commit.metadata is not None]
    assert ALL == begins.keys()
    [replay] = {each.replay for each in begins.values()}
    assert replay >= max(before, default=0)
    assert (NOW_MS == replay) == (True in kinds or (has_facts and not committed))
