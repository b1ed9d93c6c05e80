"""Pairs: what each or some occurrence of a subject has, as terms over the occurrences that a window remembers.

In: facts. Out: true, false or None (unknown). `some` is true when an occurrence of the subject has a fitting other one,
`each` when all of them have; a pair in which both sides are told by their first and last start alone is `PairedBounds`
and needs no occurrences. In a trace that is cut only a `some` that was seen is known, and only without `without`: what
is missing could lie between. Where more occurred than is remembered, what is remembered may still decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dsl.judge.facts import Facts
from dsl.judge.matching import unmatched
from dsl.judge.occurrences import Occurrence
from dsl.judge.relation import Others, Relation, occurrences_of

MAX_EXAMPLES = 5


class Example(NamedTuple):
    """An occurrence of the subject, and the other one that it has, None when it lacks one."""

    occurrence: Occurrence
    other: bytes | None


@dataclass(frozen=True, slots=True)
class Words:
    """How a pair reads: the whole, its two subjects, and the names of the values that they have in common."""

    text: str
    subject: str
    other: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Account:
    """Why a pair is not as it should be: of `total` occurrences of the subject `count` lack or have another one.

    `subject` and `other` are atoms; `examples` are the first of the `count`, at most `MAX_EXAMPLES`; none where first
    and last starts decided.
    """

    words: Words
    subject: bytes
    other: bytes
    is_missing: bool
    is_own: bool = False
    count: int = 0
    total: int = 0
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True)
class PairedBounds:
    """`each subject has other before`, or `some`, or `after`: first and last starts decide."""

    words: Words
    quantifier: str
    subject: bytes
    order: str
    other: bytes

    @property
    def text(self) -> str:
        """The pair in canonical form."""
        return self.words.text

    def truth(self, facts: Facts, *, whole: bool) -> bool | None:
        """Whether the term is true of a trace with these facts; None when that is not known."""
        found = self._is_each(facts) if self.quantifier == "each" else self._is_some(facts)
        return found if whole or (found and self.quantifier == "some") else None

    def account(self, facts: Facts, *, is_missing: bool) -> Account:  # noqa: ARG002, no occurrence is remembered
        """The account of a pair of which no occurrence is remembered."""
        return Account(self.words, self.subject, self.other, is_missing)

    def _is_some(self, facts: Facts) -> bool:
        if (subject := facts.get(self.subject)) is None or (other := facts.get(self.other)) is None:
            return False
        if self.order == "before":
            return _is_less(other.first_ns, subject.last_ns)
        return _is_less(subject.first_ns, other.last_ns)

    def _is_each(self, facts: Facts) -> bool:
        if (subject := facts.get(self.subject)) is None:
            return True
        if (other := facts.get(self.other)) is None or (subject.occurrences and subject.occurrences.has_unstarted):
            return False
        if self.order == "before":
            return _is_less(other.first_ns, subject.first_ns)
        return _is_less(subject.last_ns, other.last_ns)


@dataclass(frozen=True, slots=True)
class Paired:
    """Any other pair.

    `that` narrows the subject to occurrences that fit it, `is_own` wants another partner for each.
    """

    words: Words
    quantifier: str
    subject: bytes
    that: Relation | None
    partner: Relation
    is_own: bool

    @property
    def text(self) -> str:
        """The pair in canonical form."""
        return self.words.text

    def truth(self, facts: Facts, *, whole: bool) -> bool | None:
        """As `PairedBounds.truth`."""
        if not whole and (self.quantifier == "each" or self._asks_between):
            return None
        found = self._truth(facts)
        return found if whole or found else None

    def account(self, facts: Facts, *, is_missing: bool) -> Account:
        """Which occurrences lack another one (`is_missing`), or which have one."""
        others = Others.of(facts, self.partner)
        about = [occurrence for occurrence, _ in self._narrowed(facts, occurrences_of(facts, self.subject).kept)]
        found = [Example(each, next(others.fitting(each), None)) for each in about]
        if self.is_own and is_missing:
            found = [Example(each, None) for each in unmatched(about, others) or ()]
        told = [example for example in found if (example.other is None) is is_missing]
        told.sort(key=lambda example: example.occurrence.order)
        examples = tuple(told[:MAX_EXAMPLES])
        return Account(
            self.words, self.subject, self.partner.other, is_missing, self.is_own, len(told), len(about), examples
        )

    @property
    def _asks_between(self) -> bool:
        return any(each is not None and each.between is not None for each in (self.that, self.partner))

    def _truth(self, facts: Facts) -> bool | None:
        subject = occurrences_of(facts, self.subject)
        others = Others.of(facts, self.partner)
        narrowed = list(self._narrowed(facts, subject.kept))
        if self.quantifier == "some":
            return _any(narrowed, others, is_complete=subject.is_complete)
        if self.is_own:
            return _all_own(narrowed, others, is_complete=subject.is_complete)
        return _all(narrowed, others, is_complete=subject.is_complete)

    def _narrowed(self, facts: Facts, subject: Iterable[Occurrence]) -> Iterator[tuple[Occurrence, bool | None]]:
        """The occurrences that `that` keeps, or may keep (None)."""
        if self.that is None:
            yield from ((occurrence, True) for occurrence in subject)
            return
        others = Others.of(facts, self.that)
        for occurrence in subject:
            if (is_kept := others.fit(occurrence)) is not False:
                yield occurrence, is_kept


_Narrowed = Sequence[tuple[Occurrence, bool | None]]


def _any(subject: _Narrowed, others: Others, *, is_complete: bool) -> bool | None:
    found: bool | None = False if is_complete else None
    for occurrence, is_kept in subject:
        fits = others.fit(occurrence)
        if fits and is_kept:
            return True
        if fits is not False:
            found = None
    return found


def _all(subject: _Narrowed, others: Others, *, is_complete: bool) -> bool | None:
    found: bool | None = True if is_complete else None
    for occurrence, is_kept in subject:
        fits = others.fit(occurrence)
        if fits is False and is_kept:
            return False
        if not fits:
            found = None
    return found


def _all_own(subject: _Narrowed, others: Others, *, is_complete: bool) -> bool | None:
    # Whether a doubtful one is among them or not: if all of them can have one, so can any part of them.
    lacking = unmatched([occurrence for occurrence, _ in subject], others)
    if not lacking and lacking is not None and others.are_certain:
        return True if is_complete else None
    is_known = others.are_complete and all(is_kept and others.is_known(occurrence) for occurrence, is_kept in subject)
    return False if lacking and is_known else None


def _is_less(left_ns: int | None, right_ns: int | None) -> bool:
    return left_ns is not None and right_ns is not None and left_ns < right_ns
