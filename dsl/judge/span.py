"""Defines what rules are evaluated on: a span, or a log record that has a trace id.

In: nothing. Out: the values that `dsl.judge.predicate` reads. A decoder may leave out every attribute that is not in
`RuleSet.interest.attributes`, because predicates never read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

Value: TypeAlias = "str | bool | int | float | bytes | list[Value] | dict[str, Value] | None"
"""An attribute's value, as OTLP's `AnyValue`. `None` is an empty or unreadable value and counts as missing."""

Attributes: TypeAlias = Mapping[str, Value]

NO_ATTRIBUTES: Attributes = {}


# Millions of these are created, and none is ever part of a cycle; a dataclass takes several times as long to create.
class Event(msgspec.Struct, frozen=True, gc=False):
    """A span event; its time is in Unix nanoseconds, None when absent (0 on the wire)."""

    name: str
    attributes: Attributes = msgspec.field(default_factory=dict)
    time_ns: int | None = None


# Positional: one is made for each span, and by keyword that takes 2.4 instead of 1.5 µs.
class Span(msgspec.Struct, gc=False):
    """A span, or a log record with a trace id (`is_log`).

    `span_id` and `parent_id` are raw bytes, empty when absent. `start_ns` and `end_ns` are Unix nanoseconds, None when
    absent (0 on the wire). `kind` is one of internal, server, client, producer, consumer, or None when unspecified;
    `status` is one of unset, ok, error. `identity` is the span id, or a hash of a span without one. For a log record,
    `name` is the event name ("" without one), `start_ns` is the time or observed time, and `identity` is a hash that
    distinguishes it from other records of the same span.
    """

    name: str
    span_id: bytes = b""
    parent_id: bytes = b""
    start_ns: int | None = None
    end_ns: int | None = None
    attributes: Attributes = msgspec.field(default_factory=dict)
    events: tuple[Event, ...] = ()
    resource: Attributes = msgspec.field(default_factory=dict)
    scope: Attributes = msgspec.field(default_factory=dict)
    scope_name: str | None = None
    kind: str | None = None
    status: str = "unset"
    status_message: str = ""
    is_log: bool = False
    log_body: Value = None
    log_severity: str | None = None
    identity: bytes = b""


FEW_EVENTS = 16


class _EventIndex:
    """Caches the events of the latest span by name, because many atoms read the events of one span in turn."""

    def __init__(self) -> None:
        self._latest: tuple[tuple[Event, ...], dict[str, list[Event]]] = ((), {})

    def of(self, events: tuple[Event, ...]) -> dict[str, list[Event]]:
        known, by_name = self._latest
        if known is not events:
            by_name = {}
            for event in events:
                by_name.setdefault(event.name, []).append(event)
            self._latest = events, by_name
        return by_name


_event_index = _EventIndex()


def events_of(span: Span, name: str | None) -> list[Event]:
    """Return the events of this name, in order; the caller must not change the list."""
    if len(span.events) < FEW_EVENTS:
        return [event for event in span.events if event.name == name]
    return _event_index.of(span.events).get(name or "", []) if name is not None else []


def events_named(span: Span, name: str | None) -> list[Attributes]:
    """Return the attributes of each event of this name, in order; the caller must not change them.

    >>> events_named(Span("", events=(Event("a", {"x": 1}), Event("b"))), "a")
    [{'x': 1}]
    """
    return [event.attributes for event in events_of(span, name)]
