"""Structured logs on stderr: lines for people on a terminal, JSON for machines.

What libraries log goes the same way. A client that cannot reach its broker says so many times a second: of lines of one
kind the first is logged at once, then one a minute with the number of lines that were left out.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from streams.observe import terminal

REPEAT_EVERY_S = 60.0
KAFKA_CLIENT = "librdkafka"
"""The name of the logger that librdkafka's clients are given."""
FAUST_CLIENT = "aiokafka"
"""Faust's client logs under this name."""

_PROCESSORS: list[Processor] = []
"""Always the same list: a logger that was used before keeps it."""


def configure() -> None:
    """Sends our log events, and what libraries warn of, to stderr."""
    logging.basicConfig(level=logging.WARNING, handlers=[LibraryHandler()], force=True)
    is_read_by_people = sys.stderr.isatty()
    rendering = structlog.dev.ConsoleRenderer() if is_read_by_people else structlog.processors.JSONRenderer()
    _PROCESSORS[:] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        *([_printable] if is_read_by_people else []),
        rendering,
    ]
    structlog.configure(
        processors=_PROCESSORS,
        # Workers share stderr: where Python does not buffer it, print writes a line's end alone, behind another's line.
        logger_factory=structlog.WriteLoggerFactory(terminal.unguarded(sys.stderr)),
        cache_logger_on_first_use=True,
    )


class LibraryHandler(logging.Handler):
    """Logs the lines of libraries as events of ours, each kind once a minute; `clock_s` is monotonic.

    Lines are of one kind when they come from the same logger and have the same text before values are put in.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock_s = clock_s
        self._left_out: dict[tuple[str, str], tuple[float, int]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Logs the line, or counts it."""
        try:
            self._log(record)
        except Exception:  # noqa: BLE001, logging reports it and goes on
            self.handleError(record)

    def _log(self, record: logging.LogRecord) -> None:
        kind = _kind(record)
        due_s, left_out = self._left_out.get(kind, (0.0, 0))
        now_s = self._clock_s()
        if now_s < due_s:
            self._left_out[kind] = due_s, left_out + 1
            return
        self._left_out[kind] = now_s + REPEAT_EVERY_S, 0
        fields: dict[str, object] = {"logger": record.name}
        if left_out:
            fields["left_out"] = left_out
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        # A broker that is away is an error to a client; we wait for it.
        is_client = record.name.partition(".")[0] in {KAFKA_CLIENT, FAUST_CLIENT}
        level = min(record.levelno, logging.WARNING) if is_client else record.levelno
        structlog.get_logger().log(level, record.getMessage(), **fields)


def _kind(record: logging.LogRecord) -> tuple[str, str]:
    """The logger, and what its lines of this kind have in common."""
    library = record.name.partition(".")[0]
    if library == FAUST_CLIENT:
        # Each of its modules complains of a broker that is away in several ways.
        return library, record.levelname
    if library == KAFKA_CLIENT and isinstance(record.args, tuple):
        # All its lines have one text, whose first value is the kind.
        return library, str(record.args[0])
    return record.name, str(record.msg)


def _printable(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Keeps values from steering the terminal, on which the renderer's own colours stay."""
    return {name: terminal.printable_lines(value) if isinstance(value, str) else value for name, value in event.items()}
