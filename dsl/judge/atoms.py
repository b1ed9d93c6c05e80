"""Compiles atoms: predicates on one span, shared by all rules that have the same subject.

In: a subject of a rule, and the rule's time zone and exceptions. Out: an `Atom` whose fingerprint covers exactly these.
Equal subjects share an atom; the time zone is part of it only where the subject reads the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, IntEnum
from functools import partial
from hashlib import blake2b
from itertools import islice
from typing import TypeAlias
from zoneinfo import ZoneInfo

from dsl.judge.builtin import BUILTINS, TIME_PREFIX, builtin_of, lookup_keys, zone_of
from dsl.judge.events import AtomHit, FindHits, find_hits, span_hit
from dsl.judge.keys import MAX_ELEMENTS, AtomKey, HashFunction, KeyTexts, Link, canonical_texts, key_hash, link_texts
from dsl.judge.measures import decimal_texts
from dsl.judge.predicate import (
    EVERY_SPAN,
    Predicate,
    SubjectParts,
    Where,
    attribute_lookup,
    attribute_names,
    compile_cond,
    split_subject,
    subject_predicate,
)
from dsl.judge.span import NO_ATTRIBUTES, Attributes, Span, Value, events_named
from dsl.syntax.nodes import Cond, Exists, Has, Name, Subject
from dsl.syntax.printer import cond_text, name_text, subject_text
from dsl.syntax.source import replace_surrogates

FINGERPRINT_BYTES = 8
SEMANTICS = 3
"""The version of what rule texts mean. Raising it changes every rule's fingerprint: an upgrade then acts as a push."""
MAX_COUNTED = 10_000

_Witness: TypeAlias = Callable[[Span, Attributes | None], dict[str, Value]]
_Keys: TypeAlias = Callable[[Span, AtomHit], KeyTexts]
_Variants: TypeAlias = Callable[[Span], tuple[KeyTexts, ...]]


class Pairing(IntEnum):
    """What pairs and aggregates must know about the hits of an atom; each level includes the ones below.

    NOTHING: no more than the first and last start. UNSTARTED: also whether one has no start. EACH: every occurrence,
    with its start and keys, or the values of the key with `Use.DISTINCT`.
    """

    NOTHING = 0
    UNSTARTED = 1
    EACH = 2


class Use(Enum):
    """What the keys of an atom are for, or which time its facts have; part of the atom's fingerprint.

    COMPARED: occurrences, events among them, keep the hashes of the keys' values, for pairs and `count by`. DISTINCT:
    the different values of the one key are counted instead of spans. NUMBERS: spans keep the number under the one key.
    ENDS: the atom has no keys, and its facts the ends of spans. DEDUP: no rule is judged by the atom; its witnesses
    have the hashes of the keys' values, by which signals are grouped.
    """

    COMPARED = "with"
    DISTINCT = "distinct"
    NUMBERS = "number"
    ENDS = "ends"
    DEDUP = "dedup"


_COMPARED = Use.COMPARED
_ENDS = Use.ENDS
"""Looking up an enum member costs 0.05 µs, and there are millions of facts."""


@dataclass(frozen=True, slots=True)
class Exemption:
    """An exception of a rule: it exempts spans that satisfy `where` and, if `until_ns` is set, start before it."""

    where: Cond
    until_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Atom:
    """A predicate on one span.

    `fingerprint` is 8 bytes; `text` is the subject in canonical form. `counted` is how many distinct spans or values
    must be told apart, 0 when no rule counts the atom. `pairing` is what pairs and aggregates must know, `keys` are the
    names of the attributes that they compare, as `use` says, and `links` the positions in the trace that pairs compare.
    `names` are the names of spans, attributes and events of which a span must have one to satisfy the atom; None when
    any span may. `attributes` are all attributes that it may look up. `holds` returns whether a span satisfies the
    atom, and never raises.
    """

    fingerprint: bytes
    text: str
    counted: int
    pairing: Pairing
    keys: tuple[AtomKey, ...]
    links: tuple[Link, ...]
    use: Use
    names: frozenset[str] | None = field(repr=False)
    attributes: frozenset[str] = field(repr=False)
    holds: Predicate = field(repr=False, compare=False)
    _witness: _Witness = field(repr=False, compare=False)
    _hits: FindHits = field(repr=False, compare=False)
    _keys: _Keys = field(repr=False, compare=False)
    _variants: _Variants = field(repr=False, compare=False)

    def hits(self, span: Span) -> Sequence[AtomHit]:
        """Return the occurrences on a span that satisfies the atom: the span, its events, or both.

        Unless the atom is for pairs and orders, it is the span.
        """
        return self._hits(span) if self.use is _COMPARED else (span_hit(span),)

    def hit_keys(self, span: Span, hit: AtomHit) -> KeyTexts:
        """Return the values of keys and links of an occurrence."""
        return self._keys(span, hit)

    def time_ns(self, span: Span) -> int | None:
        """Return the time of the fact that a span satisfied the atom: the span's start or end."""
        return span.end_ns if self.use is _ENDS else span.start_ns

    def variants(self, span: Span) -> tuple[KeyTexts, ...]:
        """Return the values of keys and links on a span that satisfies the atom, as one tuple.

        For an aggregate, they are those of all its events that satisfy the atom; for dedup, those of the first.
        """
        return self._variants(span)

    @property
    def unredacted_hashes(self) -> list[HashFunction]:
        """Return, for each key and link, the function that makes bytes of its values when nothing is redacted."""
        return [str.encode if self.use is Use.NUMBERS else key_hash] * (len(self.keys) + len(self.links))

    def witness(self, span: Span, event: Attributes | None = None) -> dict[str, Value]:
        """Return the attributes and built-ins that the atom names, by the name under which the span or event has them.

        Without an event, it is the first that satisfies the atom. Lone surrogates in texts are replaced.
        """
        return self._witness(span, event)


