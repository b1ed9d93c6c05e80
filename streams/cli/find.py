"""Implements `betrace find`: finds traces of the past by an expression of the rule language."""

from __future__ import annotations

import time

import click
import msgspec

from dsl import RulesError, RuleSet, Verdict
from dsl.show import render_text
from streams.cli import commands, options, replay_run
from streams.cli.made_settings import made_settings
from streams.cli.replay_run import ReplayRequest
from streams.cli.table import table
from streams.config.settings import Settings
from streams.errors import ConfigError
from streams.observe import logs
from streams.observe.terminal import printable
from streams.replay import find
from streams.replay.find import FoundTrace, Matches
from streams.replay.run import Result

NAME_CHARS = 80


@commands.command(
    "find",
    epilog="\b\nExamples:\n  betrace find 'payment and not approval' --from 1h\n"
    "  betrace find 'count(db.query) > 100' --from 7d --to 6d --format json",
)
@click.argument("expression", metavar=find.NAME)
@options.moment("--from", required=True, help="Start of the period.")
@options.moment("--to", default="now", help="End of the period.")
@options.cluster
@options.prefix
@options.source_topics
@options.setting("--archive", metavar="URL", help="Read an archive instead of Kafka.")
@options.encoding
@options.gap
@options.lateness
@options.max_duration
@options.out_of_order
@options.max_clock_skew
@options.record_budget
@options.setting("--processes", type=click.IntRange(min=1), help="Number of processes; one per core if omitted.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="The most traces to print.")
@options.output_format("text", "json", help_text="Output format: a table, or an object for each trace.")
@made_settings
def command(
    *,
    expression: str,
    from_ms: int,
    to_ms: int,
    settings: Settings,
    archive: str | None,
    processes: int | None,
    limit: int,
    form: str,
) -> None:
    """Find the traces for which EXPR is true, an expression of the rule language.

    It is a replay of the pattern that EXPR is: a trace belongs to the period that contains its first record, and its
    records are judged in windows. Traces that were cut or whose values are unknown may be undecided; they are counted
    on stderr.
    """
    logs.configure()
    period = replay_run.period(from_ms, to_ms)
    try:
        rules, warnings = find.rule_of(expression)
    except RulesError as error:
        raise ConfigError("the expression has errors\n" + render_text(error.problems).rstrip()) from error
    if warnings:
        click.echo(render_text(warnings), nl=False, err=True)
    matches = Matches(limit)
    request = ReplayRequest(settings, rules, period, archive)
    result, _ = replay_run.run(request, None, processes, lambda: [matches])
    found = list(matches.found(settings, archive, time.time_ns() // 1_000_000))
    if form == "json":
        for each in found:
            click.echo(msgspec.json.encode(each))
    elif found:
        for line in table(("TRACE", "TIME", "SERVICES", "ROOT SPAN"), map(_cells, found)):
            click.echo(line)
    _report(result, rules, matches, len(found))


def _cells(each: FoundTrace) -> tuple[str, str, str, str]:
    root = "(not seen)" if each.root is None else printable(each.root[:NAME_CHARS])
    return each.trace_id, each.time, printable(", ".join(each.services)[:NAME_CHARS]), root


def _report(result: Result, rules: RuleSet, matches: Matches, shown: int) -> None:
    """Report on stderr how many traces were found, and what could not be decided or read."""
    read = result.read
    more = "" if matches.count <= shown else f", {shown:,} of them printed: raise --limit"
    click.echo(
        f"{matches.count:,} traces found{more}; {read.spans:,} spans read, {read.unreadable:,} unreadable records",
        err=True,
    )
    undecided = sum(tally.verdicts[Verdict.UNDETERMINED.value] for tally in result.tallies.values())
    if undecided:
        click.echo(f"{undecided:,} traces cannot be decided: they were cut, or a value is unknown", err=True)
    replay_run.report(result, rules)
    again = [each for each in dict.fromkeys(matches.lost) if each not in read.lost]
    replay_run.report_unreadable(again, "services and root spans of the traces may be incomplete")
