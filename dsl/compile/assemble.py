"""Assembles the formula of a rule from its nodes.

In: a checked body, its kind, time zone and exceptions. Out: a `Formula`, and the spec of each atom with the number of
spans that it must tell apart. Exceptions bind only positive subjects (under an even number of `not`) of what the rule
is about; the same subjects without exceptions are kept as well, to tell when an exception decided. In a pair,
exceptions always bind the subject and that of `that`; they bind the partner like any other subject, and under never
also when the condition of `when` names it. They always bind the subject of an aggregate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from dsl.check.meaning import Meaning, meaning_of
from dsl.compile.columns import (
    NO_COLUMNS,
    Columns,
    barrier_columns,
    between_keys,
    descent_of,
    different_keys,
    equal_keys,
    pair_columns,
    partner_columns,
    value_column,
)
from dsl.judge.aggregates import Constant, DistinctCount, LargestGroup, Measure, QuantityTerm, TraceExtent
from dsl.judge.aggregates import Quantity as JudgedQuantity
from dsl.judge.atoms import ANCESTRY, MAX_COUNTED, AtomSpec, Exemption, Pairing, Use
from dsl.judge.descent import Descent
from dsl.judge.formula import (
    AllOfTerm,
    AnyOfTerm,
    CountTerm,
    HitCount,
    HitTerm,
    NotTerm,
    OrderTerm,
    Term,
    trigger_atoms,
)
from dsl.judge.pairs import PairBoundsTerm, PairLabels, PairTerm
from dsl.judge.predicate import EVERY_SPAN
from dsl.judge.relation import Relation
from dsl.judge.ruleset import Formula, Kind
from dsl.syntax.nodes import (
    Aggregate,
    AllOf,
    AnyOf,
    Count,
    CountComparison,
    Duration,
    Expr,
    Has,
    HasAttribute,
    Name,
    Not,
    Number,
    Order,
    Pair,
    Partner,
    Quantity,
    Relations,
    RelationWord,
    RuleBody,
    Subject,
    TraceDuration,
    subjects,
)
from dsl.syntax.printer import expr_text, quantity_text, subject_text

ANY_SPAN = Has(Name(EVERY_SPAN))


@dataclass(slots=True, kw_only=True)
class Assembly:
    """Assembles one rule; afterwards `atom_specs` has its atoms and how far each is counted.

    `pairings` has, by fingerprint, what pairs must know about the occurrences of an atom.
    """

    zone: str
    exemptions: tuple[Exemption, ...]
    atom_specs: dict[AtomSpec, int] = field(default_factory=dict)
    pairings: dict[bytes, Pairing] = field(default_factory=dict)
    is_about_every_trace: bool = False
    reads_every_span: bool = False
    _subjects: dict[HitTerm, AtomSpec] = field(default_factory=dict)
    _named_in_when: frozenset[bytes] = frozenset()

    def formula(self, body: RuleBody, kind: Kind) -> Formula:
        """Assemble the formula of a rule."""
        meaning = meaning_of(body, kind)
        self._named_in_when = frozenset(self._fingerprint(subject) for subject, _ in subjects(meaning.about))
        applies = self._applies(meaning)
        broken = self._broken(meaning)
        subject_hits = tuple(self._shown_subjects())
        plain = self._applies(meaning, exempts=False) if self.exemptions else applies
        triggers = frozenset(trigger_atoms(plain))
        if plain.truth({}, whole=True) is not False:
            every_span = self._hit(ANY_SPAN, bound=False)
            subject_hits, triggers = (*subject_hits, every_span), triggers | {every_span.atom}
        self.is_about_every_trace = self._fingerprint(ANY_SPAN) in triggers
        self.is_about_every_trace |= self.reads_every_span
        return Formula(
            applies=applies,
            broken=broken,
            unexcepted=plain if self.exemptions else None,
            subjects=subject_hits,
            trigger_atoms=triggers,
        )

    def _applies(self, meaning: Meaning, *, exempts: bool = True) -> Term:
        if not exempts:
            return replace(self, exemptions=())._applies(meaning)  # noqa: SLF001, its own
        term = self._term(meaning.about, bound=True)
        if not meaning.is_pattern:
            return term
        positive = (subject for subject, is_positive in subjects(meaning.about) if is_positive)
        return AnyOfTerm((term, *(self._hit(subject, bound=True) for subject in positive)))

    def _broken(self, meaning: Meaning) -> Term:
        required = [NotTerm(self._term(expr)) for expr in meaning.required]
        is_pattern = meaning.is_pattern
        forbidden = [self._term(expr, bound=is_pattern, never=not is_pattern) for expr in meaning.forbidden]
        terms: tuple[Term, ...] = (*required, *forbidden)
        return terms[0] if len(terms) == 1 else AnyOfTerm(terms)

    def _term(self, expr: Expr, *, bound: bool = False, never: bool = False, positive: bool = True) -> Term:
        """Return the term of an expression; `bound` when the rule's exceptions bind its positive subjects."""
        match expr:
            case Has() | HasAttribute():
                return self._hit(expr, bound=bound and positive)
            case Not(item):
                return NotTerm(self._term(item, bound=bound, never=never, positive=not positive))
            case AllOf(items) | AnyOf(items):
                terms = tuple(self._term(item, bound=bound, never=never, positive=positive) for item in items)
                return AllOfTerm(terms) if isinstance(expr, AllOf) else AnyOfTerm(terms)
            case Order(left, op, right):
                first, second = (self._hit(side, bound=bound and positive).atom for side in (left, right))
                return OrderTerm(expr_text(expr), first, op, second)
            case Pair():
                partner = expr.partner.subject
                repeats = never and self._fingerprint(partner) in self._named_in_when
                return self._pair(expr, bound=(bound and positive) or repeats)
            case CountComparison():
                return self._quantity_term(expr, bound=bound and positive)

    def _pair(self, pair: Pair, *, bound: bool) -> PairTerm | PairBoundsTerm:
        """Return the term of a pair; `bound` when exceptions bind its partner too."""
        is_same = self._fingerprint(pair.subject) == self._fingerprint(pair.partner.subject)
        order = pair.partner.relations.order
        if order is not None and not is_same and pair == _bounds_only(pair, order):
            pairing = Pairing.UNSTARTED if pair.quantifier == "each" else Pairing.NOTHING
            subject = self._pair_atom(pair.subject, bound=True, pairing=pairing)
            partner = self._pair_atom(pair.partner.subject, bound=bound, pairing=Pairing.NOTHING)
            return PairBoundsTerm(
                labels=_pair_labels(pair), quantifier=pair.quantifier, subject=subject, order=order, partner=partner
            )
        columns = pair_columns(pair)
        subject = self._pair_atom(pair.subject, bound=True, columns=columns)
        that = None if pair.that is None else self._relation(pair.subject, pair.that, columns, bound=True)
        relation = self._relation(pair.subject, pair.partner, columns, bound=bound)
        return PairTerm(
            labels=_pair_labels(pair),
            quantifier=pair.quantifier,
            subject=subject,
            that=that,
            relation=relation,
            is_own=pair.partner.is_own,
        )

    def _relation(self, subject: Subject, partner: Partner, columns: Columns, *, bound: bool) -> Relation:
        """Return the relation of a partner to a subject whose atom has these columns."""
        relations, compared = partner.relations, partner_columns(partner)
        between, barrier = None, NO_COLUMNS
        for without in relations.without:
            barrier = NO_COLUMNS if without.is_any else barrier_columns(partner)
            between = self._pair_atom(without.subject, bound=False, columns=barrier)
        is_compared = any(not without.is_any for without in relations.without)
        return Relation(
            partner=self._pair_atom(partner.subject, bound=bound, columns=compared),
            order=relations.order,
            within_ns=None if relations.within_ns is None else math.floor(relations.within_ns),
            equal=equal_keys(relations, columns, compared),
            different=different_keys(relations, columns, compared),
            between=between,
            between_keys=between_keys(relations, columns, barrier) if is_compared else (),
            is_same=self._fingerprint(subject) == self._fingerprint(partner.subject),
            descent=self._descent(relations, self._pair_atom(subject, bound=True, columns=columns), columns, compared),
        )

    def _descent(self, relations: Relations, subject: bytes, columns: Columns, compared: Columns) -> Descent | None:
        """Return the descent that the relations ask for, and add the atom that it needs."""
        descent = descent_of(relations, subject, columns, compared)
        if descent is not None:
            self.atom_specs.setdefault(ANCESTRY, 0)
            self.pairings[ANCESTRY.fingerprint] = Pairing.EACH
        return descent

    def _pair_atom(
        self, subject: Subject, *, bound: bool, columns: Columns = NO_COLUMNS, pairing: Pairing = Pairing.EACH
    ) -> bytes:
        """Return the atom of a subject of a pair."""
        atom = self._hit(subject, bound=bound, columns=columns).atom
        self.pairings[atom] = max(pairing, self.pairings.get(atom, Pairing.NOTHING))
        return atom

    def _quantity_term(self, expr: CountComparison, *, bound: bool) -> CountTerm | QuantityTerm:
        """Return the term of a comparison of quantities; `bound` when exceptions bind what plain counts count."""
        sides = (expr.left, expr.right)
        counts = [side for side in sides if not isinstance(side, Aggregate | TraceDuration)]
        if len(counts) == len(sides):
            return self._count_comparison(expr, *counts, bound=bound)
        limit = _limit(next((side.value for side in sides if isinstance(side, Number)), None))
        left, right = (self._quantity(side, limit, bound=bound) for side in sides)
        return QuantityTerm(
            text=expr_text(expr),
            left=left,
            op=expr.op,
            right=right,
            labels=(quantity_text(expr.left), quantity_text(expr.right)),
        )

    def _quantity(self, side: Quantity | Number | Duration, limit: int, *, bound: bool) -> JudgedQuantity:
        match side:
            case Count(subject):
                return DistinctCount(self._hit(subject, bound=bound, counted=limit).atom, limit, is_of_values=False)
            case Aggregate("distinct", subject, name):
                atom = self._hit(subject, bound=True, counted=limit, columns=value_column(name), use=Use.DISTINCT).atom
                self.pairings[atom] = Pairing.EACH
                return DistinctCount(atom, limit, is_of_values=True)
            case Aggregate("sum" | "min" | "max" | "avg" as function, subject, name):
                atom = self._hit(subject, bound=True, columns=value_column(name), use=Use.NUMBERS).atom
                self.pairings[atom] = Pairing.EACH
                return Measure(atom, function)
            case Aggregate(_, subject, name):
                return LargestGroup(self._pair_atom(subject, bound=True, columns=value_column(name)))
            case TraceDuration():
                self.reads_every_span = True
                ends = AtomSpec(subject=ANY_SPAN, zone=self.zone, use=Use.ENDS)
                self.atom_specs.setdefault(ends, 0)
                return TraceExtent(self._hit(ANY_SPAN, bound=False).atom, ends.fingerprint)
            case Number(value) | Duration(value):
                return Constant.of(value)

    def _fingerprint(self, subject: Subject) -> bytes:
        """Return the fingerprint by which two subjects are equal."""
        return AtomSpec(subject=subject, zone=self.zone).fingerprint

    def _hit(
        self,
        subject: Subject,
        *,
        bound: bool,
        counted: int = 0,
        columns: Columns = NO_COLUMNS,
        use: Use = Use.COMPARED,
    ) -> HitTerm:
        spec = AtomSpec(
            subject=subject,
            zone=self.zone,
            exemptions=self.exemptions if bound else (),
            keys=columns.keys,
            links=columns.links,
            use=use,
        )
        self.atom_specs[spec] = max(counted, self.atom_specs.get(spec, 0))
        hit = HitTerm(spec.text, spec.fingerprint)
        self._subjects.setdefault(hit, spec)
        return hit

    def _shown_subjects(self) -> Iterator[HitTerm]:
        """Yield the subjects in source order; of two equal ones, the one whose witness shows the join keys."""
        keyed = {
            replace(spec, keys=(), links=(), use=Use.COMPARED)
            for spec in self._subjects.values()
            if spec.keys or spec.links
        }
        yield from (hit for hit, spec in self._subjects.items() if spec not in keyed)

    def _count_comparison(
        self,
        expr: CountComparison,
        left: Count | Number | Duration,
        right: Count | Number | Duration,
        *,
        bound: bool,
    ) -> CountTerm:
        constants = [side.value for side in (left, right) if isinstance(side, Number)]
        limit = _limit(constants[0] if constants else None)

        def side(node: Count | Number | Duration) -> HitCount | float:
            if isinstance(node, Count):
                return HitCount(self._hit(node.subject, bound=bound, counted=limit).atom, limit)
            return node.value if isinstance(node, Number) else node.value_ns

        return CountTerm(expr_text(expr), side(left), expr.op, side(right))


def _bounds_only(pair: Pair, order: str) -> Pair:
    """Return the pair with nothing but an order, which first and last starts decide."""
    return replace(pair, that=None, partner=Partner(pair.partner.subject, Relations((RelationWord(order),))))


def _pair_labels(pair: Pair) -> PairLabels:
    keys = pair.partner.relations.keys
    of_subject = tuple(sorted({key.names[0] for key in keys}))
    of_partner = tuple(sorted({key.names[1] for key in keys if key.op != "same"}))
    return PairLabels(
        text=expr_text(pair),
        subject=subject_text(pair.subject),
        partner=subject_text(pair.partner.subject),
        keys=of_subject,
        partner_keys=of_partner,
    )


def _limit(constant: float | None) -> int:
    """Return how many spans to tell apart in order to compare a count with a constant, or with a count (None)."""
    return MAX_COUNTED if constant is None else int(min(max(1, math.floor(constant) + 1), MAX_COUNTED))
