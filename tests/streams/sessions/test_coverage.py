"""The coverage records of sessions."""

from __future__ import annotations

import msgspec

from dsl import RuleSet, compile_texts
from streams.evidence.ledger.seal_summary import CoverageContinuity
from streams.sessions.coverage import CoverageTally, Covered, Judging, judging_rules
from topics.records.facts import VERSION, Entry, Facts, Section, Touch, pack_touches
from topics.records.verdicts import SERVICES_LIMIT, Counted, JudgingRule, judging_hash


def judging(clock_ms: int, generation: int = 0, settled_ms: int | None = None, *rules: JudgingRule) -> Judging:
    """Return how far a partition has judged."""
    settled_ms = clock_ms if settled_ms is None else settled_ms
    return Judging(
        generation=generation,
        clock_ms=clock_ms,
        settled_ms=settled_ms,
        final_ms=settled_ms,
        rules=rules,
        counted=Counted(),
    )


def message(*sections: Section, rules: str = "s") -> Facts:
    """Create a facts message."""
    return Facts(version=VERSION, rules=rules, sections=[*sections])


def section(
    begin: int,
    end: int,
    *,
    epoch: int = 1,
    partition: int = 0,
    lost: tuple[tuple[int, int], ...] = (),
    dead: tuple[tuple[int, int], ...] | None = (),
) -> Section:
    """Create a section with an entry and a touch of a trace each; `dead` are its dead letters."""
    entry = Entry(f"{begin:016}".encode(), begin, begin, 5, 1, root_seen=False, facts=[])
    touch = Touch(f"{end:016}".encode(), 5, 1)
    letters = None if dead is None else [*dead]
    packed = pack_touches([touch])
    return Section(
        topic="spans",
        partition=partition,
        epoch=epoch,
        replay=0,
        start_ms=None,
        partition_count=1,
        from_offset=begin,
        to_offset=end,
        watermark_ms=None,
        lost=[*lost],
        touches=packed,
        entries=[entry],
        dead_letters=letters,
    )


def test_record_covers_what_was_applied() -> None:
    """Offsets span all sections, overlaps and repeated losses count once, and each trace is estimated once."""
    tally = CoverageTally(2, begin_offset=10)
    tally.apply(10, message(section(0, 5), section(3, 9, partition=1)), windows_judged=2)
    tally.apply(11, message(section(3, 8, lost=((3, 4), (6, 7))), rules="t"), windows_judged=1)
    tally.apply(12, message(section(3, 8, lost=((6, 7),))), windows_judged=0)

    record = tally.take(judging(60_000), 13)

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


def test_services_of_a_record() -> None:
    """A record has the services of the messages since the previous one: unique, sorted, limited in number."""
    tally = CoverageTally(0, begin_offset=0)
    for offset, names in enumerate((["shop", "cart"], ["cart", "iam"])):
        tally.apply(offset, msgspec.structs.replace(message(section(offset, offset + 1)), services=names), 0)
    few = tally.take(judging(60_000), 2)
    names = [f"s{number:04}" for number in range(SERVICES_LIMIT + 1)]
    tally.apply(2, msgspec.structs.replace(message(section(2, 3)), services=names), 0)
    many = tally.take(judging(120_000), 3)
    tally.apply(3, msgspec.structs.replace(message(section(3, 4)), services=["a"], has_more_services=True), 0)
    more = tally.take(judging(180_000), 4)
    none = tally.take(judging(240_000), 4)

    assert (["cart", "iam", "shop"], False) == (few.services, few.has_more_services)
    assert (names[:SERVICES_LIMIT], True) == (many.services, many.has_more_services)
    assert (["a"], True) == (more.services, more.has_more_services)
    assert ([], False) == (none.services, none.has_more_services)


def test_records_follow_one_another_after_a_take_over() -> None:
    """A worker that has only the end of the last record, and reads older facts again, leaves no gap and no overlap."""
    first = CoverageTally(0, begin_offset=0)
    first.apply(0, message(section(0, 5)), windows_judged=1)
    records = [first.take(judging(60_000), 1)]
    first.apply(1, message(section(5, 9)), windows_judged=4)
    remembered = msgspec.msgpack.decode(msgspec.msgpack.encode(first.current), type=Covered)

    second = CoverageTally(0, begin_offset=0, covered=remembered)
    second.apply(0, message(section(0, 5)), windows_judged=0)
    second.apply(1, message(section(5, 9)), windows_judged=0)
    records += [second.take(judging(120_000), 2), second.take(judging(180_000), 2)]

    continuity = CoverageContinuity()
    assert [] == [gap for record in records for gap in continuity.gaps(record)]
    assert [1, 4, 0] == [record.windows_judged for record in records]
    assert [[(0, 5)], [(5, 9)], []] == [
        [(one.from_offset, one.to_offset) for one in record.sources] for record in records
    ]


def dead_letters(tally: CoverageTally) -> list[int | None]:
    """Return what the next record counts of each source partition."""
    return [source.dead_letters for source in tally.take(judging(60_000), 9).sources]


def test_a_dead_letter_counts_once() -> None:
    """However often ingest was killed and flushed again, each unreadable record counts once."""
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
    """One that the last record has is not in the next, whichever worker writes it."""
    tally = CoverageTally(0, begin_offset=0)
    tally.apply(0, message(section(0, 5, dead=((1, 3),))), windows_judged=0)
    assert [2] == dead_letters(tally)

    tally.apply(9, message(section(2, 8, dead=((2, 3), (6, 8)))), windows_judged=0)

    assert [2] == dead_letters(tally)


