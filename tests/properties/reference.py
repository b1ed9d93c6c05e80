"""Windows the slow way: every record is kept, and every tick is looked at.

In: all arrivals of all traces. Out: what must close, in order. It shares no code with `streams.windows.sessions`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

import msgspec

from dsl.judge.events import span_identity
from streams.windows.chain import Bounds
from streams.windows.close import CloseReason
from streams.windows.facts import WITNESS_COUNT, AtomFacts, WitnessedSpan
from tests.support.builders import Closed, remembered
from topics.records.facts import TICK_MS, Fact


@dataclass(frozen=True, slots=True)
class Record:
    """A record of a trace arrives in a tick; without facts it is a touch."""

    trace: bytes
    tick: int
    facts: tuple[Fact, ...]


@dataclass(slots=True)
class _Life:
    """One trace: its chain's first and last tick, its open window, all facts of the chain."""

    first: int
    last: int
    headless: bool
    ended: bool = False
    window: tuple[int, int] | None = None
    facts: list[tuple[int, Fact]] = field(default_factory=list)


def closes(records: Iterable[Record], bounds: Bounds, counted: dict[bytes, int], until: int) -> list[Closed]:
    """All that closes up to tick `until`, by time, then by trace."""
    traces: dict[bytes, list[Record]] = {}
    for record in records:
        traces.setdefault(record.trace, []).append(record)
    found = [at for trace, arrived in traces.items() for at in _of_trace(trace, arrived, bounds, counted, until)]
    return [close for _, close in sorted(found, key=lambda at: (at[0], at[1].trace))]


def _of_trace(
    trace: bytes, records: list[Record], bounds: Bounds, counted: dict[bytes, int], until: int
) -> Iterator[tuple[int, Closed]]:
    life: _Life | None = None
    for tick in range(until + 1):
        if life is not None:
            reason = _due(life, bounds, tick)
            if reason is not None and life.window is not None:
                yield tick, _closed(trace, life, reason, tick, counted)
                life.window = None
            life = _aged(life, bounds, tick)
        for record in sorted((at for at in records if at.tick == tick), key=lambda at: not at.facts):
            life = _arrived(life, record)


def _due(life: _Life, bounds: Bounds, tick: int) -> CloseReason | None:
    if life.window is None:
        return None
    if tick == life.window[1] + bounds.gap + 1:
        return CloseReason.QUIET
    ends = (life.window[0] + bounds.max_duration, life.first + bounds.max_duration + bounds.lateness)
    return CloseReason.MAX_DURATION if tick in ends else None


def _aged(life: _Life, bounds: Bounds, tick: int) -> _Life | None:
    if life.window is not None:
        return life
    if tick > life.last + bounds.gap + bounds.lateness:
        return None
    life.ended |= tick >= life.first + bounds.max_duration + bounds.lateness
    return life


def _arrived(life: _Life | None, record: Record) -> _Life | None:
    if record.facts and (life is None or life.ended):
        life = _Life(record.tick, record.tick, headless=life is not None)
    if life is None or life.ended:
        return life
    life.window = (record.tick if life.window is None else life.window[0], record.tick)
    life.last = record.tick
    life.facts += [(record.tick, fact) for fact in record.facts]
    return life


def _closed(trace: bytes, life: _Life, reason: CloseReason, tick: int, counted: dict[bytes, int]) -> Closed:
    first, last = life.window or (tick, tick)
    closed = tick - 1 if reason is CloseReason.QUIET else tick
    whole = reason is CloseReason.QUIET and not life.headless
    facts = {atom: _atom_facts(life.facts, atom, counted) for atom in {fact.atom for _, fact in life.facts}}
    return Closed(trace, life.first, first, last, reason, whole, closed * TICK_MS, remembered(facts))


def _atom_facts(facts: list[tuple[int, Fact]], atom: bytes, counted: dict[bytes, int]) -> AtomFacts:
    hits = [fact for _, fact in facts if fact.atom == atom]
    starts = [fact.start_ns for fact in hits if fact.start_ns is not None]
    shown: dict[tuple[int, bytes], WitnessedSpan] = {}
    for fact in sorted(hits, key=msgspec.msgpack.encode):
        if fact.witness is not None:
            seen = WitnessedSpan(fact.identity, fact.start_ns, fact.witness)
            shown.setdefault(seen.order, seen)
    hashes = {blake2b(span_identity(fact.identity), digest_size=8).digest() for fact in hits}
    return AtomFacts(
        first_ns=min(starts, default=None),
        last_ns=max(starts, default=None),
        witnesses=[shown[order] for order in sorted(shown)][:WITNESS_COUNT],
        identities=sorted(hashes)[: counted.get(atom, 0)],
        first_tick=min(tick for tick, fact in facts if fact.atom == atom),
    )
