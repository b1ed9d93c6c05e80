"""Implements `betrace replay`: judges the past under today's rules."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import click
from confluent_kafka.admin import AdminClient

from dsl import RuleSet, Verdict
from streams.cli import commands, options, replayed
from streams.cli.load import load
from streams.cli.made_settings import made_settings
from streams.cli.progress import Bar
from streams.cli.replayed import View
from streams.config.settings import Settings
from streams.config.units import iso_ms
from streams.errors import ConfigError
from streams.replay import plan as planning
from streams.replay.outcome import OutputOptions
from streams.replay.plan import Period, Plan
from streams.replay.publish import Publishing
from streams.replay.run import Replay, Result, Team
from streams.replay.worker import Job
from streams.rules.chosen import chosen
from topics.cluster import admin
from topics.spec import Layout

EXIT_BROKEN = 1
HELP_KAFKA = "Give a later --from, keep source topics longer, or read an archive with --archive"
HELP_ARCHIVE = "Give a later --from, or restore the missing files"


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
    if from_ms >= to_ms:
        raise ConfigError(f"--from {iso_ms(from_ms)} is not before --to {iso_ms(to_ms)}")
    compiled = load(rules)
    rule_ids = frozenset(only) or None
    request = ReplayRequest(
        settings, compiled if rule_ids is None else chosen(compiled, rule_ids), Period(from_ms, to_ms), archive
    )
    count = processes or os.cpu_count() or 1
    with ExitStack() as stack:
        # A forked process would lack the threads of a Kafka client, so fork before creating one.
        team = stack.enter_context(Team(count)) if archive is None else None
        now_ms = time.time_ns() // 1_000_000
        what = request.plan(now_ms)
        _report_lost(what, settings, HELP_KAFKA if archive is None else HELP_ARCHIVE)
        views = list(_views(request, rule_ids, view, who, table=form == "text", publish=publish))
        job = Job(
            settings=settings,
            texts=dict(compiled.texts),
            only=rule_ids,
            plan=what,
            archive=archive,
            output=OutputOptions.all_of(each.output for each in views),
        )
        result = None if archive is None else _sql_replay(job, archive, now_ms)
        if result is None:
            team = team or stack.enter_context(Team(count, forks=False))
            with Bar(what.expected) as bar:
                result = Replay(job, team, bar)
                _pass_on(result, views)
        else:
            _pass_on(result, views)
    raise click.exceptions.Exit(_end(result, views))


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """What the user requested."""

    settings: Settings
    rules: RuleSet
    period: Period
    archive: str | None

    def client(self) -> AdminClient:
        """Return a Kafka client; raises `AdminError` if Kafka does not answer."""
        return admin.connect(self.settings.client())

    def plan(self, now_ms: int) -> Plan:
        """Return what to read; raises what `streams.replay.plan` raises."""
        if self.archive is None:
            return planning.of_kafka(self.client(), self.settings, self.period, now_ms)
        try:
            from streams.replay import archive_feed  # noqa: PLC0415, an extra
        except ImportError as error:
            raise ConfigError(f"{error.name} is not installed: pip install 'betrace[archive]'") from error
        return archive_feed.plan(self.archive, self.settings, self.period, now_ms)


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


def _sql_replay(job: Job, archive: str, now_ms: int) -> Result | None:
    """Return the result of a replay by SQL; warn and return None if only the engine can answer."""
    from streams.archive.query import RefusedError  # noqa: PLC0415, an extra, which the plan has found
    from streams.replay.sql_replay import SqlReplay  # noqa: PLC0415, as above

    try:
        return SqlReplay(archive, job.settings, job.rules(), job.plan, job.output, now_ms=now_ms)
    except RefusedError as error:
        click.echo(f"reading the archive record by record, which takes longer: {error}", err=True)
        return None


def _pass_on(result: Result, views: list[View]) -> None:
    """Pass the signals to the views."""
    for signals in result.run():
        for view in views:
            view.take(signals)


def _end(result: Result, views: list[View]) -> int:
    """End the views, report what was read, and return the exit code."""
    for view in views:
        view.end(result)
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
    if result.half_seen:
        click.echo(
            f"{len(result.half_seen):,} more traces began before the period read and were never at rest since: "
            "they are neither judged nor compared",
            err=True,
        )
    if read.behind:
        click.echo(
            f"{read.behind:,} records are stamped more than --out-of-order before an earlier one: the live "
            "verdicts on their traces may depend on when they were read",
            err=True,
        )
    if read.out_of_bounds:
        click.echo(
            f"{read.out_of_bounds:,} records have a producer's timestamp outside the accepted bounds: their "
            "traces are incomplete, and the live verdicts may differ",
            err=True,
        )
    for each in read.lost:
        topic, number = each.source
        click.echo(
            f"{topic}[{number}] cannot be read from offset {each.from_offset} to {each.to_offset} "
            f"({each.reason}): rules whose verdict may depend on those records say undetermined",
            err=True,
        )
    return EXIT_BROKEN if broken else 0


def _report_lost(what: Plan, settings: Settings, help_text: str) -> None:
    """Report where records are gone, and what follows."""
    for each in (*what.gone, *what.lost):
        partition = f"{each.topic}[{each.partition}]"
        until = "the end" if each.to_ms is None else iso_ms(each.to_ms)
        since = "from the beginning" if each.from_ms == 0 else f"from {iso_ms(each.from_ms)}"
        click.echo(f"records of {partition} are gone {since} to {until}", err=True)
    reach_ms = settings.gap_ms + settings.lateness_ms
    if what.gone and what.edge_ms is not None:
        click.echo(
            f"the replay judges traces that begin after {iso_ms(what.edge_ms + reach_ms)}: earlier ones may have "
            f"lost a part. {help_text}",
            err=True,
        )
    ends_ms = [each.to_ms for each in what.lost if each.to_ms is not None]
    if ends_ms:
        click.echo(
            f"the replay is complete for traces that begin after {iso_ms(max(ends_ms) + reach_ms)}: for earlier "
            f"ones, rules whose verdict may depend on those records say undetermined. {help_text}",
            err=True,
        )
