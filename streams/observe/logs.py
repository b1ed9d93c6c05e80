"""Configures structured logs on stderr: lines for people on a terminal, JSON for machines.

Log lines of libraries are sent the same way. A client that cannot reach its broker logs that many times a second: of
lines of one kind the first is logged at once, then one a minute with the number of lines that were suppressed. So are
BeTrace's own warnings that are repeated while brokers are away (`OncePerMinute.warning`).
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
"""The name of the logger that librdkafka's clients use."""
FAUST_CLIENT = "aiokafka"
"""The name of the logger that Faust's client uses."""

_PROCESSORS: list[Processor] = []
"""Always the same list: a logger that was used before keeps a reference to it."""


def configure() -> None:
    """Send BeTrace's log events, and the warnings of libraries, to stderr."""
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
        # Workers share stderr: if it is unbuffered, print writes line endings separately, after another worker's line.
        logger_factory=structlog.WriteLoggerFactory(terminal.unguarded(sys.stderr)),
        cache_logger_on_first_use=True,
    )


class OncePerMinute:
    """Decides which lines of a kind are logged: the first at once, then one a minute; `clock_s` is monotonic."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._left_out: dict[object, tuple[float, int]] = {}

    def due(self, kind: object) -> dict[str, object] | None:
        """Return the fields of a line to log now, with the number of lines suppressed; None to suppress this one."""
        due_s, left_out = self._left_out.get(kind, (0.0, 0))
        now_s = self._clock_s()
        if now_s < due_s:
            self._left_out[kind] = due_s, left_out + 1
            return None
        self._left_out[kind] = now_s + REPEAT_EVERY_S, 0
        return {"left_out": left_out} if left_out else {}

    def warning(self, event: str, **fields: object) -> None:
        """Log a warning that is repeated while its cause lasts, such as brokers that are away."""
        if (counted := self.due(event)) is not None:
            structlog.get_logger().warning(event, **fields, **counted)


class LibraryHandler(logging.Handler):
    """Logs the lines of libraries as structured events, each kind once a minute; `clock_s` is monotonic.

    Lines are of one kind if they come from the same logger and have the same text before values are inserted.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._lines = OncePerMinute(clock_s)

    def emit(self, record: logging.LogRecord) -> None:
        """Log the line, or count it."""
        try:
            self._log(record)
        except Exception:  # noqa: BLE001, logging reports it and goes on
            self.handleError(record)

    def _log(self, record: logging.LogRecord) -> None:
        if (counted := self._lines.due(_kind(record))) is None:
            return
        fields: dict[str, object] = {"logger": record.name, **counted}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        # A broker that is down is an error to a client; BeTrace waits for it.
        is_client = record.name.partition(".")[0] in {KAFKA_CLIENT, FAUST_CLIENT}
        level = min(record.levelno, logging.WARNING) if is_client else record.levelno
        structlog.get_logger().log(level, record.getMessage(), **fields)


def _kind(record: logging.LogRecord) -> tuple[str, str]:
    """Return the logger, and what its lines of this kind have in common."""
    library = record.name.partition(".")[0]
    if library == FAUST_CLIENT:
        # Each of its modules reports a broker that is down in several ways.
        return library, record.levelname
    if library == KAFKA_CLIENT and isinstance(record.args, tuple):
        # All its lines have one text, whose first value is the kind.
        return library, str(record.args[0])
    return record.name, str(record.msg)


def _printable(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Keep values from controlling the terminal, where the renderer's own colours stay."""
    return {name: terminal.printable_lines(value) if isinstance(value, str) else value for name, value in event.items()}
