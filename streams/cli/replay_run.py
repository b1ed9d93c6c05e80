"""Runs a replay for the commands that need one, and reports on stderr what was read.

In: a `ReplayRequest`, and views. Out: the result; the views have received the signals.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass

import click
from confluent_kafka.admin import AdminClient

from dsl import RuleSet
from streams.cli.progress import Bar
from streams.cli.replayed import View
from streams.config.settings import Settings
from streams.config.units import iso_ms
from streams.errors import ConfigError
from streams.kafka.unreadable import UnreadableRange
from streams.replay import plan as planning
from streams.replay import unseen
from streams.replay.outcome import OutputOptions
from streams.replay.plan import Period, Plan
from streams.replay.run import Replay, Result, Team
from streams.replay.worker import Job
from streams.windows.sessions import LostTime
from topics.cluster import admin

HELP_KAFKA = "Give a later --from, keep source topics longer, or read an archive with --archive"
HELP_ARCHIVE = "Give a later --from, or restore the missing files"


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


def period(from_ms: int, to_ms: int) -> Period:
    """Return the period of `--from` and `--to`; raises `ConfigError` if it is empty."""
    if from_ms >= to_ms:
        raise ConfigError(f"--from {iso_ms(from_ms)} is not before --to {iso_ms(to_ms)}")
    return Period(from_ms, to_ms)


def run(
    request: ReplayRequest,
    only: frozenset[str] | None,
    processes: int | None,
    make_views: Callable[[], Iterable[View]],
) -> tuple[Result, list[View]]:
    """Replay the rules with these ids (None: all), and return the result and the views that received the signals.

    Raises what `streams.replay.plan` and `streams.replay.run` raise.
    """
    count = processes or os.cpu_count() or 1
    archive, settings = request.archive, request.settings
    with ExitStack() as stack:
        # A forked process would lack the threads of a Kafka client, so fork before creating one.
        team = stack.enter_context(Team(count)) if archive is None else None
        now_ms = time.time_ns() // 1_000_000
        what = request.plan(now_ms)
        _report_lost(what, settings, HELP_KAFKA if archive is None else HELP_ARCHIVE)
        views = list(make_views())
        job = Job(
            settings=settings,
            texts=dict(request.rules.texts),
            only=only,
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
    for view in views:
        view.end(result)
    return result, views


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


def report(result: Result, rules: RuleSet) -> None:
    """Report on stderr what was not judged, what the verdicts may depend on, and which names never occurred."""
    read = result.read
    for rule, names in unseen.of_rules(rules, result.tallies, read.names):
        click.echo(f"{rule} applies to no trace: nothing that was read has {', '.join(names)}", err=True)
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
    report_unreadable(read.lost, "rules whose verdict may depend on those records say undetermined")


def report_unreadable(lost: Iterable[UnreadableRange], consequence: str) -> None:
    """Report on stderr which records no client could read, and what follows."""
    for each in lost:
        click.echo(f"{each}: {consequence}", err=True)


def report_gone(lost: Iterable[LostTime]) -> None:
    """Report on stderr where records are gone."""
    for each in lost:
        partition = f"{each.topic}[{each.partition}]"
        until = "the end" if each.to_ms is None else iso_ms(each.to_ms)
        since = "from the beginning" if each.from_ms == 0 else f"from {iso_ms(each.from_ms)}"
        click.echo(f"records of {partition} are gone {since} to {until}", err=True)


def _report_lost(what: Plan, settings: Settings, help_text: str) -> None:
    """Report where records are gone, and what follows."""
    report_gone((*what.gone, *what.lost))
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
