"""`moments(store, who, from_ms, to_ms)`: all that is known of one actor, on one timeline.

In: a storage of evidence, an attribute and its value (`user.id=u-17`). Out: moments in the order of time: audit records
with that attribute, and signals of which a witness has it, with the witnesses of the broken trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from streams.evidence.audit import trail
from streams.evidence.ledger.storage import Storage
from streams.evidence.report.gather import gather
from streams.evidence.report.model import Bar
from streams.evidence.report.traces import bars
from topics.signals.digest import Digest

_QUERY = """
SELECT epoch_ms(timestamp), name, service, trace_id, is_log, attributes FROM audit_spans
WHERE ? IN (attributes[?], attributes[?]) AND timestamp >= ? AND timestamp < ? ORDER BY timestamp, partition, "offset"
"""


_USER = ("user.id", "enduser.id")


@dataclass(frozen=True, slots=True)
class Who:
    """An attribute and its value.

    OpenTelemetry called `user.id` `enduser.id` before, and a trail has both: they are the same person.
    """

    name: str
    value: str

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes that say the same as the one that was asked for.

        >>> Who("user.id", "u-17").names, Who("tenant.id", "t-1").names
        (('user.id', 'enduser.id'), ('tenant.id',))
        """
        return _USER if self.name in _USER else (self.name,)


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that happened; `kind` is audit, or a signal's verdict: only that has a message and what follows it."""

    time_ms: int
    kind: str
    what: str
    service: str | None
    trace_id: str | None
    details: tuple[tuple[str, str], ...]
    message: str | None = None
    severity: str | None = None
    witnesses: tuple[Bar, ...] = ()


def moments(store: Storage, who: Who, from_ms: int, to_ms: int) -> list[Moment]:
    """The timeline; raises `ConfigError`, `StateError`, `OSError`."""
    found = [*_audit(store, who, from_ms, to_ms)]
    found += [_signal(signal) for signal in gather(store, from_ms, to_ms).signals.values() if _is_about(signal, who)]
    return sorted(found, key=lambda moment: (moment.time_ms, moment.kind, moment.what))


def _audit(store: Storage, who: Who, from_ms: int, to_ms: int) -> list[Moment]:
    bounds = [datetime.fromtimestamp(time_ms / 1000, UTC) for time_ms in (from_ms, to_ms)]
    with trail.opened(store) as database:
        rows = database.execute(_QUERY, [who.value, who.names[0], who.names[-1], *bounds]).fetchall()
    return [
        Moment(
            time_ms=time_ms,
            kind="audit",
            what=attributes.get("audit.action") or name,
            service=service,
            trace_id=trace_id,
            details=tuple(sorted((key, value) for key, value in attributes.items() if value is not None)),
        )
        for time_ms, name, service, trace_id, _, attributes in rows
    ]


def _is_about(signal: Digest, who: Who) -> bool:
    return any(shown.text(name) == who.value for shown in signal.witnesses for name in who.names)


def _signal(signal: Digest) -> Moment:
    services = [shown.service for shown in signal.witnesses if shown.service]
    return Moment(
        time_ms=signal.time_ms,
        kind=signal.verdict,
        what=signal.title,
        message=signal.message,
        service=services[0] if services else None,
        trace_id=signal.trace_id,
        severity=signal.severity,
        details=(("rule", signal.rule_id), ("signal", f"{signal.uid}.{signal.revision}")),
        witnesses=(*bars(signal.witnesses),),
    )
