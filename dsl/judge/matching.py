"""Assigns each occurrence a partner of its own: a maximum bipartite matching.

In: the occurrences of a subject, and an index of their possible partners. Out: the occurrences left without a partner;
where there is a choice, the latest. The result does not depend on the order in which facts arrived.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush

from dsl.judge.occurrences import Occurrence
from dsl.judge.relation import Combination, Interval, PartnerIndex

MAX_SEARCHED = 500
"""The limit on either side for the search by augmenting paths."""


def unmatched(subject: Iterable[Occurrence], partners: PartnerIndex) -> list[Occurrence] | None:
    """Return the occurrences left without a partner of their own; None when there are too many to search."""
    by_start = sorted(subject, key=lambda occurrence: occurrence.order)
    # With one value per key, the partners of an occurrence are contiguous, and assigning the next one is optimal.
    if partners.is_single_valued and not (partners.relation.is_same and partners.relation.order is None):
        lookups = [_lookups(occurrence, partners) for occurrence in by_start]
        if all(len(each) <= 1 for each in lookups):
            return _match_intervals(by_start, lookups, partners)
    if max(len(by_start), partners.count) > MAX_SEARCHED:
        return None
    return _match_by_search([list(dict.fromkeys(partners.matches(occurrence))) for occurrence in by_start], by_start)


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


def _match_by_search(matches: Sequence[Sequence[bytes]], subject: Sequence[Occurrence]) -> list[Occurrence]:
    """Assign partners along augmenting paths, to the earliest occurrences first."""
    search = _AugmentingSearch(matches)
    return [occurrence for index, occurrence in enumerate(subject) if not search.serve(index)]


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
