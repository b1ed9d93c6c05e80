"""Converts one OTLP span or log record to a `dsl.Span`.

In: the records of one scope, and the interest of the rules. Out: spans as rules read them, with only the attributes
that some rule or the identity allow-list names. Invariants: no attribute value makes a conversion raise; attributes
with the same key become one array of their values, so that none hides another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from dsl import Event, Interest, Span, Value
from dsl.judge.span import Attributes
from dsl.judge.values import is_present
from topics.otlp import requests as otlp

NO_PARENT = frozenset({b"", bytes(8)})
"""The parent span ids of a root."""

SPAN_ID_BYTES = 8
IDENTITY_BYTES = 16
SPAN_IDENTITY_BYTES = 12
"""For a log record and for a span without an id; the lengths differ from each other and from that of an id."""

KINDS: Mapping[int, str] = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
STATUSES: Mapping[int, str] = {1: "ok", 2: "error"}
SERVICE = "service.name"
_EVENT_NAME = "event.name"
_canonical = msgspec.msgpack.Encoder(order="deterministic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The resource and scope of records, converted once for all of them, with the interest of the rules.

    `is_of_interest`: an attribute of the resource or the scope makes every record one of interest.
    """

    interest: Interest
    value: Callable[[msgspec.Raw], Value]
    resource: Attributes
    scope: Attributes
    scope_name: str | None
    is_of_interest: bool

    def wants_span(self, span: otlp.Span) -> bool:
        """Return whether a rule may look at the span, by its name, an attribute's key or an event's name."""
        names = self.interest.names
        return (
            self.is_of_interest
            or span.name in names
            or not names.isdisjoint([attribute.key for attribute in span.attributes])
            or not names.isdisjoint([event.name for event in span.events])
        )

    def wants_log(self, log: otlp.LogRecord) -> bool:
        """Return whether a rule may look at the log record, by its event name or an attribute's key."""
        names = self.interest.names
        return (
            self.is_of_interest
            or event_name(log, self.value) in names
            or not names.isdisjoint([attribute.key for attribute in log.attributes])
        )

    def span(self, span: otlp.Span) -> Span:
        """Convert a span; one without an id is identified by its name, start and attributes."""
        own_id = span_id(span.span_id)
        attributes = None if own_id else converted(span.attributes, self.value)
        made = Span(
            name=span.name,
            span_id=own_id,
            parent_id=b"" if span.parent_span_id in NO_PARENT else span_id(span.parent_span_id),
            start_ns=span.start_time_unix_nano or None,
            end_ns=span.end_time_unix_nano or None,
            attributes=self._attributes_of_interest(span.attributes),
            events=tuple([self._event(event) for event in span.events]),
            resource=self.resource,
            scope=self.scope,
            scope_name=self.scope_name,
            kind=KINDS.get(span.kind),
            status=STATUSES.get(span.status.code, "unset"),
            status_message=span.status.message,
            identity=own_id,
        )
        if attributes is not None:
            made.identity = span_identity(made, attributes)
        return made

    def log(self, log: otlp.LogRecord) -> Span:
        """Convert a log record."""
        attributes = converted(log.attributes, self.value)
        span = Span(
            name=event_name(log, self.value),
            span_id=span_id(log.span_id),
            start_ns=log.time_unix_nano or log.observed_time_unix_nano or None,
            attributes={key: value for key, value in attributes.items() if key in self.interest.attributes},
            resource=self.resource,
            scope=self.scope,
            scope_name=self.scope_name,
            is_log=True,
            log_body=self.value(log.body),
            log_severity=log.severity_text or severity_name(log.severity_number),
        )
        span.identity = log_identity(span, attributes)
        return span

    def _event(self, event: otlp.Event) -> Event:
        return Event(event.name, self._attributes_of_interest(event.attributes), event.time_unix_nano or None)

    def _attributes_of_interest(self, attributes: Sequence[otlp.KeyValue]) -> Attributes:
        return converted(attributes, self.value, self.interest.attributes)


@dataclass(frozen=True, slots=True)
class Sender:
    """A resource, converted once for all its scopes; `is_of_interest`: one of its attributes is of interest."""

    interest: Interest
    value: Callable[[msgspec.Raw], Value]
    resource: Attributes
    is_of_interest: bool

    def origin(self, scope: otlp.Scope) -> Origin:
        """Return the origin of the records that a request has for this resource and a scope."""
        return Origin(
            interest=self.interest,
            value=self.value,
            resource=self.resource,
            scope=converted(scope.attributes, self.value, self.interest.attributes),
            scope_name=scope.name or None,
            is_of_interest=self.is_of_interest or _is_named(scope.attributes, self.interest),
        )


