"""What can go wrong at run time, split by who acts.

BetraceError
├── ConfigError   the operator: a setting, the rules, a topic. Exit 2.
├── RecordError   nobody: one source record cannot be read. It becomes a dead letter and the stream goes on.
├── NotDoneError  nobody: the brokers do not answer, or another worker took over. What it came from is done again.
└── StateError    the operator, after a stop: going on would lose or invent something. Exit 3; ends in `Action:`.
"""

from __future__ import annotations


class BetraceError(Exception):
    """Whatever this program raises on purpose."""

    exit_code = 3


class ConfigError(BetraceError):
    """A setting, a rule set or a topic is not as it must be; the message says what to change."""

    exit_code = 2


class RecordError(BetraceError):
    """One source record cannot be read; `str(error)` is the reason on its dead letter."""


class NotDoneError(BetraceError):
    """Something did not come about that will when it is tried again; nothing is lost by it."""


class StateError(BetraceError):
    """Going on would lose or invent a signal."""

    def __init__(self, message: str, *, action: str) -> None:
        super().__init__(f"{message}. Action: {action}")
