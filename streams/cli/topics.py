"""Implements `betrace topics`: creates the topics of the flow, and describes them.

In: the address of a cluster. Out: the names of created topics, or a line per topic, on stdout; faults on stderr.
"""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from streams.cli import commands, options
from streams.cli.table import table
from streams.config.security import Security
from streams.config.settings import ClientSettings, Settings
from streams.errors import ConfigError
from topics.cluster import admin, timestamps
from topics.cluster.admin import TopicStatus
from topics.spec import DAY_MS, Layout

_HEAD = ("TOPIC", "PARTITIONS", "REPLICATION", "CLEANUP", "RETENTION", "TIMESTAMPS")


@commands.group("topics", epilog="\b\nExample:\n  betrace topics create --bootstrap localhost:9092")
def command() -> None:
    """Create BeTrace's topics, or describe them."""


@command.command(epilog="\b\nExample:\n  betrace topics create --facts-partitions 24 --replication 3")
@options.cluster
@options.layout
@options.setting("--log-append-time", is_flag=True, help="Also have Kafka stamp the records of existing source topics.")
def create(bootstrap: str, security: Security, layout: Layout, *, log_append_time: bool) -> None:
    """Create the missing topics, and print their names.

    Existing topics are left unchanged, except for --log-append-time. Faults of their settings are printed on stderr; if
    BeTrace cannot work with one, the exit code is 2.
    """
    client = admin.connect(_client(bootstrap, security))
    if log_append_time:
        timestamps.use_log_append_time(client, layout.source_topics)
    creation = admin.create(client, layout)
    for name in creation.created:
        click.echo(name)
    _say(creation.existing)
    if faulty := [row.name for row in creation.existing if row.faults]:
        raise ConfigError(
            f"unusable topics: {', '.join(faulty)}; set the option to what they have, or give another --prefix"
        )


@command.command(
    short_help="Print the settings of each topic.", epilog="\b\nExample:\n  betrace topics describe --format json"
)
@options.output_format("text", "json", help_text="Output format; JSON is an object for each topic.")
@options.cluster
@options.layout
def describe(bootstrap: str, security: Security, layout: Layout, *, form: str) -> None:
    """Print the settings of each topic, one per line, in the order of the flow."""
    rows = admin.describe(admin.connect(_client(bootstrap, security)), layout)
    for line in map(_json, rows) if form == "json" else table(_HEAD, map(_cells, rows)):
        click.echo(line)
    _say(rows)


def _client(bootstrap: str, security: Security) -> ClientSettings:
    return Settings(bootstrap=bootstrap, state_dir=Path(), security=security).client()


def _say(rows: list[TopicStatus]) -> None:
    for row in rows:
        for text in row.faults + row.differences:
            click.echo(f"{row.name}: {text}", err=True)


def _json(row: TopicStatus) -> str:
    return msgspec.json.encode(row).decode()


def _cells(row: TopicStatus) -> tuple[str, ...]:
    if not row.present:
        return (row.name, "missing", "", "", "", "")
    kept = "unlimited" if row.retention_ms is None else f"{row.retention_ms / DAY_MS:g}d"
    return (
        row.name,
        str(row.partition_count),
        str(row.replication),
        str(row.cleanup),
        kept,
        str(row.timestamp_type),
    )
