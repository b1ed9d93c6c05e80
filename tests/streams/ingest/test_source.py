"""Where reading starts, what a record adds, and what is committed."""

from __future__ import annotations

import pytest
from confluent_kafka import TopicPartition
from msgspec.structs import replace

from streams.ingest.flush import SectionBuilder
from streams.ingest.source import (
    Log,
    OffsetMetadata,
    Projected,
    SourcePartition,
    StartPosition,
    read_metadata,
    start_position,
)
from streams.ingest.watermark import PartitionTime
from streams.projection.budget import TraceFacts
from tests.support.builders import TRACE, fact
from topics.records.facts import NO_SPAN, TICK_MS, Touch, unpack_touches

LOG = Log("id", low=10, high=20)
COMMITTED = OffsetMetadata(epoch=1, topic_id="id", record_ms=900, read_at_ms=950)
NOW_MS = 1_000_000


def began(
    offset: int | None,
    committed: OffsetMetadata | None = COMMITTED,
    log: Log = LOG,
    start: str = "earliest",
    *,
    replay: int = 0,
) -> StartPosition:
    """Return the start position at `NOW_MS`."""
    return start_position(offset, committed, log, start=start, now_ms=NOW_MS, replay=replay)


def reading(start: StartPosition | None = None) -> SourcePartition:
    """Create a source partition at the start of reading."""
    time = PartitionTime[Projected](out_of_order_ms=200, idle_lag_ms=100, max_clock_skew_ms=5_000, broker_skew_ms=5_000)
    at = TopicPartition("otlp_spans", 3)
    return SourcePartition.starting_at(at, start or StartPosition(offset=10, epoch=1), "id", 4, time, now_ms=NOW_MS)


def projected(offset: int, *, has_facts: bool = False) -> Projected:
    """Create the projection of a record of one trace."""
    return Projected(offset, [TraceFacts(TRACE, 1, root_seen=False, facts=[fact()] if has_facts else [])])


def touches(draft: SectionBuilder) -> list[Touch]:
    """Return the touches in a builder."""
    [found] = draft.sections(1, None)
    return list(unpack_touches(found.touches))


def test_first_start_at_the_earliest() -> None:
    """Without a committed offset reading starts at the log's beginning, in a new epoch."""
    assert StartPosition(offset=10, epoch=NOW_MS) == began(None, None)


def test_first_start_at_the_latest() -> None:
    """With `latest`, reading starts at the log's end."""
    assert StartPosition(offset=20, epoch=NOW_MS) == began(None, None, start="latest")


@pytest.mark.parametrize(("offset", "expected"), [(5, 10), (10, 10), (15, 15), (20, 20), (25, 20)])
def test_offsets_that_were_reset(offset: int, expected: int) -> None:
    """An offset without our metadata was set by hand: a new epoch starts at it, or as near as the log allows."""
    assert StartPosition(offset=expected, epoch=NOW_MS) == began(offset, None)


@pytest.mark.parametrize("offset", [10, 15, 20])
def test_committed_offset_is_continued(offset: int) -> None:
    """From a committed offset in the log, its end included, reading continues in the same epoch."""
    assert StartPosition(offset=offset, epoch=1, committed=COMMITTED) == began(offset)


def test_deleted_records_are_lost() -> None:
    """If the committed offset is below the log's start, the offsets between are lost, and the epoch continues."""
    assert StartPosition(offset=10, epoch=1, committed=COMMITTED, lost=(9, 10)) == began(9)


def test_recreated_topic() -> None:
    """A recreated topic starts a new epoch at its beginning."""
    assert StartPosition(offset=10, epoch=NOW_MS) == began(15, log=Log("other", 10, 20))


def test_topic_that_is_shorter_than_what_was_read() -> None:
    """An offset beyond the log's end is of another log: a new epoch starts at the beginning."""
    assert StartPosition(offset=10, epoch=NOW_MS) == began(21)


def test_partition_without_a_commit_joins_the_replay() -> None:
    """A partition without a commit joins the group's last replay."""
    assert StartPosition(offset=10, epoch=NOW_MS, replay=7) == began(None, None, replay=7)


