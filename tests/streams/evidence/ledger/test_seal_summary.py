"""Tests the sums over a seal, and the continuity of coverage records."""

from __future__ import annotations

import msgspec

from streams.evidence.ledger.seal_summary import CoverageContinuity, SummaryBuilder
from tests.support import evidence
from topics.records.verdicts import Coverage, SourceCoverage, VerdictSums


def test_input_of_several_partitions_is_spanned() -> None:
    """Every facts partition reports the same source records: offsets, lost ranges and dead letters are merged."""
    total = SummaryBuilder()
    for partition, (begin, end, dead_letters) in enumerate([(5, 9, None), (3, 7, 2), (3, 8, 1)]):
        source = SourceCoverage(
            topic="t", partition=0, epoch=1, from_offset=begin, to_offset=end, lost=[(5, 6)], dead_letters=dead_letters
        )
        total.add(msgspec.structs.replace(evidence.coverage(partition, 0), sources=[source]))

    [spanned] = total.summary().sources

    assert (3, 9, [(5, 6)], 2) == (spanned.from_offset, spanned.to_offset, spanned.lost, spanned.dead_letters)


def test_dead_letters_of_several_minutes_are_added() -> None:
    """A facts partition reports new ones each minute; if one minute does not, the sum is unknown."""
    told: dict[int, list[int | None]] = {0: [2, 1], 1: [1, 1], 2: [9, None]}
    total = SummaryBuilder()
    for partition, counts in told.items():
        for minute, dead_letters in enumerate(counts):
            source = SourceCoverage(
                topic="t", partition=0, epoch=1, from_offset=minute, to_offset=minute + 1, dead_letters=dead_letters
            )
            total.add(msgspec.structs.replace(evidence.coverage(partition, minute), sources=[source]))

    [spanned] = total.summary().sources

    assert (0, 2, 3) == (spanned.from_offset, spanned.to_offset, spanned.dead_letters)


def test_counts_are_added_per_rule() -> None:
    """Added and retracted verdicts are summed separately; each version and mode of a rule counts on its own."""
    total = SummaryBuilder()
    held, back = evidence.counts(0, held=1), VerdictSums(held=1)
    for record in (
        evidence.counts(0, held=3),
        evidence.counts(1, held=1),
        msgspec.structs.replace(evidence.counts(0, held=0, broken=1), taken_back=back),
        msgspec.structs.replace(held, rule_fingerprint="e" * 64),
        msgspec.structs.replace(held, mode="shadow"),
        msgspec.structs.replace(held, generation=1),
    ):
        total.add(record)
    total.add(None)

    summary = total.summary()

    none = VerdictSums()
    assert [
        (0, "e" * 64, "live", VerdictSums(held=1), none),
        (0, "f" * 64, "live", VerdictSums(held=4, broken=1), back),
        (0, "f" * 64, "shadow", VerdictSums(held=1), none),
        (1, "f" * 64, "live", VerdictSums(held=1), none),
    ] == [(one.generation, one.rule_fingerprint, one.mode, one.added, one.taken_back) for one in summary.counts]
    assert summary.unreadable == 1


def test_minutes_of_a_partition_are_added() -> None:
    """Windows of several coverage records of one partition are summed, and a trace in two of them counts once."""
    total = SummaryBuilder()
    for minute in range(3):
        total.add(evidence.coverage(0, minute))

    [partition] = total.summary().partitions

    first, last = evidence.coverage(0, 0), evidence.coverage(0, 2)
    assert (first.from_ms, last.to_ms, 6, 13) == (
        partition.from_ms,
        partition.to_ms,
        partition.windows_judged,
        partition.traces_seen_estimate,
    )


def test_two_halves_have_the_gaps_of_the_whole() -> None:
    """The gaps of two passes are joined, whatever is at the joint."""
    for minutes in ([0, 1, 2, 3], [0, 1, 3, 4], [0, 2, 3, 5]):
        records = [evidence.coverage(0, minute) for minute in minutes]
        whole, halves = CoverageContinuity(), (CoverageContinuity(), CoverageContinuity())
        expected = [gap for record in records for gap in whole.gaps(record)]

        found = [
            gap
            for half, part in zip(halves, (records[:2], records[2:]), strict=True)
            for one in part
            for gap in half.gaps(one)
        ]
        found += halves[0].gaps_to(halves[1])

        assert sorted(expected) == sorted(found)
        assert whole.last == halves[0].last


