"""What sessions says of its verdicts and of its input."""

from __future__ import annotations

import msgspec

from streams.evidence.ledger.cover import Continuity
from streams.sessions.coverage import CoverageTally, Covered, VerdictTally
from topics.records.facts import VERSION, Entry, Facts, Section, Touch, pack_touches
from topics.records.verdicts import LEAVES_LIMIT, VerdictCounts

LEAF = bytes(31) + b"\1"


def counts(record: VerdictCounts) -> tuple[int, ...]:
    """The counts of a record."""
    return (record.held, record.broken, record.undetermined, record.not_applicable, record.excepted)


def test_an_amended_verdict_takes_its_old_one_back() -> None:
    """A verdict that changed is counted, the one before it taken back, and one that stays says nothing more."""
    tally = VerdictTally(3)
    tally.add("r", "f", verdict="broken", previous=None, excepted=0, leaf=LEAF)
    tally.add("r", "f", verdict="held", previous="broken", excepted=0, leaf=LEAF)
    tally.add("r", "f", verdict="held", previous="held", excepted=0, leaf=LEAF)
    tally.add("r", "f", verdict="not_applicable", previous=None, excepted=1, leaf=None)

    [record] = tally.take(7)

    assert ("r", "f", 3, 7) == (record.rule, record.rule_fingerprint, record.partition, record.clock_ms)
    assert (1, 0, 0, 1, 1) == counts(record)
    assert LEAF * 2 == record.leaves
    assert [] == [*tally.take(8)]


