"""Finds which spans descend from which, for pairs with `above` and `below`.

In: facts, a `Descent`, and possible partners. Out: for each occurrence the ids to compare, which are its own for the
upper side, and those of its ancestors for the lower one; and the occurrences whose ancestors are not all known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dsl.judge.ancestry import Ancestry, LinkColumns
from dsl.judge.facts import Facts, occurrences_of
from dsl.judge.occurrences import Occurrence, Occurrences, Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """How one must descend from the other: the subject from a partner that is above, or the partner from the subject.

    `subject` is the atom of the subject; `ancestry` is the atom of all spans with their parents.
    """

    is_above: bool
    ancestry: bytes
    subject: bytes
    of_subject: LinkColumns
    of_partner: LinkColumns


class _LatestAncestry:
    """Caches the ancestry of the latest trace, because several terms of several rules ask for it in turn."""

    def __init__(self) -> None:
        self._kept: list[Occurrence] = []
        self._ancestry = Ancestry(Occurrences())

    def of(self, spans: Occurrences) -> Ancestry:
        if self._kept != spans.kept:  # compares identities first, so it costs next to nothing
            self._kept, self._ancestry = list(spans.kept), Ancestry(spans)
        return self._ancestry


_latest_ancestry = _LatestAncestry()


class DescentIndex:
    """The ancestors of the lower side among the spans of the upper side."""

    def __init__(self, facts: Facts, descent: Descent, partners: Occurrences) -> None:
        self._descent = descent
        self._partners = partners
        self._ancestry = _latest_ancestry.of(occurrences_of(facts, descent.ancestry))
        upper, columns = partners, descent.of_partner
        if not descent.is_above:
            upper, columns = occurrences_of(facts, descent.subject), descent.of_subject
        ids = (variant.keys[columns.span] or () for each in upper.kept for variant in each.variants)
        self._upper_ids = frozenset(own_id for own_ids in ids for own_id in own_ids)

    def ids_of_subject(self, variant: Variant) -> Sequence[bytes]:
        """Return the ids by which a variant of the subject finds its partners."""
        return self._ids(variant, self._descent.of_subject, is_lower=self._descent.is_above)

    def ids_of_partner(self, variant: Variant) -> Sequence[bytes]:
        """Return the ids by which a variant of a partner is found."""
        return self._ids(variant, self._descent.of_partner, is_lower=not self._descent.is_above)

    def unplaced_partners(self) -> Occurrences:
        """Return the partners that may have the descent because some ancestors are not known."""
        columns = self._descent.of_partner
        place = self._with_children if self._descent.is_above else self._with_unknown_ancestors
        kept = (place(each, columns) for each in self._partners.kept)
        return Occurrences(kept=[each for each in kept if each.variants])

    def unplaced_subject(self, occurrence: Occurrence) -> Occurrence:
        """Return an occurrence of the subject with the variants that may have the descent to such partners."""
        if self._descent.is_above:
            return self._with_unknown_ancestors(occurrence, self._descent.of_subject)
        return self._with_children(occurrence, self._descent.of_subject)

    def _ids(self, variant: Variant, columns: LinkColumns, *, is_lower: bool) -> Sequence[bytes]:
        if not is_lower:
            return variant.keys[columns.span] or ()
        return sorted(self._ancestry.of(variant.keys, columns).ids & self._upper_ids)

    def _with_children(self, occurrence: Occurrence, columns: LinkColumns) -> Occurrence:
        """Return the variants that others can name as their parent: events and log records have no children."""
        can_have = (each for each in occurrence.variants if each.keys[columns.span])
        return Occurrence(occurrence.identity, tuple(can_have))

    def _with_unknown_ancestors(self, occurrence: Occurrence, columns: LinkColumns) -> Occurrence:
        unknown = (each for each in occurrence.variants if not self._ancestry.of(each.keys, columns).is_known)
        return Occurrence(occurrence.identity, tuple(unknown))
