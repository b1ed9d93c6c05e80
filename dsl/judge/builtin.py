"""Defines the built-in names, under which rules read the properties of a span.

In: a span and a time zone. Out: one value; None when the span has none. A log record has no kind, status, duration and
parent.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import TypeAlias
from zoneinfo import ZoneInfo

from dsl.judge.span import Span, Value

Reader: TypeAlias = Callable[[Span, ZoneInfo], Value]

DURATION = "span.duration"
TIME_PREFIX = "timestamp."
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

CLOSED_SETS = MappingProxyType(
    {
        "span.kind": ("internal", "server", "client", "producer", "consumer"),
        "span.status": ("unset", "ok", "error"),
        "timestamp.weekday": WEEKDAYS,
    }
)

_HOUR_NS = 3600 * 10**9
_MINUTE_NS = 60 * 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@cache
def zone_of(name: str) -> ZoneInfo:
    """Return a time zone from the `tzdata` package; zone files of the host would make verdicts differ between hosts.

    Raises:
        KeyError: the zone does not exist.
    """
    if name not in zone_names():
        raise KeyError(name)
    with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


@cache
def zone_names() -> tuple[str, ...]:
    """Return the names of all time zones, sorted."""
    return tuple(sorted(resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()))


_UTC = "UTC"


def _local(span: Span, zone: ZoneInfo) -> datetime | None:
    if span.start_ns is None:
        return None
    try:
        return (_EPOCH + timedelta(microseconds=span.start_ns // 1000)).astimezone(zone)
    except (OverflowError, ValueError):  # before the year 1 or after 9999
        return None


def _hour(span: Span, zone: ZoneInfo) -> Value:
    if zone.key == _UTC:
        return None if span.start_ns is None else span.start_ns // _HOUR_NS % 24
    return None if (local := _local(span, zone)) is None else local.hour


def _minute(span: Span, zone: ZoneInfo) -> Value:
    if zone.key == _UTC:
        return None if span.start_ns is None else span.start_ns // _MINUTE_NS % 60
    return None if (local := _local(span, zone)) is None else local.minute


def _weekday(span: Span, zone: ZoneInfo) -> Value:
    return None if (local := _local(span, zone)) is None else WEEKDAYS[local.weekday()]


def _date(span: Span, zone: ZoneInfo) -> Value:
    return None if (local := _local(span, zone)) is None else local.date().isoformat()


def _name(span: Span, _: ZoneInfo) -> Value:
    return None if span.is_log and not span.name else span.name


def _duration(span: Span, _: ZoneInfo) -> Value:
    if span.is_log or span.start_ns is None or span.end_ns is None:
        return None
    return span.end_ns - span.start_ns


BUILTINS: MappingProxyType[str, Reader] = MappingProxyType(
    {
        "span.name": _name,
        "span.kind": lambda span, _: span.kind,
        "span.status": lambda span, _: None if span.is_log else span.status,
        "span.status_message": lambda span, _: span.status_message or None,
        "span.duration": _duration,
        "span.id": lambda span, _: span.span_id.hex() or None,
        "span.parent_id": lambda span, _: span.parent_id.hex() or None,
        "span.is_root": lambda span, _: None if span.is_log else not span.parent_id,
        "scope.name": lambda span, _: span.scope_name,
        "timestamp.hour": _hour,
        "timestamp.minute": _minute,
        "timestamp.weekday": _weekday,
        "timestamp.date": _date,
        "log.body": lambda span, _: span.log_body if span.is_log else None,
        "log.severity": lambda span, _: span.log_severity if span.is_log else None,
    }
)


def builtin_of(name: str, subject: str | None) -> str | None:
    """Return the built-in that a name in a subject's where refers to when the span has no such attribute.

    >>> builtin_of("status", "span"), builtin_of("span.status", "payment"), builtin_of("status", "payment")
    ('span.status', 'span.status', None)
    """
    return next((key for key in lookup_keys(name, subject) if key in BUILTINS), None)


def lookup_keys(name: str, subject: str | None) -> tuple[str, ...]:
    """Return the names under which an attribute is looked up, in order.

    >>> lookup_keys("amount", "payment"), lookup_keys("amount", None)
    (('payment.amount', 'amount'), ('amount',))
    """
    return (name,) if subject is None else (f"{subject}.{name}", name)
