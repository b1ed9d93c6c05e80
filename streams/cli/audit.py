"""`betrace audit`: who did what, asked of the evidence in SQL.

In: a directory or URL of evidence, read only. Out: on stdout tables, CSV, JSON lines, or a file.
"""

from __future__ import annotations

import csv
import sys
from enum import Enum
from pathlib import Path

import click
import duckdb
import msgspec

from streams.cli import audit_retention, audit_who
from streams.cli.keys import key_files, verifiers
from streams.errors import ConfigError
from streams.evidence.audit import acts, archive, trail
from streams.evidence.ledger import storage
from streams.evidence.ledger.storage import open_storage
from streams.evidence.ledger.verify import Verification
from streams.evidence.report.words import span

FOUND = 1
BATCH = 10_000


class Form(Enum):
    """How rows are printed."""

    CSV = "csv"
    JSON = "json"


@click.group("audit", epilog='\b\nExample:\n  betrace audit query evidence/ "SELECT count(*) FROM audit_spans"')
def command() -> None:
    """Ask the audit trail, export it, and verify it."""


command.add_command(audit_who.command)
for each in (audit_retention.retain, audit_retention.hold, audit_retention.release, audit_retention.holds):
    command.add_command(each)


@command.command(epilog='\b\nExample:\n  betrace audit query evidence/ "SELECT name, timestamp FROM audit_spans"')
@click.argument("evidence")
@click.argument("sql")
@click.option("--json", "form", flag_value=Form.JSON, type=Form, help="Print a JSON object a row.")
@click.option("--csv", "form", flag_value=Form.CSV, type=Form, default=Form.CSV, help="Print CSV (the usual).")
def query(evidence: str, sql: str, form: Form) -> None:
    """Ask SQL of the view audit_spans.

    Its columns: timestamp, received, trace_id, span_id, parent_span_id, name, service, kind, status, status_message,
    severity, body, start_ns, end_ns, attributes, resource (both MAP(VARCHAR, VARCHAR)), events, is_log, is_cut, source,
    seal, partition, offset, unreadable.
    """
    with trail.opened(open_storage(evidence)) as database:
        _print(database.sql(sql), form)


@command.command(epilog="\b\nExample:\n  betrace audit export evidence/ trail.parquet")
@click.argument("evidence")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def export(evidence: str, file: Path) -> None:
    """Write all of the trail to FILE, which ends in .parquet, .csv or .json."""
    if file.suffix not in {".parquet", ".csv", ".json"}:
        raise click.UsageError(f"{file} must end in .parquet, .csv or .json")
    if file.exists():
        raise ConfigError(f"{file} is there already")
    with trail.opened(open_storage(evidence)) as database:
        # DuckDB takes the name of a file as text only.
        target = "'" + str(file).replace("'", "''") + "'"
        order = 'ORDER BY received, partition, "offset"'
        database.execute(f"COPY (SELECT * FROM audit_spans {order}) TO {target}")  # noqa: S608, quoted above


@command.command(epilog="\b\nExample:\n  betrace audit verify evidence/ --key ledger.pub")
@click.argument("evidence")
@key_files(required=True)
def verify(evidence: str, keys: tuple[Path, ...]) -> None:
    """Verify the evidence, and that the trail's files hold what was sealed.

    Each finding is a line; exit 1 with one. What betrace audit retain removed is named, and no finding.
    """
    store = open_storage(evidence)
    count = 0
    known_keys = verifiers(keys)
    verification = Verification(store, known_keys)
    for finding in verification.findings():
        count += 1
        click.echo(finding.text())
    last = storage.last_seal(store)
    wrong_acts = [*acts.findings(store, known_keys)]
    removed = {} if wrong_acts else acts.removed(acts.read_all(store))
    for finding in (*wrong_acts, *archive.findings(store, 0 if last is None else last + 1, removed)):
        count += 1
        click.echo(finding.text())
    for each in removed.values():
        click.echo(f"{each.file}: removed by retention, {each.rows} records of {span(each.first_ms, each.last_ms)}")
    entries = verification.totals.entries.get("audit", 0)
    click.echo(
        f"{entries} audit records; {count} findings" if count else f"{entries} audit records, nothing was changed"
    )
    if count:
        raise click.exceptions.Exit(FOUND)


def _print(found: duckdb.DuckDBPyRelation | None, form: Form) -> None:
    if found is None:
        return
    writer = csv.writer(sys.stdout)
    if form is Form.CSV:
        writer.writerow(found.columns)
    for batch in found.to_arrow_reader(BATCH):
        for row in batch.to_pylist(maps_as_pydicts="lossy"):
            if form is Form.CSV:
                writer.writerow(map(_cell, row.values()))
            else:
                click.echo(msgspec.json.encode(row, enc_hook=str))


def _cell(value: object) -> object:
    return msgspec.json.encode(value).decode() if isinstance(value, dict | list) else value
