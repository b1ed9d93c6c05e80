"""Implements `betrace run`: ingest and sessions, from Kafka to Kafka."""

from __future__ import annotations

import dataclasses
import faulthandler
import gc
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec
import structlog
from confluent_kafka.admin import AdminClient

from dsl import RuleSet
from streams import pipeline
from streams.cli import commands, options, run_stages, run_start
from streams.cli.load import load
from streams.cli.private import private_files
from streams.cli.reporting import report_totals, reporting
from streams.cli.run_settings import run_settings
from streams.cli.show_settings import shown_on_request
from streams.config.settings import Settings
from streams.errors import ConfigError
from streams.kafka import permissions
from streams.observe import health, logs, self_tracing
from streams.observe.health import Health
from streams.sessions.worker import Ends
from streams.supervisor import supervise
from streams.supervisor.stopping import stopping
from streams.windows.lock import locked
from topics.cluster import admin as kafka
from topics.cluster.acls import Role
from topics.spec import Layout

log = structlog.get_logger()


SHOWN_RULES = 10
"""The number of rules that the line of readiness names."""
INGEST_GC_THRESHOLDS = (50_000, 20, 100)
"""Almost nothing in ingest is ever in a cycle, and Python's default frequency of collections costs throughput."""


def _ends(_: click.Context, __: click.Parameter, text: str | None) -> Ends | None:
    try:
        return None if text is None else msgspec.json.decode(text, type=Ends)
    except msgspec.DecodeError as error:
        raise click.BadParameter(str(error)) from error


@commands.command("run", epilog="\b\nExample:\n  betrace run --rules rules/ --bootstrap localhost:9092")
@shown_on_request
@options.setting("--rules", multiple=True, type=click.Path(), help="Rule files or directories; repeatable.")
@run_settings
@options.setting("--push", "insists", is_flag=True, help="Push the rules even if that undoes a later push or rollback.")
@options.revision
@options.by
@options.setting(
    "--role",
    type=click.Choice(run_stages.ROLES),
    default=None,
    help="Run one stage only, with the active rules.",
)
@options.setting(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    help="Number of ingest processes and of sessions processes: one per spare core.",
)
@options.evidence
@options.metrics
@options.setting("--until-idle", is_flag=True, help="Judge what the topics contain now, then exit.")
@click.option("--ends", callback=_ends, hidden=True, help="End offsets, as JSON: topic, partition, [offset, epoch].")
@private_files()
def command(
    *,
    settings: Settings,
    layout: Layout,
    rules: tuple[str, ...],
    insists: bool,
    revision: str | None,
    by: str | None,
    role: str | None,
    workers: int,
    evidence: str | None,
    ledger_keys: tuple[Path, ...],
    metrics_port: int,
    metrics_address: str,
    until_idle: bool,
    ends: Ends | None,
) -> None:
    """Judge rules on the traces in Kafka and publish a signal for each broken rule.

    With --evidence the ledger runs too, as with betrace ledger. Everything is checked before the rules are pushed. A
    restart undoes no push: it pushes neither rules that were pushed before, nor rules in place of those that betrace
    rules push made active, and judges by the active ones; --push overrides this.
    """
    logs.configure()
    if role is not None:
        state = Health()
        with health.serving(metrics_address, metrics_port, state):
            if rules or until_idle or workers > 1:
                raise ConfigError(
                    "--role excludes --rules, --until-idle and --workers: push rules with betrace rules push DIR, and "
                    "start one process per worker"
                )
            _run_role(role, settings, state, ends)
    else:
        if not rules:
            raise ConfigError("no rules are given: give --rules FILE or --rules DIR")
        process_options = ProcessOptions(
            rules=load(rules),
            insists=insists,
            revision=revision,
            by=by,
            workers=workers,
            evidence=evidence,
            ledger_keys=ledger_keys,
            metrics_address=metrics_address,
            until_idle=until_idle,
        )
        raise click.exceptions.Exit(_run_all(settings, layout, process_options))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessOptions:
    """What a single process is given beside its settings."""

    rules: RuleSet
    insists: bool
    revision: str | None
    by: str | None
    workers: int
    evidence: str | None
    ledger_keys: tuple[Path, ...]
    metrics_address: str
    until_idle: bool


