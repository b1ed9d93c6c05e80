"""Shows signals as a table: live on a terminal, lines elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from streams.cli.signal_groups import Group, grouped, since_text
from streams.observe.terminal import printable
from topics.signals.digest import SEVERITIES, Digest
from topics.times import rfc3339_clamped

KEPT = 1000
"""The number of signals that the live table keeps; the terminal shows those that fit."""

REFRESHES_PER_S = 4
_FRAME_LINES = 6

COLOURS = {
    "critical": "bold white on red",
    "high": "bold red",
    "medium": "yellow",
    "low": "cyan",
    "info": "dim",
}
VERDICT_COLOURS = {"broken": "red", "undetermined": "yellow", "held": "green", "not_applicable": "green"}


@dataclass(frozen=True, slots=True)
class Filter:
    """Selects signals: of these rules (patterns; all if empty), of at least this severity, of this trace."""

    rules: tuple[str, ...] = ()
    severity: str = "info"
    trace_id: str | None = None

    def passes(self, signal: Digest) -> bool:
        """Return whether a signal is shown."""
        return (
            (not self.rules or any(fnmatchcase(signal.rule_id, rule) for rule in self.rules))
            and SEVERITIES.index(signal.severity) >= SEVERITIES.index(self.severity)
            and self.trace_id in (None, signal.trace_id)
        )


def show(signals: Iterable[Digest], console: Console, *, groups: bool = True) -> None:
    """Show signals until there are no more: on a terminal as a live table, otherwise a line each.

    If `groups`, signals with the same dedup uid are one line or row and a count.
    """
    if not console.is_terminal:
        for signal in grouped(signals) if groups else signals:
            console.file.write(line(signal) + "\n")
            console.file.flush()
        return
    board = Board(groups=groups)
    # Drawn on a timer, not per signal: a burst is drawn once, and its last signal is shown.
    with Live(
        get_renderable=lambda: board.table(console.height - _FRAME_LINES),
        console=console,
        refresh_per_second=REFRESHES_PER_S,
    ):
        for signal in signals:
            board.add(signal)


class Board:
    """The last signals by uid, or groups by dedup uid: an amended signal replaces the earlier revision."""

    def __init__(self, *, groups: bool = True) -> None:
        self._groups: dict[str, Group] = {}
        self._is_grouped = groups
        self._count = 0

    def add(self, signal: Digest) -> None:
        """Add a signal, unless a later revision is present."""
        self._count += 1
        uid = signal.dedup.uid if signal.dedup and self._is_grouped else signal.uid
        if (known := self._groups.get(uid)) is None:
            self._groups[uid] = Group(signal)
        else:
            known.add(signal)
        if len(self._groups) > KEPT:
            del self._groups[next(iter(self._groups))]

    def table(self, height: int) -> Table:
        """Return the newest signals that fit into `height` lines, and the number of each verdict."""
        groups = [*self._groups.values()]  # a copy: another thread draws the table
        counts = Counter(group.shown.verdict for group in groups)
        summary = printable(", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())))
        table = Table(expand=True, caption=f"{self._count} signals; of the last findings {summary or 'none'}")
        for name in ("when", "judged at", "severity", "verdict", "rule", "trace"):
            table.add_column(name, no_wrap=True)
        table.add_column("message", overflow="ellipsis", no_wrap=True, ratio=1)
        for group in groups[-max(height, 1) :]:
            table.add_row(*_cells(group.shown, group.more))
        return table


def line(signal: Digest) -> str:
    """Return a signal on one line, without colours: when it happened, when it was judged, and what."""
    trace, judged = f"trace {signal.trace_id}", f"judged at {rfc3339_clamped(signal.time_ms)}"
    when = rfc3339_clamped(signal.happened_ms)
    head = (when, judged, f"{signal.severity:<8}", f"{_verdict(signal):<12}", signal.rule_id, trace)
    return printable("  ".join([*head, signal.message]))


def _verdict(signal: Digest) -> str:
    return signal.verdict if signal.revision == 1 else f"{signal.verdict} ({signal.revision})"


def _cells(signal: Digest, more: int) -> Iterable[Text]:
    happened, judged = rfc3339_clamped(signal.happened_ms), rfc3339_clamped(signal.time_ms)
    yield Text(happened[: len("2026-01-05T12:00:00")].replace("T", " "), "dim")
    yield Text(judged[len("2026-01-05T") : len("2026-01-05T12:00:00")], "dim")
    yield Text(signal.severity, COLOURS[signal.severity])
    yield Text(printable(_verdict(signal)), VERDICT_COLOURS.get(signal.verdict, ""))
    yield Text(printable(signal.rule_id))
    yield Text(printable(signal.trace_id[:8]), "dim")
    count = f"1 of {more + 1} {since_text(signal)}: " if more else ""
    yield Text(printable(f"{count}{signal.message}"))
