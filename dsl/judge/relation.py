"""Finds the partners of an occurrence by the relations of a pair: join keys, links and starts.

In: facts and a `Relation`. Out: true, false, or None when occurrences beyond the limit could matter. Each occurrence
costs a lookup in a sorted list instead of a scan of all partners.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from operator import itemgetter
from typing import NamedTuple, TypeAlias

from dsl.judge.descent import Descent, DescentIndex
from dsl.judge.facts import Facts, occurrences_of
from dsl.judge.keys import MAX_ELEMENTS, KeyHashes
from dsl.judge.occurrences import Occurrence, Occurrences, Variant

MAX_TESTED = 1000
"""The limit on the partners that are tested for an occurrence because their values must differ."""

MAX_FAILED = 250_000
"""The limit on such tests that fail, of all occurrences together: minutes of them would hold up every other trace."""

MAX_INDEXED = 50_000
"""The limit on the partners that are indexed by each span that they descend from."""

Combination: TypeAlias = tuple[bytes, ...]
"""One value per key; occurrences match when they have a combination in common."""

_start = itemgetter(0)


class Entry(NamedTuple):
    """A variant of a partner: its start, 0 when the relation asks for no start, and its values that must differ."""

    start_ns: int
    identity: bytes
    different: tuple[tuple[bytes, ...], ...] = ()


class KeyPair(NamedTuple):
    """The index of a key among the keys of the subject's atom, and among those of the partner's atom."""

    subject: int
    partner: int


class BarrierKey(NamedTuple):
    """A key that an occurrence in between must share: its index on the subject's atom, and those on the barrier's.

    Of these, the first that the barrier has counts.
    """

    subject: int
    barrier: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """How a partner relates to an occurrence of the subject.

    `partner` is its atom; `order` is whether it starts before or after, and `within_ns` how far away. The values of the
    keys in `equal` must be equal, those in `different` must differ. No occurrence of the atom `between` with the same
    values of `between_keys` may start between the two. `is_same` is true when both subjects are equal: then an
    occurrence is not its own partner. `descent` is None unless one must be above the other.
    """

    partner: bytes
    order: str | None
    within_ns: float | None
    equal: tuple[KeyPair, ...]
    different: tuple[KeyPair, ...]
    between: bytes | None
    between_keys: tuple[BarrierKey, ...]
    is_same: bool
    descent: Descent | None = None

    @property
    def asks_start(self) -> bool:
        """Whether only partners with a start match."""
        return self.order is not None or self.within_ns is not None


class Match(NamedTuple):
    """Whether an occurrence has a partner, None when that is unknown; and a partner, if one was found."""

    is_so: bool | None
    partner: bytes | None


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
    lie between. `is_single_valued`: each partner has one start and one value per key. With a descent, the ids of spans
    are one more key: that of the upper one, which is looked up among the ancestors of the lower one.
    """

    relation: Relation
    is_complete: bool = True
    is_certain: bool = True
    is_single_valued: bool = True
    count: int = 0
    entries: dict[Combination, list[Entry]] = field(default_factory=dict)
    _barriers: dict[Combination, list[int]] = field(default_factory=dict)
    _run_ends: dict[Combination, list[int]] = field(default_factory=dict)
    _indexed: int = 0
    _failed: int = 0
    _found: dict[bytes, Match] = field(default_factory=dict)
    _descent: DescentIndex | None = None
    _unplaced: PartnerIndex | None = None
    """The partners that may have the descent, where ancestors are not known."""

    @classmethod
    def of(cls, facts: Facts, relation: Relation, of_partners: Occurrences | None = None) -> PartnerIndex:
        """Index the partners that a window remembers, or some of them."""
        partners = cls(relation=relation)
        remembered = occurrences_of(facts, relation.partner) if of_partners is None else of_partners
        if relation.descent is not None and remembered.kept:
            partners._descent = DescentIndex(facts, relation.descent, remembered)
            at_any_place = replace(relation, descent=None, is_same=True)
            partners._unplaced = cls.of(facts, at_any_place, partners._descent.unplaced_partners())
        partners._add_partners(remembered)
        if relation.between is not None:
            partners._add_barriers(occurrences_of(facts, relation.between))
        return partners

    def has_match(self, occurrence: Occurrence) -> bool | None:
        """Return whether the occurrence has a partner; None when that is unknown."""
        return self.match(occurrence).is_so

    def match(self, occurrence: Occurrence) -> Match:
        """Return whether the occurrence has a partner, and which, if one is found; each occurrence is tested once."""
        if (known := self._found.get(occurrence.identity)) is None:
            known = self._found[occurrence.identity] = self._match(occurrence)
        return known

    def _match(self, occurrence: Occurrence) -> Match:
        for tested, (identity, is_match) in enumerate(self._tested(occurrence)):
            if is_match:
                return Match(True if self.is_certain else None, identity)
            self._failed += 1
            if tested == MAX_TESTED or self._failed > MAX_FAILED:
                return Match(None, None)
        return Match(False if self.is_complete and self.is_known(occurrence) else None, None)

    def is_known(self, occurrence: Occurrence) -> bool:
        """Return whether all keys of the occurrence are known, or there are no partners to compare them with."""
        is_known = occurrence.is_complete and all(map(self._is_known_variant, occurrence.variants))
        return (is_known and not self._may_descend(occurrence)) or not self.count

    def matches(self, occurrence: Occurrence) -> Iterator[bytes]:
        """Yield the identities of the partners of an occurrence, some more than once."""
        yield from (identity for identity, is_match in self._tested(occurrence) if is_match)

    def lookups(self, variant: Variant) -> Iterator[tuple[Combination, Interval]]:
        """Yield where to look for the partners of a variant: the key values and the range of starts."""
        combinations = self.combinations(variant) or ()
        if not self.relation.asks_start:
            yield from ((combination, Interval(0, 0)) for combination in combinations)
        elif variant.start_ns is not None:
            interval = self._interval(variant.start_ns, variant.keys)
            yield from ((combination, interval) for combination in combinations)

    def combinations(self, variant: Variant) -> Sequence[Combination] | None:
        """Return the combinations of key values of a variant of the subject; None when they are too many."""
        combinations = _combinations([variant.keys[key.subject] for key in self.relation.equal])
        if self._descent is None or not combinations:
            return combinations
        return _with_ids(combinations, self._descent.ids_of_subject(variant))

    def _may_descend(self, occurrence: Occurrence) -> bool:
        """Return whether an ancestor that is not known could make a partner match."""
        if self._descent is None or self._unplaced is None:
            return False
        unplaced = self._descent.unplaced_subject(occurrence)
        return bool(unplaced.variants) and self._unplaced.has_match(unplaced) is not False

    def _is_known_variant(self, variant: Variant) -> bool:
        if (combinations := self.combinations(variant)) is None:
            return False
        different = [variant.keys[key.subject] for key in self.relation.different]
        return not combinations or None not in different or () in different

    def _tested(self, occurrence: Occurrence) -> Iterator[tuple[bytes, bool]]:
        """Yield the partners with equal keys, and whether their other values differ, as they must.

        Of partners that are next to each other and do not differ for the same values, only the first is tested.
        """
        for variant in occurrence.variants:
            different = [variant.keys[key.subject] for key in self.relation.different]
            for combination, interval in self.lookups(variant) if all(different) else ():
                entries = self.entries.get(combination, [])
                at, end = interval.within(entries)
                while at < end:
                    entry = entries[at]
                    if self.relation.is_same and entry.identity == occurrence.identity:
                        at += 1
                        continue
                    is_match = all(map(_is_apart, different, entry.different))
                    yield entry.identity, is_match
                    at = at + 1 if is_match else self._run_end(combination, at)

    def _run_end(self, combination: Combination, at: int) -> int:
        """Return the index of the next entry with other values than the entry at an index."""
        if combination not in self._run_ends:
            entries = self.entries[combination]
            ends = [len(entries)] * len(entries)
            for index in reversed(range(len(entries) - 1)):
                is_same_run = entries[index].different == entries[index + 1].different
                ends[index] = ends[index + 1] if is_same_run else index + 1
            self._run_ends[combination] = ends
        return self._run_ends[combination][at]

    def _add_partners(self, partners: Occurrences) -> None:
        by_combination: defaultdict[Combination, list[Entry]] = defaultdict(list)
        self.count, self.is_complete = len(partners.kept), partners.is_complete
        for occurrence in partners.kept:
            self.is_complete &= occurrence.is_complete
            self.is_single_valued &= len(occurrence.variants) == 1
            for variant in occurrence.variants:
                combinations = _combinations([variant.keys[key.partner] for key in self.relation.equal])
                different = [variant.keys[key.partner] for key in self.relation.different]
                if () in different:
                    continue
                self.is_complete &= combinations is not None and (None not in different or not combinations)
                self.is_single_valued &= combinations is not None and len(combinations) <= 1
                known = tuple(values for values in different if values is not None)
                start_ns = variant.start_ns if self.relation.asks_start else 0
                if start_ns is not None and len(known) == len(different):
                    for combination in self._placed(variant, combinations or ()):
                        by_combination[combination].append(Entry(start_ns, occurrence.identity, known))
        self.entries = {combination: sorted(entries) for combination, entries in by_combination.items()}

    def _placed(self, variant: Variant, combinations: Sequence[Combination]) -> Sequence[Combination]:
        """Return the combinations of a variant of a partner with the ids that the descent compares."""
        if self._descent is None or not combinations:
            return combinations
        self.is_single_valued = False
        if self._indexed <= MAX_INDEXED:
            ids = self._descent.ids_of_partner(variant)
            self._indexed += len(ids) * len(combinations)
        if self._indexed > MAX_INDEXED:
            self.is_complete = False
            return ()
        return _with_ids(combinations, ids)

    def _add_barriers(self, between: Occurrences) -> None:
        by_combination: defaultdict[Combination, set[int]] = defaultdict(set)
        self.is_certain = between.is_complete
        for occurrence in between.kept:
            self.is_certain &= occurrence.is_complete
            for variant in occurrence.variants:
                combinations = _combinations([_first(variant.keys, key.barrier) for key in self.relation.between_keys])
                self.is_certain &= combinations is not None
                if variant.start_ns is not None:
                    for combination in combinations or ():
                        by_combination[combination].add(variant.start_ns)
        self._barriers = {combination: sorted(starts) for combination, starts in by_combination.items()}

    def _interval(self, start_ns: int, keys: KeyHashes) -> Interval:
        low, high = -math.inf, math.inf
        if self.relation.within_ns is not None:
            low, high = start_ns - self.relation.within_ns, start_ns + self.relation.within_ns
        combinations = _combinations([keys[key.subject] for key in self.relation.between_keys])
        barriers = [self._barriers.get(each, []) for each in combinations or ()]
        if self.relation.order == "before":
            below = [starts[at - 1] for starts in barriers if (at := bisect_left(starts, start_ns))]
            return Interval(max([low, *below]), min(high, start_ns - 1))
        if self.relation.order == "after":
            above = [starts[at] for starts in barriers if (at := bisect_right(starts, start_ns)) < len(starts)]
            return Interval(max(low, start_ns + 1), min([high, *above]))
        return Interval(low, high)


def _with_ids(combinations: Sequence[Combination], ids: Sequence[bytes]) -> list[Combination]:
    return [(*combination, own_id) for combination in combinations for own_id in ids]


def _is_apart(left: Sequence[bytes] | None, right: Sequence[bytes]) -> bool:
    return left is not None and left != right and set(left).isdisjoint(right)


def _first(keys: KeyHashes, indices: Sequence[int]) -> tuple[bytes, ...] | None:
    """Return the first values that are not missing."""
    return next((values for index in indices if (values := keys[index]) != ()), ())


def _combinations(keys: Sequence[tuple[bytes, ...] | None]) -> list[Combination] | None:
    present = [values for values in keys if values is not None]
    if not all(present):
        return []
    if len(present) < len(keys) or math.prod(map(len, present)) > MAX_ELEMENTS:
        return None
    return list(product(*present))
