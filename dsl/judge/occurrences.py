"""Keeps the occurrences of an atom that pairs need, as a join-semilattice.

In: identities, starts and hashes of join keys. Out: the variants of each identity. `add` and `merge` are commutative,
associative and idempotent, so the order, grouping and repetition of facts do not matter.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

import msgspec

from dsl.judge.keys import KeyHashes

MAX_OCCURRENCES = 10_000
MAX_VARIANTS = 8


class Variant(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The content of an occurrence: its start in Unix nanoseconds, and the hashes of its values per join key."""

    start_ns: int | None
    keys: KeyHashes


class Occurrence(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A span, identified by its id, or a log record, identified by a hash; `variants` are sorted, and most have one.

    A span that was sent again with other content has a variant for each, at most the `MAX_VARIANTS` smallest.
    """

    identity: bytes
    variants: tuple[Variant, ...]

    @property
    def order(self) -> tuple[int, bytes]:
        """The sort key of the occurrence: its first start, with those without a start first, then its identity."""
        starts = (each.start_ns for each in self.variants if each.start_ns is not None)
        return min(starts, default=-1), self.identity

    @property
    def is_complete(self) -> bool:
        """Whether all variants were kept."""
        return len(self.variants) < MAX_VARIANTS


class Occurrences(msgspec.Struct, array_like=True, gc=False):
    """The occurrences of one atom, by ascending identity; a full list of `MAX_OCCURRENCES` may be incomplete.

    `has_unstarted` is true when any occurrence had no start, whether it was kept or not.
    """

    has_unstarted: bool = False
    kept: list[Occurrence] = msgspec.field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether all occurrences were kept."""
        return len(self.kept) < MAX_OCCURRENCES

    def get(self, identity: bytes) -> Occurrence | None:
        """Return the occurrence with an identity, None when it was not kept."""
        at = bisect_left(self.kept, identity, key=_identity)
        return self.kept[at] if at < len(self.kept) and self.kept[at].identity == identity else None

    def add(self, identity: bytes, start_ns: int | None, keys: Iterable[KeyHashes], limit: int | None = None) -> None:
        """Add an occurrence with one variant per element of `keys`; without any, only note whether it has a start.

        At most `limit` are kept, or `MAX_OCCURRENCES`.
        """
        self.has_unstarted |= start_ns is None
        if variants := tuple(Variant(start_ns, each) for each in keys):
            self._keep(Occurrence(identity, variants), limit)

    def merge(self, other: Occurrences, limit: int | None = None) -> None:
        """Add all occurrences of `other`, as `add` does."""
        self.has_unstarted |= other.has_unstarted
        for occurrence in other.kept:
            self._keep(occurrence, limit)

    def _keep(self, occurrence: Occurrence, limit: int | None) -> None:
        most = MAX_OCCURRENCES if limit is None else limit
        kept, identity = self.kept, occurrence.identity
        at = bisect_left(kept, identity, key=_identity)
        if at < len(kept) and kept[at].identity == identity:
            if kept[at].variants != occurrence.variants:
                kept[at] = Occurrence(identity, _smallest((*kept[at].variants, *occurrence.variants)))
            return
        if at < most:
            kept.insert(at, Occurrence(identity, _smallest(occurrence.variants)))
            del kept[most:]


def _identity(occurrence: Occurrence) -> bytes:
    return occurrence.identity


def _smallest(variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
    if len(variants) == 1:
        return variants
    # Encoded variants can be sorted; None and numbers cannot.
    by_bytes = {msgspec.msgpack.encode(variant): variant for variant in variants}
    return tuple(by_bytes[encoded] for encoded in sorted(by_bytes)[:MAX_VARIANTS])
