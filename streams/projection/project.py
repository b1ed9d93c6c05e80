"""`project(record, rules) -> facts`: what one decoded source record says to the atoms of a rule set.

In: the traces of one record (`streams.decode.decoder`). Out: per trace its facts. No clock, no I/O; the same record and
rules give the same facts, live and in replay. Only what rules name, and the identity allow-list, leaves this function,
each value as the redaction says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from dsl import Atom, Interest, RuleSet, Span
from dsl.judge.atoms import Pairing
from dsl.judge.keys import hashed
from dsl.judge.span import Value
from streams.decode.decoder import Decoded, TraceSpans
from streams.projection.redact import Redaction
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

SERVICE = "service.name"
NOT_REDACTED = Redaction()
NOTHING_SHOWN = Witness("", None, None, {})

VALUE_BYTES = 1024
CUT_MARK = "…[cut]"


@dataclass(frozen=True, slots=True)
class Projector:
    """A rule set, the identity allow-list, and what is redacted; `interest` is what a decoder must convert for them.

    Without `shows`, facts have witnesses with nothing in them: verdicts need none, and they take most of the time.
    """

    rules: RuleSet
    identity: tuple[str, ...] = IDENTITY_ATTRIBUTES
    redaction: Redaction = NOT_REDACTED
    shows: bool = True

    @property
    def interest(self) -> Interest:
        """The rules' interest, with the identity attributes added to what is converted."""
        wanted = self.rules.interest
        return Interest(wanted.names, wanted.every_span, wanted.attributes | set(self.identity))

    @property
    def uncomparable(self) -> list[str]:
        """The names that pairs compare and the redaction hides without a key: such pairs are never decided."""
        keys = {key for atom in self.rules.atoms.values() for key in atom.keys}
        return sorted(key for key in keys if self.redaction.key_hash(key) is None)

    def facts(self, trace: TraceSpans) -> list[Fact]:
        """The facts of one trace of one record, in the order of its spans."""
        return self.facts_of(trace.spans)

    def facts_of(self, spans: list[Span]) -> list[Fact]:
        """The facts of spans of one trace, in their order."""
        return [self._fact(atom, span) for span in spans for atom in self.rules.hits(span)]

    def _fact(self, atom: Atom, span: Span) -> Fact:
        witness = self._witness(atom, span) if self.shows else NOTHING_SHOWN
        keys = self._keys(atom, span) if atom.pairing else None
        return Fact(atom.fingerprint, span.identity or span.span_id, span.start_ns, witness, keys)

    def _keys(self, atom: Atom, span: Span) -> tuple[KeyHashes, ...] | None:
        """What pairs compare, hashed: the values as they are on the span, whatever is redacted of them."""
        if atom.pairing is not Pairing.EACH:
            return () if span.start_ns is None else None
        return hashed(atom.variants(span), [self.redaction.key_hash(key) for key in atom.keys])

    def _witness(self, atom: Atom, span: Span) -> Witness:
        identity = self.identity
        # What was decoded of a span are a few attributes, most of which are wanted.
        shown = {name: value for name, value in span.resource.items() if name in identity}
        shown |= {name: value for name, value in span.attributes.items() if name in identity}
        shown |= atom.witness(span)
        shown = self.redaction.redacted(shown)
        attributes = {name: scalar(shown[name]) for name in sorted(shown)}
        return Witness(_cut(span.name), self._service(span), _duration_ns(span), attributes)

    def _service(self, span: Span) -> str | None:
        service = self.redaction.value(SERVICE, span.resource.get(SERVICE))
        return _cut(service) if isinstance(service, str) else None


class TraceFacts(NamedTuple):
    """What one record says of one trace."""

    trace_id: bytes
    span_count: int
    root_seen: bool
    facts: list[Fact]


def project(decoded: Decoded, projector: Projector) -> list[TraceFacts]:
    """What a record says of each of its traces; most have no facts."""
    return [
        TraceFacts(trace_id, trace.span_count, trace.root_seen, projector.facts(trace) if trace.spans else [])
        for trace_id, trace in decoded.traces.items()
    ]


def scalar(value: Value) -> Scalar:
    """A value as it may travel: text longer than 1 KiB is cut with a mark, what is nested becomes JSON text.

    >>> scalar(["a", 1])
    '["a",1]'
    """
    if isinstance(value, str):
        return _cut(value)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -(1 << 63) <= value < 1 << 63 else str(value)
    return _cut(_json(value))


def _json(value: bytes | list[Value] | dict[str, Value]) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError:
        return CUT_MARK


def _cut(text: str) -> str:
    if len(text) * 4 <= VALUE_BYTES:
        return text
    encoded = text.encode()
    if len(encoded) <= VALUE_BYTES:
        return text
    return encoded[: VALUE_BYTES - len(CUT_MARK.encode())].decode(errors="ignore") + CUT_MARK


def _duration_ns(span: Span) -> int | None:
    if span.start_ns is None or span.end_ns is None or span.end_ns < span.start_ns:
        return None
    return span.end_ns - span.start_ns