def record_of(minute: int, **ends: tuple[int, int]) -> Coverage:
    """A minute's record of source topics, each with its start and end offsets."""
    sources = [
        SourceCoverage(topic=topic, partition=0, epoch=1, from_offset=begin, to_offset=end)
        for topic, (begin, end) in ends.items()
    ]
    return msgspec.structs.replace(evidence.coverage(0, minute), sources=sources)


def test_paused_source_continues_where_it_ended() -> None:
    """The end of each source is known through minutes that only continued, and those without its records."""
    continuity = CoverageContinuity()
    minutes = [record_of(at, spans=(at, at + 1), logs=(at, at + 1)) for at in range(3)]
    minutes += [
        record_of(3, spans=(3, 4)),
        record_of(4, spans=(4, 5), logs=(3, 9)),
        record_of(5, spans=(5, 6)),
        record_of(6, logs=(8, 9)),
    ]

    found = [[*continuity.gaps(record)] for record in minutes]

    assert [[]] * 6 + [["logs[0] continues at 8, but the record before ended at 9"]] == found


def test_the_end_of_each_source_is_joined() -> None:
    """The start of a later pass is compared with where the earlier one left each source, whenever that was."""
    earlier, later = CoverageContinuity(), CoverageContinuity()
    for record in (
        record_of(0, spans=(0, 1), logs=(0, 7)),
        record_of(1, spans=(1, 2), logs=(7, 8)),
        record_of(2, spans=(2, 3)),
    ):
        assert [] == [*earlier.gaps(record)]
    assert [] == [*later.gaps(record_of(3, logs=(9, 10), spans=(3, 4)))]

    found = [*earlier.gaps_to(later)]

    assert ["logs[0] continues at 9, but the record before ended at 8"] == found


def test_source_named_twice_is_compared_in_order() -> None:
    """A record that names a source partition twice is compared in its order, also after one like it."""
    twice = [
        SourceCoverage(topic="t", partition=0, epoch=1, from_offset=begin, to_offset=end)
        for begin, end in [(0, 5), (5, 9)]
    ]
    again = [
        SourceCoverage(topic="t", partition=0, epoch=1, from_offset=begin, to_offset=end)
        for begin, end in [(5, 6), (9, 9)]
    ]
    continuity = CoverageContinuity()
    assert [] == [*continuity.gaps(msgspec.structs.replace(evidence.coverage(0, 0), sources=twice))]

    found = [*continuity.gaps(msgspec.structs.replace(evidence.coverage(0, 1), sources=again))]

    assert [
        "t[0] continues at 5, but the record before ended at 9",
        "t[0] continues at 9, but the record before ended at 6",
    ] == found


def test_lost_ranges_are_merged_only_if_they_differ() -> None:
    """Equal lost ranges stay as they are; differing ones are merged into a sorted list."""
    lost = [(5, 6), (1, 2)]
    one = SourceCoverage(topic="t", partition=0, epoch=1, from_offset=0, to_offset=9, lost=lost, dead_letters=0)
    alike, differing = SummaryBuilder(), SummaryBuilder()
    for partition in range(2):
        alike.add(msgspec.structs.replace(evidence.coverage(partition, 0), sources=[one]))
        other = msgspec.structs.replace(one, to_offset=9 + partition, lost=lost[: 2 - partition])
        differing.add(msgspec.structs.replace(evidence.coverage(partition, 0), sources=[other]))

    found = [total.summary().sources[0].lost for total in (alike, differing)]

    assert [lost, sorted(lost)] == found


def test_another_generation_has_a_clock_of_its_own() -> None:
    """After an offsets reset record time starts again, and the facts continue nevertheless."""
    continuity = CoverageContinuity()
    again = msgspec.structs.replace(record_of(0), generation=1, facts_from=10, facts_to=20)

    found = [
        [*continuity.gaps(record)] for record in (record_of(0), again, msgspec.structs.replace(again, facts_from=21))
    ]

    assert [[], [], ["facts continue at 21, but the record before ended at 20"]] == [
        [gap for gap in gaps if "facts" in gap or gaps is not found[2]] for gaps in found
    ]