@dataclass(frozen=True, slots=True, kw_only=True)
class AtomSpec:
    """The specification of an atom before it is compiled; specs with the same fingerprint are equal.

    `keys` are the names of the attributes that pairs or aggregates compare, and `links` the positions that pairs
    compare. `text` is the subject in canonical form. `fingerprint` is 8 bytes of BLAKE2b over the text, the time zone
    if it matters, the exceptions, the keys, `use` and the links.
    """

    # Only the fingerprint is compared: two unequal specs of one atom would leave one of them without hits or counts.
    subject: Subject = field(compare=False)
    zone: str = field(compare=False)
    exemptions: tuple[Exemption, ...] = field(default=(), compare=False)
    keys: tuple[AtomKey, ...] = field(default=(), compare=False)
    links: tuple[Link, ...] = field(default=(), compare=False)
    use: Use = field(default=Use.COMPARED, compare=False)
    text: str = field(init=False, compare=False)
    fingerprint: bytes = field(init=False)

    def __post_init__(self) -> None:
        # Both walk the whole subject and are read often, so they are computed once.
        object.__setattr__(self, "text", subject_text(self.subject))
        lines = [self.text, *(f"@{self.zone}" for _ in [1] if self._reads_time())]
        lines += [f"except {cond_text(each.where)} until {each.until_ns}" for each in self.exemptions]
        lines += [f"{self.use.value} {key_text(key)}" for key in self.keys]
        lines += [self.use.value for _ in [1] if self.use is Use.ENDS]
        lines += [f"linked by {link.value}" for link in self.links]
        digest = blake2b("\n".join(lines).encode(), digest_size=FINGERPRINT_BYTES).digest()
        object.__setattr__(self, "fingerprint", digest)

    def _reads_time(self) -> bool:
        name, where = split_subject(self.subject)
        names = [builtin_of(each, name) for each in (*attribute_names(where), *_looked_up(self.keys))]
        names += [builtin_of(each, None) for exempt in self.exemptions for each in attribute_names(exempt.where)]
        return any(builtin is not None and builtin.startswith(TIME_PREFIX) for builtin in names)


def compile_atom(spec: AtomSpec, counted: int, pairing: Pairing = Pairing.NOTHING) -> Atom:
    """Compile a spec."""
    zone = zone_of(spec.zone)
    subject = split_subject(spec.subject)
    where = None if subject.where is None else compile_cond(subject.where, subject.name, zone)
    is_about = subject_predicate(subject, zone)
    predicate = _holds(is_about, subject.name, where)
    if spec.exemptions:
        predicate = _unless(predicate, spec.exemptions, zone)
    return Atom(
        fingerprint=spec.fingerprint,
        text=spec.text,
        counted=counted,
        pairing=pairing,
        keys=spec.keys,
        links=spec.links,
        use=spec.use,
        names=_names(subject),
        attributes=frozenset(lookup_names(spec)),
        holds=predicate,
        _witness=_no_witness if spec == ANCESTRY else _witness(subject, where, _looked_up(spec.keys), zone),
        _hits=find_hits(subject.name, where, is_about),
        _keys=(keys := _keys(subject.name, spec, zone)),
        _variants=_variants(subject.name, where, spec, keys),
    )


def lookup_names(spec: AtomSpec, *, shown: bool = False) -> Iterator[str]:
    """Yield every name that an atom may look up or, if `shown`, those that a witness shows: all but the exceptions'."""
    subject, exemptions = split_subject(spec.subject), () if shown else spec.exemptions
    if subject.name is not None:
        yield subject.name
    for name in (*attribute_names(subject.where), *_looked_up(spec.keys)):
        yield from lookup_keys(name, subject.name)
    for exemption in exemptions:
        yield from attribute_names(exemption.where)


def key_text(key: AtomKey) -> str:
    """Return a join key as text.

    >>> key_text(AtomKey("order.id", "order.id")), key_text(AtomKey("id", "order.id"))
    ('order.id', 'id == order.id')
    """
    name, other = map(name_text, key)
    return name if name == other else f"{name} == {other}"


def _looked_up(keys: tuple[AtomKey, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key.name for key in keys))


