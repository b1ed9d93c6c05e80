"""Waits until a backfill can begin: its rules judge everywhere, and live is past every chain that it may judge.

In: the content of `betrace.verdicts`, read repeatedly. Out: nothing, or an error that names what makes no progress.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from streams.backfill.plan import Known, unknown
from streams.backfill.verdict_log import VerdictLog
from streams.config.settings import Settings
from streams.config.units import iso_ms
from streams.errors import StateError

POLL_S = 1.0
REPORT_S = 60.0
NAMED = 3


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait without progress, and where to report the wait."""

    timeout_s: float
    say: Callable[[str], None]


def known(log: VerdictLog) -> Known:
    """Return the current content of the log."""
    return Known(log.partition_count, log.live, log.backfills)


def until_judged(log: VerdictLog, ids_by_fingerprint: Mapping[str, str], patience: Patience) -> None:
    """Wait until live states in every facts partition since when each of the rules judges.

    Raises:
        StateError: it does not in time.
    """
    deadline_s = time.monotonic() + patience.timeout_s
    log.read()
    is_reported = False
    while lacking := unknown(known(log), ids_by_fingerprint):
        if time.monotonic() > deadline_s:
            rules = sorted({ids_by_fingerprint[rule] for _, rule in lacking})
            numbers = sorted({number for number, _ in lacking})
            raise StateError(
                f"after {patience.timeout_s:.0f}s no worker judges with {', '.join(rules[:NAMED])} in facts partitions "
                f"{', '.join(map(str, numbers))}",
                action="check with betrace status that workers run and follow the rules, "
                "then run betrace rules backfill",
            )
        if not is_reported:
            patience.say("waiting until workers judge with the new rules")
            is_reported = True
        time.sleep(POLL_S)
        log.read()


def until_past(log: VerdictLog, settings: Settings, until_ms: int, patience: Patience) -> None:
    """Wait until every facts partition has judged up to `until_ms` of record time, and nothing older can be written.

    Raises:
        StateError: a facts partition makes no progress.
    """
    over_ms = until_ms + settings.out_of_order_ms + settings.idle_lag_ms
    moved_s, reported_s, reached = time.monotonic(), 0.0, (-1, -1)
    log.read()
    while True:
        clocks = [(log.clocks_ms.get(number, 0), number) for number in range(log.partition_count)]
        slowest, now_ms = min(clocks), time.time_ns() // 1_000_000
        if slowest[0] >= until_ms and now_ms >= over_ms:
            return
        now_s = time.monotonic()
        if slowest[0] != reached[0] or slowest[0] >= until_ms:
            moved_s, reached = now_s, slowest
        if now_s > moved_s + patience.timeout_s:
            raise StateError(
                f"facts partition {slowest[1]} has judged nothing for {patience.timeout_s:.0f}s, its clock is at "
                f"{iso_ms(slowest[0])}",
                action="check with betrace status what holds the clock, then run betrace rules backfill",
            )
        if now_s >= reported_s:
            reported_s = now_s + REPORT_S
            patience.say(
                f"waiting until live processing has judged up to {iso_ms(until_ms)}, it is at {iso_ms(slowest[0])}"
            )
        time.sleep(POLL_S)
        log.read()
