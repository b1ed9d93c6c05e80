"""Atoms: predicates on one span, each shared by all rules that ask the same.

In: a subject of a rule, the rule's time zone and its exceptions. Out: an `Atom` with a fingerprint of exactly that.
Two subjects that say the same have one atom; the time zone counts only where the subject asks for the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from hashlib import blake2b
from itertools import islice
from typing import TypeAlias
from zoneinfo import ZoneInfo

from dsl.judge.builtin import BUILTINS, TIME_PREFIX, builtin_of, lookup_keys, zone_of
from dsl.judge.keys import KeyTexts, canonical_texts
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
from dsl.syntax.nodes import Cond, Subject
from dsl.syntax.printer import cond_text, name_text, subject_text
from dsl.syntax.source import replace_surrogates

FINGERPRINT_BYTES = 8
SEMANTICS = 2
"""What the texts of rules mean, as a number: another one makes every rule another rule, and so an upgrade a push."""
MAX_COUNTED = 10_000

_Witness: TypeAlias = Callable[[Span], dict[str, Value]]
_Variants: TypeAlias = Callable[[Span], tuple[KeyTexts, ...]]


class Pairing(IntEnum):
    """What pairs must know of the occurrences of an atom; the larger includes the smaller.

    NOTHING: no pair asks for more than the first and last start. UNSTARTED: whether one has no start. EACH: each of
    them, with its start and keys.
    """

    NOTHING = 0
    UNSTARTED = 1
    EACH = 2


@dataclass(frozen=True, slots=True)
class Exemption:
    """An exception of a rule: spans for which `where` is true, and that start before `until_ns` when it is given."""

    where: Cond
    until_ns: int | None


@dataclass(frozen=True, slots=True)
class Atom:
    """A predicate on one span.

    `fingerprint` is 8 bytes; `text` the subject in canonical form; `counted` how many distinct spans must be told
    apart, 0 when no rule counts the atom; `pairing` what pairs must know, `keys` the names of the values that they
    compare. `names` are the span names, attribute names and event names that can make it hold (None: any span can);
    `attributes` every attribute name it may look up. `holds` says whether a span satisfies the atom, and never raises.
    """

    fingerprint: bytes
    text: str
    counted: int
    pairing: Pairing
    keys: tuple[str, ...]
    names: frozenset[str] | None = field(repr=False)
    attributes: frozenset[str] = field(repr=False)
    holds: Predicate = field(repr=False, compare=False)
    _witness: _Witness = field(repr=False, compare=False)
    _variants: _Variants = field(repr=False, compare=False)

    def variants(self, span: Span) -> tuple[KeyTexts, ...]:
        """The values of the keys on a span that satisfies the atom; one for each event that satisfies it."""
        return self._variants(span)

    def witness(self, span: Span) -> dict[str, Value]:
        """The attributes this atom names, as found on the span, keyed by the name they were found under.

        Texts are free of lone surrogates. Built-ins the atom names are among them.
        """
        return self._witness(span)


@dataclass(frozen=True, slots=True)
class AtomSpec:
    """What an atom asks, before it is compiled: questions with one fingerprint are equal, and one atom.

    `keys` are the names of the values by which pairs compare occurrences. `text` is the subject in canonical form;
    `fingerprint` 8 bytes of BLAKE2b over it, the time zone if it matters, the exceptions and the keys.
    """

    # Only the fingerprint tells questions apart: two identities would leave one of two atoms without hits or counts.
    subject: Subject = field(compare=False)
    zone: str = field(compare=False)
    exemptions: tuple[Exemption, ...] = field(default=(), compare=False)
    keys: tuple[str, ...] = field(default=(), compare=False)
    text: str = field(init=False, compare=False)
    fingerprint: bytes = field(init=False)

    def __post_init__(self) -> None:
        # Both walk the whole subject and are asked for again and again, so they are found once.
        object.__setattr__(self, "text", subject_text(self.subject))
        lines = [self.text, *(f"@{self.zone}" for _ in [1] if self._reads_time())]
        lines += [f"except {cond_text(each.where)} until {each.until_ns}" for each in self.exemptions]
        lines += [f"with {name_text(key)}" for key in self.keys]
        digest = blake2b("\n".join(lines).encode(), digest_size=FINGERPRINT_BYTES).digest()
        object.__setattr__(self, "fingerprint", digest)

    def _reads_time(self) -> bool:
        name, where = split_subject(self.subject)
        names = [builtin_of(each, name) for each in (*attribute_names(where), *self.keys)]
        names += [builtin_of(each, None) for exempt in self.exemptions for each in attribute_names(exempt.where)]
        return any(builtin is not None and builtin.startswith(TIME_PREFIX) for builtin in names)


def compile_atom(spec: AtomSpec, counted: int, pairing: Pairing = Pairing.NOTHING) -> Atom:
    """Compiles the question."""
    zone = zone_of(spec.zone)
    subject = split_subject(spec.subject)
    where = None if subject.where is None else compile_cond(subject.where, subject.name, zone)
    predicate = _holds(subject_predicate(subject, zone), subject.name, where)
    if spec.exemptions:
        predicate = _unless(predicate, spec.exemptions, zone)
    return Atom(
        fingerprint=spec.fingerprint,
        text=spec.text,
        counted=counted,
        pairing=pairing,
        keys=spec.keys,
        names=_names(subject),
        attributes=frozenset(lookup_names(spec)),
        holds=predicate,
        _witness=_witness(subject, where, spec.keys, zone),
        _variants=_variants(subject.name, where, spec.keys, zone),
    )


def lookup_names(spec: AtomSpec, *, shown: bool = False) -> Iterator[str]:
    """Every name that an atom may look up, or only those that a witness shows: the exceptions' are not."""
    subject, exemptions = split_subject(spec.subject), () if shown else spec.exemptions
    if subject.name is not None:
        yield subject.name
    for name in (*attribute_names(subject.where), *spec.keys):
        yield from lookup_keys(name, subject.name)
    for exemption in exemptions:
        yield from attribute_names(exemption.where)


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
    """The attributes of each event of the name; when there is none, one without attributes."""
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


