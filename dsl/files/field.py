"""Defines one field of a rule's metadata as written, in a header or in YAML.

In: nothing. Out: the type that every reader of metadata has in common.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dsl.problems import Location, Spot


@dataclass(frozen=True, slots=True)
class Field:
    """One field as written: a list has several texts, and a spot for each."""

    texts: tuple[str, ...]
    spot: Spot
    spots: tuple[Spot, ...] = ()

    @staticmethod
    def listed(text: str, spot: Spot) -> Field:
        """Split a list that is written with commas; `spot` is that of the text."""
        items = text.split(",")
        texts = tuple(item.strip() for item in items)
        if spot.length != len(text):  # quotes and line breaks shift the characters of a text
            return Field(texts, spot)
        offsets = [0]
        for item in items:
            offsets.append(offsets[-1] + len(item) + 1)
        return Field(texts, spot, tuple(_part(spot, item, at) for item, at in zip(items, offsets, strict=False)))

    def spot_of(self, index: int) -> Spot:
        """Return the spot of one of the texts, or else of the field."""
        return self.spots[index] if self.spots else self.spot

    @property
    def text(self) -> str:
        """The value of a field that is not a list."""
        return ", ".join(self.texts)


def _part(spot: Spot, item: str, offset: int) -> Spot:
    """Return the spot of an item at an offset from the start of a spot, without the spaces around it."""
    at = spot.location
    column = at.column + offset + len(item) - len(item.lstrip())
    return replace(spot, location=Location(at.path, at.line, column), length=max(1, len(item.strip())))
