"""Logs the progress of a run: one line when all its stages are ready, then one line per minute.

In: what each stage reports. Out: log lines.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

import structlog

log = structlog.get_logger()

EVERY_S = 60.0
COUNTS = ("records", "windows_open", "signals", "sealed")
"""What the stages count, since their start; none counts all of it."""

State = Mapping[str, float | None]
"""What a stage reports: its counts, and `clock_s`, the lowest of its clocks in Unix seconds, None before the first."""


class ProgressLog:
    """The progress of the named stages; `about` returns the fields of the line of readiness.

    `clock_s` is monotonic, `now_s` the wall clock.
    """

    def __init__(
        self,
        stages: Collection[str],
        about: Callable[[], Mapping[str, object]],
        *,
        clock_s: Callable[[], float] = time.monotonic,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._waiting = set(stages)
        self._about = about
        self._clock_s = clock_s
        self._now_s = now_s
        self._states: dict[str, State] = {}
        self._due_s: float | None = None

    def note(self, stage: str, state: State) -> None:
        """Take a report of a stage, which makes one only if it is ready."""
        self._states[stage] = state
        self._waiting.discard(stage)

    def step(self) -> None:
        """Log what is due."""
        if self._waiting:
            return
        now_s = self._clock_s()
        if self._due_s is None:
            log.info("ready", **self._about())
        elif now_s >= self._due_s:
            log.info("progress", **self._summary())
        else:
            return
        self._due_s = now_s + EVERY_S

    def _summary(self) -> dict[str, float | None]:
        """Return the sums of the counts, and the lag of the clock that is furthest behind."""
        states = self._states.values()
        sums = {name: sum(state[name] or 0 for state in states if name in state) for name in COUNTS}
        counted: dict[str, float | None] = {
            name: total for name, total in sums.items() if any(name in state for state in states)
        }
        if any("clock_s" in state for state in states):
            clocks_s = [clock_s for state in states if (clock_s := state.get("clock_s")) is not None]
            counted["lag_s"] = round(self._now_s() - min(clocks_s), 1) if clocks_s else None
        return counted
