"""Implements `betrace rules backfill` and `betrace rules push --backfill`: judges earlier chains by new rules."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import wraps

import click
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from dsl import Rule, RuleSet
from streams.backfill import plan as planning
from streams.backfill import waiting
from streams.backfill.hours import judged_from_ms
from streams.backfill.plan import Backfill
from streams.backfill.run import BackfillRun, Outcome, Publishers
from streams.backfill.verdict_log import VerdictLog
from streams.backfill.waiting import Patience
from streams.cli import commands, options
from streams.cli.made_settings import made_settings
from streams.cli.progress import Bar
from streams.config.settings import Settings
from streams.config.units import iso_ms
from streams.errors import ConfigError, StateError
from streams.kafka.unreadable import UnreadableRange
from streams.replay import plan as replays
from streams.replay.plan import Period, Plan
from streams.replay.run import Team
from streams.replay.source_reader import HOUR_MS
from streams.rules import history as pushes
from streams.rules import registry
from streams.rules.history import Pushed
from streams.rules.rules_topic import PUSH_HELP
from topics.cluster import admin

MARGIN_MS = 600_000
"""How far the clocks of workers and brokers may differ."""
SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillOptions:
    """The options of a backfill: its start, its processes, and the time without progress after which it fails."""

    settings: Settings
    from_ms: int
    by: str | None
    processes: int
    timeout_ms: int


def backfill_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return the options of a backfill, given to the command as `backfill_options`."""

    @options.moment("--from", default="30d", help="Judge chains that began at this time or later.")
    @options.source_topics
    @options.encoding
    @options.max_duration
    @options.out_of_order
    @options.max_clock_skew
    @options.signal_format
    @options.identity
    @options.redact
    @options.redact_key_file
    @options.setting("--signals-per-hour", type=click.IntRange(min=1), help="Limit of new signals per rule.")
    @options.setting("--processes", type=click.IntRange(min=1), help="Number of processes; one per core if omitted.")
    @options.duration("--timeout", "10m", "Fail after this long without progress of any worker.")
    @made_settings
    @wraps(command)
    def with_backfill_options(
        *, settings: Settings, from_ms: int, processes: int | None, timeout: int, by: str | None, **others: object
    ) -> None:
        count = processes or os.cpu_count() or 1
        command(
            backfill_options=BackfillOptions(
                settings=settings, from_ms=from_ms, by=by, processes=count, timeout_ms=timeout
            ),
            **others,
        )

    return with_backfill_options


@commands.command(
    "backfill",
    short_help="Judge earlier traces by the active rules.",
    epilog="\b\nExample:\n  betrace rules backfill --rule pii-is-audited --from 30d",
)
@click.option("--rule", "only", multiple=True, metavar="ID", help="Only the rule with this id; repeatable.")
@options.by
@options.gap
@options.lateness
@options.cluster
@options.prefix
@backfill_options
def command(*, only: tuple[str, ...], backfill_options: BackfillOptions) -> None:
    """Judge the chains that began before the active rules judged, by replay, and add them to the live counts.

    Publishes signals to betrace.signals with the uids that live processing would have given them; counts and coverage
    go into the evidence. It waits until live processing is past the longest of the chains. A backfill that was stopped
    continues when it is started again. Later spans do not amend its verdicts. Give the settings of betrace run.
    """
    history = pushes.history(backfill_options.settings)
    active = next((each.rules for each in history if each.is_active), None)
    if active is None:
        raise ConfigError("no rule set is active, or this version cannot compile it: see betrace rules list")
    if any(each.activation is not None and not each.activation.is_certain for each in history):
        raise ConfigError(f"another rule set may be active, activated in records that cannot be read: {PUSH_HELP}")
    rules = [rule for rule in active.rules if rule.enabled and (not only or rule.id in only)]
    if missing := set(only) - {rule.id for rule in rules}:
        raise ConfigError(f"no active rule has the id {', '.join(sorted(missing))}: betrace rules show lists them")
    run(backfill_options, active, rules, history)


