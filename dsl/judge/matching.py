"""Assigns each occurrence a partner of its own: a maximum bipartite matching.

In: the occurrences of a subject, and an index of their possible partners. Out: the occurrences left without a partner;
where there is a choice, the latest. The result does not depend on the order in which facts arrived.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from dsl.judge.occurrences import Occurrence
from dsl.judge.relation import Combination, Interval, PartnerIndex

MAX_SEARCHED = 500
"""The limit on either side for the search by augmenting paths, among occurrences that keys connect."""


def unmatched(subject: Iterable[Occurrence], partners: PartnerIndex) -> list[Occurrence] | None:
    """Return the occurrences left without a partner of their own; None when there are too many to search."""
    by_start = sorted(subject, key=lambda occurrence: occurrence.order)
    relation = partners.relation
    # With one value per key, the partners of an occurrence are contiguous, and assigning the next one is optimal.
    if partners.is_single_valued and not relation.different and not (relation.is_same and relation.order is None):
        lookups = [_lookups(occurrence, partners) for occurrence in by_start]
        if all(len(each) <= 1 for each in lookups):
            return _match_intervals(by_start, lookups, partners)
    groups = list(_connected(by_start, partners))
    if any(max(len(group.subject), group.partner_count) > MAX_SEARCHED for group in groups):
        return None
    unserved = {index for group in groups for index in _unserved(group.subject, by_start, partners)}
    reachable = {index for group in groups for index in group.subject}
    return [each for index, each in enumerate(by_start) if index in unserved or index not in reachable]


class _Group(NamedTuple):
    """Occurrences of the subject, by index, that compete for the same partners, and how many partners these are."""

    subject: list[int]
    partner_count: int


def _connected(subject: Sequence[Occurrence], partners: PartnerIndex) -> Iterator[_Group]:
    """Yield the groups that equal keys connect, if they have occurrences on both sides."""
    groups = _DisjointSets()
    first: dict[bytes, Combination] = {}
    for combination, entries in partners.entries.items():
        for entry in entries:
            groups.join(first.setdefault(entry.identity, combination), combination)
    members: defaultdict[Combination, list[int]] = defaultdict(list)
    claimed: dict[int, Combination] = {}
    for index, occurrence in enumerate(subject):
        for variant in occurrence.variants:
            for combination in partners.combinations(variant) or ():
                groups.join(claimed.setdefault(index, combination), combination)
    for index, combination in claimed.items():
        members[groups.root(combination)].append(index)
    counts = Counter(groups.root(combination) for combination in first.values())
    yield from (_Group(members[root], count) for root, count in counts.items() if root in members)


class _DisjointSets:
    """Joins combinations of key values into sets."""

    def __init__(self) -> None:
        self._parents: dict[Combination, Combination] = {}

    def root(self, combination: Combination) -> Combination:
        """Return the representative of the set of a combination."""
        above = self._parents.setdefault(combination, combination)
        while above != combination:
            self._parents[combination] = self._parents[above]
            combination, above = above, self._parents[above]
        return combination

    def join(self, left: Combination, right: Combination) -> None:
        """Make one set of the sets of two combinations."""
        self._parents[self.root(left)] = self.root(right)


def _lookups(occurrence: Occurrence, partners: PartnerIndex) -> list[tuple[Combination, Interval]]:
    return [lookup for variant in occurrence.variants for lookup in partners.lookups(variant)]


def _match_intervals(
    subject: Sequence[Occurrence], lookups: Iterable[list[tuple[Combination, Interval]]], partners: PartnerIndex
) -> list[Occurrence]:
    """Assign partners greedily in order of start: each goes to the claimant whose last possible partner is earliest."""
    unserved = set(range(len(subject)))
    claims: defaultdict[Combination, list[tuple[int, int, int]]] = defaultdict(list)
    for claimant, of_claimant in enumerate(lookups):
        for combination, interval in of_claimant:
            first, end = interval.within(partners.entries.get(combination, ()))
            claims[combination].append((first, end, claimant))
    for claimed in claims.values():
        unserved -= set(_served(sorted(claimed)))
    return [subject[index] for index in sorted(unserved)]


def _served(claims: Sequence[tuple[int, int, int]]) -> Iterable[int]:
    """Yield the claimants that get a partner; claims are sorted (first, end, claimant) over positions of partners."""
    pending: list[tuple[int, int]] = []
    next_claim, position = 0, 0
    while pending or next_claim < len(claims):
        if not pending:
            position = max(position, claims[next_claim][0])
        while next_claim < len(claims) and claims[next_claim][0] <= position:
            _, end, claimant = claims[next_claim]
            heappush(pending, (end, claimant))
            next_claim += 1
        end, claimant = heappop(pending)
        if position < end:
            position += 1
            yield claimant


def _unserved(group: Sequence[int], subject: Sequence[Occurrence], partners: PartnerIndex) -> Iterator[int]:
    """Assign partners along augmenting paths, to the earliest occurrences first; yield those that get none."""
    search = _AugmentingSearch([list(dict.fromkeys(partners.matches(subject[index]))) for index in group])
    yield from (index for at, index in enumerate(group) if not search.serve(at))


class _AugmentingSearch:
    """Searches augmenting paths; partners from which no path was found (`_exhausted`) are not tried again."""

    def __init__(self, matches: Sequence[Sequence[bytes]]) -> None:
        self._matches = matches
        self._holder: dict[bytes, int] = {}
        self._held: dict[int, bytes] = {}
        self._exhausted: set[bytes] = set()

    def serve(self, index: int) -> bool:
        """Find a partner for an occurrence, reassigning others if necessary; return whether there is one."""
        came_from: dict[bytes, int] = {}
        queue = [index]
        while queue:
            claimant = queue.pop()
            for partner in self._matches[claimant]:
                if partner in came_from or partner in self._exhausted:
                    continue
                came_from[partner] = claimant
                if partner not in self._holder:
                    self._reassign(partner, came_from)
                    return True
                queue.append(self._holder[partner])
        self._exhausted.update(came_from)
        return False

    def _reassign(self, free: bytes, came_from: dict[bytes, int]) -> None:
        partner: bytes | None = free
        while partner is not None:
            claimant = came_from[partner]
            released = self._held.get(claimant)
            self._holder[partner], self._held[claimant] = claimant, partner
            partner = released
