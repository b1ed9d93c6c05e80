"""Projects spans onto the atoms of a rule set.

In: the spans of one trace of a record (`streams.decode.decoder`). Out: their facts. No clock, no I/O; the same record
and rules give the same facts, live and in replay. Only what rules name and the identity allow-list contains leaves
here, with redacted values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from dsl import Atom, Interest, RuleSet, Span
from dsl.judge.atoms import ANCESTRY, Pairing, Use
from dsl.judge.events import AtomHit, kept_hits
from dsl.judge.keys import AtomKey, HashFunction, hash_variants, key_hash
from dsl.judge.span import Attributes, Value
from streams.decode.convert import SERVICE
from streams.decode.decoder import TraceSpans
from streams.projection.redact import NOT_REDACTED, Redaction, Treatment
from topics.records.facts import Fact, KeyHashes, Witness
from topics.values import Scalar

IDENTITY_ATTRIBUTES = (
    "client.address",
    "enduser.id",
    "enduser.role",
    "gen_ai.agent.name",
    "gen_ai.conversation.id",
    "service.name",
    "tenant.id",
    "user.id",
    "user.name",
    "user.role",
    "user.roles",
)

NOTHING_SHOWN = Witness("", None, None, {})

# A lookup of an enum member costs 0.05 µs.
_COMPARED = Use.COMPARED
_ENDS = Use.ENDS
_DEDUP = Use.DEDUP

VALUE_BYTES = 1024
SERVICE_BYTES = 256
SHORT = 64
"""Conversions of shorter texts are not cached."""
TRUNCATION_MARK = "…[cut]"


@dataclass(frozen=True, slots=True)
class Projector:
    """A rule set, the identity allow-list and the redaction; `interest` is what a decoder must convert for them.

    Without `shows`, facts have empty witnesses: verdicts do not use witnesses, and they take most of the time.
    """

    rules: RuleSet
    identity: tuple[str, ...] = IDENTITY_ATTRIBUTES
    redaction: Redaction = NOT_REDACTED
    shows: bool = True

    @property
    def interest(self) -> Interest:
        """The rules' interest, with the identity attributes added to the attributes to convert."""
        interest = self.rules.interest
        return Interest(interest.names, interest.every_span, interest.attributes | set(self.identity))

    @property
    def uncomparable(self) -> list[str]:
        """The names that pairs or aggregates compare but that are redacted: these are never decided.

        Hashes of values can be compared if there is a key; numbers are not hashed, so redacted ones never can.
        """
        return self._without_hash(atom for atom in self.rules.atoms.values() if atom.use is not _DEDUP)

    @property
    def ungrouped(self) -> list[str]:
        """The names by which rules group signals and that are redacted without a key: their values count as missing."""
        return self._without_hash(atom for atom in self.rules.atoms.values() if atom.use is _DEDUP)

    def _without_hash(self, atoms: Iterable[Atom]) -> list[str]:
        return sorted({key.name for atom in atoms for key in atom.keys if self._hash_function(atom, key) is None})

    def facts(self, trace: TraceSpans) -> list[Fact]:
        """Return the facts of one trace of one record, in the order of its spans."""
        return self.facts_of(trace.spans)

    def facts_of(self, spans: list[Span]) -> list[Fact]:
        """Return the facts of spans of one trace, in their order."""
        return [*self.each(spans, Shown(self))]

    def each(self, spans: Iterable[Span], shown: Shown) -> Iterator[Fact]:
        """Yield what `facts_of` returns; all spans of a record share one `shown`."""
        for span in spans:
            atoms = self.rules.hits(span)
            if not atoms:
                continue
            of_span = shown.of_span(span) if self.shows else None
            for atom in atoms:
                if atom.fingerprint == ANCESTRY.fingerprint:
                    yield Fact(atom.fingerprint, span.span_id, None, NOTHING_SHOWN, self._keys(atom, span))
                    continue
                if span.events and atom.use is _COMPARED and (hits := atom.hits(span))[-1].suffix:
                    yield from self._of_events(atom, span, hits, shown, of_span)
                    continue
                witness = NOTHING_SHOWN
                if of_span is not None and atom.use is not _ENDS:
                    is_dedup = atom.use is _DEDUP
                    witness = self._dedup_values(atom, span) if is_dedup else shown.witness(atom, span, of_span)
                keys = self._keys(atom, span) if atom.pairing else None
                yield Fact(atom.fingerprint, span.identity or span.span_id, atom.time_ns(span), witness, keys)

    def services(self, names: Iterable[str]) -> set[str]:
        """Return names of services as they may be published: redacted, and truncated to 256 bytes."""
        shown = (self.redaction.value(SERVICE, name) for name in names)
        return {_truncate(name, SERVICE_BYTES) for name in shown if isinstance(name, str)}

    def _of_events(
        self, atom: Atom, span: Span, hits: Sequence[AtomHit], shown: Shown, of_span: _OfSpan | None
    ) -> Iterator[Fact]:
        """Yield a fact for each occurrence of an atom on a span with events that satisfy it."""
        identity = span.identity or span.span_id
        for hit, is_shown in kept_hits(hits, keeps_each=atom.pairing is Pairing.EACH):
            witness = NOTHING_SHOWN if is_shown else None
            if is_shown and of_span is not None:
                witness = shown.witness(atom, span, of_span, hit)
            keys: tuple[KeyHashes, ...] | None = None
            if atom.pairing is Pairing.EACH:
                keys = hash_variants([atom.hit_keys(span, hit)], self._hash_functions(atom))
            elif atom.pairing and hit.time_ns is None:
                keys = ()
            yield Fact(atom.fingerprint, identity + hit.suffix, hit.time_ns, witness, keys)

    def _keys(self, atom: Atom, span: Span) -> tuple[KeyHashes, ...] | None:
        """Return the hashes of what is compared: the values as they are on the span, before redaction."""
        if atom.pairing is not Pairing.EACH:
            return () if span.start_ns is None else None
        return hash_variants(atom.variants(span), self._hash_functions(atom))

    def _hash_functions(self, atom: Atom) -> list[HashFunction | None]:
        return [*(self._hash_function(atom, key) for key in atom.keys), *[key_hash] * len(atom.links)]

    def _dedup_values(self, atom: Atom, span: Span) -> Witness:
        """Return a witness with the hashes of the values by which signals are grouped, as text by name.

        Of several events that satisfy the atom, it has the values of the first. A value without a hash is missing.
        """
        hashes: dict[str, Scalar] = {}
        for key, texts in zip(atom.keys, next(iter(atom.variants(span)), ()), strict=False):
            hash_of = self._hash_function(atom, key)
            if texts and hash_of is not None:
                hashes[key.name] = _hash_text(texts, hash_of)
        return Witness("", None, None, hashes)

    def _hash_function(self, atom: Atom, key: AtomKey) -> HashFunction | None:
        if atom.use is Use.NUMBERS:
            return None if self.redaction.is_redacted(key.name) else str.encode
        return self.redaction.key_hash(*key)


