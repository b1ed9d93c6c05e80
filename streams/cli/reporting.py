"""Reports what a stage does: once it is ready, then at intervals, and what it counted when it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import structlog
from prometheus_client import Gauge

from streams.observe import metrics
from streams.observe.health import Health
from streams.supervisor import supervise
from streams.supervisor.progress import ProgressLog, State

log = structlog.get_logger()

READY_POLL_S = 0.5
EVERY_S = 10.0


@contextmanager
def reporting(stage: str, health: Health, reads: Iterable[str]) -> Iterator[None]:
    """Report the progress of a stage within this context: to the supervisor, or without one in the log.

    `reads` are the topics that it reads.
    """
    topics = [*reads]
    own = ProgressLog([stage], lambda: {"stage": stage, "reads": topics, "rule_set": health.readiness().rules})

    def report(state: State) -> None:
        own.note(stage, state)
        own.step()

    is_over = threading.Event()
    send = supervise.send_progress if supervise.is_supervised() else report
    threading.Thread(target=_report, args=(stage, health, send, is_over), name="progress", daemon=True).start()
    try:
        yield
    finally:
        is_over.set()


def report_totals(stage: str) -> None:
    """Send the supervisor what the stage counted; without a supervisor, log it."""
    if supervise.is_supervised():
        supervise.send_totals(metrics.totals(stage))
    else:
        log.info("stage ended", stage=stage, **metrics.totals(stage))


def _report(stage: str, health: Health, send: Callable[[State], None], is_over: threading.Event) -> None:
    """Send what the stage did, once it is ready and then at intervals; `/readyz` shows whether it still is."""
    while health.gaps():
        if is_over.wait(READY_POLL_S):
            return
    send(_state(stage))
    while not is_over.wait(EVERY_S):
        send(_state(stage))


def _state(stage: str) -> Mapping[str, float | None]:
    totals = metrics.totals(stage)
    if stage == "ingest":
        return {"records": totals["records"]}
    if stage == "ledger":
        return {"sealed": totals["ledger_entries"]}
    clocks_s = _values(metrics.CLOCK)
    return {
        "windows_open": sum(_values(metrics.WINDOWS_OPEN)),
        "signals": totals["signals"],
        "clock_s": min(clocks_s, default=None),
    }


def _values(gauge: Gauge) -> list[float]:
    """Return a gauge's value for each of its labels."""
    return [sample.value for metric in gauge.collect() for sample in metric.samples]