def test_recreated_topic_stays_in_its_replay() -> None:
    """A new epoch keeps the replay number, and the record time at which the replay started."""
    committed = OffsetMetadata(epoch=1, topic_id="id", record_ms=900, read_at_ms=950, replay=7, start_ms=300)

    start = began(15, committed, Log("other", 10, 20), replay=7)

    assert StartPosition(offset=10, epoch=NOW_MS, replay=7, start_ms=300) == start


def test_partition_that_missed_a_reset() -> None:
    """A topic that was not configured during a reset joins the replay at its committed offset."""
    committed = OffsetMetadata(epoch=1, topic_id="id", record_ms=900, read_at_ms=950, replay=6, start_ms=300)

    assert StartPosition(offset=15, epoch=NOW_MS, replay=7) == began(15, committed, replay=7)


def test_epoch_after_the_clock_was_set_back() -> None:
    """A new epoch has a higher number than its predecessor, whatever the local clock is."""
    committed = OffsetMetadata(epoch=NOW_MS + 5, topic_id="id", record_ms=900, read_at_ms=950)

    assert NOW_MS + 6 == began(21, committed).epoch


def test_metadata_of_an_earlier_version() -> None:
    """Metadata of the previous version, which had no replays, is read."""
    metadata = '{"epoch":1,"topic_id":"id","record_ms":900,"read_at_ms":950}'

    assert COMMITTED == read_metadata(metadata)


@pytest.mark.parametrize("metadata", [None, "", "by hand", "{}", '{"epoch": "1"}', "[]", "\ud800", "1" * 5000])
def test_foreign_metadata_is_ignored(metadata: str | None) -> None:
    """Metadata that ingest did not write is ignored."""
    assert read_metadata(metadata) is None


def test_metadata_round_trip() -> None:
    """Committed metadata is read back: epoch, topic and the partition's time."""
    source = reading(StartPosition(offset=10, epoch=1, committed=COMMITTED))
    source.add_record(900, projected(10), local_ms=950, is_broker_time=False)
    source.reach_end(11, local_ms=950)

    committed = read_metadata(source.metadata())

    assert replace(COMMITTED, latest_ms=900) == committed


def test_time_continues_after_a_restart() -> None:
    """An idle partition's time continues as if ingest had never stopped."""
    before = reading()
    before.add_record(900, projected(10), local_ms=950)
    after = reading(StartPosition(offset=11, epoch=1, committed=read_metadata(before.metadata())))

    for source in (before, after):
        source.time.tick_idle(local_ms=500_950)

    assert 500_600 == before.time.watermark_ms
    assert before.time.watermark_ms == after.time.watermark_ms


def test_committed_by_a_clock_that_was_ahead() -> None:
    """A committed local time that is ahead of the clock counts as now."""
    committed = OffsetMetadata(epoch=1, topic_id="id", record_ms=900, read_at_ms=NOW_MS + 5_000)

    source = reading(StartPosition(offset=11, epoch=1, committed=committed))

    assert (900, NOW_MS) == (source.time.highest_ms, source.time.read_at_ms)


def test_partition_without_a_record_yet() -> None:
    """A partition that never had a record has no time after a restart either."""
    source = reading(
        StartPosition(
            offset=11, epoch=1, committed=OffsetMetadata(epoch=1, topic_id="id", record_ms=None, read_at_ms=0)
        )
    )

    assert source.time.watermark_ms is None


def test_builder_begins_with_lost_offsets() -> None:
    """The first flush after a loss covers the lost offsets, so that there is no gap."""
    source = reading(StartPosition(offset=10, epoch=1, committed=COMMITTED, lost=(7, 10)))

    draft = source.take_builder()

    assert (7, 10, [(7, 10)]) == (draft.from_offset, draft.to_offset, draft.lost)


def test_loss_is_reported_once() -> None:
    """The second builder has no loss, and adjoins the first."""
    source = reading(StartPosition(offset=10, epoch=1, committed=COMMITTED, lost=(7, 10)))
    source.take_builder()

    draft = source.take_builder()

    assert (10, 10, []) == (draft.from_offset, draft.to_offset, draft.lost)