def test_many_leaves_are_several_records() -> None:
    """No record has more leaves than its limit, and what is counted is counted once."""
    tally = VerdictTally(0)
    for _ in range(2 * LEAVES_LIMIT + 1):
        tally.add("r", "f", verdict="held", previous=None, excepted=0, leaf=LEAF)

    records = [*tally.take(7)]

    assert [LEAVES_LIMIT, LEAVES_LIMIT, 1] == [len(record.leaves) // 32 for record in records]
    assert sum(record.held for record in records) == 2 * LEAVES_LIMIT + 1


def message(*sections: Section, rules: str = "s") -> Facts:
    """A facts message."""
    return Facts(VERSION, rules, [*sections])


def section(
    begin: int,
    end: int,
    *,
    epoch: int = 1,
    partition: int = 0,
    lost: tuple[tuple[int, int], ...] = (),
    dead: tuple[tuple[int, int], ...] | None = (),
) -> Section:
    """Of a source partition, with an entry and a touch of a trace each; `dead` are its dead letters."""
    entry = Entry(f"{begin:016}".encode(), begin, begin, 5, 1, root_seen=False, facts=[])
    touch = Touch(f"{end:016}".encode(), 5, 1)
    letters = None if dead is None else [*dead]
    packed = pack_touches([touch])
    return Section("spans", partition, epoch, 0, None, 1, begin, end, None, [*lost], packed, [entry], letters)


def test_a_record_has_what_was_applied() -> None:
    """Offsets span all sections, overlaps and repeated losses count once, and each trace is estimated once."""
    tally = CoverageTally(2, begin_offset=10)
    tally.apply(10, message(section(0, 5), section(3, 9, partition=1)), windows_judged=2)
    tally.apply(11, message(section(3, 8, lost=((3, 4), (6, 7))), rules="t"), windows_judged=1)
    tally.apply(12, message(section(3, 8, lost=((6, 7),))), windows_judged=0)

    record = tally.take(60_000, 13)

    assert (2, None, 60_000, 10, 13) == (
        record.partition,
        record.from_ms,
        record.to_ms,
        record.facts_from,
        record.facts_to,
    )
    assert [(0, 0, 8, [(6, 7)]), (1, 3, 9, [])] == [
        (one.partition, one.from_offset, one.to_offset, one.lost) for one in record.sources
    ]
    assert (["s", "t"], 3, 5) == (record.rule_sets, record.windows_judged, record.traces_seen_estimate)


def test_records_follow_one_another_after_a_take_over() -> None:
    """A worker that has only the last record's end, and reads older facts again, goes on without a gap or a double."""
    first = CoverageTally(0, begin_offset=0)
    first.apply(0, message(section(0, 5)), windows_judged=1)
    records = [first.take(60_000, 1)]
    first.apply(1, message(section(5, 9)), windows_judged=4)
    remembered = msgspec.msgpack.decode(msgspec.msgpack.encode(first.so_far), type=Covered)

    second = CoverageTally(0, begin_offset=0, covered=remembered)
    second.apply(0, message(section(0, 5)), windows_judged=0)
    second.apply(1, message(section(5, 9)), windows_judged=0)
    records += [second.take(120_000, 2), second.take(180_000, 2)]

    continuity = Continuity()
    assert [] == [gap for record in records for gap in continuity.gaps(record)]
    assert [1, 4, 0] == [record.windows_judged for record in records]
    assert [[(0, 5)], [(5, 9)], []] == [
        [(one.from_offset, one.to_offset) for one in record.sources] for record in records
    ]


def dead_letters(tally: CoverageTally) -> list[int | None]:
    """What the tally's next record counts of each source partition."""
    return [source.dead_letters for source in tally.take(60_000, 9).sources]


def test_a_dead_letter_counts_once() -> None:
    """However ingest was killed and flushed again what it had read, each record that could not be read counts once."""
    flushes = [
        [section(0, 5, dead=((1, 3),)), section(5, 9, dead=((5, 6),))],
        [section(0, 5, dead=((1, 3),)), section(0, 9, dead=((1, 3), (5, 6)))],
        [section(0, 2, dead=((1, 2),)), section(1, 7, dead=((1, 3), (5, 6))), section(0, 9, dead=((1, 3), (5, 6)))],
    ]
    for flushed in flushes:
        tally = CoverageTally(0, begin_offset=0)
        for offset, one in enumerate(flushed):
            tally.apply(offset, message(one), windows_judged=0)

        assert [3] == dead_letters(tally)


def test_a_dead_letter_counts_in_one_record() -> None:
    """One that the last record has already is not in the next, whoever writes that."""
    tally = CoverageTally(0, begin_offset=0)
    tally.apply(0, message(section(0, 5, dead=((1, 3),))), windows_judged=0)
    assert [2] == dead_letters(tally)

    tally.apply(9, message(section(2, 8, dead=((2, 3), (6, 8)))), windows_judged=0)

    assert [2] == dead_letters(tally)


def test_dead_letters_that_are_not_told_are_not_known() -> None:
    """Facts of an older format say nothing of them; where such facts bring no record, nothing is unknown."""
    tally = CoverageTally(0, begin_offset=0)
    tally.apply(0, message(section(0, 5, dead=((1, 3),)), section(0, 5, dead=None)), windows_judged=0)
    assert [2] == dead_letters(tally)

    tally.apply(9, message(section(5, 8, dead=None), section(8, 9, dead=((8, 9),))), windows_judged=0)

    assert [None] == dead_letters(tally)


def test_a_new_epoch_begins_where_it_begins() -> None:
    """A topic that was made again has offsets of its own, in the same record if need be."""
    tally = CoverageTally(0, begin_offset=0)

    tally.apply(0, message(section(50, 60), section(0, 3, epoch=2)), windows_judged=0)

    assert [(1, 50, 60), (2, 0, 3)] == [(one.epoch, one.from_offset, one.to_offset) for one in tally.take(5, 1).sources]


def test_an_ingest_that_was_replaced_says_nothing() -> None:
    """What an ingest of an older epoch still writes is not applied, so it is not covered either."""
    tally = CoverageTally(0, begin_offset=0)
    tally.apply(0, message(section(0, 5, epoch=2)), windows_judged=0)
    tally.take(1, 1)

    tally.apply(1, message(section(70, 80, epoch=1), section(5, 6, epoch=2)), windows_judged=0)

    assert [(2, 5, 6)] == [(one.epoch, one.from_offset, one.to_offset) for one in tally.take(5, 2).sources]


def test_a_record_is_due_each_minute_of_record_time() -> None:
    """The first as soon as the clock is known, then one a minute."""
    tally = CoverageTally(0, begin_offset=0)

    assert not tally.is_due(None)
    assert tally.is_due(0)
    tally.take(1_000, 1)
    assert not tally.is_due(60_999)
    assert tally.is_due(61_000)
