"""Implements `betrace signals`: shows signals, without the SIEM and without a consumer group.

In: `betrace.signals`, and for one signal the source topics. Out: a table or JSON lines on stdout; a trace's waterfall,
also as HTML in a file. What cannot be read is reported on stderr.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
from confluent_kafka import Message
from rich.console import Console

from streams.cli import commands, options, signal_table, waterfall_html, waterfall_text
from streams.cli.signal_groups import size_text
from streams.cli.signal_table import Filter
from streams.config.security import Security
from streams.config.settings import Settings
from streams.errors import ConfigError
from streams.inspect import trace_lookup, waterfall
from streams.inspect.waterfall import Row
from streams.kafka import follow
from streams.observe import logs
from topics.signals.digest import SEVERITIES, Digest, NotASignalError, digest
from topics.signals.finding import SourceRange

PIPED_COLUMNS = 180


@commands.group("signals", epilog="\b\nExample:\n  betrace signals tail --from 1h")
def command() -> None:
    """Show signals: as they come, or one with its trace."""
    logs.configure()


@command.command(
    short_help="Show signals as they come.",
    epilog="\b\nExample:\n  betrace signals tail --from 1h --severity high --rule 'pci-*'",
)
@options.cluster
@options.prefix
@options.search_from("latest", "Show signals published since then.")
@options.moment("--to", help="End of the period, exclusive; implies --once.")
@click.option("--rule", multiple=True, help="Only rules whose id matches this pattern, such as 'pci-*'; repeatable.")
@click.option(
    "--severity",
    type=click.Choice(SEVERITIES),
    default="info",
    show_default=True,
    help="Only signals of at least this severity.",
)
@click.option("--trace", callback=options.trace_id, help="Only this trace.")
@options.output_format("text", "json", help_text="Output format; JSON is the signals as published, one per line.")
@click.option("--once", is_flag=True, help="Print what the topic contains now, then exit.")
@click.option("--all", "every", is_flag=True, help="Show each signal, instead of one of each dedup group and a count.")
def tail(
    *,
    bootstrap: str,
    security: Security,
    prefix: str,
    begin: str,
    to_ms: int | None,
    rule: tuple[str, ...],
    severity: str,
    trace: str | None,
    form: str,
    once: bool,
    every: bool,
) -> None:
    """Show signals as they come: on a terminal a table, in which an amended signal replaces the earlier revision.

    If a rule has a dedup, the first signal of each group is shown, and how many more there are.
    """
    settings = Settings(bootstrap=bootstrap, security=security, prefix=prefix, state_dir=Path())
    since = follow.since(begin, _now_ms())
    messages = follow.follow(settings.reader(), settings.topic("signals"), since, until_end=once or to_ms is not None)
    signal_filter = Filter(rule, severity, trace)
    signals = (
        (message, signal) for message, signal in _signals(_before(messages, to_ms)) if signal_filter.passes(signal)
    )
    if form == "json":
        for message, _ in signals:
            click.echo(message.value() or b"")
    else:
        signal_table.show((signal for _, signal in signals), _console(), groups=not every)


@command.command(
    short_help="Show a signal and the waterfall of its trace.",
    epilog="\b\nExample:\n  betrace signals show 8d59ea30-cada-5c5f-9adb-c188237550f0 --html signal.html",
)
@click.argument("uid")
@options.cluster
@options.prefix
@options.search_from("earliest", "Start of the search.")
@options.html
def show(*, uid: str, bootstrap: str, security: Security, prefix: str, begin: str, html: Path | None) -> None:
    """Show the signal UID and the waterfall of its trace, read from the source topics at the offsets it names.

    Shows the last revision; UID.REVISION selects another.
    """
    settings = Settings(bootstrap=bootstrap, security=security, prefix=prefix, state_dir=Path())
    signal = _find(settings, uid, begin)
    rows, gone = trace_of(settings, signal)
    for text in gone:
        click.echo(text, err=True)
    waterfall_text.show(signal, rows, _console(), group=_group_size(settings, signal, begin))
    if html is not None:
        options.write_page(html, waterfall_html.page(signal, rows, gone))


def trace_of(settings: Settings, signal: Digest) -> tuple[list[Row], list[str]]:
    """Return the waterfall of a signal's trace, read from the source topics, and what they no longer have of it."""
    read = trace_lookup.read(settings.reader(), bytes.fromhex(signal.trace_id), signal.sources)
    subjects: dict[bytes, list[str]] = {}
    for witness in signal.witnesses:
        subjects.setdefault(witness.span_id, []).append(witness.subject)
    return waterfall.rows(read.spans, subjects), [_gone(source) for source in read.gone]


def _console() -> Console:
    """Return a console; if stdout is not a terminal, its lines may exceed the 80 characters that rich would assume."""
    return Console(width=None if sys.stdout.isatty() else PIPED_COLUMNS)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _signals(messages: Iterator[Message]) -> Iterator[tuple[Message, Digest]]:
    """Yield records with their digests; report a record that is not a signal on stderr."""
    for message in messages:
        try:
            yield message, digest(message.value() or b"")
        except NotASignalError as error:
            where = f"{message.topic()} partition {message.partition()} offset {message.offset()}"
            click.echo(f"{where}: not a signal that this version knows: {error}", err=True)


def _find(settings: Settings, uid: str, begin: str) -> Digest:
    key, _, revision = uid.strip().lower().partition(".")
    since = follow.since(begin, _now_ms())
    messages = follow.follow(settings.reader(), settings.topic("signals"), since, until_end=True)
    revisions = {
        signal.revision: signal for _, signal in _signals(each for each in messages if each.key() == key.encode())
    }
    selected = [each for each in revisions if not revision or str(each) == revision]
    if not selected:
        known = f"; its revisions are {', '.join(map(str, sorted(revisions)))}" if revisions else ""
        raise ConfigError(f"no signal {uid} is on {settings.topic('signals')}{known}")
    return revisions[max(selected)]


def _group_size(settings: Settings, signal: Digest, begin: str) -> str | None:
    """Return how many signals are in the signal's group; None if it has none."""
    if signal.dedup is None:
        return None
    dedup_uid = signal.dedup.uid.encode()
    messages = follow.follow(
        settings.reader(), settings.topic("signals"), follow.since(begin, _now_ms()), until_end=True
    )
    found = _signals(each for each in messages if dedup_uid in (each.value() or b""))
    return size_text(signal, (each for _, each in found))


def _gone(source: SourceRange) -> str:
    return (
        f"{source.topic} partition {source.partition} no longer has the trace's records at offsets "
        f"{source.first_offset} to {source.last_offset}"
    )


def _before(messages: Iterator[Message], to_ms: int | None) -> Iterator[Message]:
    """Yield the records with a time before `to_ms`."""
    return (message for message in messages if to_ms is None or message.timestamp()[1] < to_ms)