def test_record_advances_the_builder() -> None:
    """A certain record is in the builder, at the tick of its time, with its offset."""
    source = reading()

    source.add_record(950, projected(12), local_ms=NOW_MS)

    assert [Touch(TRACE, 9, 1)] == touches(source.builder)
    assert (10, 13, 13) == (source.builder.from_offset, source.builder.to_offset, source.next_offset)


def test_dead_letter_advances_the_builder() -> None:
    """A dead letter advances the position like any record."""
    source = reading()

    source.add_record(950, Projected(12, []), local_ms=NOW_MS)

    assert (13, {}) == (source.builder.to_offset, source.builder.groups)


def test_record_without_a_time() -> None:
    """A record without a timestamp counts at time 0, and stops nothing."""
    source = reading()

    source.add_record(-1, projected(10), local_ms=NOW_MS)

    assert [Touch(TRACE, 0, 1)] == touches(source.builder)


def test_record_out_of_bounds_marks_its_trace() -> None:
    """An untrusted timestamp counts at the bound, and a touch without a span marks the trace."""
    source = reading()
    source.add_record(NOW_MS + 90_000, projected(10, has_facts=True), local_ms=NOW_MS, is_broker_time=False)

    [found] = source.take_builder().sections(1, None)

    [entry] = found.entries
    tick = (NOW_MS + 5_000) // TICK_MS
    assert (tick, [Touch(TRACE, tick, NO_SPAN)]) == (entry.tick, list(unpack_touches(found.touches)))
    assert 1 == source.time.out_of_bounds_count


def test_rules_change_while_a_timestamp_is_unconfirmed() -> None:
    """Records of the previous rules may be as late as the latest of them, confirmed or not; also after a restart."""
    before = reading()
    for offset, stamp_ms in ((10, 900), (11, 5_000), (12, 950)):
        before.add_record(stamp_ms, projected(offset), local_ms=NOW_MS, is_broker_time=False)
    committed = read_metadata(before.metadata())
    assert committed is not None

    before.use_rules("other")
    after = reading_with("other", committed)

    assert (None, 5_000, 5_000) == (before.time.highest_ms, before.rules_since_ms, after.rules_since_ms)


def test_dead_letter_out_of_bounds() -> None:
    """It has no trace to mark, and is a dead letter nevertheless."""
    source = reading()
    source.add_record(NOW_MS + 90_000, Projected(10, [], is_dead_letter=True), local_ms=NOW_MS, is_broker_time=False)

    [found] = source.take_builder().sections(1, None)

    assert ([(10, 11)], b"") == (found.dead_letters, found.touches)


def test_unreadable_records_are_lost() -> None:
    """A record held back before it becomes certain, and the next record bounds the time of the loss."""
    source = reading()
    source.add_record(900, projected(10), local_ms=NOW_MS)
    source.add_record(90_000, projected(11), local_ms=NOW_MS)

    source.skip(17, local_ms=NOW_MS)
    first = source.take_builder()
    source.add_record(90_100, projected(17), local_ms=NOW_MS)
    second = source.take_builder()

    assert [Touch(TRACE, 9, 1), Touch(TRACE, 900, 1)] == touches(first)
    assert ((10, 17), [(12, 17)], None) == ((first.from_offset, first.to_offset), first.lost, first.lost_until_ms)
    assert ((17, 18), [], 90_300) == ((second.from_offset, second.to_offset), second.lost, second.lost_until_ms)


def test_record_held_back_is_not_flushed() -> None:
    """A flush ends before a record that is held back, so that a crash does not skip it."""
    source = reading()
    source.add_record(1_000, projected(10), local_ms=NOW_MS)
    source.add_record(90_000, projected(11), local_ms=NOW_MS)

    first = source.take_builder()
    source.add_record(90_001, projected(12), local_ms=NOW_MS)
    second = source.take_builder()

    assert [(10, 11), (11, 13)] == [(draft.from_offset, draft.to_offset) for draft in (first, second)]
    assert [[Touch(TRACE, 10, 1)], [Touch(TRACE, 900, 2)]] == [touches(first), touches(second)]


