"""With a limit of signals a rule has one summary for an hour, whatever happened to the workers on the way."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.lifetime import Lifetime
from topics.records.facts import TICK_MS
from topics.signals.digest import Digest
from topics.signals.finding import HOUR_MS

HISTORIES = max(30, settings().max_examples)
HOUR_TICKS = HOUR_MS // TICK_MS
PARTITIONS = 3

Deed = tuple[str, int, int]
"""What is done, and with what; see `do`."""

arrivals = st.tuples(st.just("arrival"), st.integers(1, 200), st.sampled_from((0, 0, 1, 40, 3_000)))
numbers = st.integers(0, PARTITIONS - 1)
deeds = st.one_of(
    arrivals,
    arrivals,
    arrivals,
    arrivals,
    st.tuples(st.just("wait"), st.sampled_from((100, 10_000, HOUR_TICKS)), st.just(0)),
    st.tuples(st.sampled_from(("crash", "crash before commit", "crash after commit")), numbers, st.integers(0, 1)),
    st.tuples(st.just("step"), numbers, st.just(0)),
    st.tuples(st.just("ask"), numbers, st.just(0)),
)
DISTURBING = frozenset({"crash", "crash before commit", "crash after commit", "step", "ask"})
COUNT = re.compile(r"([\d,]+) signals? of this rule w(?:as|ere) withheld")


def do(life: Lifetime, deed: Deed) -> None:
    """Does it."""
    name, number, more = deed
    match name:
        case "arrival":
            life.tick += more
            life.write(number, "pii.access")
        case "wait":
            life.wait(number)
        case "reset":
            life.reset(number)
            life.read()
        case "step":
            life.step_one(number)
        case "ask":
            life.ask(number)
        case _:
            life.crash_one(
                number,
                is_bare=bool(more),
                prepared=name == "crash before commit",
                committed=name.endswith("after commit"),
            )


def lived(done: Sequence[Deed], limit: int | None) -> list[Digest]:
    """What is on the signals topic when every hour is over and every summary was published."""
    life = Lifetime(facts_partitions=PARTITIONS, signals_per_hour=limit)
    for deed in done:
        do(life, deed)
    for _ in range(3):
        life.wait(2 * HOUR_TICKS)
        for number in range(PARTITIONS):
            life.step_one(number)
        for number in range(PARTITIONS):
            life.ask(number)
    assert 0 == life.withheld()
    life.seal()
    assert [] == life.findings()
    return life.signals()


def withheld(signals: Sequence[Digest]) -> int:
    """How many signals the summaries say were withheld."""
    return sum(int(found[1].replace(",", "")) for said in signals if (found := COUNT.match(said.message)))


def published(signals: Sequence[Digest]) -> int:
    """How many first signals of a finding there are."""
    return sum(said.revision == 1 and not COUNT.match(said.message) for said in signals)


def told(signals: Sequence[Digest]) -> Counter[tuple[str, int, str, int | None, str]]:
    """What receivers compare."""
    return Counter((said.uid, said.revision, said.verdict, said.first_ms, said.message) for said in signals)


@given(st.lists(deeds, max_size=60), st.integers(1, 7))
@settings(max_examples=HISTORIES, deadline=None)
def test_summaries_follow_from_the_records_alone(done: list[Deed], limit: int) -> None:
    """Whoever is killed and takes over, and whenever: the same signals and summaries go out, each once.

    Of each hour there is one summary where the limit withheld something, and it says how much.
    """
    undisturbed = [deed for deed in done if deed[0] not in DISTURBING]

    signals = lived(done, limit)

    assert told(lived(undisturbed, limit)) == told(signals)
    assert {1} >= set(told(signals).values())
    assert published(lived(undisturbed, None)) == published(signals) + withheld(signals)
    hours = Counter(said.time_ms // HOUR_MS for said in signals if said.revision == 1)
    summaries = Counter(said.time_ms // HOUR_MS for said in signals if COUNT.match(said.message))
    assert all(hours[hour] - summaries[hour] <= max(limit, PARTITIONS) for hour in hours)
    assert {1} >= set(summaries.values())


@given(st.lists(deeds, max_size=40), st.lists(deeds, max_size=40), st.integers(0, HOUR_TICKS), st.integers(1, 7))
@settings(max_examples=HISTORIES, deadline=None)
def test_what_is_read_again_is_summed_up_again(before: list[Deed], after: list[Deed], tick: int, limit: int) -> None:
    """With a reset on the way nothing is lost: as many signals are published and summed up as without a limit."""
    done = [*before, ("reset", tick, 0), *after]

    signals = lived(done, limit)

    assert published(lived(done, None)) == published(signals) + withheld(signals)
