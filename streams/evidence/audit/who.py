"""Builds the timeline of one actor: `timeline(store, who, from_ms, to_ms)`.

In: evidence storage, an attribute and its value (`user.id=u-17`). Out: moments in the order in which they happened:
audit records with that attribute, and signals that have it on a witness, with the witnesses of the broken trace; and
how far the evidence reaches, so that the reader knows for which period it cannot say anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from streams.config.units import iso_ms
from streams.evidence.audit import trail
from streams.evidence.ledger import seal as seals
from streams.evidence.ledger import storage
from streams.evidence.ledger.storage import Storage
from streams.evidence.report.gather import gather, judged_to
from streams.evidence.report.gathered import DAY_MS, Gathered
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

    OpenTelemetry renamed `enduser.id` to `user.id`, and a trail has both: they mean the same person.
    """

    name: str
    value: str

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes that mean the same as the given one.

        >>> Who("user.id", "u-17").names, Who("tenant.id", "t-1").names
        (('user.id', 'enduser.id'), ('tenant.id',))
        """
        return _USER if self.name in _USER else (self.name,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One thing that happened; `kind` is audit, or a signal's verdict: only a signal has a message and what follows it.

    `time_ms` is when the actor did it, as the span says; a signal was judged later.
    """

    time_ms: int
    kind: str
    what: str
    service: str | None
    trace_id: str | None
    details: tuple[tuple[str, str], ...]
    message: str | None = None
    severity: str | None = None
    witnesses: tuple[Bar, ...] = ()
    judged_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """How far the evidence reaches: when it was last sealed, and up to which record time all was judged, or None.

    `unreadable` names files that cannot be read or have content that this version does not know, `lost` counts records
    of the period that the ledger could not read.
    """

    sealed_ms: int | None
    judged_to_ms: int | None
    unreadable: tuple[str, ...]
    lost: int

    def sentences(self) -> list[str]:
        """Return what can be said about the requested period, and what cannot."""
        sealed = "Nothing is sealed" if self.sealed_ms is None else f"Sealed up to {iso_ms(self.sealed_ms)}"
        judged = "nothing is judged" if self.judged_to_ms is None else f"judged up to {iso_ms(self.judged_to_ms)}"
        lines = [f"{sealed}, {judged}: later events are not included."]
        if self.unreadable:
            lines.append(f"{len(self.unreadable)} files cannot be read completely, such as {self.unreadable[0]}.")
        if self.lost:
            lines.append(f"{self.lost} records were deleted before they were sealed.")
        return lines


@dataclass(frozen=True, slots=True)
class Timeline:
    """What is known about an actor, in the order in which it happened."""

    moments: list[Moment]
    completeness: Completeness


def timeline(store: Storage, who: Who, from_ms: int, to_ms: int) -> Timeline:
    """Return the timeline; raises `ConfigError`, `StateError`, `OSError`.

    A signal belongs to the period if it happened or was judged in it: no clock error can hide one.
    """
    # What happened at the end of the period was judged after it.
    gathered = gather(store, from_ms, to_ms + DAY_MS)
    moments = [*_audit(store, who, from_ms, to_ms)]
    for signal in gathered.signals.values():
        if _is_about(signal, who):
            moment = _signal(signal, who)
            if any(from_ms <= time_ms < to_ms for time_ms in (moment.time_ms, signal.time_ms)):
                moments.append(moment)
    moments.sort(key=lambda moment: (moment.time_ms, moment.kind, moment.what))
    return Timeline(moments, _completeness(store, gathered))


def _completeness(store: Storage, gathered: Gathered) -> Completeness:
    last = storage.last_seal(store)
    sealed_ms = None if last is None else seals.decode(seals.split(store.read(storage.seal_path(last))).line).time_ms
    return Completeness(
        sealed_ms=sealed_ms,
        judged_to_ms=judged_to(store),
        unreadable=tuple(gathered.unreadable),
        lost=gathered.lost,
    )


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


def _signal(signal: Digest, who: Who) -> Moment:
    services = [shown.service for shown in signal.witnesses if shown.service]
    starts_ns = [
        shown.start_ns
        for shown in signal.witnesses
        if shown.start_ns is not None and any(shown.text(name) == who.value for name in who.names)
    ]
    return Moment(
        time_ms=min(starts_ns) // 1_000_000 if starts_ns else signal.happened_ms,
        judged_ms=signal.time_ms,
        kind=signal.verdict,
        what=signal.title,
        message=signal.message,
        service=services[0] if services else None,
        trace_id=signal.trace_id,
        severity=signal.severity,
        details=(("rule", signal.rule_id), ("signal", f"{signal.uid}.{signal.revision}")),
        witnesses=(*bars(signal.witnesses),),
    )
