"""Structured logs on stderr: lines for people on a terminal, JSON for machines."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from streams.observe import terminal

_PROCESSORS: list[Processor] = []
"""Always the same list: a logger that was used before keeps it."""


def configure() -> None:
    """Sends our log events, and what libraries warn of, to stderr."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
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


def _printable(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Keeps values from steering the terminal, on which the renderer's own colours stay."""
    return {name: terminal.printable_lines(value) if isinstance(value, str) else value for name, value in event.items()}
