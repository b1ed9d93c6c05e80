"""Tests the lines about how a run gets on."""

from __future__ import annotations

from structlog.testing import capture_logs

from streams.supervisor.progress import EVERY_S, ProgressLog

NOW_S = 1_000_000.0


class Clock:
    """Continues when told to."""

    now_s = 50.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


def made(clock: Clock) -> ProgressLog:
    """The progress of an ingest and two sessions processes."""
    stages = ["ingest-1", "sessions-1", "sessions-2"]
    return ProgressLog(stages, lambda: {"rules": 3}, clock_s=clock, now_s=lambda: NOW_S)


def test_ready_is_logged_once_when_the_last_stage_is() -> None:
    """Until each stage has reported nothing is logged; then one line says what the run reads and judges."""
    progress = made(Clock())

    with capture_logs() as lines:
        for stage in ("ingest-1", "sessions-1"):
            progress.note(stage, {})
            progress.step()
        assert [] == lines
        progress.note("sessions-2", {})
        progress.step()
        progress.step()

    assert [{"event": "ready", "log_level": "info", "rules": 3}] == lines


def test_progress_is_logged_once_a_minute() -> None:
    """Counts are summed over the stages that have them, and the lag is that of the clock furthest behind."""
    clock = Clock()
    progress = made(clock)
    progress.note("ingest-1", {"records": 10})
    progress.note("sessions-1", {"windows_open": 2, "signals": 1, "clock_s": NOW_S - 2})
    progress.note("sessions-2", {"windows_open": 3, "signals": 4, "clock_s": NOW_S - 7.25})
    progress.step()

    with capture_logs() as lines:
        for passed_s in (EVERY_S - 1, EVERY_S, 2 * EVERY_S - 1):
            clock.now_s = Clock.now_s + passed_s
            progress.step()

    expected = {"records": 10, "windows_open": 5, "signals": 5, "lag_s": 7.2}
    assert [{"event": "progress", "log_level": "info"} | expected] == lines


def test_lag_is_unknown_without_a_clock() -> None:
    """Without a clock the lag is null, not 0; a stage without clocks has no lag at all."""
    clock = Clock()
    sessions, ingest = (ProgressLog(["one"], dict, clock_s=clock) for _ in range(2))
    sessions.note("one", {"windows_open": 0, "signals": 0, "clock_s": None})
    ingest.note("one", {"records": 0})

    with capture_logs() as lines:
        for passed_s in (0, EVERY_S):
            clock.now_s = Clock.now_s + passed_s
            sessions.step()
            ingest.step()

    said = [{name: line[name] for name in line.keys() - {"event", "log_level"}} for line in lines[2:]]
    assert [{"windows_open": 0, "signals": 0, "lag_s": None}, {"records": 0}] == said