def test_dead_letters_of_an_older_format_are_unknown() -> None:
    """Facts of an older format do not have them; if such facts contain no record, nothing is unknown."""
    tally = CoverageTally(0, begin_offset=0)
    tally.apply(0, message(section(0, 5, dead=((1, 3),)), section(0, 5, dead=None)), windows_judged=0)
    assert [2] == dead_letters(tally)

    tally.apply(9, message(section(5, 8, dead=None), section(8, 9, dead=((8, 9),))), windows_judged=0)

    assert [None] == dead_letters(tally)


def test_new_epoch_has_its_own_offsets() -> None:
    """A recreated topic has its own offsets, in the same record if necessary."""
    tally = CoverageTally(0, begin_offset=0)

    tally.apply(0, message(section(50, 60), section(0, 3, epoch=2)), windows_judged=0)

    assert [(1, 50, 60), (2, 0, 3)] == [
        (one.epoch, one.from_offset, one.to_offset) for one in tally.take(judging(5), 1).sources
    ]


def test_sections_of_a_replaced_ingest_are_not_covered() -> None:
    """Sections of an older epoch are not applied, so they are not covered either."""
    tally = CoverageTally(0, begin_offset=0)
    tally.apply(0, message(section(0, 5, epoch=2)), windows_judged=0)
    tally.take(judging(1), 1)

    tally.apply(1, message(section(70, 80, epoch=1), section(5, 6, epoch=2)), windows_judged=0)

    assert [(2, 5, 6)] == [(one.epoch, one.from_offset, one.to_offset) for one in tally.take(judging(5), 2).sources]


def test_a_record_is_due_each_minute_of_record_time() -> None:
    """The first is due as soon as the clock is known, then one a minute."""
    tally = CoverageTally(0, begin_offset=0)

    assert not tally.is_due(None, 0)
    assert tally.is_due(0, 0)
    tally.take(judging(1_000), 1)
    assert not tally.is_due(60_999, 0)
    assert tally.is_due(61_000, 0)


def test_a_record_is_due_when_other_rules_judge() -> None:
    """A record with two rule sets ends with the step in which the second appeared."""
    tally = CoverageTally(0, begin_offset=0)
    tally.apply(0, message(rules="s"), windows_judged=0)
    tally.take(judging(1_000), 1)

    tally.apply(1, message(rules="t"), windows_judged=0)

    assert tally.is_due(1_001, 0)
    tally.take(judging(1_001), 2)
    tally.apply(2, message(rules="t"), windows_judged=0)
    assert not tally.is_due(1_002, 0)


def test_rules_are_listed_once_an_hour_and_when_they_change() -> None:
    """Records in between have the hash of the list; a worker that takes over lists them once more."""
    one, other = JudgingRule("r", "f", "live", 5), JudgingRule("r", "g", "live", 9)
    tally = CoverageTally(0, begin_offset=0)

    records = [
        tally.take(judging(at, 0, None, rule), 0)
        for at, rule in ((0, one), (60_000, one), (120_000, other), (3_600_000, other))
    ]

    assert [[one], None, [other], [other]] == [record.rules for record in records]
    assert [judging_hash([rule]) for rule in (one, one, other, other)] == [record.judging for record in records]
    again = CoverageTally(0, begin_offset=0, covered=tally.covered)
    assert [other] == again.take(judging(3_660_000, 0, None, other), 0).rules


def test_first_record_of_another_reading() -> None:
    """Its first record continues in the facts, starts over in time, and is complete from a source's latest start."""
    tally = CoverageTally(0, begin_offset=0)
    tally.apply(0, message(section(0, 5)), windows_judged=1)
    tally.take(judging(900_000), 1)
    tally.apply(1, message(replayed(0, 5, start_ms=400), replayed(0, 3, start_ms=700, partition=1)), windows_judged=2)
    due = tally.is_due(1_000, 1)

    record = tally.take(judging(1_000, 1), 2)
    later = tally.take(judging(61_000, 1, 60_500), 3)

    assert due
    assert (1, 77, 700, None, 1_000, None) == (
        record.generation,
        record.reset_ms,
        record.start_ms,
        record.from_ms,
        record.to_ms,
        record.settled_from_ms,
    )
    assert (1, 77, 700, 1_000, 61_000, 1_000, 60_500) == (
        later.generation,
        later.reset_ms,
        later.start_ms,
        later.from_ms,
        later.to_ms,
        later.settled_from_ms,
        later.settled_to_ms,
    )


def replayed(begin: int, end: int, *, start_ms: int, partition: int = 0) -> Section:
    """Create a section of a source partition that is read again."""
    return Section(
        topic="spans",
        partition=partition,
        epoch=1,
        replay=77,
        start_ms=start_ms,
        partition_count=2,
        from_offset=begin,
        to_offset=end,
        watermark_ms=None,
        lost=[],
        touches=b"",
        entries=[],
        dead_letters=[],
    )


RULES = """
rules:
  - id: a
    kind: pattern
    condition: pii.access
  - id: b
    mode: %s
    kind: pattern
    condition: audit.log
"""


def test_rules_are_listed_with_their_start() -> None:
    """Rules are listed with the time from which they judge; one whose mode has just changed is not listed."""
    live, shadow = (compiled(RULES % mode) for mode in ("live", "shadow"))
    prints = {rule.id: rule.fingerprint for rule in live.rules}

    one = judging_rules([live], {prints["a"]: 5, prints["b"]: 900}, 7)
    two = judging_rules([live, shadow], {prints["a"]: 5, prints["b"]: 900}, 0)
    none = judging_rules([live], {}, 0)

    assert [JudgingRule("a", prints["a"], "live", 7), JudgingRule("b", prints["b"], "live", 900)] == one
    assert [JudgingRule("a", prints["a"], "live", 5)] == two
    assert [] == none


def compiled(text: str) -> RuleSet:
    """Compile the rules in a text."""
    rules, _ = compile_texts({"rules.yaml": text})
    return rules
