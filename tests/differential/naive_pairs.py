"""Pairs the slow way: every occurrence is held against every other one, and an own one is looked for in all ways.

Nothing is bounded and nothing is sorted; occurrences are the spans themselves, values are compared as they are found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from dsl import Span, Value
from dsl.syntax.nodes import JoinKey, Pair, Partner, Relations, RelationWord, Subject
from tests.differential.naive_spans import attribute, satisfying


@dataclass(frozen=True)
class Occurrence:
    """One content of a span that satisfies a subject, with one of the events that do."""

    identity: bytes
    start_ns: int | None
    subject: Subject
    span: Span
    event: dict[str, Value]

    @property
    def node(self) -> bytes:
        """The id by which others name it as their parent; a log record has none."""
        return b"" if self.span.is_log else self.span.span_id

    @property
    def parent(self) -> bytes:
        """The id of its parent; that of a log record is its span."""
        if self.span.is_log:
            return self.span.span_id
        return b"" if self.span.parent_id == self.span.span_id else self.span.parent_id

    def values(self, name: str) -> set[str]:
        """What it is compared by under a name."""
        value = attribute(name, self.subject, self.span, self.event)
        items = value if isinstance(value, list) else [value]
        return {text for item in items if (text := canonical(item)) is not None}


def canonical(value: Value) -> str | None:
    """A value's text, None when it is nothing that could be an id."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return None if value != value else str(int(value)) if value == int(value) else repr(value)  # noqa: PLR0124
    return str(value) if isinstance(value, str | int) else None


def occurrences(spans: Iterable[Span], subject: Subject) -> list[Occurrence]:
    """The occurrences of a subject in spans that satisfy it."""
    return [
        Occurrence(span.identity, span.start_ns, subject, span, dict(event))
        for span in spans
        for event in satisfying(span, subject)
    ]


@dataclass(frozen=True)
class Sides:
    """The spans that may satisfy the subject, and the subject of `that`; the other one; and what lies between."""

    subject: Sequence[Span]
    other: Sequence[Span]
    between: Sequence[Span]


def truth(pair: Pair, sides: Sides, *, is_whole: bool) -> bool | None:
    """Whether the pair is true; None when what is missing of the trace could change that."""
    is_seen = _is_true(pair, sides)
    asks_between = any(each.relations.without for each in (pair.that, pair.partner) if each)
    if is_whole or (pair.quantifier == "some" and is_seen and not asks_between):
        return is_seen
    return None


def _is_true(pair: Pair, sides: Sides) -> bool:
    order, other = pair.partner.relations.order, pair.partner.subject
    found = occurrences(sides.subject, pair.subject)
    if order and other != pair.subject and pair.that is None and pair.partner == _only(other, order):
        return _is_true_of_bounds(pair.quantifier, order, found, occurrences(sides.other, other))
    if pair.that is not None:
        kept = {
            at.identity for at in found if list(_fitting(at, pair.subject, pair.that, sides.subject, sides.between))
        }
        found = [at for at in found if at.identity in kept]
    fits: dict[bytes, set[bytes]] = {}
    for at in found:
        fits.setdefault(at.identity, set()).update(
            each.identity for each in _fitting(at, pair.subject, pair.partner, sides.other, sides.between)
        )
    if pair.quantifier == "some":
        return any(fits.values())
    return _is_each_served(list(fits.values())) if pair.partner.is_own else all(fits.values())


def _only(other: Subject, order: str) -> Partner:
    return Partner(other, Relations((RelationWord(order),)))


def _is_true_of_bounds(quantifier: str, order: str, found: list[Occurrence], others: list[Occurrence]) -> bool:
    """What first and last starts say, each copy of a span by its own."""
    starts = [at.start_ns for at in others if at.start_ns is not None]
    sign = 1 if order == "before" else -1
    has = [at.start_ns is not None and any((at.start_ns - start) * sign > 0 for start in starts) for at in found]
    return any(has) if quantifier == "some" else all(has)


def _fitting(
    at: Occurrence, subject: Subject, partner: Partner, others: Iterable[Span], between: Iterable[Span]
) -> Iterator[Occurrence]:
    relations = partner.relations
    for other in occurrences(others, partner.subject):
        if partner.subject == subject and other.identity == at.identity:
            continue
        if not _is_timely(relations, at, other) or not _is_placed(relations, at, other):
            continue
        if not all(_fits(key, at, other) for key in relations.keys):
            continue
        if not any(
            _lies_between(each, at, other, relations.keys, is_any=without.is_any)
            for without in relations.without
            for each in occurrences(between, without.subject)
        ):
            yield other


def _is_timely(relations: Relations, at: Occurrence, other: Occurrence) -> bool:
    """Whether the starts are as the relations want them."""
    if relations.order is None and relations.within_ns is None:
        return True
    if at.start_ns is None or other.start_ns is None:
        return False
    later_ns = other.start_ns - at.start_ns
    is_in_order = {"before": later_ns < 0, "after": later_ns > 0, None: True}[relations.order]
    return is_in_order and (relations.within_ns is None or abs(later_ns) <= relations.within_ns)


def _is_placed(relations: Relations, at: Occurrence, other: Occurrence) -> bool:
    """Whether the places in the trace are as the relations want them."""
    match relations.structure:
        case "directly below":
            return other.parent != b"" and other.parent == at.node
        case "directly above":
            return at.parent != b"" and at.parent == other.node
        case "beside":
            return at.parent != b"" and at.parent == other.parent
        case _:
            return True


def _fits(key: JoinKey, left: Occurrence, right: Occurrence) -> bool:
    """Whether the values of a key are as it wants them."""
    mine, other = left.values(key.left.text), right.values((key.right or key.left).text)
    return bool(mine) and bool(other) and bool(mine & other) is (key.op in {"same", "=="})


def _lies_between(
    middle: Occurrence, left: Occurrence, right: Occurrence, keys: Iterable[JoinKey], *, is_any: bool
) -> bool:
    if middle.start_ns is None or left.start_ns is None or right.start_ns is None:
        return False
    low, high = sorted([left.start_ns, right.start_ns])
    asked = [] if is_any else [key for key in keys if key.op in {"same", "=="}]
    return low < middle.start_ns < high and all(
        left.values(key.left.text) & (middle.values(key.left.text) or middle.values((key.right or key.left).text))
        for key in asked
    )


def _is_each_served(fits: list[set[bytes]]) -> bool:
    """Whether some way of giving each one of those that fit it gives none out twice."""
    return any(len(set(given)) == len(given) for given in product(*fits))
