"""The law: windows are a function of the source records, whatever happened to ingest and sessions on the way."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.windows.chain import Bounds, LastVerdict
from streams.windows.close import Close
from streams.windows.partition import Partition
from streams.windows.positions import Position
from streams.windows.reorder import Arrival, ReorderBuffer
from streams.windows.rocksdb import FORMAT, Identity, Store
from streams.windows.sessions import Sessions
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
from tests.support.builders import TOPIC, Closed, closed
from tests.support.disk import Disk
from topics.records.facts import TICK_MS, Facts

BOUNDS = Bounds(gap=8, lateness=20, max_duration=25)
COUNTED = {b"access": 3}
RULES = {"one": frozenset({"a"}), "two": frozenset({"a", "b"})}
IDENTITY = Identity(FORMAT, "cluster", "topic", "bounds")
SOURCES = 2
MEMORY_BYTES = (0, 600, 3_000)
HISTORIES = min(10 * settings().max_examples, 10_000)
FAR_TICK = LAST_TICK + BOUNDS.gap + BOUNDS.max_duration + BOUNDS.lateness


@dataclass(frozen=True, slots=True)
class Judgement:
    """A close, which rules judged it, and how often its chain was judged."""

    close: Closed
    rules: frozenset[str]
    revision: int


def begun(store: Store | Disk | None = None, position: Position | None = None) -> Partition:
    """The partition where the store left off; where a position without its store lets it; a new one without both."""
    sessions = Sessions(BOUNDS, COUNTED, store)
    stored = store.position() if store else None
    if store and stored:
        sessions.restore(store)
        position = stored
    elif position:
        position = position.without_local_state()
    if position:
        sessions.restore_position(position.ended_chains, position.long_presences, has_store=stored is not None)
    return Partition(
        (TOPIC,),
        sessions,
        RULES.__getitem__,
        out_of_order_ms=OUT_OF_ORDER_MS,
        position=position or Position.initial(0),
    )


def judged(partition: Partition, offset: int, message: Facts) -> list[Judgement]:
    """What is said when the partition takes in a message."""
    return [judgement(partition, close) for close in partition.apply(offset, message)]


def judgement(partition: Partition, close: Close) -> Judgement:
    """Judges a close, and remembers in its chain that it did."""
    reach_ms = (BOUNDS.gap + BOUNDS.lateness) * TICK_MS
    rules = partition.rules.judging(RULES.__getitem__, chain_first_ms=close.known_from_ms, reach_ms=reach_ms)
    before = close.chain.last_verdicts.get("a")
    revision = 1 if before is None or before.revision is None else before.revision + 1
    close.chain.last_verdicts["a"] = LastVerdict("broken", revision, close.closed_ms)
    return Judgement(closed(close), rules, revision)


def step(partition: Partition, store: Store | Disk, *, evicts: bool = False) -> Position:
    """What sessions makes durable about every second; the position is on `betrace.checkpoints` too.

    `evicts`: all windows are to leave, because they take too much disk.
    """
    if evicts:
        partition.evict()
    position = partition.position()
    store.write(partition.sessions.chains, position, partition.sessions.presences)
    # Nothing stays in memory, or some of it does.
    partition.sessions.cool(MEMORY_BYTES[partition.next_offset % len(MEMORY_BYTES)])
    partition.sessions.buffer.spill(0)
    return msgspec.msgpack.decode(msgspec.msgpack.encode(position), type=Position)


def state(partition: Partition) -> tuple[object, ...]:
    """All that decides what a partition will say of messages still to come."""
    sessions = partition.sessions
    return (
        partition.next_offset,
        (partition.clock.now_ms, partition.clock.progress, partition.clock.generation),
        partition.rules,
        {trace_id: sessions.chains.get(trace_id) for trace_id in sessions.chains},
        sessions.open_windows,
        {trace_id: presence(sessions, trace_id) for trace_id in sessions.presences},
        sessions.lost,
        sessions.applied_tick,
        waits(sessions.buffer),
    )


def presence(sessions: Sessions, trace_id: bytes) -> tuple[int, int, int, bool]:
    """Since when a trace is there; the tick at which that is looked at next decides nothing."""
    known = sessions.presences.get(trace_id)
    assert known is not None
    return known.since, known.last, known.first_offset, known.is_old


def waits(waiting: ReorderBuffer) -> list[tuple[int, int, list[Arrival], bytes]]:
    """What waits, wherever it is; it waits on."""
    found = [(tick, at.facts_offset, at.arrivals, bytes(at.touches)) for tick, at in waiting.take()]
    for tick, facts_offset, arrived, touches in found:
        for arrival in arrived:
            waiting.add(tick, arrival, facts_offset)
        if touches:
            waiting.add_touches(tick, touches, facts_offset)
    return [
        (tick, facts_offset, sorted(arrived, key=msgspec.msgpack.encode), touches)
        for tick, facts_offset, arrived, touches in found
    ]


@dataclass(frozen=True, slots=True)
class Life:
    """A worker that stores a step at each of `steps` and dies at `stop`: offsets of the facts log, ascending.

    With `is_bare` it begins without the store of those before it. At its last step it `evicts`.
    """

    steps: tuple[int, ...]
    stop: int
    is_bare: bool = False
    evicts: bool = False


@st.composite
def lives(draw: st.DrawFn, length: int) -> list[Life]:
    """Workers one after the other, the last of which reads to the end."""
    offsets = st.lists(st.integers(0, length), min_size=1, max_size=5).map(sorted)
    drawn = draw(st.lists(offsets, min_size=1, max_size=4).map(sorted))
    bare = st.booleans()
    evicts = st.integers(0, 3).map(lambda number: number == 0)
    return [*[Life(tuple(at[:-1]), at[-1], draw(bare), draw(evicts)) for at in drawn], Life((), length, draw(bare))]


gone = st.just([0] * SOURCES) | st.lists(st.integers(0, 6), min_size=SOURCES, max_size=SOURCES)
lawful_sources = st.lists(source_records(most_back_ms=OUT_OF_ORDER_MS), min_size=SOURCES, max_size=SOURCES)
all_sources = st.lists(source_records(most_back_ms=10 * OUT_OF_ORDER_MS), min_size=SOURCES, max_size=SOURCES)


@given(lawful_sources, deeds(SOURCES, everything=False))
def test_batches_make_no_difference(sources: list[list[SourceRecord]], done: list[Deed]) -> None:
    """Batches, splits, interleaving and flushes that were sent again: the closes are those of the source records."""
    log = written(sources, done, grown=True)
    partition = begun()

    found = [said.close for offset, message in enumerate(log) for said in judged(partition, offset, message)]

    assert reference.closes(arrivals(sources), BOUNDS, COUNTED, FAR_TICK) == found
    assert [] == list(partition.sessions.chains)


@pytest.mark.timeout(1800)
@given(all_sources, deeds(SOURCES, everything=True), st.booleans(), st.data())
@settings(max_examples=HISTORIES)
def test_stored_state_and_rereading(
    sources: list[list[SourceRecord]],
    done: list[Deed],
    grown: bool,  # noqa: FBT001, Hypothesis draws it
    data: st.DataObject,
) -> None:
    """Stopped anywhere, a worker goes on from its store and the facts log as if it had never stopped.

    It says again what it had said since the last step, and nothing else; it ends in the same state.
    """
    log = written(sources, done, grown=grown, gone=data.draw(gone))
    lived = data.draw(lives(len(log)))
    disk = Disk()

    last, found, evictions = lived_through(log, lived, disk.opened, disk.clear)

    whole, said = uninterrupted(log, evictions)
    assert said_by(said, lived) == found
    assert state(whole) == state(last)


@given(all_sources, deeds(SOURCES, everything=True), st.data())
def test_stored_state_on_a_real_disk(sources: list[list[SourceRecord]], done: list[Deed], data: st.DataObject) -> None:
    """It is so with RocksDB too."""
    log = written(sources, done, grown=True, gone=data.draw(gone))
    lived = data.draw(lives(len(log)))

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "store"
        last, found, evictions = lived_through(
            log, lived, lambda: Store(path, IDENTITY), lambda: shutil.rmtree(path, ignore_errors=True)
        )

    whole, said = uninterrupted(log, evictions)
    assert said_by(said, lived) == found
    assert state(whole) == state(last)


def lived_through(
    log: list[Facts],
    lived: list[Life],
    opened: Callable[[], AbstractContextManager[Store | Disk]],
    cleared: Callable[[], None],
) -> tuple[Partition, list[Judgement], set[int]]:
    """The last worker, what all of them said, and before which messages windows had to leave.

    None leave before a message that an earlier worker took in: what it said of that was never published.
    """
    said: list[Judgement] = []
    evictions: set[int] = set()
    position: Position | None = None
    reached = 0
    for number, life in enumerate(lived):
        if life.is_bare:
            cleared()
        with opened() as store:
            partition = begun(store, position)
            published_to = 0 if position is None else position.next_offset
            # Kafka may begin earlier than was asked for.
            read = iter(range(max(0, partition.next_offset - 1), len(log)))
            for stored_at in life.steps:
                said += taken_in(partition, log, read, stored_at, published_to)
                if partition.next_offset >= published_to:
                    is_new = not partition.is_recovering and partition.next_offset >= reached
                    evicts = life.evicts and stored_at == life.steps[-1] and is_new
                    evictions |= {partition.next_offset} if evicts else set()
                    position = step(partition, store, evicts=evicts)
                else:
                    partition.add_resume_point()
            said += taken_in(partition, log, read, life.stop, published_to)
            reached = max(reached, partition.next_offset)
            if number == len(lived) - 1:
                hold(partition)
    return partition, said, evictions


def uninterrupted(log: list[Facts], evictions: set[int]) -> tuple[Partition, list[list[Judgement]]]:
    """A worker that never stops, from which all windows leave before these messages, and what it says by each."""
    partition = begun()
    said = []
    for offset, message in enumerate(log):
        if offset in evictions:
            partition.evict()
        said.append(judged(partition, offset, message))
    return partition, said


def hold(partition: Partition) -> None:
    """Everything is in memory, for when the store is closed."""
    for trace_id in partition.sessions.chains:
        partition.sessions.chains.get(trace_id)
    for trace_id in partition.sessions.presences:
        partition.sessions.presences.get(trace_id)
    waits(partition.sessions.buffer)


def taken_in(
    partition: Partition, log: list[Facts], read: Iterator[int], until: int, published_to: int
) -> list[Judgement]:
    """What the partition says of the messages up to offset `until` that were not read yet, nothing twice."""
    said: list[Judgement] = []
    while partition.next_offset < until:
        offset = next(read)
        found = judged(partition, offset, log[offset])
        said += found if offset >= published_to else []
    return said


def said_by(said: list[list[Judgement]], lived: list[Life]) -> list[Judgement]:
    """What the workers must say: each of them what comes after the last step of those before it."""
    stored, found = 0, list[Judgement]()
    for life in lived:
        found += [one for each in said[stored : life.stop] for one in each]
        stored = max([stored, *life.steps])
    return found
