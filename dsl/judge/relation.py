"""Whether an occurrence has a fitting other one: the relations of a pair, looked up by key values and start.

In: facts and a `Relation`. Out: true, false, or None where more occurred than is remembered. An occurrence costs a
look-up in a sorted list, not a walk over the others.
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
"""One value for each key; occurrences have the same values when they have a combination in common."""

Entry: TypeAlias = tuple[int, bytes]
"""Start and identity; the start is 0 where it does not matter."""

_start = itemgetter(0)


@dataclass(frozen=True, slots=True)
class Relation:
    """How a fitting other occurrence stands to one of the subject.

    `other` is its atom, `order` whether it starts before or after. `keys` are the places of the keys that must be the
    same among those of the subject's atom; the other's atom has them in this order. `between` is the atom of which none
    may start between the two; `is_any` when its keys do not matter. `is_same`: subject and other are the same, so an
    occurrence does not fit itself.
    """

    partner: bytes
    order: str | None
    keys: tuple[int, ...]
    between: bytes | None
    is_any: bool
    is_same: bool


class Interval(NamedTuple):
    """Where the start of a fitting occurrence must lie, both ends included."""

    low: float
    high: float

    def within(self, entries: Sequence[Entry]) -> tuple[int, int]:
        """The places of sorted entries that lie in it: the first, and the end."""
        return bisect_left(entries, self.low, key=_start), bisect_right(entries, self.high, key=_start)


@dataclass(slots=True)
class PartnerIndex:
    """The other occurrences of a relation.

    `is_complete`: no other one can fit than those found. `is_certain`: those found do fit, nothing unknown lies
    between. `is_single_valued`: each has one start and one value per key.
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
        """The occurrences that a window remembers."""
        partners = cls(relation)
        partners._add_partners(occurrences_of(facts, relation.partner))
        if relation.between is not None:
            partners._add_barriers(occurrences_of(facts, relation.between))
        return partners

    def has_match(self, occurrence: Occurrence) -> bool | None:
        """Whether one of them fits the occurrence."""
        if any(True for _ in self.matches(occurrence)):
            return True if self.is_certain else None
        return False if self.is_complete and self.is_known(occurrence) else None

    def is_known(self, occurrence: Occurrence) -> bool:
        """All that the occurrence is compared by is known, or there is nothing to compare it with."""
        is_known = occurrence.is_complete and all(self.combinations(each) is not None for each in occurrence.variants)
        return is_known or not self.count

    def matches(self, occurrence: Occurrence) -> Iterator[bytes]:
        """The identities of those that fit, some more than once."""
        for variant in occurrence.variants:
            for combination, interval in self.lookups(variant):
                entries = self.entries.get(combination, ())
                for at in range(*interval.within(entries)):
                    _, identity = entries[at]
                    if not (self.relation.is_same and identity == occurrence.identity):
                        yield identity

    def lookups(self, variant: Variant) -> Iterator[tuple[Combination, Interval]]:
        """Where to look for those that fit a variant: with which values, and which starts."""
        combinations = self.combinations(variant) or ()
        if self.relation.order is None:
            yield from ((combination, Interval(0, 0)) for combination in combinations)
        elif variant.start_ns is not None:
            interval = self._interval(variant.start_ns, combinations)
            yield from ((combination, interval) for combination in combinations)

    def combinations(self, variant: Variant) -> Sequence[Combination] | None:
        """The values that an occurrence of the subject has of the keys; None when they are too many."""
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
    """What is remembered of the occurrences of an atom, nothing when it was not hit."""
    remembered = facts.get(atom)
    return (remembered.occurrences if remembered else None) or Occurrences()


def _combinations(keys: Sequence[tuple[bytes, ...] | None]) -> list[Combination] | None:
    present = [values for values in keys if values is not None]
    if not all(present):
        return []
    if len(present) < len(keys) or math.prod(map(len, present)) > MAX_ELEMENTS:
        return None
    return list(product(*present))
