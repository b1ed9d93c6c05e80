"""Finds the partners of an occurrence by the relations of a pair: join keys and starts.

In: facts and a `Relation`. Out: true, false, or None when occurrences beyond the limit could matter. Each occurrence
costs a lookup in a sorted list instead of a scan of all partners.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from operator import itemgetter
from typing import NamedTuple, Self, TypeAlias

from dsl.judge.facts import Facts
from dsl.judge.keys import MAX_ELEMENTS
from dsl.judge.occurrences import Occurrence, Occurrences, Variant

Combination: TypeAlias = tuple[bytes, ...]
"""One value per key; occurrences match when they have a combination in common."""

Entry: TypeAlias = tuple[int, bytes]
"""Start and identity; the start is 0 when the relation has no order."""

_start = itemgetter(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """How a partner relates to an occurrence of the subject.

    `partner` is its atom; `order` is whether it starts before or after. `keys` are the indices, among the keys of the
    subject's atom, of those that must be equal; the partner's atom has them in this order. `between` is the atom of
    which none may start between the two, and `is_any` ignores its keys. `is_same` is true when both subjects are equal:
    then an occurrence is not its own partner.
    """

    partner: bytes
    order: str | None
    keys: tuple[int, ...]
    between: bytes | None
    is_any: bool
    is_same: bool


class Interval(NamedTuple):
    """The range, both ends included, in which a partner must start."""

    low: float
    high: float

    def within(self, entries: Sequence[Entry]) -> tuple[int, int]:
        """Return the range of indices of sorted entries that start in the interval; the end is exclusive."""
        return bisect_left(entries, self.low, key=_start), bisect_right(entries, self.high, key=_start)


@dataclass(slots=True, kw_only=True)
class PartnerIndex:
    """The possible partners of a relation.

    `is_complete`: all possible partners are in the index. `is_certain`: each match is one, because nothing unknown can
    lie between. `is_single_valued`: each partner has one start and one value per key.
    """

    relation: Relation
    is_complete: bool = True
    is_certain: bool = True
    is_single_valued: bool = True
    count: int = 0
    entries: dict[Combination, list[Entry]] = field(default_factory=dict)
    _barriers: dict[Combination, list[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, facts: Facts, relation: Relation) -> Self:
        """Index the partners that a window remembers."""
        partners = cls(relation=relation)
        partners._add_partners(occurrences_of(facts, relation.partner))
        if relation.between is not None:
            partners._add_barriers(occurrences_of(facts, relation.between))
        return partners

    def has_match(self, occurrence: Occurrence) -> bool | None:
        """Return whether the occurrence has a partner; None when that is unknown."""
        if any(True for _ in self.matches(occurrence)):
            return True if self.is_certain else None
        return False if self.is_complete and self.is_known(occurrence) else None

    def is_known(self, occurrence: Occurrence) -> bool:
        """Return whether all keys of the occurrence are known, or there are no partners to compare them with."""
        is_known = occurrence.is_complete and all(self.combinations(each) is not None for each in occurrence.variants)
        return is_known or not self.count

    def matches(self, occurrence: Occurrence) -> Iterator[bytes]:
        """Yield the identities of the partners of an occurrence, some more than once."""
        for variant in occurrence.variants:
            for combination, interval in self.lookups(variant):
                entries = self.entries.get(combination, ())
                for at in range(*interval.within(entries)):
                    _, identity = entries[at]
                    if not (self.relation.is_same and identity == occurrence.identity):
                        yield identity

    def lookups(self, variant: Variant) -> Iterator[tuple[Combination, Interval]]:
        """Yield where to look for the partners of a variant: the key values and the range of starts."""
        combinations = self.combinations(variant) or ()
        if self.relation.order is None:
            yield from ((combination, Interval(0, 0)) for combination in combinations)
        elif variant.start_ns is not None:
            interval = self._interval(variant.start_ns, combinations)
            yield from ((combination, interval) for combination in combinations)

    def combinations(self, variant: Variant) -> Sequence[Combination] | None:
        """Return the combinations of key values of a variant of the subject; None when they are too many."""
        return _combinations(tuple(variant.keys[index] for index in self.relation.keys))

    def _add_partners(self, partners: Occurrences) -> None:
        by_combination: defaultdict[Combination, list[Entry]] = defaultdict(list)
        self.count, self.is_complete = len(partners.kept), partners.is_complete
        for occurrence in partners.kept:
            self.is_complete &= occurrence.is_complete
            self.is_single_valued &= len(occurrence.variants) == 1
            for variant in occurrence.variants:
                combinations = _combinations(variant.keys)
                self.is_complete &= combinations is not None
                self.is_single_valued &= combinations is not None and len(combinations) <= 1
                if (start := 0 if self.relation.order is None else variant.start_ns) is not None:
                    for combination in combinations or ():
                        by_combination[combination].append((start, occurrence.identity))
        self.entries = {combination: sorted(entries) for combination, entries in by_combination.items()}

    def _add_barriers(self, between: Occurrences) -> None:
        by_combination: defaultdict[Combination, set[int]] = defaultdict(set)
        self.is_certain = between.is_complete
        for occurrence in between.kept:
            self.is_certain &= occurrence.is_complete
            for variant in occurrence.variants:
                combinations = [()] if self.relation.is_any else _combinations(variant.keys)
                self.is_certain &= combinations is not None
                if variant.start_ns is not None:
                    for combination in combinations or ():
                        by_combination[combination].add(variant.start_ns)
        self._barriers = {combination: sorted(starts) for combination, starts in by_combination.items()}

    def _interval(self, start_ns: int, combinations: Sequence[Combination]) -> Interval:
        barriers = [self._barriers.get(each, []) for each in ([()] if self.relation.is_any else combinations)]
        if self.relation.order == "before":
            below = [starts[at - 1] for starts in barriers if (at := bisect_left(starts, start_ns))]
            return Interval(max(below, default=-math.inf), start_ns - 1)
        above = [starts[at] for starts in barriers if (at := bisect_right(starts, start_ns)) < len(starts)]
        return Interval(start_ns + 1, min(above, default=math.inf))


def occurrences_of(facts: Facts, atom: bytes) -> Occurrences:
    """Return the remembered occurrences of an atom; none when it was not hit."""
    remembered = facts.get(atom)
    return (remembered.occurrences if remembered else None) or Occurrences()


def _combinations(keys: Sequence[tuple[bytes, ...] | None]) -> list[Combination] | None:
    present = [values for values in keys if values is not None]
    if not all(present):
        return []
    if len(present) < len(keys) or math.prod(map(len, present)) > MAX_ELEMENTS:
        return None
    return list(product(*present))
