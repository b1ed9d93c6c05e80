"""Defines the facts that formulas are evaluated on: what a window remembers of each atom that was hit."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Protocol, TypeAlias, TypeVar, cast

from dsl.judge.occurrences import Occurrences


class AtomFacts(Protocol):
    """The facts of one atom."""

    @property
    def first_ns(self) -> int | None:
        """The earliest start of a hit; None when no hit has one."""
        ...

    @property
    def last_ns(self) -> int | None:
        """The latest start of a hit; None when no hit has one."""
        ...

    @property
    def identity_count(self) -> int:
        """The number of distinct spans: exact below `Atom.counted`, a lower bound from there on."""
        ...

    @property
    def occurrences(self) -> Occurrences | None:
        """The occurrences that pairs need; None when no pair needs them (`Atom.pairing`)."""
        ...


Facts: TypeAlias = Mapping[bytes, AtomFacts]

T = TypeVar("T")


class JudgedFacts(dict[bytes, AtomFacts]):
    """The facts of a trace while it is judged, and what was derived from them, so that this is done once.

    The facts must not change in the meantime.
    """

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self._derived: dict[Hashable, object] = {}
        self._latest: tuple[Hashable, object] | None = None

    def derive(self, key: Hashable, derivation: Callable[[], T]) -> T:
        """Return what was derived under a key, or else derive it."""
        if key not in self._derived:
            self._derived[key] = derivation()
        return cast("T", self._derived[key])

    def derive_large(self, key: Hashable, derivation: Callable[[], T]) -> T:
        """Do the same, but remember only what was derived under the latest key."""
        if self._latest is None or self._latest[0] != key:
            self._latest = None  # the memory is free before it is needed again
            self._latest = (key, derivation())
        return cast("T", self._latest[1])


def derive(facts: Facts, key: Hashable, derivation: Callable[[], T]) -> T:
    """Return what is derived from facts under a key; it is remembered as long as a trace is judged."""
    return facts.derive(key, derivation) if isinstance(facts, JudgedFacts) else derivation()


def derive_large(facts: Facts, key: Hashable, derivation: Callable[[], T]) -> T:
    """Return the same for what takes memory for each occurrence; it is remembered until another key is asked for."""
    return facts.derive_large(key, derivation) if isinstance(facts, JudgedFacts) else derivation()


def occurrences_of(facts: Facts, atom: bytes) -> Occurrences:
    """Return the remembered occurrences of an atom; none when it was not hit."""
    remembered = facts.get(atom)
    return (remembered.occurrences if remembered else None) or Occurrences()
