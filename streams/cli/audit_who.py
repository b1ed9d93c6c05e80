"""Implements `betrace audit who`: one actor's audit records, signals and broken traces on one timeline."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streams.cli import commands, options
from streams.cli.signal_table import COLOURS, VERDICT_COLOURS
from streams.config.units import iso_ms
from streams.errors import ConfigError
from streams.evidence.audit.timeline import page
from streams.evidence.audit.who import Moment, Who, timeline
from streams.evidence.ledger.storage import open_storage
from streams.observe.terminal import printable
from topics.times import rfc3339_clamped

PIPED_COLUMNS = 180


@commands.command(
    "who",
    short_help="Show what an actor did.",
    epilog="\b\nExample:\n  betrace audit who evidence/ user.id=u-17 --from 7d --html u-17.html",
)
@click.argument("evidence")
@click.argument("actor", metavar="NAME=VALUE")
@options.moment("--from", default="90d", help="Start of the period.")
@options.moment("--to", help="End of the period, exclusive; now if omitted.")
@options.html
def command(evidence: str, actor: str, from_ms: int, to_ms: int | None, html: Path | None) -> None:
    """Show what an actor did, given by an attribute such as user.id=u-17: audit records, and signals with their traces.

    user.id and enduser.id are treated as the same attribute: OpenTelemetry renamed one to the other.
    """
    name, is_pair, value = actor.partition("=")
    if not is_pair or not name:
        raise click.UsageError(f"{actor!r} is not NAME=VALUE, such as user.id=u-17")
    end_ms = time.time_ns() // 1_000_000 if to_ms is None else to_ms
    try:
        result = timeline(open_storage(evidence), Who(name, value), from_ms, end_ms)
        verify = f"betrace audit verify {shlex.quote(evidence)} --key ledger.pub"
        if html is not None:
            options.write_page(html, page(actor, result, from_ms, end_ms, verify))
    except OSError as error:
        raise ConfigError(str(error)) from error
    if result.moments:
        _show(result.moments)
    else:
        click.echo(f"nothing about {printable(actor)} from {iso_ms(from_ms)} to {iso_ms(end_ms)}")
    for line in ["", *result.completeness.sentences(), f"To verify it: {verify}"]:
        click.echo(line)


def _show(moments: Sequence[Moment]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("when", "judged at", "kind", "what", "service", "trace"):
        table.add_column(name, overflow="fold")
    for moment in moments:
        colour = VERDICT_COLOURS.get(moment.kind) or COLOURS.get(moment.severity or "", "")
        table.add_row(
            Text(rfc3339_clamped(moment.time_ms)),
            Text("-" if moment.judged_ms is None else rfc3339_clamped(moment.judged_ms), "dim"),
            Text(printable(moment.kind), colour),
            Text(printable(moment.what if moment.message is None else f"{moment.what}: {moment.message}")),
            Text(printable(moment.service or "-"), "dim"),
            Text(printable(moment.trace_id or "-"), "dim"),
        )
    Console(width=None if sys.stdout.isatty() else PIPED_COLUMNS).print(table)
