"""Implements `betrace attributes`: lists the names of spans, events and attributes in source records."""

from __future__ import annotations

import time

import click
import msgspec

from streams.cli import commands, options, replay_run
from streams.cli.made_settings import made_settings
from streams.cli.progress import Bar
from streams.cli.table import table
from streams.config.settings import Settings
from streams.observe import logs
from streams.observe.terminal import printable
from streams.replay.attributes import NameList, SeenName
from streams.replay.period_reader import PeriodReader

NAME_CHARS, EXAMPLE_CHARS = 100, 40


@commands.command(
    "attributes",
    epilog="\b\nExamples:\n  betrace attributes --from 1h\n"
    "  betrace attributes --from 1h --service checkout --redact user.id=hash --format json",
)
@options.moment("--from", required=True, help="Start of the period.")
@options.moment("--to", default="now", help="End of the period.")
@options.cluster
@options.prefix
@options.source_topics
@options.setting("--archive", metavar="URL", help="Read an archive instead of Kafka.")
@options.encoding
@options.out_of_order
@click.option("--service", metavar="NAME", help="List only what this service sent, by its service.name.")
@options.redact
@options.redact_key_file
@click.option("--limit", type=click.IntRange(min=1), default=10_000, show_default=True, help="The most names to list.")
@options.output_format("text", "json", help_text="Output format: a table, or an object for each name.")
@made_settings
def command(
    *,
    from_ms: int,
    to_ms: int,
    settings: Settings,
    archive: str | None,
    service: str | None,
    limit: int,
    form: str,
) -> None:
    """List the names that rules can use: of spans, log records, events and attributes, as they were sent.

    Each name comes with the number of spans and log records that have it, and up to three values. Values are shown as
    they are, unless --redact says otherwise: give it as betrace run has it.
    """
    logs.configure()
    period = replay_run.period(from_ms, to_ms)
    reader = PeriodReader(settings, archive, period, now_ms=time.time_ns() // 1_000_000)
    names = NameList(settings.redaction, limit, service, settings.format)
    with Bar(reader.plan.expected) as bar:
        for message in reader.messages():
            bar.advance(1, names.add(message))
    listed = names.names()
    if form == "json":
        for each in listed:
            click.echo(msgspec.json.encode(each))
    elif listed:
        for line in table(("KIND", "NAME", "SPANS", "EXAMPLES"), map(_cells, listed)):
            click.echo(line)
    _report(names, reader, limit)


def _cells(each: SeenName) -> tuple[str, str, str, str]:
    examples = (printable(msgspec.json.encode(value).decode()[:EXAMPLE_CHARS]) for value in each.examples)
    return each.kind, printable(each.name[:NAME_CHARS]), f"{each.spans:,}", ", ".join(examples)


def _report(names: NameList, reader: PeriodReader, limit: int) -> None:
    """Report on stderr what was read, and what was not."""
    click.echo(f"{names.spans:,} spans counted, {names.unreadable:,} unreadable records", err=True)
    if names.is_full:
        click.echo(f"there are more than {limit:,} names: those that came later are left out; raise --limit", err=True)
    plan, period = reader.plan, reader.plan.period
    # Those of an archive are of all its records.
    lost = [each for each in (*plan.gone, *plan.lost) if each.overlaps(period.from_ms, period.to_ms)]
    replay_run.report_gone(lost)
    replay_run.report_unreadable(reader.lost, "names and counts may be incomplete")