def run(
    backfill_options: BackfillOptions, rules: RuleSet, new_rules: Iterable[Rule], history: Iterable[Pushed]
) -> None:
    """Backfill `new_rules`, a subset of the active set `rules`, and report the outcome.

    Raises:
        StateError: workers do not judge with them, or the source topics cannot be read.
        FencedError: another backfill began.
    """
    settings = backfill_options.settings
    names = {rule.fingerprint: rule.id for rule in new_rules}
    client = admin.connect(settings.client())
    first_ms = _first_record_ms(client, settings)
    if not names or first_ms is None:
        click.echo("nothing to backfill: no rule is enabled, or the source topics are empty", err=True)
        return
    # Nobody judges what the source topics no longer have, and an hour in which nothing can have begun needs no record.
    begin_ms = max(backfill_options.from_ms, first_ms) // HOUR_MS * HOUR_MS
    log = VerdictLog(settings, client, max(0, _first_push_ms(history, names) - MARGIN_MS))
    patience = Patience(backfill_options.timeout_ms / 1000, lambda text: click.echo(text, err=True))
    waiting.until_judged(log, names, patience)
    backfill = planning.decide(waiting.known(log), rules, frozenset(names), begin_ms, settings.prefix)
    if backfill is None:
        _report_nothing(begin_ms)
        return
    waiting.until_past(log, settings, backfill.selection.live_from_ms + replays.reach_ms(settings), patience)
    with ExitStack() as stack:
        publishers = stack.enter_context(Publishers(settings, log.partition_count))
        # From here on no other backfill publishes: the topic now has everything that it published.
        log.read(is_all=True)
        _report_lost(log.lost)
        backfill = planning.decide(waiting.known(log), rules, frozenset(names), begin_ms, settings.prefix)
        if backfill is None:
            _report_nothing(begin_ms)
            return
        plan = _plan(client, settings, backfill)
        _report_start(settings, backfill, plan, backfill_options.from_ms)
        team = stack.enter_context(Team(backfill_options.processes, forks=False))
        with Bar(plan.expected) as bar:
            backfill_run = BackfillRun(
                settings, backfill, plan, backfill_options.by or registry.user(), publishers, bar, _now_ms
            )
            backfill_run.run(team)
    _report_outcome(backfill, backfill_run.outcome)


def _plan(client: AdminClient, settings: Settings, backfill: Backfill) -> Plan:
    period = Period(backfill.begin_ms, backfill.selection.live_from_ms)
    plan = replays.of_kafka(client, settings, period, _now_ms(), may_be_empty=True)
    if plan.clock_ms < plan.until_ms:
        raise StateError(
            f"the clock of this machine is behind that of the records: it has not reached {iso_ms(plan.until_ms)}",
            action="set the clock, then start again",
        )
    return plan


def _first_record_ms(client: AdminClient, settings: Settings) -> int | None:
    """Return the time of the first record of any source partition; None if all are empty."""
    counts = admin.partition_counts(client, settings.source_topics)
    if missing := set(settings.source_topics) - counts.keys():
        raise ConfigError(
            f"no such topic: {', '.join(sorted(missing))}: name the source topics of betrace run with --source-topics"
        )
    partitions = [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]
    times = admin.first_record_times(client, partitions).values()
    return min((time for time in times if time is not None), default=None)


def _first_push_ms(history: Iterable[Pushed], fingerprints: Iterable[str]) -> int:
    """Return when one of the rules was first pushed: no earlier verdict record names it."""
    fingerprint_set = set(fingerprints)
    times = [
        push.time_ms
        for each in history
        if each.rules is None or any(rule.fingerprint in fingerprint_set for rule in each.rules.rules)
        for push in each.pushes
    ]
    return min(times, default=0)


def _report_lost(lost: Iterable[UnreadableRange]) -> None:
    for each in lost:
        click.echo(
            f"{each}: hours that an earlier backfill reported only there are judged and published again, with the same "
            "signals, and are counted again where its counts can be read",
            err=True,
        )


def _report_nothing(begin_ms: int) -> None:
    click.echo(f"nothing to backfill: what began since {iso_ms(begin_ms)} is judged", err=True)


def _report_start(settings: Settings, backfill: Backfill, plan: Plan, from_ms: int) -> None:
    verb = "continues" if backfill.is_started else "begins"
    judged_ms = judged_from_ms(settings, backfill, plan)
    live_ms = backfill.selection.live_from_ms
    click.echo(
        f"{verb} {backfill.origin}: chains that began from {iso_ms(judged_ms)} up to {iso_ms(live_ms)}", err=True
    )
    if judged_ms > max(backfill.begin_ms, from_ms):
        click.echo(
            f"chains that began before {iso_ms(judged_ms)} are not judged: records before "
            f"{iso_ms(plan.edge_ms or 0)} are not read, or gone",
            err=True,
        )


def _report_outcome(backfill: Backfill, outcome: Outcome) -> None:
    click.echo(backfill.origin)
    counts = ", ".join(f"{outcome.verdicts[name]:,} {name}" for name in ("held", "broken", "undetermined"))
    click.echo(f"{counts}; {outcome.signals:,} signals published, {outcome.withheld:,} withheld", err=True)
    for traces, why in (
        (outcome.half_seen, "began before the period read, and were never at rest since"),
        (
            outcome.unfinished,
            "began before the rules judged, and had not ended when live processing was past that time",
        ),
    ):
        if traces:
            named = ", ".join(sorted(trace_id.hex() for trace_id in traces)[:SHOWN])
            more = f" and {len(traces) - SHOWN:,} more" if len(traces) > SHOWN else ""
            click.echo(f"{len(traces):,} traces are not judged, they {why}: {named}{more}", err=True)
    if outcome.behind:
        click.echo(
            f"{outcome.behind:,} records are stamped more than --out-of-order before an earlier one: the live "
            "verdicts on their traces may depend on when they were read",
            err=True,
        )
    if outcome.out_of_bounds:
        click.echo(
            f"{outcome.out_of_bounds:,} records have a producer's timestamp outside the accepted bounds: their "
            "traces are incomplete",
            err=True,
        )
    if outcome.unreadable:
        click.echo(f"{outcome.unreadable:,} source records could not be read; the evidence records them", err=True)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
