"""One day of all sample applications.

In: an OTLP/gRPC endpoint and a seed. Out: their telemetry, the truth about it, and how much of it there is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.support.apps.hospital import Hospital
from tests.support.apps.shop import Shop
from tests.support.apps.story import Truth
from tests.support.apps.telemetry import Telemetry


@dataclass(frozen=True)
class Day:
    """What the applications sent: which traces break which rule, spans, and log records."""

    truth: Truth
    span_count: int
    log_count: int

    def broken(self, rules: Iterable[str]) -> dict[str, list[str]]:
        """The trace ids that break each of `rules`, sorted."""
        return {rule: sorted(self.truth[rule]) for rule in rules}


def run_day(endpoint: str, seed: int) -> Day:
    """Runs every application and sends what it has to say; returns when the endpoint has taken all of it."""
    telemetry = Telemetry(endpoint, seed)
    try:
        truth = {**Shop(telemetry).run()}
        for rule, traces in Hospital(telemetry).run().items():
            truth.setdefault(rule, []).extend(traces)
    finally:
        telemetry.close()
    return Day(truth, telemetry.span_count, telemetry.log_count)
