"""Shows broken traces in a report: the signal about each, and its witnesses on a time axis.

In: digests of signals. Out: `BrokenTrace`s and `Bar`s. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from streams.evidence.report.model import Bar, BrokenTrace
from topics.signals.digest import Digest
from topics.signals.finding import SignalWitness


def broken(signal: Digest) -> BrokenTrace:
    """Return the trace that a signal is about."""
    return BrokenTrace(
        uid=signal.uid,
        revision=signal.revision,
        happened_ms=signal.happened_ms,
        time_ms=signal.time_ms,
        trace_id=signal.trace_id,
        verdict=signal.verdict,
        severity=signal.severity,
        message=signal.message,
        missing=[*signal.missing],
        present=[*signal.present],
        witnesses=[*bars(signal.witnesses)],
    )


def bars(witnesses: Iterable[SignalWitness]) -> Iterator[Bar]:
    """Yield the witnesses as bars of a waterfall, in their order."""
    for shown in witnesses:
        yield Bar(
            subject=shown.subject,
            name=shown.name,
            service=shown.service,
            start_ns=shown.start_ns,
            duration_ns=shown.duration_ns,
            attributes={name: str(value) for name, value in sorted(shown.attributes.items())},
        )
