"""Defines what can go wrong at run time, split by who acts.

BetraceError
├── ConfigError   the operator: a setting, the rules, a topic. Exit 2.
├── RecordError   nobody: one source record cannot be read. It becomes a dead letter and the stream continues.
├── NotDoneError  nobody: the brokers do not answer, or another worker took over. The work is repeated.
└── StateError    the operator, after a stop: continuing would lose or invent something. Exit 3; ends in `Action:`.
"""

from __future__ import annotations

from topics.errors import Refusal


class BetraceError(Exception):
    """The base of every error that this program raises on purpose."""

    exit_code = 3


class ConfigError(BetraceError):
    """A setting, a rule set or a topic is invalid; the message says what to change."""

    exit_code = 2


class RecordError(BetraceError):
    """One source record cannot be read; `refusal` is the reason on its dead letter."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class NotDoneError(BetraceError):
    """Something failed that will succeed when it is repeated; nothing is lost."""


class StateError(BetraceError):
    """Continuing would lose or invent a signal."""

    def __init__(self, message: str, *, action: str) -> None:
        super().__init__(f"{message}. Action: {action}")
