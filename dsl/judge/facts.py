"""Defines the facts that formulas are evaluated on: what a window remembers of each atom that was hit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias

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


def occurrences_of(facts: Facts, atom: bytes) -> Occurrences:
    """Return the remembered occurrences of an atom; none when it was not hit."""
    remembered = facts.get(atom)
    return (remembered.occurrences if remembered else None) or Occurrences()