class _OfSpan(NamedTuple):
    """What every witness of a span shows of it."""

    name: str
    service: str | None
    duration_ns: int | None
    attributes: dict[str, Scalar]


class Shown:
    """Caches what witnesses show of one record: shared resources and long values are converted once."""

    def __init__(self, projector: Projector) -> None:
        self._identity = frozenset(projector.identity)
        self._redaction = projector.redaction
        # By the object's address, which stays its own because the object is held here.
        self._resources: dict[int, tuple[Attributes, str | None, dict[str, Scalar]]] = {}
        self._values: dict[tuple[str, int], tuple[Value, Scalar]] = {}

    def of_span(self, span: Span) -> _OfSpan:
        """Return what every witness of the span shows."""
        _, service, of_resource = self._of_resource(span.resource)
        own = self._identity.intersection(span.attributes)
        attributes = of_resource
        if own:
            attributes = {**of_resource, **self._redacted({name: span.attributes[name] for name in own})}
        return _OfSpan(_truncate(span.name), service, _duration_ns(span), attributes)

    def witness(self, atom: Atom, span: Span, of_span: _OfSpan, hit: AtomHit | None = None) -> Witness:
        """Return the witness of a span that satisfied the atom, or of one of its hits; an event has no duration."""
        attributes = of_span.attributes
        if named := atom.witness(span, None if hit is None else hit.event):
            attributes = {**attributes, **self._redacted(named)}
        in_order = {name: attributes[name] for name in sorted(attributes)}
        duration_ns = None if hit is not None and hit.suffix else of_span.duration_ns
        return Witness(of_span.name, of_span.service, duration_ns, in_order)

    def _of_resource(self, resource: Attributes) -> tuple[Attributes, str | None, dict[str, Scalar]]:
        known = self._resources.get(id(resource))
        if known is None:
            service = self._redaction.value(SERVICE, resource.get(SERVICE))
            shown = self._redacted({name: value for name, value in resource.items() if name in self._identity})
            known = (resource, _truncate(service) if isinstance(service, str) else None, shown)
            self._resources[id(resource)] = known
        return known

    def _redacted(self, attributes: Attributes) -> dict[str, Scalar]:
        treatments = self._redaction.treatments
        if not treatments:
            return {name: self._value(name, value) for name, value in attributes.items()}
        return {
            name: self._value(name, value)
            for name, value in attributes.items()
            if treatments.get(name) is not Treatment.DROP
        }

    def _value(self, name: str, value: Value) -> Scalar:
        if len(value) < SHORT if isinstance(value, str) else not isinstance(value, list | dict | bytes):
            return scalar(self._redaction.value(name, value))
        known = self._values.get((name, id(value)))
        if known is None:
            known = self._values[name, id(value)] = (value, scalar(self._redaction.value(name, value)))
        return known[1]


def _hash_text(texts: tuple[str, ...], hash_of: HashFunction) -> str:
    """Return one hash of the elements of a value, in any order."""
    hashes = sorted({hash_of(text).hex() for text in texts})
    return hashes[0] if len(hashes) == 1 else key_hash(" ".join(hashes)).hex()


def scalar(value: Value) -> Scalar:
    """Convert a value for publishing: text over 1 KiB is truncated with a mark, nested values become JSON text.

    >>> scalar(["a", 1])
    '["a",1]'
    """
    if isinstance(value, str):
        return _truncate(value)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -(1 << 63) <= value < 1 << 63 else str(value)
    return _truncate(_json(value))


def _json(value: bytes | list[Value] | dict[str, Value]) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError:
        return TRUNCATION_MARK


def _truncate(text: str, most_bytes: int = VALUE_BYTES) -> str:
    if len(text) * 4 <= most_bytes:
        return text
    encoded = text[:most_bytes].encode()
    if len(text) <= most_bytes and len(encoded) <= most_bytes:
        return text
    return encoded[: most_bytes - len(TRUNCATION_MARK.encode())].decode(errors="ignore") + TRUNCATION_MARK


def _duration_ns(span: Span) -> int | None:
    if span.start_ns is None or span.end_ns is None or span.end_ns < span.start_ns:
        return None
    return span.end_ns - span.start_ns
