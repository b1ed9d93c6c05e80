"""The chain of counts records."""

from __future__ import annotations

import hashlib

from streams.sessions.counts import CountsKey, VerdictTally
from topics.records.verdicts import LEAVES_LIMIT, Counted, VerdictCounts, VerdictSums, encode

LEAF, BACK = bytes(31) + b"\1", bytes(31) + b"\2"
KEY = CountsKey(0, "r", "f", "live", 60_000)


def add(
    tally: VerdictTally, verdict: str, previous: str | None = None, excepted: int = 0, key: CountsKey = KEY
) -> None:
    """Add a verdict with its hashes."""
    is_about = verdict != "not_applicable"
    tally.add(
        key,
        verdict=verdict,
        previous=previous,
        excepted=excepted,
        leaf=LEAF if is_about else None,
        retraction=BACK if previous not in {None, "not_applicable"} else None,
    )


def taken(tally: VerdictTally, clock_ms: int = 70_000) -> list[VerdictCounts]:
    """Take the records of a step."""
    return [record for record, _ in tally.take(clock_ms)]


def test_amended_verdict_retracts_the_old_one() -> None:
    """Both are counted and hashed, without netting; an unchanged verdict adds nothing."""
    tally = VerdictTally(3)
    add(tally, "broken")
    add(tally, "held", "broken")
    add(tally, "held", "held")
    add(tally, "not_applicable", excepted=1)

    [record] = taken(tally)

    assert (3, 0, None, 0, "r", "f", "live", 60_000, 70_000) == (
        record.partition,
        record.seq,
        record.prev,
        record.generation,
        record.rule,
        record.rule_fingerprint,
        record.mode,
        record.minute_ms,
        record.clock_ms,
    )
    assert VerdictSums(held=1, broken=1, not_applicable=1, excepted=1) == record.added
    assert VerdictSums(broken=1) == record.taken_back
    assert (LEAF * 2, BACK) == (record.leaves, record.retractions)
    assert [] == taken(tally)


def test_exception_that_no_longer_applies() -> None:
    """It is retracted like a verdict, and has no hash of its own."""
    tally = VerdictTally(0)

    add(tally, "held", "not_applicable", excepted=-1)

    [record] = taken(tally)
    assert VerdictSums(held=1) == record.added
    assert VerdictSums(not_applicable=1, excepted=1) == record.taken_back
    assert (LEAF, b"") == (record.leaves, record.retractions)


def test_minutes_modes_and_generations_are_counted_separately() -> None:
    """Each minute in which chains began, each mode and each generation has its own record."""
    tally = VerdictTally(0)
    keys = [KEY, KEY._replace(minute_ms=120_000), KEY._replace(mode="shadow"), KEY._replace(generation=1)]
    for key in keys:
        add(tally, "held", key=key)

    records = taken(tally)

    assert [(0, "live", 60_000), (0, "live", 120_000), (0, "shadow", 60_000), (1, "live", 60_000)] == [
        (record.generation, record.mode, record.minute_ms) for record in records
    ]


def test_many_leaves_are_several_records() -> None:
    """No record exceeds the limit of hashes, each has those of what it counts, and each verdict counts once."""
    tally = VerdictTally(0)
    for at in range(2 * LEAVES_LIMIT + 1):
        add(tally, "held", "broken" if at % 2 else None)

    records = taken(tally)

    assert all(len(record.leaves) == 32 * record.added.applicable for record in records)
    assert all(len(record.leaves) + len(record.retractions) <= 32 * LEAVES_LIMIT for record in records)
    assert (2 * LEAVES_LIMIT + 1, LEAVES_LIMIT) == (
        sum(record.added.held for record in records),
        sum(record.taken_back.broken for record in records),
    )


def test_records_form_a_chain_across_workers() -> None:
    """Each record has the hash of the previous one, also when another worker continues from the stored state."""
    tally = VerdictTally(0)
    add(tally, "broken")
    add(tally, "held", key=KEY._replace(rule="s"))
    records = taken(tally)
    tally.note_signal(is_published=True)
    tally.note_signal(is_published=False)

    again = VerdictTally(0, tally.counted)
    add(again, "held", "broken")
    records += taken(again)

    assert [0, 1, 2] == [record.seq for record in records]
    hashes = [hashlib.sha256(encode(record)).hexdigest() for record in records]
    assert [None, *hashes[:2]] == [record.prev for record in records]
    assert again.counted == Counted(
        seq=3,
        head=hashes[2],
        added=VerdictSums(held=2, broken=1),
        taken_back=VerdictSums(broken=1),
        signals=1,
        withheld=1,
    )


def test_verdicts_of_an_earlier_reading_come_first() -> None:
    """Its records have the clock it had reached; those of the new reading follow."""
    tally = VerdictTally(0)
    add(tally, "held", key=KEY._replace(generation=1, minute_ms=0))
    add(tally, "undetermined")

    records = [record for record, _ in tally.take(5_000, {0: 80_000})]

    assert [(0, 80_000), (1, 5_000)] == [(record.generation, record.clock_ms) for record in records]