def test_end_releases_a_record_held_back() -> None:
    """At the partition's end a record held back becomes certain; the position is the end, after control records."""
    source = reading()
    source.add_record(1_000, projected(10), local_ms=NOW_MS)
    source.add_record(90_000, projected(11), local_ms=NOW_MS)

    source.reach_end(14, local_ms=NOW_MS)

    assert source.at_end
    assert (14, 14) == (source.next_offset, source.builder.to_offset)
    assert [10, 900] == [touch.tick for touch in touches(source.builder)]


def test_record_after_the_end() -> None:
    """A partition with a new record is not at its end."""
    source = reading()
    source.reach_end(10, local_ms=NOW_MS)

    source.add_record(1_000, projected(10), local_ms=NOW_MS)

    assert not source.at_end


def test_facts_are_in_the_builder() -> None:
    """The hits of a record are in the builder's entries."""
    source = reading()

    source.add_record(950, projected(12, has_facts=True), local_ms=NOW_MS)

    [found] = source.builder.sections(1, None)
    assert [(12, 9, [fact()])] == [(one.offset, one.tick, one.facts) for one in found.entries]


def test_start_of_a_replay_is_reported() -> None:
    """From the flush with the first record after a reset on, every section has its record time; none before has it."""
    source = reading(StartPosition(offset=10, epoch=1, replay=7))
    before = source.take_builder()
    source.add_record(950, projected(10), local_ms=NOW_MS)
    source.add_record(900, projected(11), local_ms=NOW_MS)
    first, second = source.take_builder(), source.take_builder()

    [sections] = zip(*(draft.sections(1, None) for draft in (before, first, second)), strict=True)

    assert [(7, None), (7, 950), (7, 950)] == [(section.replay, section.start_ms) for section in sections]


def test_replay_continues_after_a_restart() -> None:
    """The replay number and its first record's time are committed, and not determined anew."""
    before = reading(StartPosition(offset=10, epoch=1, replay=7))
    before.add_record(950, projected(10), local_ms=NOW_MS)
    after = reading(began(11, read_metadata(before.metadata()), replay=7))

    after.add_record(2_000, projected(11), local_ms=NOW_MS)

    assert (7, 950) == (after.builder.replay, after.builder.start_ms)


def test_without_a_reset_there_is_no_replay() -> None:
    """The first start is not a replay, and has no start time of one."""
    source = reading()

    source.add_record(950, projected(10), local_ms=NOW_MS)

    assert (0, None) == (source.builder.replay, source.builder.start_ms)


def test_record_is_held_back_again_after_a_restart() -> None:
    """A record held back when ingest ended is judged by the same neighbours when it is read again."""
    before = reading()
    before.add_record(1_000, projected(10), local_ms=NOW_MS)
    before.add_record(90_000, projected(11), local_ms=NOW_MS)
    to_offset = before.take_builder().to_offset
    after = reading(StartPosition(offset=to_offset, epoch=1, committed=read_metadata(before.metadata())))

    for source in (before, after):
        for offset, record_ms in ((11, 90_000), (12, 1_100)):
            if offset >= source.next_offset:
                source.add_record(record_ms, projected(offset), local_ms=NOW_MS)

    assert touches(before.builder) == touches(after.builder)
    assert (1_100, 1, 11) == (after.time.highest_ms, after.time.skewed_count, after.builder.from_offset)


def test_timestamp_type_survives_a_restart() -> None:
    """After a restart it is known that the broker stamps the records of an idle partition."""
    before = reading()
    before.add_record(900, projected(10), local_ms=NOW_MS)

    after = reading(StartPosition(offset=11, epoch=1, committed=read_metadata(before.metadata())))

    assert after.time.has_broker_time


def reading_with(rules: str, committed: OffsetMetadata, *, log_end: int = 20) -> SourcePartition:
    """Create a source partition that continues at offset 10 with these rules."""
    time = PartitionTime[Projected](out_of_order_ms=200, idle_lag_ms=100, max_clock_skew_ms=5_000, broker_skew_ms=5_000)
    at = TopicPartition("otlp_spans", 3)
    start = StartPosition(offset=10, epoch=1, committed=committed)
    return SourcePartition.starting_at(at, start, "id", 4, time, now_ms=NOW_MS, rules=rules, log_end=log_end)


