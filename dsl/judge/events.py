"""Finds the occurrences of an atom on a span: the span itself, and its events.

In: a span that satisfies an atom. Out: a hit for each event that satisfies the atom, at the event's time, and one for
the span, at its start, if its name or an attribute satisfies the atom. The identity of an event is that of its span
followed by its time and its number among the events of this time and name: a span that is sent twice has the same
events twice. It is longer than the identity of any span or log record.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import msgspec

from dsl.judge.occurrences import MAX_OCCURRENCES
from dsl.judge.predicate import EVERY_SPAN, Predicate, Where
from dsl.judge.span import NO_ATTRIBUTES, Attributes, Span, events_of

MAX_WITNESSES = 5
"""The limit on the events of a span that a signal shows for an atom."""

_LONGEST_SPAN_IDENTITY = 16
_SUFFIX = struct.Struct(">cQQ")
_TIME_MASK = (1 << 64) - 1


class AtomHit(NamedTuple):
    """An occurrence of an atom on a span: the span, or an event with these attributes.

    The identity of an event is that of its span followed by `suffix`, which is empty for the span itself. An event
    without a time has the start of its span.
    """

    time_ns: int | None
    suffix: bytes
    event: Attributes

    @property
    def order(self) -> tuple[bool, int, bytes]:
        """The sort key: time, with unknown times last, then suffix."""
        return self.time_ns is None, self.time_ns or 0, self.suffix


FindHits: TypeAlias = Callable[[Span], Sequence[AtomHit]]


def span_hit(span: Span) -> AtomHit:
    """Return the occurrence that is the span itself."""
    return AtomHit(span.start_ns, b"", NO_ATTRIBUTES)


def find_hits(name: str | None, where: Where | None, is_about: Predicate) -> FindHits:
    """Return what finds the hits of a subject on a span that satisfies it; there is at least one."""
    if name is None or name == EVERY_SPAN:
        return lambda span: (span_hit(span),)

    def hits(span: Span) -> Sequence[AtomHit]:
        if not span.events or not (events := [*_event_hits(span, name)]):
            return (span_hit(span),)
        found = [each for each in events if where is None or where(span, each.event)]
        is_itself = where is None or where(span, NO_ATTRIBUTES)
        if is_itself and is_about(msgspec.structs.replace(span, events=())):
            found.insert(0, span_hit(span))
        return found

    return hits


def span_identity(identity: bytes) -> bytes:
    """Return the identity of the span of an occurrence, which is that of the occurrence unless it is an event.

    >>> span_identity(b"a span's" + bytes(17)), span_identity(b"a log record: 16")
    (b"a span's", b'a log record: 16')
    """
    return identity[: -_SUFFIX.size] if len(identity) > _LONGEST_SPAN_IDENTITY else identity


def kept_hits(hits: Sequence[AtomHit], *, keeps_each: bool) -> Iterator[tuple[AtomHit, bool]]:
    """Yield the hits on a span that a trace must remember, and whether a signal shows them: the earliest are shown.

    With `keeps_each`, these are all hits, or as many as can affect a verdict; otherwise those that are shown, the
    latest one, and one without a time.
    """
    by_time = sorted(hits, key=_order)
    shown, others = by_time[:MAX_WITNESSES], by_time[MAX_WITNESSES:]
    yield from ((each, True) for each in shown)
    if not keeps_each or len(others) > MAX_OCCURRENCES:
        latest = [each for each in others if each.time_ns is not None][-1:]
        kept = {each.suffix for each in (*latest, *others[-1:])}
        kept.update(sorted(map(_suffix, others))[:MAX_OCCURRENCES] if keeps_each else ())
        others = [each for each in others if each.suffix in kept]
    yield from ((each, False) for each in others)


def _event_hits(span: Span, name: str) -> Iterator[AtomHit]:
    counts: dict[int | None, int] = {}
    for event in events_of(span, name):
        number = counts.get(event.time_ns, 0)
        counts[event.time_ns] = number + 1
        suffix = _SUFFIX.pack(b"e", (event.time_ns or 0) & _TIME_MASK, number)
        yield AtomHit(span.start_ns if event.time_ns is None else event.time_ns, suffix, event.attributes)


def _order(hit: AtomHit) -> tuple[bool, int, bytes]:
    return hit.order


def _suffix(hit: AtomHit) -> bytes:
    return hit.suffix
