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
    """The facts of a trace while it is judged, and the results derived from them, so that each is computed once.

    The facts must not change in the meantime.
    """

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self._derived: dict[Hashable, object] = {}
        self._latest: tuple[Hashable, object] | None = None

    def derive(self, key: Hashable, derivation: Callable[[], T]) -> T:
        """Return the result with this key; compute it if it is not known yet."""
        if key not in self._derived:
            self._derived[key] = derivation()
        return cast("T", self._derived[key])

    def derive_large(self, key: Hashable, derivation: Callable[[], T]) -> T:
        """Return the result as `derive` does, but remember only the one with the latest key."""
        if self._latest is None or self._latest[0] != key:
            self._latest = None  # frees the memory before it is needed again
            self._latest = (key, derivation())
        return cast("T", self._latest[1])


def derive(facts: Facts, key: Hashable, derivation: Callable[[], T]) -> T:
    """Return the result with this key; `JudgedFacts` remember it while the trace is judged."""
    return facts.derive(key, derivation) if isinstance(facts, JudgedFacts) else derivation()


def derive_large(facts: Facts, key: Hashable, derivation: Callable[[], T]) -> T:
    """Return the result as `derive` does, if it is large; it is remembered until one with another key is derived."""
    return facts.derive_large(key, derivation) if isinstance(facts, JudgedFacts) else derivation()


def occurrences_of(facts: Facts, atom: bytes) -> Occurrences:
    """Return the remembered occurrences of an atom; none when it was not hit."""
    remembered = facts.get(atom)
    return (remembered.occurrences if remembered else None) or Occurrences()