def test_start_in_the_middle_of_a_log() -> None:
    """The first record that is read bounds the times of those before it, after a restart, too."""
    source = reading(
        StartPosition(offset=10, epoch=1, committed=StartPosition(offset=10, epoch=1).initial_metadata("id"))
    )
    before = source.take_builder().missing_until_ms
    source.add_record(900, projected(10), local_ms=950)
    source.add_record(2_000, projected(11), local_ms=950)
    again = reading(StartPosition(offset=12, epoch=1, committed=read_metadata(source.metadata())))

    assert (None, 1_100, 1_100) == (
        before,
        source.take_builder().missing_until_ms,
        again.take_builder().missing_until_ms,
    )


def test_start_in_the_middle_of_a_log_that_is_idle() -> None:
    """Without a record, the idle tick bounds them: unread records were stamped by then."""
    source = reading(
        StartPosition(offset=10, epoch=1, committed=StartPosition(offset=10, epoch=1).initial_metadata("id"))
    )
    source.time.tick_idle(local_ms=5_000)

    assert 5_200 == source.take_builder().missing_until_ms


def test_start_at_the_beginning_of_a_log() -> None:
    """At offset 0 nothing is missing."""
    source = reading(
        StartPosition(offset=0, epoch=1, committed=StartPosition(offset=0, epoch=1).initial_metadata("id"))
    )
    source.add_record(900, projected(0), local_ms=950)

    assert source.take_builder().missing_until_ms is None


def test_end_of_a_loss() -> None:
    """The first record after a loss bounds the times of the lost ones; later records change nothing."""
    source = reading(StartPosition(offset=10, epoch=1, committed=COMMITTED, lost=(5, 10)))
    before = source.take_builder().lost_until_ms
    again = reading(StartPosition(offset=10, epoch=1, committed=read_metadata(source.metadata())))
    for offset, record_ms in ((10, 3_000), (11, 4_000)):
        again.add_record(record_ms, projected(offset), local_ms=NOW_MS)

    assert (None, 3_200) == (before, again.take_builder().lost_until_ms)


def test_unchanged_rules_after_a_restart() -> None:
    """A worker that continues with the committed rules reports the same time of their change."""
    committed = OffsetMetadata(epoch=1, topic_id="id", record_ms=900, read_at_ms=950, rules="a", rules_since_ms=700)

    assert 700 == reading_with("a", committed).take_builder().rules_since_ms


def test_other_rules_after_an_orderly_end() -> None:
    """Nothing beyond the committed offset was projected with the previous rules."""
    committed = OffsetMetadata(epoch=1, topic_id="id", record_ms=900, read_at_ms=950, rules="a", is_last=True)
    source = reading_with("b", committed)
    source.add_record(2_000, projected(10), local_ms=NOW_MS)

    assert 900 == source.take_builder().rules_since_ms


def test_other_rules_after_a_crash() -> None:
    """Everything in the log at the start may have been projected with the previous rules, here or elsewhere."""
    committed = OffsetMetadata(epoch=1, topic_id="id", record_ms=900, read_at_ms=950, rules="a")
    source = reading_with("b", committed, log_end=12)
    said = []
    for offset, record_ms in ((10, 2_000), (11, 3_000), (12, 4_000)):
        source.add_record(record_ms, projected(offset), local_ms=NOW_MS)
        said.append(source.take_builder().rules_since_ms)

    assert [2_000, 3_000, 3_000] == said


def test_rules_that_change_at_run_time() -> None:
    """Rules that change at run time count from the highest record so far."""
    source = reading_with(
        "a", OffsetMetadata(epoch=1, topic_id="id", record_ms=900, read_at_ms=950, rules="a", rules_since_ms=700)
    )
    source.add_record(2_000, projected(10), local_ms=NOW_MS)
    source.take_builder()

    source.use_rules("b")
    source.add_record(3_000, projected(11), local_ms=NOW_MS)

    assert 2_000 == source.take_builder().rules_since_ms
