"""Pairs the slow way: every occurrence is held against every other one, and an own one is looked for in all ways.

Nothing is bounded and nothing is sorted; occurrences are the spans themselves, values are compared as they are found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from dsl import Span, Value
from dsl.syntax.nodes import JoinKey, Pair, Partner, Relations, RelationWord, Subject
from tests.differential.naive_spans import attribute, has_event, is_by_itself, is_event_of, satisfying


@dataclass(frozen=True)
class Occurrence:
    """One content of a span that satisfies a subject, or of one of its events."""

    identity: bytes
    start_ns: int | None
    subject: Subject
    span: Span
    event: dict[str, Value]
    is_event: bool

    @property
    def node(self) -> bytes:
        """The id by which others name it as their parent; an event or log record has none."""
        return b"" if self.is_event or self.span.is_log else self.span.span_id

    @property
    def parent(self) -> bytes:
        """The id of its parent; that of an event or log record is its span."""
        if self.is_event or self.span.is_log:
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
    """The occurrences of a subject in spans that satisfy it: events, and spans."""
    return [found for span in spans if satisfying(span, subject) for found in _occurrences(span, subject)]


def _occurrences(span: Span, subject: Subject) -> Iterator[Occurrence]:
    """The events of a span that satisfy the subject, and the span if it does so without them."""
    if not has_event(span, subject) or is_by_itself(span, subject):
        yield Occurrence(span.identity, span.start_ns, subject, span, {}, is_event=False)
    seen: list[tuple[str, int | None]] = []
    for event in span.events:
        place = (event.name, event.time_ns)
        time_ns = span.start_ns if event.time_ns is None else event.time_ns
        if is_event_of(event, span, subject):
            identity = span.identity + f" {event.time_ns} {seen.count(place)}".encode()
            yield Occurrence(identity, time_ns, subject, span, dict(event.attributes), is_event=True)
        seen.append(place)


def contents(spans: Iterable[Span], subject: Subject) -> list[Occurrence]:
    """The spans that satisfy a subject, once for each event by which they do."""
    return [
        Occurrence(span.identity, span.start_ns, subject, span, dict(event), is_event=False)
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
    """Whether the pair is true; None when what is missing of the trace could change that.

    What may lie between is looked for in all spans of the trace.
    """
    is_seen = _is_true(pair, sides)
    asks_between = any(each.relations.without for each in (pair.that, pair.partner) if each)
    if is_whole or (pair.quantifier == "some" and is_seen and not asks_between):
        return is_seen
    return None


def _is_true(pair: Pair, sides: Sides) -> bool | None:
    order, other = pair.partner.relations.order, pair.partner.subject
    found = occurrences(sides.subject, pair.subject)
    if order and other != pair.subject and pair.that is None and pair.partner == _only(other, order):
        return _is_true_of_bounds(pair.quantifier, order, found, occurrences(sides.other, other))
    kept: dict[bytes, bool] = {at.identity: True for at in found}
    if pair.that is not None:
        fits, open_ends = _served(found, pair.subject, pair.that, sides.subject, sides.between)
        kept = {each: bool(fits[each]) for each in fits if fits[each] or each in open_ends}
        found = [at for at in found if at.identity in kept]
    fits, open_ends = _served(found, pair.subject, pair.partner, sides.other, sides.between)
    if pair.quantifier == "some":
        truths = {
            True if fits[each] and kept[each] else None if fits[each] or each in open_ends else False for each in fits
        }
        return True if True in truths else None if None in truths else False
    if pair.partner.is_own:
        is_known = not open_ends and all(kept.values())
        return True if _is_each_served(list(fits.values())) else False if is_known else None
    lacking = [each for each in fits if not fits[each]]
    if any(kept[each] and each not in open_ends for each in lacking):
        return False
    return None if lacking else True


def _served(
    found: Iterable[Occurrence], subject: Subject, partner: Partner, others: Sequence[Span], trace: Sequence[Span]
) -> tuple[dict[bytes, set[bytes]], set[bytes]]:
    """What fits each, and those that something may fit whose place is not known."""
    fits: dict[bytes, set[bytes]] = {}
    open_ends: set[bytes] = set()
    for at in found:
        fits.setdefault(at.identity, set())
        for other in _fitting(at, subject, partner, others, trace):
            is_placed, is_known = _is_placed(partner.relations, at, other, trace)
            if is_placed:
                fits[at.identity].add(other.identity)
            if not is_known and at.identity != other.identity:
                open_ends.add(at.identity)
    return fits, open_ends


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
        if not _is_timely(relations, at, other):
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


def _is_placed(relations: Relations, at: Occurrence, other: Occurrence, trace: Sequence[Span]) -> tuple[bool, bool]:
    """Whether the places in the trace are as the relations want them, and whether no missing span can change that."""
    match relations.structure:
        case "directly below":
            return other.parent != b"" and other.parent == at.node, True
        case "directly above":
            return at.parent != b"" and at.parent == other.node, True
        case "beside":
            return at.parent != b"" and at.parent == other.parent, True
        case "above":
            found, is_known = _descends(at, other, trace)
            return found, is_known or other.node == b""
        case "below":
            found, is_known = _descends(other, at, trace)
            return found, is_known or at.node == b""
        case _:
            return True, True


def _descends(lower: Occurrence, upper: Occurrence, trace: Sequence[Span]) -> tuple[bool, bool]:
    """Whether one is among the ancestors of the other, and whether these are all known."""
    parents: dict[bytes, set[tuple[bytes, bool]]] = {}
    for span in trace:
        if span.span_id and not span.is_log:
            of_span = parents.setdefault(span.span_id, set())
            if span.parent_id not in (b"", span.span_id):
                of_span.add((span.parent_id, span.kind in {"server", "consumer"}))
    is_at_edge = not lower.is_event and not lower.span.is_log and lower.span.kind in {"server", "consumer"}
    steps = {(lower.parent, is_at_edge)} if lower.parent else set()
    reached: set[tuple[bytes, bool]] = set()
    while steps - reached:
        reached |= steps
        steps = {step for parent, _ in reached for step in parents.get(parent, ())}
    ids = {parent for parent, _ in reached}
    is_known = all(parent in parents or is_edge for parent, is_edge in reached)
    is_known &= not any(_is_in_circle(each, parents) for each in ids)
    return upper.node in ids - {lower.node, b""}, is_known


def _is_in_circle(span_id: bytes, parents: dict[bytes, set[tuple[bytes, bool]]]) -> bool:
    above: set[bytes] = set()
    steps = {parent for parent, _ in parents.get(span_id, ())}
    while steps - above:
        above |= steps
        steps = {parent for each in above for parent, _ in parents.get(each, ())}
    return span_id in above


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
