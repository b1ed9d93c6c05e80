"""What is remembered of the occurrences of an atom that a pair asks for: a join-semilattice.

In: identities, starts and hashes of key values. Out: per identity its variants. `add` and `merge` commute, associate
and are idempotent, so order, grouping and repetition of facts cannot matter.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

import msgspec

from dsl.judge.keys import KeyHashes

MAX_OCCURRENCES = 10_000
MAX_VARIANTS = 8


class Variant(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One content with which an occurrence was sent: its start in Unix ns, and per key the hashes of its values."""

    start_ns: int | None
    keys: KeyHashes


class Occurrence(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A span by its id or a log record by its hash; `variants` are sorted, most have one.

    A span that was sent twice with different content has a variant for each; of more than `MAX_VARIANTS` the smallest.
    """

    identity: bytes
    variants: tuple[Variant, ...]

    @property
    def order(self) -> tuple[int, bytes]:
        """Where it stands among others: by its first start, those without one first, then by identity."""
        starts = (each.start_ns for each in self.variants if each.start_ns is not None)
        return min(starts, default=-1), self.identity

    @property
    def is_complete(self) -> bool:
        """No variant was left out."""
        return len(self.variants) < MAX_VARIANTS


class Occurrences(msgspec.Struct, array_like=True, gc=False):
    """The occurrences of one atom, the smallest identities first; as many as `MAX_OCCURRENCES` may not be all.

    `has_unstarted`: one without a start was seen, kept or not.
    """

    has_unstarted: bool = False
    kept: list[Occurrence] = msgspec.field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """No occurrence was left out."""
        return len(self.kept) < MAX_OCCURRENCES

    def add(self, identity: bytes, start_ns: int | None, keys: Iterable[KeyHashes]) -> None:
        """Remembers an occurrence, a variant for each of the keys; without any only whether it has a start."""
        self.has_unstarted |= start_ns is None
        if variants := tuple(Variant(start_ns, each) for each in keys):
            self._keep(Occurrence(identity, variants))

    def merge(self, other: Occurrences) -> None:
        """Remembers all that `other` remembers."""
        self.has_unstarted |= other.has_unstarted
        for occurrence in other.kept:
            self._keep(occurrence)

    def _keep(self, occurrence: Occurrence) -> None:
        kept, identity = self.kept, occurrence.identity
        at = bisect_left(kept, identity, key=_identity)
        if at < len(kept) and kept[at].identity == identity:
            if kept[at].variants != occurrence.variants:
                kept[at] = Occurrence(identity, _smallest((*kept[at].variants, *occurrence.variants)))
            return
        if at < MAX_OCCURRENCES:
            kept.insert(at, Occurrence(identity, _smallest(occurrence.variants)))
            del kept[MAX_OCCURRENCES:]


def _identity(occurrence: Occurrence) -> bytes:
    return occurrence.identity


def smallest(keys: tuple[KeyHashes, ...]) -> tuple[KeyHashes, ...]:
    """Of the keys of one occurrence those that `Occurrences` keeps of its variants: `MAX_VARIANTS` at most."""
    if len(keys) <= MAX_VARIANTS:
        return keys
    by_bytes = {msgspec.msgpack.encode(each): each for each in keys}
    return tuple(by_bytes[encoded] for encoded in sorted(by_bytes)[:MAX_VARIANTS])


def _smallest(variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
    if len(variants) == 1:
        return variants
    # Bytes have an order where None and numbers have none.
    by_bytes = {msgspec.msgpack.encode(variant): variant for variant in variants}
    return tuple(by_bytes[encoded] for encoded in sorted(by_bytes)[:MAX_VARIANTS])
