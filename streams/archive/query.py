"""Judges rules on an archive with DuckDB: the engine's results, in a fraction of the time.

    1  hits      the rows that satisfy an atom: SQL decides, or finds the rows that `dsl` must test
    2  windows   of the traces with a hit, when their records came and whether that makes one whole window
    3  verdicts  every formula on the facts of each trace, in SQL
    4  closes    the traces that need more detail go through the engine itself, with all their facts

In: an archive and an `ArchiveRequest`. Out: an `Answer`, equal to the engine's if it reads only the records of the
range, each at its own timestamp. If the engine would not use the timestamps as they are, the request is refused. Steps
1 to 3 are in `streams.archive.tables`, step 4 is here.
"""

# ruff: noqa: S608 - streams.archive.sql makes and quotes the texts in these statements

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import duckdb
import pyarrow as pa

from dsl import Atom, RuleSet
from dsl.judge.atoms import Use
from streams.archive import read, spans, sql
from streams.archive.names import ArchiveFile, ArchiveListing
from streams.archive.schema import FORMAT_KEY, OLDER, RUN_BACK_KEY
from streams.archive.seen_names import seen_names
from streams.archive.store import Store
from streams.archive.tables import Counted, Tables, TraceVerdict
from streams.decode.records import TraceSpans
from streams.errors import BetraceError, StateError
from streams.projection.budget import DEFAULT_BUDGET, KEY_BYTES, NUMBER_BYTES, Budget, bare_fact_bytes
from streams.projection.project import Projector
from streams.windows.chain import Bounds
from streams.windows.close import Close
from streams.windows.reorder import Arrival
from streams.windows.sessions import LostTime, Sessions
from topics.records.facts import TICK_MS, Entry, Fact, Touch, pack_touches

BATCH_ROWS = 8192
MINUTE_MS = 60_000

_POSITION = ("topic", "partition", "offset", "trace_id")
_Position: TypeAlias = tuple[str, int, int, bytes]


