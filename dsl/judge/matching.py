"""Gives each occurrence another one of its own: a maximum matching.

In: occurrences of a subject, and those that they are matched with. Out: the occurrences that get none, the latest where
there is a choice. The same facts give the same answer, in whatever order they came.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush

from dsl.judge.occurrences import Occurrence
from dsl.judge.relation import Combination, Interval, Others

MAX_SEARCHED = 500
"""Where only a search finds the matching, it is not looked for with more than this on a side."""


def unmatched(subject: Iterable[Occurrence], others: Others) -> list[Occurrence] | None:
    """Those that have no fitting one of their own; None when there are too many to tell."""
    in_order = sorted(subject, key=lambda occurrence: occurrence.order)
    # With one value per key, those that fit an occurrence follow one another, and giving out the next is the best.
    if others.are_plain and not (others.relation.is_same and others.relation.order is None):
        places = [_place(occurrence, others) for occurrence in in_order]
        if all(len(each) <= 1 for each in places):
            return _by_intervals(in_order, places, others)
    if max(len(in_order), others.count) > MAX_SEARCHED:
        return None
    return _by_search([list(dict.fromkeys(others.fitting(occurrence))) for occurrence in in_order], in_order)


def _place(occurrence: Occurrence, others: Others) -> list[tuple[Combination, Interval]]:
    return [place for variant in occurrence.variants for place in others.places(variant)]


def _by_intervals(
    subject: Sequence[Occurrence], places: Iterable[list[tuple[Combination, Interval]]], others: Others
) -> list[Occurrence]:
    """In each run of others the next one goes to whom it fits and whose last fitting one comes first."""
    lacking = set(range(len(subject)))
    claims: defaultdict[Combination, list[tuple[int, int, int]]] = defaultdict(list)
    for index, place in enumerate(places):
        for combination, interval in place:
            first, end = interval.within(others.entries.get(combination, ()))
            claims[combination].append((first, end, index))
    for claimed in claims.values():
        lacking -= set(_served(sorted(claimed)))
    return [subject[index] for index in sorted(lacking)]


def _served(claims: Sequence[tuple[int, int, int]]) -> Iterable[int]:
    """Who gets one, of claims to a range of places: first, end, who; sorted."""
    waiting: list[tuple[int, int]] = []
    next_claim, place = 0, 0
    while waiting or next_claim < len(claims):
        if not waiting:
            place = max(place, claims[next_claim][0])
        while next_claim < len(claims) and claims[next_claim][0] <= place:
            _, end, who = claims[next_claim]
            heappush(waiting, (end, who))
            next_claim += 1
        end, who = heappop(waiting)
        if place < end:
            place += 1
            yield who


def _by_search(fitting: Sequence[Sequence[bytes]], subject: Sequence[Occurrence]) -> list[Occurrence]:
    """By augmenting paths, those that start first first."""
    search = _Search(fitting)
    return [occurrence for index, occurrence in enumerate(subject) if not search.serve(index)]


class _Search:
    """Who holds which other one, by index; what led nowhere once never leads anywhere (`_failed`)."""

    def __init__(self, fitting: Sequence[Sequence[bytes]]) -> None:
        self._fitting = fitting
        self._holder: dict[bytes, int] = {}
        self._held: dict[int, bytes] = {}
        self._failed: set[bytes] = set()

    def serve(self, index: int) -> bool:
        """Finds one for whom has none, where needed by having others change theirs; whether there is one."""
        came_from: dict[bytes, int] = {}
        queue = [index]
        while queue:
            who = queue.pop()
            for other in self._fitting[who]:
                if other in came_from or other in self._failed:
                    continue
                came_from[other] = who
                if other not in self._holder:
                    self._hand_over(other, came_from)
                    return True
                queue.append(self._holder[other])
        self._failed.update(came_from)
        return False

    def _hand_over(self, free: bytes, came_from: dict[bytes, int]) -> None:
        other: bytes | None = free
        while other is not None:
            who = came_from[other]
            given_up = self._held.get(who)
            self._holder[other], self._held[who] = who, other
            other = given_up
