"""The law: windows are a function of the source records, whatever happened to ingest and sessions on the way."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.window.close import Close
from streams.window.partition import Partition
from streams.window.session import Bounds, Judged
from streams.window.store import FORMAT, Identity, Store
from tests.properties import reference
from tests.properties.ingests import (
    LAST_TICK,
    OUT_OF_ORDER_MS,
    Deed,
    SourceRecord,
    arrivals,
    deeds,
    source_records,
    written,
)
from tests.streams.window.builders import TOPIC, Closed, closed
from topics.facts import TICK_MS, Facts

BOUNDS = Bounds(gap=8, lateness=20, max_duration=25)
COUNTED = {b"access": 3}
RULES = {"one": frozenset({"a"}), "two": frozenset({"a", "b"})}
IDENTITY = Identity(FORMAT, "cluster", "topic", "bounds")
SOURCES = 2
FAR_TICK = LAST_TICK + BOUNDS.gap + BOUNDS.max_duration + BOUNDS.lateness


@dataclass(frozen=True, slots=True)
class Judgement:
    """A close, which rules judged it, and how often its chain was judged."""

    close: Closed
    rules: frozenset[str]
    revision: int


def begun(store: Store | None = None) -> Partition:
    """The partition where the store left off, a new one without."""
    return Partition(
        (TOPIC,),
        BOUNDS,
        COUNTED,
        RULES.__getitem__,
        out_of_order_ms=OUT_OF_ORDER_MS,
        position=store.position() if store else None,
        chains=store.chains() if store else None,
    )


def judged(partition: Partition, offset: int, message: Facts) -> list[Judgement]:
    """What is said when the partition takes in a message."""
    return [judgement(partition, close) for close in partition.apply(offset, message)]


def judgement(partition: Partition, close: Close) -> Judgement:
    """Judges a close, and remembers in its chain that it did."""
    reach_ms = (BOUNDS.gap + BOUNDS.lateness) * TICK_MS
    rules = partition.rules.judging(RULES.__getitem__, chain_first_ms=close.chain_first_ms, reach_ms=reach_ms)
    before = close.chain.judged.get("a")
    revision = 1 if before is None or before.revision is None else before.revision + 1
    close.chain.judged["a"] = Judged("broken", revision, close.closed_ms)
    return Judgement(closed(close), rules, revision)


def step(partition: Partition, store: Store) -> None:
    """What sessions makes durable about every second."""
    store.write(partition.sessions.changed, partition.sessions.chains, partition.position())
    partition.sessions.changed.clear()


def state(partition: Partition) -> tuple[object, ...]:
    """All that decides what a partition will say of messages still to come."""
    sessions = partition.sessions
    return (
        partition.next_offset,
        partition.clock.now_ms,
        partition.clock.marks,
        partition.rules,
        sessions.chains,
        sessions.lost,
        sessions.applied_tick,
        sorted(sessions._waiting.items()),
    )


@dataclass(frozen=True, slots=True)
class Life:
    """A worker that stores a step at each of `steps` and dies at `stop`: offsets of the facts log, ascending."""

    steps: tuple[int, ...]
    stop: int


@st.composite
def lives(draw: st.DrawFn, length: int) -> list[Life]:
    """Workers one after the other, the last of which reads to the end."""
    offsets = st.lists(st.integers(0, length), min_size=1, max_size=5).map(sorted)
    drawn = draw(st.lists(offsets, min_size=1, max_size=4).map(sorted))
    return [*[Life(tuple(at[:-1]), at[-1]) for at in drawn], Life((), length)]


lawful_sources = st.lists(source_records(most_back_ms=OUT_OF_ORDER_MS), min_size=SOURCES, max_size=SOURCES)
all_sources = st.lists(source_records(most_back_ms=10 * OUT_OF_ORDER_MS), min_size=SOURCES, max_size=SOURCES)


@given(lawful_sources, deeds(SOURCES, everything=False))
def test_batches_make_no_difference(sources: list[list[SourceRecord]], done: list[Deed]) -> None:
    """Batches, splits, interleaving and flushes that were sent again: the closes are those of the source records."""
    log = written(sources, done, grown=True)
    partition = begun()

    found = [said.close for offset, message in enumerate(log) for said in judged(partition, offset, message)]

    assert reference.closes(arrivals(sources), BOUNDS, COUNTED, FAR_TICK) == found
    assert {} == partition.sessions.chains


@given(all_sources, deeds(SOURCES, everything=True), st.booleans(), st.data())
@settings(deadline=None)
def test_stored_state_and_rereading(
    sources: list[list[SourceRecord]],
    done: list[Deed],
    grown: bool,  # noqa: FBT001, Hypothesis draws it
    data: st.DataObject,
) -> None:
    """Stopped anywhere, a worker goes on from its store and the facts log as if it had never stopped.

    It says again what it had said since its last step, and nothing else; it ends in the same state.
    """
    log = written(sources, done, grown=grown)
    lived = data.draw(lives(len(log)))
    whole = begun()
    said = [judged(whole, offset, message) for offset, message in enumerate(log)]

    with tempfile.TemporaryDirectory() as directory, Store(Path(directory) / "store", IDENTITY) as store:
        last, found = lived_through(log, lived, store)

    assert said_by(said, lived) == found
    assert state(whole) == state(last)


def lived_through(log: list[Facts], lived: list[Life], store: Store) -> tuple[Partition, list[Judgement]]:
    """The last worker, and what all of them said."""
    said: list[Judgement] = []
    for life in lived:
        partition = begun(store)
        # Kafka may begin earlier than was asked for.
        read = iter(range(max(0, partition.next_offset - 1), len(log)))
        for stored_at in life.steps:
            said += taken_in(partition, log, read, stored_at)
            step(partition, store)
        said += taken_in(partition, log, read, life.stop)
    return partition, said


def taken_in(partition: Partition, log: list[Facts], read: Iterator[int], until: int) -> list[Judgement]:
    """What the partition says of the messages up to offset `until`, the ones that were not read yet."""
    said: list[Judgement] = []
    while partition.next_offset < until:
        offset = next(read)
        said += judged(partition, offset, log[offset])
    return said


def said_by(said: list[list[Judgement]], lived: list[Life]) -> list[Judgement]:
    """What the workers must say: each of them what comes after the last step of those before it."""
    stored, found = 0, list[Judgement]()
    for life in lived:
        found += [one for each in said[stored : life.stop] for one in each]
        stored = max(stored, *life.steps, 0)
    return found
