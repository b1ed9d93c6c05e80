"""Iterates over the traces in a topic, an archive or a file, for programs and notebooks.

In: where the traces are, and the rules that are to be judged. Out: the spans of each trace in each record, with what
the rules look at, in the order of the source. Nothing is written, and no consumer group is joined. `dsl.judge_trace`
judges the spans of a trace. For the windows, signals and counts of live processing, use `betrace replay`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dsl import RuleSet, Span
from streams.config.settings import ClientSettings
from streams.decode.decoder import Decoder
from streams.errors import ConfigError, RecordError
from streams.inspect import spans_file
from streams.kafka import follow
from topics.otlp.requests import RecordKind


@dataclass(frozen=True, slots=True)
class TracePart:
    """The spans of one trace in one record that the rules may look at.

    `source` names the record, such as `otlp_spans[0]@17`, or the file. `timestamp_ms` is the time of the record.
    """

    trace_id: bytes
    spans: list[Span]
    source: str
    timestamp_ms: int | None = None


def from_topic(
    client: ClientSettings,
    topic: str,
    rules: RuleSet,
    *,
    since: str = "earliest",
    until_end: bool = True,
    unread: list[str] | None = None,
) -> Iterator[TracePart]:
    """Yield the traces in the records of a topic; `client` has settings of librdkafka, such as `bootstrap.servers`.

    `since` is `earliest`, `latest`, a duration ago such as `2h`, or an RFC 3339 time. With `until_end`, the iterator
    ends where the topic does; otherwise it waits for more. Records that are not OTLP are listed in `unread`.

    Raises:
        ConfigError: `since` is none of these.
        StateError: the topic does not exist, or the brokers do not answer.
        RecordError: a record is not OTLP, and there is no `unread`.
    """
    decoder = Decoder(rules.interest)
    for message in follow.follow(client, topic, follow.since(since, time.time_ns() // 10**6), until_end=until_end):
        source = f"{topic}[{message.partition()}]@{message.offset()}"
        yield from _parts(decoder, topic, message.value(), source, message.timestamp()[1], unread)


def from_archive(
    url: str,
    rules: RuleSet,
    *,
    from_ms: int | None = None,
    to_ms: int | None = None,
    unread: list[str] | None = None,
) -> Iterator[TracePart]:
    """Yield the traces in the records of an archive with a timestamp in `[from_ms, to_ms)`; None means no bound.

    Records that are not OTLP are listed in `unread`.

    Raises:
        ConfigError: the URL cannot be used, or the extra `archive` is not installed.
        StateError: the archive cannot be read.
        RecordError: a record is not OTLP, and there is no `unread`.
    """
    try:
        from streams.archive.read import records  # noqa: PLC0415, an extra
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed: pip install 'betrace[archive]'") from error
    decoder = Decoder(rules.interest)
    for record in records(url, from_ms, to_ms):
        source = f"{record.topic}[{record.partition}]@{record.offset}"
        yield from _parts(decoder, record.topic, record.value, source, record.timestamp_ms, unread)


def from_file(path: str | Path, rules: RuleSet, *, unread: list[str] | None = None) -> Iterator[TracePart]:
    """Yield the traces of a file as `betrace eval` reads it; lines that cannot be read are listed in `unread`.

    Raises:
        OSError: the file cannot be read.
        ConfigError: a line cannot be read, and there is no `unread`.
    """
    with Path(path).open("rb") as lines:
        found = spans_file.read(lines, rules.interest, file=str(path))
    if found.unread and unread is None:
        raise ConfigError(found.unread[0])
    if unread is not None:
        unread += found.unread
    for trace_id, trace in found.decoded.traces.items():
        yield TracePart(trace_id, trace.spans, str(path))


def by_trace(parts: Iterable[TracePart]) -> dict[bytes, list[Span]]:
    """Return all spans of each trace, by trace id; the traces are held in memory."""
    traces: dict[bytes, list[Span]] = {}
    for part in parts:
        traces.setdefault(part.trace_id, []).extend(part.spans)
    return traces


def _parts(
    decoder: Decoder, topic: str, value: bytes | None, source: str, timestamp_ms: int, unread: list[str] | None
) -> Iterator[TracePart]:
    try:
        decoded = decoder.decode(value, RecordKind.LOGS if "log" in topic else RecordKind.SPANS)
    except RecordError as error:
        if unread is None:
            raise
        unread.append(f"{source}: {error}")
        return
    for trace_id, trace in decoded.traces.items():
        yield TracePart(trace_id, trace.spans, source, timestamp_ms)
