"""What a window remembers of each atom that was hit: what formulas are judged on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias

from dsl.judge.occurrences import Occurrences


class AtomFacts(Protocol):
    """What a window remembers of one atom."""

    @property
    def first_ns(self) -> int | None:
        """The smallest start among the hits that have one."""
        ...

    @property
    def last_ns(self) -> int | None:
        """The largest start among the hits that have one."""
        ...

    @property
    def identity_count(self) -> int:
        """Distinct identities held: exact below `Atom.counted`, else "at least"."""
        ...

    @property
    def occurrences(self) -> Occurrences | None:
        """What pairs know of the hits, None when no pair asked (`Atom.pairing`)."""
        ...


Facts: TypeAlias = Mapping[bytes, AtomFacts]
