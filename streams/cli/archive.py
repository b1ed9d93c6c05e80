"""Implements `betrace archive`: copies the source topics to Parquet, to keep them longer than Kafka does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from streams.cli import commands, options
from streams.config.security import Security
from streams.config.settings import Settings
from streams.config.units import rfc3339_ns
from streams.decode.decoder import Format
from streams.errors import ConfigError
from streams.observe import logs
from streams.supervisor.stopping import stopping
from streams.windows.clock import Source
from topics.cluster import admin

if TYPE_CHECKING:
    from streams.archive.write import Written

MIB = 1 << 20
_NS_PER_MS = 1_000_000


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of output: a file that was written, relative to the archive's root, and what it contains."""

    file: str
    topic: str
    partition: int
    first_offset: int
    last_offset: int
    records: int
    spans: int
    unreadable: int


@commands.command(
    "archive",
    epilog="\b\nExamples:\n  betrace archive s3://bucket/archive\n"
    "  betrace archive /var/lib/betrace/archive --from 30d --until-idle",
)
@click.argument("url")
@options.cluster
@options.prefix
@options.source_topics
@options.encoding
@options.moment("--from", default="earliest", help="Start offset for partitions that have no archive yet.")
@options.moment("--to", help="Stop before records with this time.")
@options.setting("--until-idle", is_flag=True, help="Archive what the topics contain now, then exit.")
@options.duration("--every", "1h", "Write a file at the latest this long after its first record was read.")
@options.setting(
    "--memory",
    type=click.IntRange(min=16),
    default=512,
    metavar="MIB",
    help="Memory for records not yet written, in MiB.",
)
def command(
    *,
    url: str,
    bootstrap: str,
    security: Security,
    prefix: str,
    source_topics: tuple[str, ...],
    encoding: str,
    from_ms: int,
    to_ms: int | None,
    until_idle: bool,
    every: int,
    memory: int,
) -> None:
    """Write the source topics to URL, a directory or any URL that fsspec supports: one file per hour and partition.

    Continues where the archive ends. Prints a JSON line per file. On SIGTERM it writes what it has read, then stops;
    what it cannot write within 8 s (exit 137) the next start reads again.
    """
    try:
        from streams.archive.copy import Copier  # noqa: PLC0415, an extra
        from streams.archive.store import Store  # noqa: PLC0415, as above
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed: pip install 'betrace[archive]'") from error
    logs.configure()
    store = Store.at(url)
    settings = Settings(
        bootstrap=bootstrap,
        security=security,
        state_dir=Path(),
        prefix=prefix,
        source_topics=source_topics,
        format=Format(encoding),
    )
    start_offsets, ends = _range(admin.connect(settings.client()), source_topics, from_ms, to_ms, is_finite=until_idle)
    store.prepare()
    copier = Copier(
        settings=settings,
        store=store,
        report=_print,
        every_s=every / 1000,
        memory_bytes=memory * MIB,
        start_offsets=start_offsets,
        ends=ends,
    )
    with stopping(copier.stop):
        copier.run()


def _range(
    client: AdminClient, topics: tuple[str, ...], from_ms: int, to_ms: int | None, *, is_finite: bool
) -> tuple[dict[Source, int], dict[Source, int] | None]:
    """Return the start offset of each partition, and the end offsets, or None if the copy has no end.

    Raises:
        ConfigError: a topic does not exist, or no topic has a record in the requested range.
    """
    counts = admin.partition_counts(client, topics)
    if missing := set(topics) - counts.keys():
        raise ConfigError(
            f"no such topic: {', '.join(sorted(missing))}: name the topics your Collectors write with --source-topics"
        )
    partitions = [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]
    start_offsets = (
        admin.offsets_at(client, partitions, from_ms) if from_ms else admin.earliest_offsets(client, partitions)
    )
    if to_ms is None and not is_finite:
        return start_offsets, None
    ends = admin.end_offsets(client, partitions) if to_ms is None else admin.offsets_at(client, partitions, to_ms)
    is_requested = from_ms > 0 or to_ms is not None
    if is_requested and all(start_offsets[source] >= ends[source] for source in start_offsets):
        raise ConfigError(
            f"{', '.join(topics)}: Kafka has no record {_between(from_ms, to_ms)}: choose another time, or omit "
            "--from and --to to archive everything"
        )
    return start_offsets, ends


def _between(from_ms: int, to_ms: int | None) -> str:
    after = "" if from_ms == 0 else f"since {rfc3339_ns(from_ms * _NS_PER_MS)}"
    before = "" if to_ms is None else f"before {rfc3339_ns(to_ms * _NS_PER_MS)}"
    return " ".join(each for each in (after, before) if each)


def _print(written: Written) -> None:
    file = written.file
    line = Line(
        file=file.name,
        topic=file.topic,
        partition=file.partition,
        first_offset=file.first_offset,
        last_offset=file.end_offset - 1,
        records=written.record_count,
        spans=written.span_count,
        unreadable=written.unreadable_count,
    )
    click.echo(msgspec.json.encode(line))
