"""Implements `betrace status`: shows the state of an installation, from Kafka alone."""

from __future__ import annotations

import time
from pathlib import Path

import click
import msgspec

from streams.cli import commands, options
from streams.cli.table import table
from streams.config.security import Security
from streams.config.settings import Settings
from streams.inspect import status
from streams.inspect.status import FactsRow, LostRow, SourceRow, Status
from streams.observe import logs
from streams.rules import judging
from streams.rules.judging import RuleStart

_FACTS = ("FACTS", "CLOCK", "HELD BY", "OPEN WINDOWS", "LAG", "REBUILD", "MARGIN", "CHECKPOINT")
_SOURCES = ("SOURCE", "COMMITTED", "END", "LAG")
NONE = "-"


@commands.command("status", epilog="\b\nExample:\n  betrace status --bootstrap localhost:9092")
@options.cluster
@options.prefix
@options.source_topics
@options.output_format("text", "json", help_text="Output format; JSON is one object.")
def command(*, bootstrap: str, security: Security, prefix: str, source_topics: tuple[str, ...], form: str) -> None:
    """Print whether workers run, from when rules judge, which partition holds the clock, the lag, and the rebuild.

    An idle, healthy installation has workers of both roles, no LAG of sources, no open windows, and a clock that was
    --idle-lag (2s) to a few seconds behind when its checkpoint was written; a checkpoint may be some ten seconds old.
    CLOCK and CHECKPOINT are ages. LAG counts unread records or facts messages; REBUILD counts the facts messages that a
    worker with an empty disk reads again, MARGIN those kept before them: it must not fall below 0.
    """
    logs.configure()
    settings = Settings(
        bootstrap=bootstrap, security=security, prefix=prefix, source_topics=source_topics, state_dir=Path()
    )
    state = status.read_status(settings)
    if form == "json":
        click.echo(msgspec.json.encode(state))
        return
    for line in lines(state, time.time_ns() // 1_000_000):
        click.echo(line)


def lines(state: Status, now_ms: int) -> list[str]:
    """Return the lines to print; ages are relative to `now_ms`."""
    return [
        *map(_lost, state.lost),
        *_workers(state),
        f"active rules: {state.active_rules or 'none'} ({state.rules} rules)",
        *judging_lines(state.judging),
        _clock(state, now_ms),
        "",
        *table(_FACTS, [_facts(row, now_ms) for row in state.facts]),
        "",
        *table(_SOURCES, map(_source, state.sources)),
    ]


def _lost(row: LostRow) -> str:
    follows = "later records have replaced them" if row.doubt is None else f"{row.doubt}: see betrace doctor"
    span = f"from offset {row.from_offset} to {row.to_offset}"
    return f"{row.topic}[{row.partition}] cannot be read {span} ({row.reason}): {follows}"


def judging_lines(rule_starts: list[RuleStart] | None) -> list[str]:
    """Return from when the active rules judge; the argument is None if a checkpoint does not say it."""
    if rule_starts is None:
        return ["from when they judge is unknown: a checkpoint is of another version"]
    return [f"  {line}" for line in judging.sentences(rule_starts)]


def _workers(state: Status) -> list[str]:
    """Return the lines about workers; for a role without any, what that means."""
    absent = [role for role, count in state.workers.items() if count == 0]
    counts = ", ".join(
        f"{role} {'unknown: DESCRIBE on the group is not allowed' if count is None else count}"
        for role, count in state.workers.items()
    )
    lines = [f"workers: {counts}"] if counts else []
    if absent:
        lines.append(f"no worker of {' or of '.join(absent)} runs: nothing below advances until one does")
    elif state.workers and state.is_idle:
        lines.append("idle: every record is read, and no window is open")
    return lines


def _clock(state: Status, now_ms: int) -> str:
    row = state.holder()
    if row is None:
        return "clock: sessions has written no checkpoint yet"
    if row.held_by is None:
        return "clock: no source partition is known"
    held = f"{row.held_by.topic}[{row.held_by.partition}]"
    if row.clock_ms is None:
        return f"clock: not started, waiting for the first watermark of {held}"
    if row.written_ms is None:
        return f"clock: {_age(row.clock_ms, now_ms)} behind, held by {held}"
    then, ago = _age(row.clock_ms, row.written_ms), _age(row.written_ms, now_ms)
    return f"clock: {then} behind at the checkpoint, {ago} ago; held by {held}"


def _facts(row: FactsRow, now_ms: int) -> tuple[str, ...]:
    held = NONE if row.held_by is None else f"{row.held_by.topic}[{row.held_by.partition}]"
    counts = (row.open_windows, row.lag, row.rebuild, row.margin)
    return (
        str(row.partition),
        _age(row.clock_ms, now_ms),
        held,
        *map(str, counts),
        _age(row.written_ms, now_ms),
    )


def _source(row: SourceRow) -> tuple[str, ...]:
    committed = NONE if row.committed is None else str(row.committed)
    return (f"{row.topic}[{row.partition}]", committed, str(row.end), str(row.lag))


def _age(time_ms: int | None, now_ms: int) -> str:
    """Return how long ago a time is, in seconds.

    >>> _age(8_000, 10_000), _age(None, 0)
    ('2.0s', '-')
    """
    return NONE if time_ms is None else f"{(now_ms - time_ms) / 1000:.1f}s"
