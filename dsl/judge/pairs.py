"""Evaluates pairs: terms over the occurrences that a window remembers.

In: facts. Out: true, false or None (unknown). `some` is true when an occurrence of the subject has a partner, `each`
when every one has. A pair that first and last starts decide is a `PairBoundsTerm` and needs no occurrences. In a
truncated trace, only a `some` that is already true is known, and only without `without`, because what is missing could
lie between. Occurrences beyond the limit make a pair unknown unless the remembered ones decide it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import NamedTuple

from dsl.judge.facts import Facts, derive, derive_large, occurrences_of
from dsl.judge.matching import unmatched
from dsl.judge.occurrences import Occurrence
from dsl.judge.relation import PartnerIndex, Relation

MAX_EXAMPLES = 5


class PairExample(NamedTuple):
    """An occurrence of the subject and its partner; None when it has none."""

    occurrence: Occurrence
    partner: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PairLabels:
    """The texts of a pair: the whole, its two subjects, and the names of its join keys on each.

    `partner_keys` lacks those whose values are the same on both.
    """

    text: str
    subject: str
    partner: str
    keys: tuple[str, ...] = ()
    partner_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PairExplanation:
    """Why a pair is violated: of `total` occurrences of the subject, `count` lack a partner, or have a forbidden one.

    `subject` and `partner` are atoms. `examples` are the first of the `count`, at most `MAX_EXAMPLES`; there are none
    when first and last starts decided.
    """

    labels: PairLabels
    subject: bytes
    partner: bytes
    is_missing: bool
    is_own: bool = False
    count: int = 0
    total: int = 0
    examples: tuple[PairExample, ...] = ()

    @property
    def text(self) -> str:
        """The pair in canonical form."""
        return self.labels.text


@dataclass(frozen=True, slots=True, kw_only=True)
class PairBoundsTerm:
    """`each subject has partner before`, or `some`, or `after`: first and last starts decide."""

    labels: PairLabels
    quantifier: str
    subject: bytes
    order: str
    partner: bytes

    @property
    def text(self) -> str:
        """The pair in canonical form."""
        return self.labels.text

    def truth(self, facts: Facts, *, whole: bool) -> bool | None:
        """Evaluate the term on the facts of a trace; None when its truth is unknown."""
        truth = self._is_each(facts) if self.quantifier == "each" else self._is_some(facts)
        return truth if whole or (truth and self.quantifier == "some") else None

    def explain(self, facts: Facts, *, is_missing: bool) -> PairExplanation:  # noqa: ARG002, no occurrence is remembered
        """Return an explanation without examples, because no occurrence is remembered."""
        return PairExplanation(labels=self.labels, subject=self.subject, partner=self.partner, is_missing=is_missing)

    def _is_some(self, facts: Facts) -> bool:
        if (subject := facts.get(self.subject)) is None or (partner := facts.get(self.partner)) is None:
            return False
        if self.order == "before":
            return _is_less(partner.first_ns, subject.last_ns)
        return _is_less(subject.first_ns, partner.last_ns)

    def _is_each(self, facts: Facts) -> bool:
        if (subject := facts.get(self.subject)) is None:
            return True
        if (partner := facts.get(self.partner)) is None or (subject.occurrences and subject.occurrences.has_unstarted):
            return False
        if self.order == "before":
            return _is_less(partner.first_ns, subject.first_ns)
        return _is_less(subject.last_ns, partner.last_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTerm:
    """Any other pair.

    `that` restricts the subject to occurrences that satisfy it; `is_own` requires a partner of its own for each.
    """

    labels: PairLabels
    quantifier: str
    subject: bytes
    that: Relation | None
    relation: Relation
    is_own: bool

    @property
    def text(self) -> str:
        """The pair in canonical form."""
        return self.labels.text

    def truth(self, facts: Facts, *, whole: bool) -> bool | None:
        """Evaluate the term, as `PairBoundsTerm.truth` does."""
        if not whole and (self.quantifier == "each" or self._asks_between):
            return None
        truth = derive(facts, self, lambda: self._evaluated(facts).truth)
        return truth if whole or truth else None

    def explain(self, facts: Facts, *, is_missing: bool) -> PairExplanation:
        """Return which occurrences lack a partner (`is_missing`), or which have one, without those that only may."""
        return derive(facts, (self, is_missing), partial(self._explain, facts, is_missing=is_missing))

    def _explain(self, facts: Facts, *, is_missing: bool) -> PairExplanation:
        evaluated = self._evaluated(facts)
        if self.is_own and is_missing:
            relevant = [PairExample(each, None) for each in evaluated.unserved or ()]
        else:
            kept = (occurrence for occurrence, is_kept in evaluated.narrowed if is_kept)
            matches = ((occurrence, evaluated.partners.match(occurrence)) for occurrence in kept)
            relevant = [PairExample(each, partner) for each, (is_so, partner) in matches if is_so is (not is_missing)]
        relevant.sort(key=lambda example: example.occurrence.order)
        explanation = PairExplanation(
            labels=self.labels,
            subject=self.subject,
            partner=self.relation.partner,
            is_missing=is_missing,
            is_own=self.is_own,
        )
        shown = tuple(relevant[:MAX_EXAMPLES])
        return replace(explanation, count=len(relevant), total=len(evaluated.narrowed), examples=shown)

    @property
    def _asks_between(self) -> bool:
        return any(each is not None and each.between is not None for each in (self.that, self.relation))

    def _evaluated(self, facts: Facts) -> _Evaluated:
        return derive_large(facts, self, partial(_Evaluated, self, facts))


class _Evaluated:
    """A pair on the facts of one trace: its truth, and what its explanation needs."""

    def __init__(self, pair: PairTerm, facts: Facts) -> None:
        subject = occurrences_of(facts, pair.subject)
        self.partners = PartnerIndex.of(facts, pair.relation)
        self.narrowed: _Narrowed = [*_narrowed(facts, pair.that, subject.kept)]
        # Computed here, not on demand: the limits on tests are then spent in the same order, whatever is called first.
        self.truth = self._truth(pair, is_complete=subject.is_complete)

    @cached_property
    def unserved(self) -> list[Occurrence] | None:
        """The occurrences that have no partner of their own; None when there are too many to search."""
        # Occurrences that only may count are included: if all can be matched, so can any subset.
        return unmatched([occurrence for occurrence, _ in self.narrowed], self.partners)

    def _truth(self, pair: PairTerm, *, is_complete: bool) -> bool | None:
        if pair.quantifier == "some":
            return _any(self.narrowed, self.partners, is_complete=is_complete)
        if pair.is_own:
            return self._all_own(is_complete=is_complete)
        return _all(self.narrowed, self.partners, is_complete=is_complete)

    def _all_own(self, *, is_complete: bool) -> bool | None:
        partners, unserved = self.partners, self.unserved
        if not unserved and unserved is not None and partners.is_certain:
            return True if is_complete else None
        is_known = partners.is_complete and all(is_kept and partners.is_known(each) for each, is_kept in self.narrowed)
        return False if unserved and is_known else None


def _narrowed(
    facts: Facts, that: Relation | None, subject: Iterable[Occurrence]
) -> Iterator[tuple[Occurrence, bool | None]]:
    """Yield the occurrences that satisfy `that`, with None for those that may."""
    if that is None:
        yield from ((occurrence, True) for occurrence in subject)
        return
    partners = PartnerIndex.of(facts, that)
    for occurrence in subject:
        if (is_kept := partners.has_match(occurrence)) is not False:
            yield occurrence, is_kept


_Narrowed = Sequence[tuple[Occurrence, bool | None]]


def _any(subject: _Narrowed, partners: PartnerIndex, *, is_complete: bool) -> bool | None:
    truth: bool | None = False if is_complete else None
    for occurrence, is_kept in subject:
        is_match = partners.has_match(occurrence)
        if is_match and is_kept:
            return True
        if is_match is not False:
            truth = None
    return truth


def _all(subject: _Narrowed, partners: PartnerIndex, *, is_complete: bool) -> bool | None:
    truth: bool | None = True if is_complete else None
    for occurrence, is_kept in subject:
        is_match = partners.has_match(occurrence)
        if is_match is False and is_kept:
            return False
        if not is_match:
            truth = None
    return truth


def _is_less(left_ns: int | None, right_ns: int | None) -> bool:
    return left_ns is not None and right_ns is not None and left_ns < right_ns
