"""Implements `betrace audit`: queries, exports and verifies the audit trail in the evidence.

In: a directory or URL of evidence, read only. Out: tables, CSV or JSON lines on stdout, or a file.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import click
import msgspec
import pyarrow.parquet as pq

from streams.cli import audit_retention, audit_who, commands, options
from streams.cli.keys import key_files, verifiers
from streams.errors import ConfigError
from streams.evidence.audit import acts, archive, trail
from streams.evidence.audit import query as queries
from streams.evidence.audit.query import QueryResult
from streams.evidence.ledger import storage
from streams.evidence.ledger.storage import open_storage
from streams.evidence.ledger.verify import Verification
from streams.pages.words import span

FOUND = 1

FORMULA = (*"=+-@\t\r\n", *"\uff1d\uff0b\uff0d\uff20")
"""The first characters that make a spreadsheet take a text for a formula; the last four are full-width signs."""


@commands.group("audit", epilog='\b\nExample:\n  betrace audit query evidence/ "SELECT count(*) FROM audit_spans"')
def command() -> None:
    """Query the audit trail, export it, and verify it."""


command.add_command(audit_who.command)
for each in (audit_retention.retain, audit_retention.hold, audit_retention.release, audit_retention.holds):
    command.add_command(each)


@command.command(
    short_help="Run an SQL SELECT on the audit trail.",
    epilog='\b\nExample:\n  betrace audit query evidence/ "SELECT name, timestamp FROM audit_spans"',
)
@click.argument("evidence")
@click.argument("sql")
@options.output_format("csv", "json", help_text="Output format; JSON is an object per row.")
@click.option(
    "--timeout",
    "time_ms",
    default="60s",
    callback=options.as_duration,
    metavar="DURATION",
    help="Time limit of the query.",
)
@click.option(
    "--memory",
    "memory_bytes",
    default="1GiB",
    callback=options.as_size,
    metavar="SIZE",
    help="Memory limit of the query.",
)
def query(evidence: str, sql: str, form: str, time_ms: int, memory_bytes: int) -> None:
    """Run one SQL SELECT on the view audit_spans; it can read nothing but the trail.

    Columns: timestamp, received, trace_id, span_id, parent_span_id, name, service, kind, status, status_message,
    severity, body, start_ns, end_ns, attributes, resource (both MAP(VARCHAR, VARCHAR)), events, is_log, is_truncated,
    source, seal, partition, offset, unreadable.
    """
    with (
        trail.opened(open_storage(evidence), memory_bytes) as database,
        queries.run_query(database, sql, time_ms / 1000) as result,
    ):
        (_write_csv if form == "csv" else _write_json)(result, sys.stdout)


@command.command(
    short_help="Write the whole trail to a file.", epilog="\b\nExample:\n  betrace audit export evidence/ trail.parquet"
)
@click.argument("evidence")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def export(evidence: str, file: Path) -> None:
    """Write the whole trail to FILE, which must end in .parquet, .csv or .json."""
    if file.suffix not in _EXPORTS:
        raise click.UsageError(f"{file} must end in .parquet, .csv or .json")
    if file.exists():
        raise ConfigError(f"{file} already exists")
    everything = f'SELECT * FROM {trail.VIEW} ORDER BY received, partition, "offset"'  # noqa: S608, it is a constant
    with (
        trail.opened(open_storage(evidence)) as database,
        queries.run_query(database, everything) as result,
        _new(file) as target,
    ):
        _EXPORTS[file.suffix](result, target)


@command.command(
    short_help="Verify the evidence and the trail's files.",
    epilog="\b\nExample:\n  betrace audit verify evidence/ --key ledger.pub",
)
@click.argument("evidence")
@key_files(required=True)
def verify(evidence: str, keys: tuple[Path, ...]) -> None:
    """Verify the evidence, and that the trail's files contain what was sealed.

    Prints a line per finding, and exits with 1 if there is one. Files that betrace audit retain removed are listed and
    are not findings.
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
    click.echo(f"{entries} audit records; {count} findings" if count else f"{entries} audit records, unchanged")
    if count:
        raise click.exceptions.Exit(FOUND)


@contextmanager
def _new(file: Path) -> Iterator[TextIO]:
    """Open a new file that appears only once it was written completely."""
    with file.open("x", encoding="utf-8", newline="") as target:
        try:
            yield target
        except BaseException:
            file.unlink()
            raise


def _write_parquet(result: QueryResult, target: TextIO) -> None:
    with pq.ParquetWriter(target.buffer, result.schema, compression="zstd") as writer:
        for batch in result.batches:
            writer.write_batch(batch)


def _write_csv(result: QueryResult, target: TextIO) -> None:
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(map(_cell, result.schema.names))
    for row in _rows(result):
        writer.writerow(map(_cell, row.values()))


def _write_json(result: QueryResult, target: TextIO) -> None:
    target.writelines(msgspec.json.encode(row, enc_hook=str).decode() + "\n" for row in _rows(result))


def _rows(result: QueryResult) -> Iterator[dict[str, object]]:
    for batch in result.batches:
        yield from batch.to_pylist(maps_as_pydicts="lossy")


def _cell(value: object) -> object:
    """Return a cell; a quote precedes a text that a spreadsheet would take for a formula."""
    text = msgspec.json.encode(value, enc_hook=str).decode() if isinstance(value, dict | list) else value
    return f"'{text}" if isinstance(text, str) and text.startswith(FORMULA) else text


_EXPORTS: dict[str, Callable[[QueryResult, TextIO], None]] = {
    ".parquet": _write_parquet,
    ".csv": _write_csv,
    ".json": _write_json,
}
