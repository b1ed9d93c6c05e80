"""`betrace run`: ingest and sessions, from Kafka to Kafka."""

from __future__ import annotations

import dataclasses
import faulthandler
import gc
import signal
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType

import click
import msgspec
import structlog
from confluent_kafka.admin import AdminClient

from streams import pipeline
from streams.cli import ledger, options
from streams.cli.load import load
from streams.cli.run_settings import DURATIONS, SIZES, run_settings
from streams.config.settings import Settings
from streams.errors import ConfigError
from streams.ingest import group
from streams.kafka import permissions
from streams.observe import health, logs, metrics, self_tracing
from streams.observe.health import Health
from streams.rules import registry
from streams.sessions.worker import End, Ends
from streams.supervisor import supervise
from topics.cluster import admin as kafka
from topics.cluster.acls import Role
from topics.spec import Layout

log = structlog.get_logger()

ROLES = ("ingest", "sessions")
PORTS = (*ROLES, "ledger")
"""Whose metrics are at which port, counted from --metrics-port, and the next worker's after them."""


INGEST_GC_THRESHOLDS = (50_000, 20, 100)
"""Nearly nothing in ingest is ever in a cycle, and to look for one as often as Python does costs speed."""


def _ends(_: click.Context, __: click.Parameter, text: str | None) -> Ends | None:
    try:
        return None if text is None else msgspec.json.decode(text, type=Ends)
    except msgspec.DecodeError as error:
        raise click.BadParameter(str(error)) from error


@click.command("run", epilog="\b\nExample:\n  betrace run --rules rules/ --bootstrap localhost:9092")
@options.setting("--rules", multiple=True, type=click.Path(), help="Rule files or directories; repeatable.")
@run_settings
@options.setting(
    "--role", type=click.Choice(ROLES), default=None, help="Run one stage only, with the rules that are active."
)
@options.setting(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    help="How many processes of ingest, and how many of sessions: one per core to spare.",
)
@options.evidence
@options.metrics
@options.setting("--until-idle", is_flag=True, help="Judge what is there now, then exit.")
@click.option("--ends", callback=_ends, hidden=True, help="Until where, as JSON: topic, partition, [offset, epoch].")
def command(
    *,
    settings: Settings,
    layout: Layout,
    rules: tuple[str, ...],
    role: str | None,
    workers: int,
    evidence: str | None,
    ledger_keys: tuple[Path, ...],
    metrics_port: int,
    metrics_address: str,
    until_idle: bool,
    ends: Ends | None,
) -> None:
    """Judge rules on the traces in Kafka and publish a signal for each one that is broken.

    With --evidence the ledger is run too, as betrace ledger would.
    """
    logs.configure()
    if role is not None:
        state = Health()
        with health.serving(metrics_address, metrics_port, state):
            if rules or until_idle or workers > 1:
                raise ConfigError(
                    "--role takes no --rules, --until-idle or --workers: push rules with betrace rules push DIR, "
                    "start one process for each worker"
                )
            _run_role(role, settings, state, ends)
    else:
        also = {} if evidence is None else {"ledger": _ledger_command(evidence, ledger_keys)}
        raise click.exceptions.Exit(_run_all(settings, layout, rules, workers, also, until_idle=until_idle))


def _run_role(role: str, settings: Settings, state: Health, ends: Ends | None) -> None:
    supervise.end_with_supervisor()
    # A crash in native code (librdkafka, RocksDB) leaves at least its stack on stderr.
    faulthandler.enable()
    self_tracing.start(role)
    admin = kafka.connect(settings.client())
    permissions.check(admin, settings, Role(role))
    settings = _as_made(settings, admin)
    # What the start made stays: to look through all of it for cycles, again and again, stops a stage each time.
    gc.collect()
    gc.freeze()
    if role == "sessions":
        pipeline.run_sessions(settings, ends, state)
    else:
        _run_ingest(settings, state)


def _run_ingest(settings: Settings, state: Health) -> None:
    ingest = pipeline.run_ingest(settings, state)
    gc.set_threshold(*INGEST_GC_THRESHOLDS)

    def stop(_number: int, _frame: FrameType | None) -> None:
        ingest.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        ingest.run()
    finally:
        log.info("ingest ends", **metrics.totals())


