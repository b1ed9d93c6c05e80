"""Finds the ancestors of spans, for `above` and `below`.

In: the parents of all spans of a trace, as occurrences of `dsl.judge.atoms.ANCESTRY`. Out: the ancestors of a span as
far as they are known. A parent that was not seen may have any ancestor, unless its child is a server or consumer span:
such a span is where the traced part of the system begins. In a circle of parents, which no trace has, nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dsl.judge.keys import KeyHashes
from dsl.judge.occurrences import Occurrence, Occurrences

MAX_SPANS = 100_000
"""The limit on the spans of a trace whose parents are kept."""

MAX_ANCESTORS = 256
"""The limit on the ancestors of a span that are looked at."""

_MAX_CACHED = 500_000
"""The limit on the ids in the cache: ten thousand spans may have as many ancestors each."""


class LinkColumns(NamedTuple):
    """The indices of the links among the keys of an atom."""

    edge: int
    parent: int
    span: int


OF_SPANS = LinkColumns(0, 1, 2)
"""Those of `dsl.judge.atoms.ANCESTRY`."""


class Ancestors(NamedTuple):
    """The hashed ids of the ancestors of a span; `is_known` when these are all."""

    ids: frozenset[bytes]
    is_known: bool


NO_ANCESTORS = Ancestors(frozenset(), is_known=True)


class _Parent(NamedTuple):
    """The parent of a span, and whether that span is a server's or consumer's."""

    id: bytes
    is_of_edge: bool


class Ancestry:
    """The parents of the spans of a trace."""

    def __init__(self, spans: Occurrences) -> None:
        self._is_complete = len(spans.kept) < MAX_SPANS
        self._spans: dict[bytes, Occurrence] = {}
        for span in spans.kept:
            for variant in span.variants:
                for own_id in variant.keys[OF_SPANS.span] or ():
                    self._spans[own_id] = span
        # Almost every span was sent once; then the way up is a chain.
        self._only_parents = {
            own_id: next(_parents([span.variants[0].keys], OF_SPANS), None)
            for own_id, span in self._spans.items()
            if len(span.variants) == 1
        }
        self._above: dict[_Parent, Ancestors] = {}
        self._cached = 0

    def of(self, keys: KeyHashes, columns: LinkColumns) -> Ancestors:
        """Return the ancestors of an occurrence with these keys."""
        parent = next(_parents([keys], columns), None)
        if parent is None:
            return NO_ANCESTORS
        found = self._above.get(parent) or self._walk(parent)
        if parent not in self._above and self._cached < _MAX_CACHED:
            self._above[parent] = found
            self._cached += len(found.ids)
        own = keys[columns.span] or ()
        return found._replace(ids=found.ids.difference(own)) if own and own[0] in found.ids else found

    def _walk(self, start: _Parent) -> Ancestors:
        """Follow the chain of parents; where there are several, search."""
        found: set[bytes] = set()
        only_parents, step = self._only_parents, start
        while step.id in only_parents:
            if step.id in found or len(found) == MAX_ANCESTORS:
                return Ancestors(frozenset(found), is_known=False)
            found.add(step.id)
            above = only_parents[step.id]
            if above is None:
                return Ancestors(frozenset(found), is_known=True)
            step = above
        if step.id in self._spans:
            return self._search(start)
        found.add(step.id)
        return Ancestors(frozenset(found), is_known=not self._is_lost(step))

    def _search(self, start: _Parent) -> Ancestors:
        """Search depth-first: a parent that is on the path already closes a circle."""
        found, path, is_known = {start.id}, {start.id}, not self._is_lost(start)
        steps = [(start.id, self._parents_of(start.id))]
        while steps:
            at, parents = steps[-1]
            for parent in parents:
                is_known &= parent.id not in path and not self._is_lost(parent)
                if parent.id not in found:
                    found.add(parent.id)
                    path.add(parent.id)
                    steps.append((parent.id, self._parents_of(parent.id)))
                    break
            else:
                steps.pop()
                path.discard(at)
            if len(found) > MAX_ANCESTORS:
                return Ancestors(frozenset(found), is_known=False)
        return Ancestors(frozenset(found), is_known)

    def _parents_of(self, span_id: bytes) -> Iterator[_Parent]:
        span = self._spans.get(span_id)
        return iter(()) if span is None else _parents([variant.keys for variant in span.variants], OF_SPANS)

    def _is_lost(self, parent: _Parent) -> bool:
        """Return whether a parent, and so its ancestors, may be missing."""
        span = self._spans.get(parent.id)
        if span is None:
            return not (parent.is_of_edge and self._is_complete)
        return not span.is_complete


def _parents(variants: Sequence[KeyHashes], columns: LinkColumns) -> Iterator[_Parent]:
    for keys in variants:
        for parent in keys[columns.parent] or ():
            yield _Parent(parent, bool(keys[columns.edge]))