def sender(request: otlp.Request, interest: Interest, resource: otlp.Resource) -> Sender:
    """Convert a resource."""
    return Sender(
        interest=interest,
        value=request.value,
        resource=converted(resource.attributes, request.value, interest.attributes),
        is_of_interest=interest.every_span or _is_named(resource.attributes, interest),
    )


def services(request: otlp.Request, resource: otlp.Resource) -> set[str]:
    """Return the texts of the resource's `service.name`: one, unless the attribute is repeated."""
    names = [request.value(attribute.value) for attribute in resource.attributes if attribute.key == SERVICE]
    return {value for value in names if isinstance(value, str) and value}


def event_name(log: otlp.LogRecord, value: Callable[[msgspec.Raw], Value]) -> str:
    """Return the record's event name, else its attribute `event.name`, else an empty text."""
    if log.event_name:
        return log.event_name
    attribute = next((attribute for attribute in log.attributes if attribute.key == _EVENT_NAME), None)
    name = None if attribute is None else value(attribute.value)
    return name if isinstance(name, str) else ""


def span_id(sent: bytes) -> bytes:
    """Return a span id as OTLP defines it: 8 bytes, or none; any other length is hashed to 8 bytes.

    So spans of a faulty sender keep distinct ids and their parents, and no sender chooses the length of an identity.

    >>> span_id(b"12345678"), span_id(b""), len(span_id(b"1" * 850_000))
    (b'12345678', b'', 8)
    """
    return sent if len(sent) in (0, SPAN_ID_BYTES) else _hash(sent, SPAN_ID_BYTES)


def _is_named(attributes: Sequence[otlp.KeyValue], interest: Interest) -> bool:
    return not interest.names.isdisjoint([attribute.key for attribute in attributes])


def converted(
    attributes: Sequence[otlp.KeyValue],
    value: Callable[[msgspec.Raw], Value],
    keys: frozenset[str] | None = None,
) -> dict[str, Value]:
    """Convert the attributes with these keys (None: all), by key; repeated keys give an array of their values."""
    values_by_key: dict[str, Value] = {}
    for attribute in attributes:
        key = attribute.key
        if keys is None or key in keys:
            if key in values_by_key:
                add_value(values_by_key, key, value(attribute.value))
            else:
                values_by_key[key] = value(attribute.value)
    return values_by_key


def add_value(values_by_key: dict[str, Value], key: str, value: Value) -> None:
    """Add the value of a repeated key: the existing value becomes an array; an array is added element by element.

    An absent value adds nothing; it stays only if there is no other.
    """
    before = values_by_key[key]
    if not is_present(before):
        values_by_key[key] = value
    elif is_present(value):
        # The array belongs to this request, so it may grow in place: copies would be quadratic in its length.
        values: list[Value] = before if isinstance(before, list) else [before]
        values += value if isinstance(value, list) else [value]
        values_by_key[key] = values


def severity_name(number: int) -> str | None:
    """Return the short name of an OTLP severity number, None outside 1 to 24.

    >>> severity_name(9), severity_name(18), severity_name(0)
    ('INFO', 'ERROR2', None)
    """
    names = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
    if not 1 <= number <= 4 * len(names):
        return None
    level, step = divmod(number - 1, 4)
    return f"{names[level]}{step + 1}" if step else names[level]


def log_identity(log: Span, attributes: Attributes) -> bytes:
    """Return 16 bytes that identify a log record in its trace: a hash of span id, time, event name and attributes.

    A copy that an exporter sent twice has the same identity, whatever the order of its attributes or its encoding.
    """
    return _hash((log.span_id, log.start_ns, log.name, attributes), IDENTITY_BYTES)


def span_identity(span: Span, attributes: Attributes) -> bytes:
    """Return 12 bytes that identify a span without an id in its trace: a hash of name, start and attributes."""
    return _hash((span.name, span.start_ns, attributes), SPAN_IDENTITY_BYTES)


def _hash(content: object, size: int) -> bytes:
    return hashlib.blake2b(_canonical.encode(content), digest_size=size).digest()
