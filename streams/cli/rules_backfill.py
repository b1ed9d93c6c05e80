"""`betrace rules backfill`, and `betrace rules push --backfill`: what new rules say of the chains before them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

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
from streams.cli import options
from streams.cli.progress import Bar
from streams.config.security import Security
from streams.config.settings import Settings
from streams.config.units import iso_ms
from streams.decode.decoder import Format
from streams.errors import ConfigError, StateError
from streams.projection.redact import Redaction, read_key, treatments
from streams.replay import plan as replays
from streams.replay.plan import Period, Plan
from streams.replay.reading import HOUR_MS
from streams.replay.run import Team
from streams.rules import history as pushes
from streams.rules import registry
from streams.rules.history import Pushed
from topics.cluster import admin
from topics.records.signals import SignalFormat

MARGIN_MS = 600_000
"""How far the clocks of workers and brokers may be apart."""
SHOWN = 10


@dataclass(frozen=True, slots=True)
class BackfillAsked:
    """How a backfill is done: from when on, in how many processes, and after how long without progress it gives up."""

    settings: Settings
    from_ms: int
    by: str | None
    processes: int
    timeout_ms: int


def asked(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a backfill, given to the command as `asked`; `gap`, `lateness`, `by` and the cluster with them."""

    @options.moment("--from", default="30d", help="Chains that began from then on are judged.")
    @options.source_topics
    @options.encoding
    @options.max_duration
    @options.out_of_order
    @options.max_clock_skew
    @options.signal_format
    @options.identity
    @options.redact
    @options.redact_key_file
    @options.setting("--signals-per-hour", type=click.IntRange(min=1), help="At most so many new signals of a rule.")
    @options.setting("--processes", type=click.IntRange(min=1), help="How many processes; else one per core.")
    @options.duration("--timeout", "10m", "After this long in which no worker gets on, the backfill gives up.")
    @wraps(command)
    def with_asked(
        from_ms: int,
        source_topics: tuple[str, ...],
        encoding: str,
        max_duration: int,
        out_of_order: int,
        max_clock_skew: int,
        signal_format: str,
        identity: tuple[str, ...],
        redact: str,
        redact_key_file: Path | None,
        signals_per_hour: int | None,
        processes: int | None,
        timeout: int,
        bootstrap: str,
        security: Security,
        prefix: str,
        gap: int,
        lateness: int,
        by: str | None,
        **others: object,
    ) -> None:
        settings = Settings(
            bootstrap=bootstrap,
            security=security,
            prefix=prefix,
            state_dir=Path(),
            source_topics=source_topics,
            format=Format(encoding),
            gap_ms=gap,
            lateness_ms=lateness,
            max_duration_ms=max_duration,
            out_of_order_ms=out_of_order,
            max_clock_skew_ms=max_clock_skew,
            identity=identity,
            redaction=Redaction(treatments(redact), read_key(redact_key_file)),
            signal_format=SignalFormat(signal_format),
            signals_per_hour=signals_per_hour,
        )
        count = processes or os.cpu_count() or 1
        command(asked=BackfillAsked(settings, from_ms, by, count, timeout), **others)

    return with_asked


@click.command("backfill", epilog="\b\nExample:\n  betrace rules backfill --rule pii-is-audited --from 30d")
@options.setting("--rule", "only", multiple=True, metavar="ID", help="Only the rule with this id; repeatable.")
@options.by
@options.gap
@options.lateness
@options.cluster
@options.prefix
@asked
def command(*, only: tuple[str, ...], asked: BackfillAsked) -> None:
    """Judge the chains that began before the active rules judged, by replay, and count them beside those of live.

    Signals go to betrace.signals with the uids that live would have given them, counts and coverage into the evidence.
    It waits until live is past the longest of the chains. A backfill that was stopped goes on when it is started again.
    Later spans do not amend what it says. Give the same settings as to betrace run.
    """
    history = pushes.history(asked.settings)
    active = next((each.rules for each in history if each.is_active), None)
    if active is None:
        raise ConfigError("no rule set is active, or none that this version can compile: betrace rules list")
    meant = [rule for rule in active.rules if rule.enabled and (not only or rule.id in only)]
    if missing := set(only) - {rule.id for rule in meant}:
        raise ConfigError(f"no active rule has the id {', '.join(sorted(missing))}: betrace rules show names them")
    run(asked, active, meant, history)


