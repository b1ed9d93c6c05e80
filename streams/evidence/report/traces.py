"""Broken traces as a report shows them: the signal that told of each, and its witnesses in time.

In: digests of signals. Out: `BrokenTrace`s and `Bar`s. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from streams.evidence.report.model import Bar, BrokenTrace
from topics.signals.digest import Digest
from topics.signals.finding import SignalWitness


def broken(signal: Digest) -> BrokenTrace:
    """The trace that a signal tells of."""
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
    """The witnesses as bars of a waterfall, in their order."""
    for shown in witnesses:
        yield Bar(
            subject=shown.subject,
            name=shown.name,
            service=shown.service,
            start_ns=shown.start_ns,
            duration_ns=shown.duration_ns,
            attributes={name: str(value) for name, value in sorted(shown.attributes.items())},
        )
