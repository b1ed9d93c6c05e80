"""Defines one field of a rule's metadata as written, in a header or in YAML.

In: nothing. Out: the type that every reader of metadata has in common.
"""

from __future__ import annotations

from dataclasses import dataclass

from dsl.problems import Spot


@dataclass(frozen=True, slots=True)
class Field:
    """One field as written: a list has several texts."""

    texts: tuple[str, ...]
    spot: Spot

    @property
    def text(self) -> str:
        """The value of a field that is not a list."""
        return ", ".join(self.texts)
