"""Tests signals as a person sees them."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from rich.console import Console

from streams.cli.signal_table import Board, Filter, line, show
from tests.support.findings import AMENDED, SIGNAL, digested
from topics.signals.digest import Digest


@pytest.mark.parametrize(
    ("wanted", "passes"),
    [
        (Filter(), True),
        (Filter(rules=("pii-access-is-logged",)), True),
        (Filter(rules=("other", "pii-*")), True),
        (Filter(rules=("pii",)), False),
        (Filter(severity="high"), True),
        (Filter(severity="critical"), False),
        (Filter(trace_id=SIGNAL.trace_id), True),
        (Filter(trace_id="0" * 32), False),
    ],
)
def test_filter(wanted: Filter, *, passes: bool) -> None:
    """Signals are filtered by rule or pattern, minimum severity and trace."""
    assert wanted.passes(SIGNAL) is passes


def test_signal_on_one_line() -> None:
    """Without a terminal a signal is one line without colours."""
    assert line(SIGNAL) == (
        "2026-01-05T11:59:00.123Z  judged at 2026-01-05T11:59:31.500Z  high      broken        pii-access-is-logged  "
        "trace 4bf92f3577b34da6a3ce929d0e0e4736  "
        'pii.access was seen (checkout, span "export users", user u-17) and no audit.log was recorded in the trace'
    )


def test_a_signal_cannot_control_the_terminal() -> None:
    """Control characters in a record are shown as spaces."""
    assert line(replace(SIGNAL, message="a\x1b[2J\rb\u202e")).endswith("  a [2J b ")


def drawn(*signals: Digest) -> str:
    """Returns what remains on a terminal after the signals."""
    console = Console(file=io.StringIO(), force_terminal=True, width=200, height=20, color_system="truecolor")
    console.print(_board(*signals).table(10))
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def _board(*signals: Digest) -> Board:
    board = Board()
    for signal in signals:
        board.add(signal)
    return board


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_amended_signal_replaces_the_earlier_revision() -> None:
    """The table shows the current state: a repaired finding is no longer red."""
    text = _plain(drawn(SIGNAL, digested(AMENDED)))

    assert "held (2)" in text
    assert "2 signals; of the last findings 1 held" in text
    assert "broken" not in text


def test_older_revision_is_ignored() -> None:
    """Partitions are read concurrently: an older revision never hides a newer one."""
    assert "held (2)" in _plain(drawn(digested(AMENDED), SIGNAL))


def test_severity_has_a_colour() -> None:
    """The terminal highlights severity."""
    assert "\x1b[1;31mhigh" in drawn(SIGNAL)


def test_markup_in_a_message_is_shown() -> None:
    """Square brackets in a span are text, not rich's markup."""
    assert "[red]x[/red]" in _plain(drawn(replace(SIGNAL, message="[red]x[/red]")))


def test_newest_signals_are_shown() -> None:
    """A table is never higher than its terminal."""
    board = _board(*(replace(SIGNAL, uid=str(n)) for n in range(50)))

    assert board.table(10).row_count == 10


def test_table_keeps_a_thousand_signals() -> None:
    """However long it runs, the table does not grow."""
    board = _board(*(replace(SIGNAL, uid=str(n)) for n in range(1_100)))

    assert board.table(5_000).row_count == 1_000


@pytest.mark.parametrize("is_terminal", [True, False])
def test_show_ends_with_its_signals(*, is_terminal: bool) -> None:
    """Everything that arrived is shown: on a terminal in a table, else line by line."""
    output = io.StringIO()
    console = Console(file=output, force_terminal=is_terminal, width=200, height=20)

    show(iter([SIGNAL, replace(SIGNAL, uid="another")]), console)

    assert output.getvalue().count("pii-access-is-logged") >= 2


class Screen(io.StringIO):
    """A terminal that records when a text was on it."""

    def __init__(self, awaited: str) -> None:
        super().__init__()
        self._awaited = awaited
        self.seen = threading.Event()

    def write(self, text: str) -> int:
        """Takes in what is drawn."""
        if self._awaited in _plain(text):
            self.seen.set()
        return super().write(text)


def test_last_signal_of_a_burst_is_shown() -> None:
    """A signal appears on the terminal while nothing more arrives."""
    screen = Screen("50 signals")

    def burst() -> Iterator[Digest]:
        yield from (replace(SIGNAL, uid=str(n)) for n in range(50))
        assert screen.seen.wait(30)

    show(burst(), Console(file=screen, force_terminal=True, width=200, height=20))

    assert screen.seen.is_set()


def test_a_row_cannot_control_the_terminal() -> None:
    """No field of the live table passes control characters on, not even one meant for hexadecimal digits."""
    hostile = "\x9b2J\x07\u202e"
    signal = replace(SIGNAL, trace_id=hostile, rule_id=hostile, message=hostile, verdict=hostile)

    shown = drawn(signal)

    assert not {"\x9b", "\x07", "\u202e"} & {*shown}
