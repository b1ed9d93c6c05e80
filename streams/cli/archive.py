"""`betrace archive`: the source topics as Parquet, for longer than Kafka keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from streams.cli import options
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


class Line(msgspec.Struct, frozen=True):
    """One line of output: a file that was written, below the archive's root, and what is in it."""

    file: str
    topic: str
    partition: int
    first_offset: int
    last_offset: int
    records: int
    spans: int
    unreadable: int


@click.command(
    "archive",
    epilog="\b\nExamples:\n  betrace archive s3://bucket/archive\n"
    "  betrace archive /var/lib/betrace/archive --from 30d --until-idle",
)
@click.argument("url")
@options.cluster
@options.prefix
@options.source_topics
@options.encoding
@options.moment("--from", default="earliest", help="Where a partition begins of which nothing is archived.")
@options.moment("--to", help="Stop before the records of this time.")
@options.setting("--until-idle", is_flag=True, help="Archive what is there now, then exit.")
@options.duration("--every", "1h", "What was read is in a file after this long at the latest.")
@options.setting(
    "--memory", type=click.IntRange(min=16), default=512, metavar="MIB", help="For what is not written yet, in MiB."
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
    """Write the source topics to URL, a directory or any that fsspec knows: a file per hour and partition.

    Goes on where the archive ends. Prints a JSON line per file. Stops on SIGTERM with everything written that was read;
    what is not written after 8 s (exit 137) the next start reads again. TIME is RFC 3339, a time ago such as 30d,
    earliest or now.
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
    begins, ends = _range(admin.connect(settings.client()), source_topics, from_ms, to_ms, is_finite=until_idle)
    store.prepare()
    copier = Copier(settings, store, _print, every / 1000, memory * MIB, begins, ends)
    with stopping(copier.stop):
        copier.run()


def _range(
    client: AdminClient, topics: tuple[str, ...], from_ms: int, to_ms: int | None, *, is_finite: bool
) -> tuple[dict[Source, int], dict[Source, int] | None]:
    """Where each partition begins and ends; no ends when there is nothing to stop at.

    Raises:
        ConfigError: a topic is not there, or none has a record in the range that was asked for.
    """
    counts = admin.partition_counts(client, topics)
    if missing := set(topics) - counts.keys():
        raise ConfigError(
            f"no such topic: {', '.join(sorted(missing))}: "
            "name the topics that your Collectors write with --source-topics"
        )
    places = [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]
    begins = admin.offsets_at(client, places, from_ms) if from_ms else admin.earliest_offsets(client, places)
    if to_ms is None and not is_finite:
        return begins, None
    ends = admin.end_offsets(client, places) if to_ms is None else admin.offsets_at(client, places, to_ms)
    is_asked_for = from_ms > 0 or to_ms is not None
    if is_asked_for and all(begins[source] >= ends[source] for source in begins):
        raise ConfigError(
            f"{', '.join(topics)}: Kafka holds no record {_between(from_ms, to_ms)}: "
            "ask for another time, or leave --from and --to out to archive all that is there"
        )
    return begins, ends


def _between(from_ms: int, to_ms: int | None) -> str:
    after = "" if from_ms == 0 else f"from {rfc3339_ns(from_ms * _NS_PER_MS)} on"
    before = "" if to_ms is None else f"before {rfc3339_ns(to_ms * _NS_PER_MS)}"
    return " ".join(each for each in (after, before) if each)


def _print(written: Written) -> None:
    file = written.file
    place = (file.name, file.topic, file.partition, file.first_offset, file.end_offset - 1)
    line = Line(*place, written.record_count, written.span_count, written.unreadable_count)
    click.echo(msgspec.json.encode(line))
