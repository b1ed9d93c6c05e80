"""Renders a signal and the waterfall of its trace for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from streams.cli.signal_table import COLOURS, VERDICT_COLOURS
from streams.inspect import waterfall
from streams.inspect.waterfall import Extent, Row
from streams.observe.terminal import printable
from topics.signals.digest import Digest
from topics.times import rfc3339_clamped

ROWS = 500
BAR_COLUMNS = 40
NAME_CHARS = 60
INDENTS = 20


def show(signal: Digest, rows: Sequence[Row], console: Console, *, group: str | None = None) -> None:
    """Print the signal, the size of its group if it has one, then the first 500 spans of its trace."""
    for text in _facts(signal, group):
        console.print(text, soft_wrap=True)
    console.print()
    console.print(_table(rows[:ROWS], waterfall.extent(rows)))
    if len(rows) > ROWS:
        console.print(f"… and {len(rows) - ROWS} more; --html shows up to 10,000")


def _facts(signal: Digest, group: str | None) -> Sequence[Text]:
    head = Text.assemble(
        (signal.severity, COLOURS[signal.severity]),
        "  ",
        (printable(signal.verdict), VERDICT_COLOURS.get(signal.verdict, "")),
        f"  {printable(signal.title)}",
    )
    lines = [
        f"rule      {signal.rule_id}",
        f"signal    {signal.uid}.{signal.revision}",
        f"trace     {signal.trace_id}",
        f"when      {rfc3339_clamped(signal.happened_ms)}",
        f"judged at {rfc3339_clamped(signal.time_ms)}",
        f"missing   {', '.join(signal.missing) or '-'}",
        f"present   {', '.join(signal.present) or '-'}",
        *([] if group is None else [f"signals   {group}"]),
    ]
    return [head, Text(printable(signal.message)), Text(""), *(Text(printable(each)) for each in lines)]


def _table(rows: Sequence[Row], extent: Extent) -> Table:
    table = Table(box=None, pad_edge=False)
    for name, right in (("span", False), ("service", False), ("", False), ("took", True), ("rule", False)):
        table.add_column(name, no_wrap=True, justify="right" if right else "left")
    for row in rows:
        table.add_row(*_cells(row, extent))
    return table


def _cells(row: Row, extent: Extent) -> Sequence[Text]:
    colour = "red" if row.is_error else "bold yellow" if row.subjects else ""
    name = "  " * min(row.depth, INDENTS) + ("· " if row.is_log else "") + printable(row.name)
    return (
        Text(name[:NAME_CHARS], colour),
        Text(printable(row.service or "-")[:NAME_CHARS], "dim"),
        Text(_bar(row, extent), colour or "blue"),
        Text("" if row.duration_ns is None else waterfall.duration(row.duration_ns)),
        Text(printable(", ".join(row.subjects)), "bold yellow"),
    )


def _bar(row: Row, extent: Extent) -> str:
    bar = extent.bar(row, BAR_COLUMNS)
    if bar is None:
        return "?"
    start, length = bar
    return " " * start + ("│" if row.is_log else "█" * length)
