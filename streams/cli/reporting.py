"""Reports what a stage counted when it ends."""

from __future__ import annotations

import structlog

from streams.observe import metrics
from streams.supervisor import supervise

log = structlog.get_logger()


def report_totals(stage: str) -> None:
    """Send the supervisor what the stage counted; without a supervisor, log it."""
    if supervise.is_supervised():
        supervise.send_totals(metrics.totals(stage))
    else:
        log.info("stage ended", stage=stage, **metrics.totals(stage))
