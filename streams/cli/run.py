"""`betrace run`: ingest and sessions, from Kafka to Kafka."""

from __future__ import annotations

import dataclasses
import faulthandler
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

import click
import msgspec
import structlog
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from streams import logs, metrics, pipeline, ruleset, supervise
from streams.cli import options
from streams.cli.load import load
from streams.decode import Format
from streams.errors import ConfigError
from streams.redact import Redaction, read_key, treatments
from streams.sessions.app import Ends
from streams.settings import Settings
from topics import admin as kafka
from topics.signals import SignalFormat
from topics.spec import Layout

log = structlog.get_logger()

ROLES = ("ingest", "sessions")


def _ends(_: click.Context, __: click.Parameter, text: str | None) -> Ends | None:
    try:
        return None if text is None else msgspec.json.decode(text, type=Ends)
    except msgspec.DecodeError as error:
        raise click.BadParameter(str(error)) from error


def default_state_dir() -> Path:
    """Where state is kept unless set: under the XDG base directory for state."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "betrace"


@click.command("run", epilog="\b\nExample:\n  betrace run --rules rules/ --bootstrap localhost:9092")
@options.setting("--rules", multiple=True, type=click.Path(), help="Rule files or directories; repeatable.")
@options.bootstrap
@options.layout
@options.setting(
    "--start", type=click.Choice(["earliest", "latest"]), default="earliest", help="Where a first start begins."
)
@options.encoding
@options.gap
@options.lateness
@options.max_duration
@options.out_of_order
@options.setting(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=default_state_dir,
    help="Where windows are kept.",
)
@options.setting(
    "--role", type=click.Choice(ROLES), default=None, help="Run one stage only, with the rules that are active."
)
@options.signal_format
@options.identity
@options.redact
@options.redact_key_file
@options.evidence
@options.setting("--until-idle", is_flag=True, help="Judge what is there now, then exit.")
@click.option("--ends", callback=_ends, hidden=True, help="Until where, as JSON: topic, partition, offset.")
def command(
    *,
    rules: tuple[str, ...],
    bootstrap: str,
    layout: Layout,
    start: str,
    encoding: str,
    gap: int,
    lateness: int,
    max_duration: int,
    out_of_order: int,
    state_dir: Path,
    role: str | None,
    signal_format: str,
    identity: tuple[str, ...],
    redact: str,
    redact_key_file: Path | None,
    evidence: str | None,
    ledger_keys: tuple[Path, ...],
    until_idle: bool,
    ends: Ends | None,
) -> None:
    """Judge rules on the traces in Kafka and publish a signal for each one that is broken.

    With --evidence the ledger is run too, as betrace ledger would.
    """
    logs.configure()
    settings = Settings(
        bootstrap=bootstrap,
        state_dir=state_dir,
        source_topics=layout.source_topics,
        prefix=layout.prefix,
        facts_partitions=layout.facts_partitions,
        start=start,
        format=Format(encoding),
        gap_ms=gap,
        lateness_ms=lateness,
        max_duration_ms=max_duration,
        out_of_order_ms=out_of_order,
        identity=identity,
        redaction=Redaction(treatments(redact), read_key(redact_key_file)),
        signal_format=SignalFormat(signal_format),
    )
    if role is not None:
        _run_role(role, settings, rules, until_idle=until_idle, ends=ends)
    else:
        ledger = {} if evidence is None else {"ledger": _ledger_command(settings, evidence, ledger_keys)}
        raise click.exceptions.Exit(_run_all(settings, layout, rules, ledger, until_idle=until_idle))


def _run_role(role: str, settings: Settings, rules: tuple[str, ...], *, until_idle: bool, ends: Ends | None) -> None:
    if rules or until_idle:
        raise ConfigError("--role takes no --rules and no --until-idle: push rules with betrace rules push DIR")
    supervise.end_with_supervisor()
    # A crash in native code (librdkafka, RocksDB) leaves at least its stack on stderr.
    faulthandler.enable()
    admin = kafka.connect(settings.client())
    settings = _as_made(settings, admin)
    if role == "sessions":
        pipeline.run_sessions(settings, ends)
    else:
        _run_ingest(settings)


def _run_ingest(settings: Settings) -> None:
    ingest = pipeline.run_ingest(settings)

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
    ruleset.push(settings, compiled, now_ms=time.time_ns() // 1_000_000)
    ends = _ends_now(admin, settings) if until_idle else None
    log.info("run", rules=len(compiled.rules), start=settings.start, source_topics=settings.source_topics)
    stages = supervise.Stages({role: _command(role, ends) for role in ROLES} | {**also})
    with supervise.stopping_on_signals(stages):
        return stages.wait()


def _as_made(settings: Settings, admin: AdminClient) -> Settings:
    """The settings with the facts topic's own partition count, which is fixed for life."""
    facts = settings.topic("facts")
    counts = kafka.partition_counts(admin, [facts])
    if facts not in counts:
        raise ConfigError(f"topic {facts} does not exist: run betrace topics create")
    return dataclasses.replace(settings, facts_partitions=counts[facts])


def _ends_now(admin: AdminClient, settings: Settings) -> Ends:
    counts = kafka.partition_counts(admin, settings.source_topics)
    partitions = [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]
    ends: Ends = {}
    for (topic, number), offset in kafka.end_offsets(admin, partitions).items():
        ends.setdefault(topic, {})[number] = offset
    return ends


def _command(role: str, ends: Ends | None) -> list[str]:
    """This command again for one role, with the options that click has in its context."""
    context = click.get_current_context()
    options = {name: value for name, value in context.params.items() if name not in _NOT_PASSED and value is not None}
    texts = [text for name, value in options.items() for text in ("--" + name.replace("_", "-"), _text(name, value))]
    until = ["--ends", msgspec.json.encode(ends).decode()] if ends is not None and role == "sessions" else []
    return [sys.executable, "-m", "streams.cli", "run", "--role", role, *texts, *until]


def _ledger_command(settings: Settings, evidence: str, ledger_keys: tuple[Path, ...]) -> list[str]:
    where = ["--bootstrap", settings.bootstrap, "--prefix", settings.prefix]
    keys = [text for key in ledger_keys for text in ("--ledger-key", str(key))]
    return [sys.executable, "-m", "streams.cli", "ledger", "--evidence", evidence, *where, *keys]


_NOT_PASSED = frozenset({"rules", "role", "evidence", "ledger_keys", "until_idle", "ends"})
_DURATIONS = frozenset({"gap", "lateness", "max_duration", "out_of_order"})


def _text(name: str, value: object) -> str:
    if name in _DURATIONS:
        return f"{value}ms"
    return ",".join(value) if isinstance(value, tuple) else str(value)
