"""The last words of a stage: what it counted."""

from __future__ import annotations

import structlog

from streams.observe import metrics
from streams.supervisor import supervise

log = structlog.get_logger()


def say_end(stage: str) -> None:
    """Tells the supervisor what the stage counted; without one, the log."""
    if supervise.is_supervised():
        supervise.say_totals(metrics.totals(stage))
    else:
        log.info("stage ended", stage=stage, **metrics.totals(stage))