def _run_all(
    settings: Settings,
    layout: Layout,
    rules: tuple[str, ...],
    workers: int,
    also: Mapping[str, Sequence[str]],
    *,
    until_idle: bool,
) -> int:
    if not rules:
        raise ConfigError("no rules are given: --rules FILE or --rules DIR")
    compiled = load(rules)
    admin = kafka.connect(settings.client())
    made = kafka.create(admin, layout)
    if made.made:
        log.info("topics made", topics=made.made)
    for row in made.kept:
        for fault in row.faults:
            log.warning("a topic is not as it should be", topic=row.name, fault=fault)
    settings = _as_made(settings, admin)
    now_ms = time.time_ns() // 1_000_000
    registry.push(settings, compiled, now_ms=now_ms)
    ends = _ends_now(admin, settings, now_ms=now_ms) if until_idle else None
    log.info("run", rules=len(compiled.rules), start=settings.start, source_topics=settings.source_topics)
    until = None if ends is None else {str(number) for number in range(settings.facts_partitions)}
    stages = supervise.Stages(_commands(settings, workers, ends) | {**also}, until)
    with supervise.stopping_on_signals(stages):
        return stages.wait()


def _as_made(settings: Settings, admin: AdminClient) -> Settings:
    """The settings with the facts topic's own partition count, which is fixed for life."""
    facts = settings.topic("facts")
    counts = kafka.partition_counts(admin, [facts])
    if facts not in counts:
        raise ConfigError(f"topic {facts} does not exist: run betrace topics create")
    return dataclasses.replace(settings, facts_partitions=counts[facts])


def _ends_now(admin: AdminClient, settings: Settings, *, now_ms: int) -> Ends:
    """The ends of the source partitions; what an earlier run read before a reset of the offsets does not reach them."""
    seen = group.look(admin, settings)
    begun = group.begins(seen, start=settings.start, now_ms=now_ms)
    ends: Ends = {}
    for (topic, number), at in seen.logs.items():
        ends.setdefault(topic, {})[number] = End(at.high, begun[topic, number].epoch)
    return ends


def _commands(settings: Settings, workers: int, ends: Ends | None) -> dict[str, list[str]]:
    """The stages of all workers, by name."""
    return {
        f"{role}-{number}": _command(role, settings, number, ends) for number in range(1, workers + 1) for role in ROLES
    }


def _command(role: str, settings: Settings, number: int, ends: Ends | None) -> list[str]:
    """This command again for one role of a worker, with the options that click has in its context."""
    until = ["--ends", msgspec.json.encode(ends).decode()] if ends is not None and role == "sessions" else []
    words = _words(click.get_current_context().params.keys() - _NOT_PASSED - _OF_EACH)
    own = ["--state-dir", str(_state_dir(settings, number)), *_metrics_port(role, number)]
    return [sys.executable, "-m", "streams.cli", "run", "--role", role, *words, *own, *until]


def _state_dir(settings: Settings, number: int) -> Path:
    """A worker's own; the first one's is where it is without others, so that more of them leave its windows there."""
    return settings.state_dir if number == 1 else settings.state_dir / f"worker-{number}"


def _ledger_command(evidence: str, ledger_keys: tuple[Path, ...]) -> list[str]:
    taken = {name for option in ledger.command.params if (name := option.name) is not None}
    words = _words(click.get_current_context().params.keys() & taken - _NOT_PASSED - _OF_EACH)
    keys = [text for key in ledger_keys for text in ("--ledger-key", str(key))]
    return [
        sys.executable,
        "-m",
        "streams.cli",
        "ledger",
        "--evidence",
        evidence,
        *words,
        *_metrics_port("ledger"),
        *keys,
    ]


def _words(names: Iterable[str]) -> list[str]:
    """The options of these names as they are in click's context; those that are not set are left out."""
    values = click.get_current_context().params
    set_names = sorted(name for name in names if values[name] is not None)
    return [text for name in set_names for text in ("--" + name.replace("_", "-"), _text(name, values[name]))]


def _metrics_port(role: str, number: int = 1) -> list[str]:
    """Each stage is a process and has a port of its own."""
    port: int = click.get_current_context().params["metrics_port"]
    return ["--metrics-port", str(port + PORTS.index(role) + len(PORTS) * (number - 1))] if port else []


_NOT_PASSED = frozenset({"rules", "role", "workers", "evidence", "ledger_keys", "until_idle", "ends"})
_OF_EACH = frozenset({"metrics_port", "state_dir"})


def _text(name: str, value: object) -> str:
    if name in DURATIONS:
        return f"{value}ms"
    if name in SIZES:
        return f"{value}B"
    return ",".join(value) if isinstance(value, tuple) else str(value)
