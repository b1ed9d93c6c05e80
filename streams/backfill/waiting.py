"""Waits until a backfill can begin: its rules judge everywhere, and live is past every chain that it may judge.

In: what `betrace.verdicts` says, again and again. Out: nothing, or an error that names what does not move.
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

LOOK_S = 1.0
SAY_S = 60.0
NAMED = 3


@dataclass(frozen=True, slots=True)
class Patience:
    """How long nothing may move, and who is told what is waited for."""

    timeout_s: float
    say: Callable[[str], None]


def known(log: VerdictLog) -> Known:
    """What the log says by now."""
    return Known(log.partition_count, log.live, log.backfills)


def until_judged(log: VerdictLog, meant: Mapping[str, str], patience: Patience) -> None:
    """Waits until live says in every facts partition from when on it judges each rule; `meant` are ids by fingerprint.

    Raises:
        StateError: it does not in time.
    """
    deadline_s = time.monotonic() + patience.timeout_s
    log.read()
    is_said = False
    while lacking := unknown(known(log), meant):
        if time.monotonic() > deadline_s:
            rules = sorted({meant[rule] for _, rule in lacking})
            numbers = sorted({number for number, _ in lacking})
            raise StateError(
                f"after {patience.timeout_s:.0f}s no worker judges with {', '.join(rules[:NAMED])} in facts partitions "
                f"{', '.join(map(str, numbers))}",
                action="see betrace status whether workers run and follow the rules, then betrace rules backfill",
            )
        if not is_said:
            patience.say("waiting until workers judge with the new rules")
            is_said = True
        time.sleep(LOOK_S)
        log.read()


def until_past(log: VerdictLog, settings: Settings, until_ms: int, patience: Patience) -> None:
    """Waits until every facts partition has judged up to `until_ms` of record time, and nothing older can be written.

    Raises:
        StateError: a facts partition does not get on.
    """
    over_ms = until_ms + settings.out_of_order_ms + settings.idle_lag_ms
    moved_s, said_s, reached = time.monotonic(), 0.0, (-1, -1)
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
                f"facts partition {slowest[1]} has judged nothing for {patience.timeout_s:.0f}s, it stands at "
                f"{iso_ms(slowest[0])}",
                action="see betrace status what holds the clock, then betrace rules backfill",
            )
        if now_s >= said_s:
            said_s = now_s + SAY_S
            patience.say(f"waiting until live has judged up to {iso_ms(until_ms)}, it is at {iso_ms(slowest[0])}")
        time.sleep(LOOK_S)
        log.read()