class RefusedError(BetraceError):
    """The request cannot be answered with SQL; the message says why, and the engine can be used instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveRequest:
    """A request: the rules, the settings of windows, and which records.

    Records have a timestamp in `[from_ms, to_ms)`, None means no bound; no topics means all topics. The clock stops at
    `clock_ms` or at the last record, whichever is later: windows that are quiet then close as such, all others at the
    end of the input. With `in_full`, traces that break a rule come with all their facts, to make signals of; without,
    only the verdict is given. `lost` are the times in which records are missing, None is as `streams.archive.read`
    finds them. Records stamped in an hour that begins after `now_ms` are refused, None refuses none. Records stamped up
    to `edge_ms` may be missing before those that are read, None: none are; a trace that may have one is in `closes`. If
    a record's facts may exceed its `budget`, the request is refused.
    """

    projector: Projector
    bounds: Bounds
    from_ms: int | None = None
    to_ms: int | None = None
    topics: tuple[str, ...] | None = None
    out_of_order_ms: int = 2_000
    clock_ms: int | None = None
    in_full: bool = True
    lost: tuple[LostTime, ...] | None = None
    now_ms: int | None = None
    edge_ms: int | None = None
    budget: Budget = DEFAULT_BUDGET

    @property
    def half_seen_until_ms(self) -> int | None:
        """A trace that is present at this time or before may have been read only in part."""
        reach_ms = (self.bounds.gap + self.bounds.lateness) * TICK_MS
        return None if self.edge_ms is None else self.edge_ms + reach_ms


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of the rules.

    `verdicts` are verdicts on traces with one whole window; `closes` are the closed windows of all other traces, as the
    engine gives them: judge each before requesting the next one. No trace is in both.
    """

    verdicts: tuple[TraceVerdict, ...]
    closes: Iterator[Close]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The result of the rules, counted where no more detail is needed.

    `counted` are verdicts on traces with one whole window that began, for the rule, in the counted period; `traces` is
    how many such traces began then, and `closes` are as in `Answer`. `minutes` are those of record time with a record,
    in that period; `spans` and `unreadable` count all requested rows and records. `names` are those that
    occurred, of the names that rules without a count look up.
    """

    counted: tuple[Counted, ...]
    traces: int
    spans: int
    unreadable: int
    minutes: frozenset[int]
    names: frozenset[str]
    closes: Iterator[Close]


def judge_archive(url: str, request: ArchiveRequest) -> Answer:
    """Judge the rules on an archive.

    Raises:
        RefusedError: the engine would not use the records' timestamps as they are.
        ConfigError: the URL cannot be used.
        StateError: the archive cannot be read.
    """
    with _judged(url, request) as judged:
        if judged is None:
            return Answer((), iter(()))
        return Answer(tuple(judged.tables.trace_verdicts()), _closes(judged, request))


def count(url: str, request: ArchiveRequest, from_ms: int, to_ms: int) -> Figures:
    """Count the traces of an archive that began in `[from_ms, to_ms)`; raises what `judge_archive` does."""
    with _judged(url, request) as judged:
        if judged is None:
            return Figures(
                counted=(), traces=0, spans=0, unreadable=0, minutes=frozenset(), names=frozenset(), closes=iter(())
            )
        [(spans, unreadable)] = judged.database.execute(
            "SELECT count(is_log), count(unreadable) FROM records"
        ).fetchall()
        minutes = judged.database.execute(
            f"SELECT DISTINCT timestamp_ms // {MINUTE_MS} FROM records "
            f"WHERE timestamp_ms >= {from_ms} AND timestamp_ms < {to_ms}"
        ).fetchall()
        counted_rows, traces = judged.tables.counted(from_ms, to_ms)
        counted = tuple(counted_rows)
        names = _names_without(request.projector.rules, {each.rule_id for each in counted})
        read_minutes = frozenset(minute for (minute,) in minutes)
        return Figures(
            counted=counted,
            traces=traces,
            spans=spans,
            unreadable=unreadable,
            minutes=read_minutes,
            names=seen_names(judged.database, names),
            closes=_closes(judged, request),
        )


def _names_without(rules: RuleSet, counted: Container[str]) -> set[str]:
    """Return the names that the rules without a count look up."""
    atoms = [
        rules.atoms[each] for rule in rules.rules if rule.enabled and rule.id not in counted for each in rule.atoms
    ]
    return {name for atom in atoms for name in atom.attributes | (atom.names or frozenset())}


@dataclass(frozen=True, slots=True)
class _Judged:
    """A database with all the tables."""

    database: duckdb.DuckDBPyConnection
    tables: Tables
    lost: list[LostTime]


@contextmanager
def _judged(url: str, request: ArchiveRequest) -> Iterator[_Judged | None]:
    """Run steps 1 to 3; None if the archive has no file of the range."""
    store = Store.at(url)
    listing = store.listing()
    files = read.chosen(listing, request.from_ms, request.to_ms, request.topics)
    if not files:
        yield None
        return
    _check_times(listing, request)
    lost = read.lost(store, listing, request.out_of_order_ms) if request.lost is None else list(request.lost)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="betrace-") as directory,
            closing(_connect(store, Path(directory))) as database,
        ):
            _open(database, store, files, request)
            tables = Tables(database, request.projector.rules)
            tables.find_hits()
            _check_budget(database, request)
            tables.find_windows(request.bounds, lost, request.half_seen_until_ms)
            tables.judge(in_full=request.in_full)
            yield _Judged(database, tables, lost)
    except duckdb.Error as error:
        raise StateError(
            f"the archive {store.root} cannot be queried: {error}",
            action="check that it is reachable and there is memory and space for temporary files; restore a damaged "
            "file from a backup, or delete it: its records then count as lost",
        ) from error


def _connect(store: Store, directory: Path) -> duckdb.DuckDBPyConnection:
    """Return a database in memory; what does not fit is spilled to the directory."""
    database = duckdb.connect(config={"temp_directory": str(directory), "preserve_insertion_order": "false"})
    if not store.is_local:
        database.register_filesystem(store.fs)
    return database


def _open(database: duckdb.DuckDBPyConnection, store: Store, files: list[ArchiveFile], request: ArchiveRequest) -> None:
    """Create the views `records`, of all requested rows, and `archive`, of those with a span."""
    urls = "[" + ", ".join(sql.text(store.url(file)) for file in files) + "]"
    _check(database, urls, len(files), request.out_of_order_ms)
    conditions = []
    if request.from_ms is not None:
        conditions.append(f"timestamp_ms >= {request.from_ms}")
    if request.to_ms is not None:
        conditions.append(f"timestamp_ms < {request.to_ms}")
    conditions += [
        f'NOT (filename = {sql.text(store.url(file))} AND "offset" < {file.skip_below})'
        for file in files
        if file.skip_below
    ]
    database.execute(
        f"CREATE VIEW records AS SELECT *, {sql.TICK} AS tick FROM read_parquet({urls}, hive_partitioning = true, "
        f"hive_types = {{'topic': VARCHAR, 'date': VARCHAR, 'hour': VARCHAR}}) WHERE {sql.all_of(conditions)}"
    )
    database.execute("CREATE VIEW archive AS FROM records WHERE trace_id IS NOT NULL")


def _check_times(listing: ArchiveListing, request: ArchiveRequest) -> None:
    """Refuse records stamped in the future: the engine gives them the time of the records before."""
    for file in listing.files:
        is_requested = request.topics is None or file.topic in request.topics
        if is_requested and request.now_ms is not None and file.hour_ms > request.now_ms:
            raise RefusedError(f"{file.name} has records stamped in the future")


def _check(database: duckdb.DuckDBPyConnection, urls: str, file_count: int, out_of_order_ms: int) -> None:
    """Refuse files whose metadata shows that a query would not be exact."""
    metadata = database.execute(
        f"SELECT decode(key), list(decode(value)) FROM parquet_kv_metadata({urls}) "
        "WHERE starts_with(decode(key), 'betrace.') GROUP BY ALL"
    )
    values: Mapping[str, list[str]] = dict(metadata.fetchall())
    formats = values.get(FORMAT_KEY, [])
    read.check_formats(formats if len(formats) == file_count else [*formats, ""])
    if older := OLDER.intersection(formats):
        raise RefusedError(f"it has files of format {', '.join(sorted(older))}, which have fewer columns")
    run_back_ms = max(map(int, values[RUN_BACK_KEY]))
    if run_back_ms > out_of_order_ms:
        raise RefusedError(f"record times go back by {run_back_ms}ms, more than out-of-order ({out_of_order_ms}ms)")


def _check_budget(database: duckdb.DuckDBPyConnection, request: ArchiveRequest) -> None:
    """Refuse if a record's facts may exceed its budget: the engine rejects such a record."""
    share, whole = request.budget.facts_share
    fact_bytes = max((_fact_bytes(atom) for atom in request.projector.rules.atoms.values()), default=0)
    many = request.budget.facts_bytes(0) // max(fact_bytes, 1)
    oversized = database.execute(
        f"""
        WITH busy AS (SELECT tick FROM hits GROUP BY tick HAVING count(*) > {many}),
        hit AS (SELECT trace_id, tick, count(*) AS hits FROM hits SEMI JOIN busy USING (tick) GROUP BY ALL),
        told AS (
            SELECT DISTINCT topic, partition, "offset", trace_id, tick FROM archive SEMI JOIN busy USING (tick)
        ),
        made AS (
            SELECT topic, partition, "offset", sum(hits) AS hits
            FROM told JOIN hit USING (trace_id, tick) GROUP BY ALL HAVING sum(hits) > {many}
        )
        SELECT any_value("offset") FROM made JOIN records USING (topic, partition, "offset")
        WHERE value IS NOT NULL
        AND hits * {fact_bytes} > {request.budget.factor} * octet_length(value) * {share} // {whole}
        """
    ).fetchall()
    if oversized and oversized[0][0] is not None:
        raise RefusedError(f"the facts of the record at offset {oversized[0][0]} may exceed its budget")


