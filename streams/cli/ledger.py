"""Implements `betrace ledger`: keeps evidence of what was judged, from Kafka to write-once storage.

In: the topics of verdicts, signals and the audit trail, and a private key. Out: evidence and signed tree heads.
"""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import structlog

from streams.cli import commands, options
from streams.cli.private import private_files
from streams.cli.reporting import report_totals, reporting
from streams.config.security import Security
from streams.config.settings import Settings, milliseconds
from streams.errors import ConfigError
from streams.evidence.ledger.notes import Algorithm, NoteError, Signer
from streams.evidence.ledger.storage import Storage, open_storage
from streams.evidence.ledger.worker import LedgerSettings, LedgerWorker
from streams.kafka import permissions
from streams.observe import health, logs
from streams.observe.health import UNCOMMITTED_S, Health
from streams.supervisor import supervise
from streams.supervisor.stopping import stopping
from topics.cluster import admin
from topics.cluster.acls import Role

log = structlog.get_logger()

KEY_VARIABLE = "BETRACE_LEDGER_PRIVATE_KEY"
"""The environment variable that may contain the ledger's private key itself, instead of a file."""

_DAY_S = 86_400


def _seconds(_: click.Context, __: click.Parameter, text: str) -> float:
    try:
        return milliseconds(text) / 1000
    except ConfigError as error:
        raise click.BadParameter(str(error)) from error


@commands.command(
    "ledger", epilog="\b\nExample:\n  betrace ledger --evidence s3://audit/evidence --ledger-key ledger.key"
)
@options.cluster
@options.prefix
@options.evidence
@options.setting(
    "--seal-every", default="60s", callback=_seconds, metavar="DURATION", help="How often to sign a tree head."
)
@options.setting("--retention-days", type=click.IntRange(min=1), help="Lock objects written to S3 for this long.")
@options.metrics
@private_files()
def command(
    *,
    bootstrap: str,
    security: Security,
    prefix: str,
    evidence: str | None,
    ledger_keys: tuple[Path, ...],
    seal_every: float,
    retention_days: int | None,
    metrics_port: int,
    metrics_address: str,
) -> None:
    """Keep evidence of what was judged.

    Every verdict record, signal and audit record becomes an entry of a Merkle log whose tree head is signed once a
    minute. Only one ledger runs at a time; a second one exits with 3 and does no harm. Generate the key with betrace
    evidence keygen.
    """
    logs.configure()
    supervise.end_with_supervisor()
    faulthandler.enable()
    if evidence is None:
        raise ConfigError("no evidence storage is given: give --evidence, a directory or a URL")
    store = open_storage(evidence, None if retention_days is None else retention_days * _DAY_S)
    settings = Settings(bootstrap=bootstrap, security=security, state_dir=Path(), prefix=prefix)
    permissions.require_acls(admin.connect(settings.client()), settings, Role.LEDGER)
    state = Health(has_rules=False, uncommitted_s=max(UNCOMMITTED_S, 3 * seal_every))
    worker = LedgerWorker(
        settings, LedgerSettings(store, signers_in(ledger_keys), seal_every, _trail_archiver(store)), state
    )
    reads = [settings.topic(name) for name in ("verdicts", "signals", "audit")]
    with (
        stopping(worker.stop),
        health.serving(metrics_address, metrics_port, state),
        reporting("ledger", state, reads),
    ):
        try:
            worker.run()
        finally:
            report_totals("ledger")


def _trail_archiver(store: Storage) -> Callable[[int], None]:
    """Return what keeps the trail's Parquet files up to date with the seals; without its packages, only warn."""
    try:
        from streams.evidence.audit import archive  # noqa: PLC0415, its packages are optional
    except ImportError:
        log.warning("the audit trail is not archived as Parquet", reason="install betrace[archive]")
        return lambda _: None
    return partial(archive.follow, store)


def signer_in(text: str, where: str) -> Signer:
    """Return the private key in a file or a variable; raises `ConfigError`, which never quotes it."""
    try:
        return Signer.decode(text)
    except NoteError as error:
        raise ConfigError(f"{where} does not contain a private key: {error}") from error


def read_text(path: Path) -> str:
    """Return the text of a file that the user named; raises `ConfigError`."""
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def signers_in(paths: tuple[Path, ...]) -> list[Signer]:
    """Return the keys of one log from these files, else from the environment; raises `ConfigError`."""
    in_environment = os.environ.get(KEY_VARIABLE, "")
    signers = [signer_in(read_text(path), str(path)) for path in paths]
    if not signers and in_environment:
        signers = [signer_in(in_environment, KEY_VARIABLE)]
    if not signers:
        raise ConfigError(f"no private key is given: give --ledger-key FILE or set {KEY_VARIABLE}")
    names = {signer.name for signer in signers}
    if len(names) > 1 or any(signer.algorithm is not Algorithm.ED25519 for signer in signers):
        raise ConfigError(f"these keys belong to different logs: {', '.join(sorted(names))}")
    return signers