def _variants(name: str | None, where: Where | None, keys: tuple[str, ...], zone: ZoneInfo) -> _Variants:
    if not keys:
        return lambda _: ((),)
    finds = [attribute_lookup(lookup_keys(key, name), zone) for key in keys]

    def variants(span: Span) -> tuple[KeyTexts, ...]:
        events = [event for event in _events(span, name) if where is None or where(span, event)]
        return tuple(dict.fromkeys(tuple(canonical_texts(find(span, event)) for find in finds) for event in events))

    return variants


def _witness(subject: SubjectParts, where: Where | None, keys: tuple[str, ...], zone: ZoneInfo) -> _Witness:
    if where is None and not keys:
        return partial(_named_witness, subject.name)
    named = [lookup_keys(name, subject.name) for name in (*attribute_names(subject.where), *keys)]
    finds = [[(key, attribute_lookup((key,), zone)) for key in keys] for keys in named]

    def witness(span: Span) -> dict[str, Value]:
        events = _events(span, subject.name)
        event = next((each for each in events if where is None or where(span, each)), events[0])
        shown: dict[str, Value] = {}
        for steps in finds:
            present = ((key, value) for key, find in steps if (value := find(span, event)) is not None)
            shown.update(islice(present, 1))
        if subject.name is not None and (value := span.attributes.get(subject.name)) is not None:
            shown.setdefault(subject.name, value)
        return {
            replace_surrogates(key): replace_surrogates(value) if isinstance(value, str) else value
            for key, value in shown.items()
        }

    return witness


def _named_witness(name: str | None, span: Span) -> dict[str, Value]:
    """What an atom shows that only asks for a name."""
    value = None if name is None else span.attributes.get(name)
    if name is None or value is None:
        return {}
    return {replace_surrogates(name): replace_surrogates(value) if isinstance(value, str) else value}