def _fact_bytes(atom: Atom) -> int:
    key_bytes = NUMBER_BYTES if atom.use is Use.NUMBERS else KEY_BYTES
    return bare_fact_bytes(atom) + key_bytes * len(atom.keys) + KEY_BYTES * len(atom.links)


def _closes(judged: _Judged, request: ArchiveRequest) -> Iterator[Close]:
    """Return the closed windows of the traces in the table `chosen`."""
    database = judged.database
    facts = _facts(judged, request.projector)
    atoms = request.projector.rules.atoms.values()
    sessions = Sessions(request.bounds, {atom.fingerprint: atom.counted for atom in atoms if atom.counted})
    sessions.lost = list(judged.lost)
    sessions.track_presence(request.half_seen_until_ms)
    arrivals = database.execute(
        """
        SELECT topic, partition, "offset", trace_id, tick, count(*), bool_or(parent_id IS NULL AND NOT is_log)
        FROM archive SEMI JOIN chosen USING (trace_id) GROUP BY ALL
        """
    )
    for topic, partition, offset, trace_id, tick, count, root_seen in arrivals.fetchall():
        of_record = facts.get((topic, partition, offset, trace_id))
        if of_record is None:
            sessions.buffer.add_touches(tick, pack_touches([Touch(trace_id, tick, count)]), 0)
        else:
            entry = Entry(trace_id, offset, offset, tick, count, root_seen, of_record)
            sessions.buffer.add(tick, Arrival(topic, partition, entry), 0)
    # The last record, even if unreadable or of any other trace, moves the clock.
    [(last_ms,)] = database.execute("SELECT max(timestamp_ms) FROM records").fetchall()
    return _ended(sessions, max(last_ms or 0, request.clock_ms or 0))


def _facts(judged: _Judged, projector: Projector) -> Mapping[_Position, list[Fact]]:
    """Return the facts of each record about each chosen trace."""
    facts: defaultdict[_Position, list[Fact]] = defaultdict(list)
    if not judged.tables.chosen_count:
        return facts
    shown = ", ".join(f'"{name}"' for name in (*_POSITION, *spans.COLUMNS))
    condition = sql.any_of(atom.hit for atom in judged.tables.atoms)
    rows = judged.database.sql(f"SELECT {shown} FROM archive SEMI JOIN chosen USING (trace_id) WHERE {condition}")
    keys = projector.interest.attributes
    for batch in rows.to_arrow_reader(BATCH_ROWS):
        table = pa.Table.from_batches([batch])
        positions = zip(*(table[name].to_pylist() for name in _POSITION), strict=True)
        for position, span in zip(positions, spans.spans(table, keys), strict=True):
            if projected := projector.facts(TraceSpans(1, root_seen=False, spans=[span])):
                facts[position] += projected
    return facts


def _ended(sessions: Sessions, clock_ms: int) -> Iterator[Close]:
    yield from sessions.advance(clock_ms)
    yield from sessions.end()
