"""The facts of a chain, by atom: a join-semilattice, so that order, grouping and repetition of facts cannot matter.

In: facts from `betrace.facts`. Out: for each atom its first and last start, the tick of its first record, up to five
witnesses, the smallest identity hashes if it is counted, and its occurrences if a pair needs them. `add` and `merge`
are commutative, associative and idempotent.
"""

from __future__ import annotations

from bisect import bisect_left
from hashlib import blake2b
from itertools import chain

import msgspec

from dsl.judge.ancestry import MAX_SPANS
from dsl.judge.atoms import ANCESTRY
from dsl.judge.events import span_identity
from dsl.judge.occurrences import Occurrences
from topics.records.facts import Fact, KeyHashes, Witness

WITNESS_COUNT = 5
NO_START_NS = 1 << 64


class WitnessedSpan(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One witness: a span, one of its events or a log record, its time (Unix ns, None if unknown) and what is shown."""

    identity: bytes
    start_ns: int | None
    witness: Witness

    @property
    def order(self) -> tuple[int, bytes]:
        """The sort key among witnesses: start, with unknown starts last, then identity."""
        return (NO_START_NS if self.start_ns is None else self.start_ns, self.identity)


class AtomFacts(msgspec.Struct, array_like=True, gc=False, kw_only=True):
    """The facts of one atom.

    `witnesses` are the `WITNESS_COUNT` smallest by `WitnessedSpan.order`, sorted. `identities` are the smallest 8-byte
    hashes of distinct identities, sorted, and at most as many as the rules need (`counted`); a shorter list is an exact
    count; those of `distinct` are hashes of values instead. `first_tick` is the record time of the first hit: it
    identifies a rule's finding, whatever other rules hit before. `occurrences` is None until a fact carries keys for a
    pair or `count by`; for `distinct`, it is empty instead of None once a fact has a value that cannot be compared.
    """

    first_ns: int | None = None
    last_ns: int | None = None
    witnesses: list[WitnessedSpan] = msgspec.field(default_factory=list)
    identities: list[bytes] = msgspec.field(default_factory=list)
    first_tick: int | None = None
    occurrences: Occurrences | None = None

    @property
    def identity_count(self) -> int:
        """The number of distinct spans: exact below the atom's `counted`, a lower bound from there on."""
        return len(self.identities)

    def add(self, fact: Fact, counted: int, tick: int) -> None:
        """Add a fact of a record at `tick`; `counted` is how many identities the rules need."""
        self._widen(fact.start_ns, fact.start_ns)
        if self.first_tick is None or tick < self.first_tick:
            self.first_tick = tick
        if fact.witness is not None:
            span = WitnessedSpan(fact.identity, fact.start_ns, fact.witness)
            if self.witnesses:
                self._add_witness(span)
            else:
                self.witnesses.append(span)
        if counted and fact.keys and fact.keys[0]:
            self._count_values(fact.keys, counted)
            return
        if counted:
            self._add_identity(blake2b(span_identity(fact.identity), digest_size=8).digest(), counted)
        if fact.keys is not None:
            self.occurrences = self.occurrences or Occurrences()
            self.occurrences.add(fact.identity, fact.start_ns, fact.keys, _most_occurrences(fact.atom))

    def _count_values(self, keys: tuple[KeyHashes, ...], counted: int) -> None:
        """Count the values of an atom of `distinct` instead of its spans: only such an atom has keys and is counted."""
        for values in chain.from_iterable(keys):
            if values is None:  # it cannot be compared
                self.occurrences = self.occurrences or Occurrences()
            for value in values or ():
                self._add_identity(value, counted)

    def merge(self, other: AtomFacts, counted: int, atom: bytes) -> None:
        """Add everything that `other` has; both are facts of `atom`."""
        self._widen(other.first_ns, other.last_ns)
        ticks = [tick for tick in (self.first_tick, other.first_tick) if tick is not None]
        self.first_tick = min(ticks, default=None)
        for span in other.witnesses:
            self._add_witness(span)
        for identity in other.identities:
            self._add_identity(identity, counted)
        if other.occurrences is not None:
            self.occurrences = self.occurrences or Occurrences()
            self.occurrences.merge(other.occurrences, _most_occurrences(atom))

    def _widen(self, first_ns: int | None, last_ns: int | None) -> None:
        if first_ns is None or last_ns is None:
            return
        self.first_ns = first_ns if self.first_ns is None else min(self.first_ns, first_ns)
        self.last_ns = last_ns if self.last_ns is None else max(self.last_ns, last_ns)

    def _add_witness(self, span: WitnessedSpan) -> None:
        witnesses = self.witnesses
        order = span.order
        if len(witnesses) == WITNESS_COUNT and order > witnesses[-1].order:
            return
        at = bisect_left(witnesses, order, key=_order)
        if at < len(witnesses) and witnesses[at].order == order:
            # The same span was sent twice with different content: the smaller bytes win, whichever came first.
            witnesses[at] = min(witnesses[at], span, key=msgspec.msgpack.encode)
            return
        witnesses.insert(at, span)
        del witnesses[WITNESS_COUNT:]

    def _add_identity(self, identity: bytes, counted: int) -> None:
        identities = self.identities
        at = bisect_left(identities, identity)
        if at < len(identities) and identities[at] == identity:
            return
        identities.insert(at, identity)
        del identities[counted:]


def _most_occurrences(atom: bytes) -> int | None:
    """Return the limit on the occurrences of an atom; None for that of most atoms."""
    return MAX_SPANS if atom == ANCESTRY.fingerprint else None


def _order(span: WitnessedSpan) -> tuple[int, bytes]:
    return span.order