def _run_role(role: str, settings: Settings, state: Health, ends: Ends | None) -> None:
    supervise.end_with_supervisor()
    # After a crash in native code (librdkafka, RocksDB) at least the stack is on stderr.
    faulthandler.enable()
    self_tracing.start(role)
    admin = kafka.connect(settings.client())
    permissions.require_acls(admin, settings, Role(role))
    if role == "ingest":
        run_start.check_time(admin, settings)
    settings = _as_made(settings, admin)
    # Objects made at start live on: searching them all for cycles again and again would pause the stage each time.
    gc.collect()
    gc.freeze()
    reads = settings.source_topics if role == "ingest" else [settings.topic("facts")]
    with ExitStack() as held:
        held.enter_context(reporting(role, state, reads))
        if role == "ingest":
            _run_ingest(settings, state)
            return
        if not supervise.is_supervised():
            held.enter_context(locked(_locked_directory(settings)))
        held.callback(report_totals, role)
        pipeline.run_sessions(settings, ends, state)


def _run_ingest(settings: Settings, state: Health) -> None:
    ingest = pipeline.run_ingest(settings, state)
    gc.set_threshold(*INGEST_GC_THRESHOLDS)
    with stopping(ingest.stop):
        try:
            ingest.run()
        finally:
            report_totals("ingest")


def _run_all(settings: Settings, layout: Layout, process_options: ProcessOptions) -> int:
    roles = [Role.INGEST, Role.SESSIONS]
    also: dict[str, list[str]] = {}
    if process_options.evidence is not None:
        run_start.check_ledger(process_options.evidence, process_options.ledger_keys)
        roles.append(Role.LEDGER)
        also["ledger"] = run_stages.ledger_command(process_options.evidence, process_options.ledger_keys)
    with ExitStack() as stack:
        own = _workers(settings, process_options.workers)
        held = [stack.enter_context(locked(_locked_directory(each))) for each in own]
        run_start.check_ports(
            process_options.metrics_address, run_stages.ports(process_options.workers, has_ledger=bool(also))
        )
        admin = kafka.connect(settings.client())
        run_start.make_topics(admin, layout, settings, roles)
        settings = _as_made(settings, admin)
        run_start.check_stages(
            admin, _workers(settings, process_options.workers), process_options.evidence, process_options.ledger_keys
        )
        # Require it even where it is not needed: otherwise ingest would fail at its start.
        ends = run_start.ends_now(admin, settings, now_ms=time.time_ns() // 1_000_000)
        active = run_start.push(
            settings,
            process_options.rules,
            revision=process_options.revision,
            by=process_options.by,
            insists=process_options.insists,
        )
        log.info("run started", rules=len(active.rules), start=settings.start, source_topics=settings.source_topics)
        until = ends if process_options.until_idle else None
        enabled = [rule for rule in active.rules if rule.enabled]
        about = {
            "reads": settings.source_topics,
            "rules": len(enabled),
            "rule_ids": [rule.id for rule in enabled[:SHOWN_RULES]],
            "rule_set": active.fingerprint,
        }
        return _run_stages(settings, process_options.workers, until, also, held, about)


def _run_stages(
    settings: Settings,
    workers: int,
    ends: Ends | None,
    also: Mapping[str, Sequence[str]],
    held: Sequence[int],
    about: Mapping[str, object],
) -> int:
    until = None if ends is None else {str(number) for number in range(settings.facts_partitions)}
    stages = supervise.Stages(run_stages.commands(settings, workers, ends) | {**also}, until, held, about)
    with supervise.stopping_on_signals(stages):
        code = stages.wait()
    log.info("run ended", exit_code=code, **stages.totals)
    return code


def _workers(settings: Settings, count: int) -> list[Settings]:
    """Return the settings of each worker, with a state directory of its own."""
    return [
        dataclasses.replace(settings, state_dir=run_stages.state_dir(settings, number))
        for number in range(1, count + 1)
    ]


def _locked_directory(settings: Settings) -> Path:
    """Lock and return this installation's subdirectory of a state directory, which others may use too."""
    return settings.state_dir / settings.group("sessions")


def _as_made(settings: Settings, admin: AdminClient) -> Settings:
    """Return the settings with the actual partition count of the facts topic, which cannot be changed later."""
    facts = settings.topic("facts")
    counts = kafka.partition_counts(admin, [facts])
    if facts not in counts:
        raise ConfigError(f"topic {facts} does not exist: run betrace topics create")
    return dataclasses.replace(settings, facts_partitions=counts[facts])
