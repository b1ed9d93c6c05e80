"""Implements `betrace replay`: judges the past under today's rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import click

from dsl import RuleSet, Verdict
from streams.cli import commands, options, replay_run, replayed
from streams.cli.load import load
from streams.cli.made_settings import made_settings
from streams.cli.replay_run import ReplayRequest
from streams.cli.replayed import View
from streams.config.settings import Settings
from streams.errors import ConfigError
from streams.replay.publish import Publishing
from streams.replay.run import Result
from streams.rules.chosen import chosen
from topics.spec import Layout

EXIT_BROKEN = 1


@commands.command(
    "replay",
    epilog="\b\nExamples:\n  betrace replay --rules rules/ --from 30d --summary\n"
    "  betrace replay --rules new.rules --from 7d --to 1d --who user.id --format text\n"
    "  betrace replay --rules rules/ --from 1d --compare",
)
@options.setting("--rules", multiple=True, type=click.Path(), help="Rule files or directories; repeatable.")
@click.option("--rule", "only", multiple=True, metavar="ID", help="Judge only the rule with this id; repeatable.")
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
@options.signal_format
@options.record_budget
@options.identity
@options.redact
@options.redact_key_file
@options.setting("--processes", type=click.IntRange(min=1), help="Number of processes; one per core if omitted.")
@click.option("--publish", is_flag=True, help="Publish the signals to betrace.signals.replay instead of printing them.")
@click.option("--summary", "view", flag_value="summary", help="Print the counts of each rule, and a summary in words.")
@click.option(
    "--compare",
    "view",
    flag_value="compare",
    help="Print what was added, dropped and kept compared with the published signals.",
)
@click.option("--who", metavar="ATTRIBUTE", help="Print who broke rules and when, grouped by this attribute.")
@options.output_format("json", "text", help_text="Output format: JSON lines, or a table.")
@made_settings
def command(
    *,
    rules: tuple[str, ...],
    only: tuple[str, ...],
    from_ms: int,
    to_ms: int,
    settings: Settings,
    archive: str | None,
    processes: int | None,
    publish: bool,
    view: str | None,
    who: str | None,
    form: str,
) -> None:
    """Judge rules on the traces of the past as live processing would have, and print the signals, one JSON line each.

    A trace belongs to the period that contains its first
    record. Windows must be the same as live: give the --gap, --lateness and --max-duration of betrace run. Commits no
    offsets, and publishes nothing without --publish.
    """
    if not rules:
        raise ConfigError("no rules are given: give --rules FILE or --rules DIR")
    if view is not None and who is not None:
        raise click.UsageError(f"--who and --{view} exclude each other: give one of them")
    period = replay_run.period(from_ms, to_ms)
    compiled = load(rules)
    rule_ids = frozenset(only) or None
    request = ReplayRequest(settings, compiled if rule_ids is None else chosen(compiled, rule_ids), period, archive)
    result, given = replay_run.run(
        request,
        rule_ids,
        processes,
        lambda: _views(request, rule_ids, view, who, table=form == "text", publish=publish),
    )
    raise click.exceptions.Exit(_end(result, given, request.rules))


def _views(
    request: ReplayRequest,
    only: frozenset[str] | None,
    view: str | None,
    who: str | None,
    *,
    table: bool,
    publish: bool,
) -> Iterator[View]:
    """Yield the views that receive the signals."""
    if publish:
        layout = Layout(prefix=request.settings.prefix, source_topics=request.settings.source_topics)
        yield Publishing(request.client(), request.settings, layout)
    if view == "summary":
        yield replayed.Summary(request.rules, is_table=table)
    elif view == "compare":
        yield replayed.Compare(request.client(), request.settings, request.period, only, is_table=table)
    elif who is not None:
        yield replayed.Who(who, is_table=table)
    elif not publish:
        yield replayed.Rows() if table else replayed.Lines()


def _end(result: Result, views: list[View], rules: RuleSet) -> int:
    """Report what was read, and return the exit code."""
    for view in views:
        if isinstance(view, Publishing):
            click.echo(f"{view.sent:,} signals published to {view.topic}", err=True)
    verdicts = sum((tally.verdicts for tally in result.tallies.values()), Counter[str]())
    broken, read = verdicts[Verdict.BROKEN.value], result.read
    of_records = "" if read.records is None else f" in {read.records:,} records"
    click.echo(
        f"{read.spans:,} spans{of_records}, {read.unreadable:,} unreadable records; {result.chains:,} chains "
        f"of windows judged, rules broken {broken:,} times",
        err=True,
    )
    replay_run.report(result, rules)
    return EXIT_BROKEN if broken else 0