def _holds(is_about: Predicate, name: str | None, where: Where | None) -> Predicate:
    if where is None:
        return is_about

    def holds(span: Span) -> bool:
        if not is_about(span):
            return False
        if not span.events:
            return where(span, NO_ATTRIBUTES)
        return any(where(span, event) for event in _events(span, name))

    return holds


def _events(span: Span, name: str | None) -> list[Attributes]:
    """Return the attributes of each event of this name; one empty mapping when there is none."""
    return events_named(span, name) or [NO_ATTRIBUTES]


def _unless(predicate: Predicate, exemptions: tuple[Exemption, ...], zone: ZoneInfo) -> Predicate:
    wheres = [(compile_cond(each.where, None, zone), each.until_ns) for each in exemptions]

    def is_exempt(span: Span) -> bool:
        return any(_starts_before(span, until_ns) and where(span, NO_ATTRIBUTES) for where, until_ns in wheres)

    return lambda span: predicate(span) and not is_exempt(span)


def _starts_before(span: Span, until_ns: int | None) -> bool:
    return until_ns is None or (span.start_ns is not None and span.start_ns < until_ns)


def _names(subject: SubjectParts) -> frozenset[str] | None:
    names = attribute_names(subject.where)
    carried = names if subject.name is None else [f"{subject.name}.{name}" for name in names]
    if subject.name == EVERY_SPAN or any(name in BUILTINS for name in carried):
        return None
    return frozenset(carried if subject.name is None else [subject.name, *carried])


def _keys(name: str | None, spec: AtomSpec, zone: ZoneInfo) -> _Keys:
    if not spec.keys and not spec.links:
        return lambda _span, _hit: ()
    finds = [attribute_lookup(lookup_keys(key.name, name), zone) for key in spec.keys]
    texts_of = decimal_texts if spec.use is Use.NUMBERS else canonical_texts
    links = spec.links

    def keys(span: Span, hit: AtomHit) -> KeyTexts:
        of_links = [link_texts(link, span, is_event=bool(hit.suffix)) for link in links]
        return (*(texts_of(find(span, hit.event)) for find in finds), *of_links)

    return keys


def _variants(name: str | None, where: Where | None, spec: AtomSpec, keys: _Keys) -> _Variants:
    if spec.use is Use.COMPARED or not spec.keys:
        return lambda span: (keys(span, span_hit(span)),)

    def of_events(span: Span) -> Iterator[KeyTexts]:
        for event in _events(span, name):
            if where is None or where(span, event):
                yield keys(span, span_hit(span)._replace(event=event))

    if spec.use is Use.DEDUP:
        return lambda span: tuple(islice(of_events(span), 1))
    union = _union if spec.use is Use.DISTINCT else _largest
    return lambda span: ((union(texts for (texts,) in of_events(span)),),)


def _largest(numbers: Iterable[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """Return the largest number of all events of a span, if any; None when one of the values is not a number."""
    largest: tuple[str, ...] = ()
    for texts in numbers:
        if texts is None:
            return None
        largest = max(largest, texts, key=lambda each: Decimal(each[0]) if each else -math.inf)
    return largest


def _union(values: Iterable[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """Return the different values of all events of a span; None when they are too many."""
    union: dict[str, None] = {}
    for texts in values:
        if texts is None:
            return None
        union.update(dict.fromkeys(texts))
    return tuple(union) if len(union) <= MAX_ELEMENTS else None


def _witness(subject: SubjectParts, where: Where | None, keys: tuple[str, ...], zone: ZoneInfo) -> _Witness:
    if where is None and not keys:
        return partial(_named_witness, subject.name)
    named = [lookup_keys(name, subject.name) for name in (*attribute_names(subject.where), *keys)]
    finds = [[(key, attribute_lookup((key,), zone)) for key in keys] for keys in named]

    def witness(span: Span, event: Attributes | None) -> dict[str, Value]:
        if event is None:
            events = _events(span, subject.name)
            event = next((each for each in events if where is None or where(span, each)), events[0])
        shown: dict[str, Value] = {}
        for steps in finds:
            present = ((key, value) for key, find in steps if (value := find(span, event)) is not None)
            shown.update(islice(present, 1))
        if subject.name is not None and (value := span.attributes.get(subject.name)) is not None:
            shown.setdefault(subject.name, value)
        return {replace_surrogates(key): _clean(value) for key, value in shown.items()}

    return witness


def _no_witness(_span: Span, _event: Attributes | None) -> dict[str, Value]:
    return {}


def _named_witness(name: str | None, span: Span, _event: Attributes | None) -> dict[str, Value]:
    """Return the witness of an atom that has only a name."""
    value = None if name is None else span.attributes.get(name)
    if name is None or value is None:
        return {}
    return {replace_surrogates(name): _clean(value)}


def _clean(value: Value) -> Value:
    return replace_surrogates(value) if isinstance(value, str) else value


ANCESTRY = AtomSpec(subject=Has(Name(EVERY_SPAN), Exists(Name("span.is_root"))), zone="UTC", links=tuple(Link))
"""The atom of all spans, with their parents: what `above` and `below` need to know of a trace. No signal shows it."""
