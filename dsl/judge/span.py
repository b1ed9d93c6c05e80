"""What a rule looks at: one span, or one log record that carries a trace id.

In: nothing. Out: the values that `dsl.judge.predicate` reads. A decoder builds these; it may leave out every
attribute that no rule names (`RuleSet.interest.attributes`), because predicates never look at another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

Value: TypeAlias = "str | bool | int | float | bytes | list[Value] | dict[str, Value] | None"
"""An attribute's value, as OTLP's `AnyValue`. `None` is an empty or unreadable value and counts as missing."""

Attributes: TypeAlias = Mapping[str, Value]

NO_ATTRIBUTES: Attributes = {}


# Made by the million, and nothing in them is ever in a cycle; a dataclass takes several times as long to make.
class Event(msgspec.Struct, frozen=True, gc=False):
    """A span event: a name and attributes. Its time plays no part in any rule."""

    name: str
    attributes: Attributes = msgspec.field(default_factory=dict)


class Span(msgspec.Struct, gc=False):
    """One span, or one log record with a trace id (`is_log`).

    `span_id` and `parent_id` are raw bytes, empty when absent. `start_ns` and `end_ns` are Unix nanoseconds, None when
    absent (0 on the wire). `kind` is one of internal, server, client, producer, consumer, or None when unspecified;
    `status` one of unset, ok, error. For a log record `name` is its event name ("" without one), `start_ns` its time or
    observed time, `identity` a hash that tells it from other records of the same span; for a span `identity` is its id,
    a hash where it has none.
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
