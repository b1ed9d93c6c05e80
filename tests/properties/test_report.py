"""What a report says is what a recount of the source by hand says, whatever happened on the way."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.evidence.ledger.findings import Fault
from streams.evidence.report.model import RuleReport
from tests.support.lifetime import SETS, Lifetime, recount
from topics.records.facts import TICK_MS
from topics.records.verdicts import MINUTE_MS

HISTORIES = max(200, settings().max_examples)

Deed = tuple[str, object, object, object]
"""What is done, and with what; see `do`."""

MOST_RECORDS = 4
"""Of a trace."""

arrivals = st.tuples(st.just("arrival"), st.integers(0, 3), st.integers(0, 40), st.booleans())
deeds = st.one_of(
    arrivals,
    arrivals,
    arrivals,
    arrivals.map(lambda arrival: ("lost arrival", *arrival[1:])),
    st.tuples(st.just("wait"), st.integers(0, 400), st.none(), st.none()),
    st.tuples(st.just("push"), st.sampled_from(sorted(SETS)), st.none(), st.none()),
    st.tuples(st.just("reset"), st.integers(0, 2_000), st.integers(1, 5), st.none()),
    st.tuples(st.just("crash"), st.booleans(), st.none(), st.none()),
    st.tuples(st.just("step"), st.none(), st.none(), st.none()),
    st.tuples(st.just("step"), st.none(), st.none(), st.none()),
)


def do(life: Lifetime, deed: Deed) -> None:
    """Does it."""
    match deed:
        case "arrival", int(back), int(ticks), bool(is_audited):
            arrive(life, back, ticks, is_audited=is_audited)
        case "lost arrival", int(back), int(ticks), bool(is_audited):
            arrive(life, back, ticks, is_audited=is_audited, is_lost=True)
        case "wait", int(ticks), _, _:
            life.wait(ticks)
        case "push", str(name), _, _:
            life.push(name)
        case "reset", int(ticks), int(count), _:
            # Ingest reads a part at first.
            life.reset(max(0, life.tick - ticks))
            life.read(count)
        case "crash", bool(is_bare), _, _:
            life.crash(is_bare=is_bare)
        case _:
            life.step()


def arrive(life: Lifetime, back: int, ticks: int, *, is_audited: bool, is_lost: bool = False) -> None:
    """A record of one of the latest traces, or of a new one, comes after some time, or is lost."""
    life.tick += ticks
    newest = max((record.trace for record in life.log), default=0)
    number = max(newest + 1 - back, 1)
    # No chain of these tests is as long as one may be.
    if sum(record.trace == number for record in life.log) >= MOST_RECORDS:
        number = newest + 1
    life.write(number, "pii.access", "agent.tool", *(("audit.log",) if is_audited else ()), is_lost=is_lost)


@given(st.lists(deeds, max_size=40), st.sampled_from((1, 2)), st.integers(0, 4), st.integers(1, 5))
@settings(max_examples=HISTORIES, deadline=None)
def test_a_report_says_what_a_recount_says(done: list[Deed], partitions: int, begin: int, length: int) -> None:
    """Of what a rule judged as a whole the figures are those of the source; of nothing are there more than there were.

    Rules were pushed, rolled back and made shadow, offsets reset, input lost, workers killed.
    """
    life = Lifetime(facts_partitions=partitions)
    for deed in done:
        do(life, deed)
    life.end()

    report = life.report(begin * MINUTE_MS, (begin + length) * MINUTE_MS)

    # What is lost is told of, and nothing else.
    faults = {Fault.GAP} if any(record.is_lost for record in life.log) else set()
    assert faults == {finding.fault for finding in life.findings()}
    for rule in report.rules:
        check(life, rule, begin * MINUTE_MS, (begin + length) * MINUTE_MS)
        for time in rule.judged.times:
            from_ms, to_ms = -(-time.from_ms // MINUTE_MS) * MINUTE_MS, time.to_ms // MINUTE_MS * MINUTE_MS
            if from_ms < to_ms:
                [part] = [one for one in life.report(from_ms, to_ms).rules if one.id == rule.id]
                assert part.judged.judged_ms == to_ms - from_ms
                check(life, part, from_ms, to_ms)


def check(life: Lifetime, rule: RuleReport, from_ms: int, to_ms: int) -> None:
    """Compares what is said of a rule in a period."""
    held, broken = recount(life.log, rule.id, [(from_ms, to_ms)])
    is_lossless = not any(record.is_lost for record in life.log)
    is_judged = rule.judged.judged_ms == to_ms - from_ms
    if rule.is_whole or (is_judged and is_lossless):
        assert (held, broken) == (rule.counts.held, rule.counts.broken)
    elif is_judged:
        # Of a chain of which a record is lost it is not said which of the two it is.
        assert rule.counts.held <= held
        assert rule.counts.broken <= broken
    assert rule.is_proven <= (broken == 0 and held > 0)
    if is_lossless:
        assert rule.applicable <= held + broken
    if "applied to no trace" in rule.statement:
        times = [(time.from_ms, time.to_ms) for time in rule.judged.times]
        assert (0, 0) == recount(life.log, rule.id, times)
    assert all(time.to_ms <= life.tick * TICK_MS for time in rule.judged.times)