def run(asked: BackfillAsked, rules: RuleSet, meant: Iterable[Rule], history: Iterable[Pushed]) -> None:
    """Backfills the rules `meant`, which are among the active set `rules`, and says what came of it.

    Raises:
        StateError: workers do not judge with them, or the source topics cannot be read.
        FencedError: another backfill began.
    """
    settings = asked.settings
    names = {rule.fingerprint: rule.id for rule in meant}
    client = admin.connect(settings.client())
    first_ms = _first_record_ms(client, settings)
    if not names or first_ms is None:
        click.echo("nothing to backfill: no rule is enabled, or the source topics are empty", err=True)
        return
    # What the source topics do not hold nobody judges, and an hour in which nothing can have begun needs no record.
    begin_ms = max(asked.from_ms, first_ms) // HOUR_MS * HOUR_MS
    log = VerdictLog(settings, client, max(0, _first_push_ms(history, names) - MARGIN_MS))
    patience = Patience(asked.timeout_ms / 1000, lambda text: click.echo(text, err=True))
    waiting.until_judged(log, names, patience)
    found = planning.decide(waiting.known(log), rules, frozenset(names), begin_ms, settings.prefix)
    if found is None:
        _say_nothing(begin_ms)
        return
    waiting.until_past(log, settings, found.selection.live_from_ms + replays.reach_ms(settings), patience)
    with ExitStack() as stack:
        publishers = stack.enter_context(Publishers(settings, log.partition_count))
        # No other backfill publishes from here on: what is on the topic now is all that it did.
        log.read(is_all=True)
        found = planning.decide(waiting.known(log), rules, frozenset(names), begin_ms, settings.prefix)
        if found is None:
            _say_nothing(begin_ms)
            return
        plan = _plan(client, settings, found)
        _say_begin(settings, found, plan, asked.from_ms)
        team = stack.enter_context(Team(asked.processes, forks=False))
        with Bar(plan.expected) as bar:
            work = BackfillRun(settings, found, plan, asked.by or registry.user(), publishers, bar, _now_ms)
            work.run(team)
    _say_end(found, work.outcome)


def _plan(client: AdminClient, settings: Settings, found: Backfill) -> Plan:
    period = Period(found.begin_ms, found.selection.live_from_ms)
    plan = replays.of_kafka(client, settings, period, _now_ms(), may_be_empty=True)
    if plan.clock_ms < plan.until_ms:
        raise StateError(
            f"the clock of this machine is behind that of the records: it is not past {iso_ms(plan.until_ms)}",
            action="set the clock, then start again",
        )
    return plan


def _first_record_ms(client: AdminClient, settings: Settings) -> int | None:
    """The record time of the first record of any source partition, None when all are empty."""
    counts = admin.partition_counts(client, settings.source_topics)
    if missing := set(settings.source_topics) - counts.keys():
        raise ConfigError(
            f"no such topic: {', '.join(sorted(missing))}: name those of betrace run with --source-topics"
        )
    places = [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]
    return min((time for time in admin.first_record_times(client, places).values() if time is not None), default=None)


def _first_push_ms(history: Iterable[Pushed], meant: Iterable[str]) -> int:
    """When one of the rules was first pushed: before that no record of verdicts names it."""
    wanted = set(meant)
    times = [
        push.time_ms
        for each in history
        if each.rules is None or any(rule.fingerprint in wanted for rule in each.rules.rules)
        for push in each.pushes
    ]
    return min(times, default=0)


def _say_nothing(begin_ms: int) -> None:
    click.echo(f"nothing to backfill: what began since {iso_ms(begin_ms)} is judged", err=True)


def _say_begin(settings: Settings, found: Backfill, plan: Plan, from_ms: int) -> None:
    verb = "goes on with" if found.is_started else "begins"
    judged_ms = judged_from_ms(settings, found, plan)
    live_ms = found.selection.live_from_ms
    click.echo(
        f"{verb} {found.origin}: chains that began from {iso_ms(judged_ms)} on, up to {iso_ms(live_ms)}", err=True
    )
    if judged_ms > max(found.begin_ms, from_ms):
        click.echo(
            f"what began before {iso_ms(judged_ms)} is not judged: records before {iso_ms(plan.edge_ms or 0)} are not "
            "read, or gone",
            err=True,
        )


def _say_end(found: Backfill, outcome: Outcome) -> None:
    click.echo(found.origin)
    told = ", ".join(f"{outcome.verdicts[name]:,} {name}" for name in ("held", "broken", "undetermined"))
    click.echo(f"{told}; {outcome.signals:,} signals published, {outcome.withheld:,} withheld", err=True)
    for traces, why in (
        (outcome.half_seen, "were there before what is read, and never at rest since"),
        (outcome.unfinished, "began before the rules judged, and had not ended when live was past that time"),
    ):
        if traces:
            named = ", ".join(sorted(trace_id.hex() for trace_id in traces)[:SHOWN])
            more = f" and {len(traces) - SHOWN:,} more" if len(traces) > SHOWN else ""
            click.echo(f"{len(traces):,} traces are not judged, they {why}: {named}{more}", err=True)
    if outcome.behind:
        click.echo(
            f"{outcome.behind:,} records are stamped more than --out-of-order below one before them: what live would "
            "have said of their traces may depend on when it read them",
            err=True,
        )
    if outcome.out_of_bounds:
        click.echo(
            f"{outcome.out_of_bounds:,} records are stamped by their producers with a time that is not believed: their "
            "traces are incomplete",
            err=True,
        )
    if outcome.unreadable:
        click.echo(f"{outcome.unreadable:,} source records could not be read: the evidence says so", err=True)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
