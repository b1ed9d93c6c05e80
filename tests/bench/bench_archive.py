"""How fast new rules are asked of an archive of 10,000,000 spans, and how fast the engine itself would answer.

    python -m tests.bench.bench_archive [--spans 10000000] [--corpus partitioned_proto] [--keep DIR] [--engine all]

The archive is the corpus copied with fresh trace ids (`tests.support.load`), over four hours of record time and four
partitions. Prints a line of JSON for what it costs to archive the corpus, then one for each rule set: what the query
takes, for verdicts alone and with all facts of broken traces; what the whole of `betrace replay --archive` takes, for a
summary and for the signals; and of the first one, or of all, what the engine takes on the same files in one process,
and whether both say the same. Fails where they do not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dsl import RuleSet, compile_texts, judge, load
from streams.archive import schema
from streams.archive.names import ArchiveFile
from streams.archive.query import ArchiveRequest, judge_archive
from streams.archive.rows import RawRecord, Rows
from streams.archive.schema import FORMAT_KEY, RUN_BACK_KEY
from streams.archive.store import Store
from streams.archive.write import GROUP_ROWS, PartitionWriter
from streams.projection.project import Projector
from streams.windows.chain import Bounds
from streams.windows.close import Close
from tests.support import archive_windows, paths
from tests.support import load as corpus

RULES = paths.RULES / "corpus.rules"
TOPIC = "otlp_spans"
PARTITIONS = 4
HOURS = 4
ROUNDS = 20
"""How often the corpus is archived to see how long it takes; its size is that of once, as repeats cost nothing."""

HOUR_MS = 3_600_000
START_MS = 1_735_722_000_000
BOUNDS = Bounds.of_ms(gap_ms=30_000, lateness_ms=600_000, max_duration_ms=HOUR_MS)
FOUND = {"held", "broken", "undetermined"}
NEW_RULES = (
    'trace.has("payments /v1/pay") and trace.has("ledger /v1/pay")',
    'trace.has("auth /v1/login").where(tenant.id == t3 and http.response.status_code >= 500)',
    "http.response.status_code >= 500",
    'exception and not trace.has("HTTP ledger")',
    'when { trace.has("payments /v1/pay") } always { trace.has("SELECT orders") }',
)


def make(store: Store, name: str, spans: int) -> int:
    """Writes the archive; returns how many spans it has."""
    originals = corpus.originals(corpus.CORPUS / f"{name}.bin.gz")
    copies = -(-spans // sum(original.span_count for original in originals))
    for partition in range(PARTITIONS):
        _make_partition(store, partition, originals[partition::PARTITIONS], copies)
    return copies * sum(original.span_count for original in originals)


def _make_partition(store: Store, partition: int, originals: list[corpus.Original], copies: int) -> None:
    """Each copy is a table of its own, with other trace ids, offsets, times and bytes."""
    rows = Rows()
    for offset, original in enumerate(originals):
        rows.add(RawRecord(TOPIC, partition, offset, offset, original.key, original.value))
    table = rows.table()
    copies_an_hour = -(-copies // HOURS)
    for hour in range(HOURS):
        numbers = range(hour * copies_an_hour, min(copies, (hour + 1) * copies_an_hour))
        first, end = (number * len(originals) for number in (numbers.start, numbers.stop))
        file = ArchiveFile(
            topic=TOPIC,
            partition=partition,
            first_offset=first,
            end_offset=end,
            hour_ms=START_MS + hour * HOUR_MS,
            number=1,
            count=1,
        )
        _make_file(store, file, (_copy(table, originals, number, HOURS * HOUR_MS // copies) for number in numbers))


def _make_file(store: Store, file: ArchiveFile, tables: Iterator[pa.Table]) -> None:
    path = Path(store.path(file))
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {FORMAT_KEY: schema.FORMAT, RUN_BACK_KEY: "0"}
    with pq.ParquetWriter(path, schema.SCHEMA, compression="zstd") as writer:
        waiting: list[pa.Table] = []
        for table in tables:
            waiting.append(table)
            if sum(each.num_rows for each in waiting) >= GROUP_ROWS:
                writer.write_table(pa.concat_tables(waiting), row_group_size=2 * GROUP_ROWS)
                waiting = []
        if waiting:
            writer.write_table(pa.concat_tables(waiting), row_group_size=2 * GROUP_ROWS)
        writer.add_key_value_metadata(metadata)


def _copy(table: pa.Table, originals: list[corpus.Original], number: int, step_ms: int) -> pa.Table:
    renamed = {trace_id: corpus.copied(trace_id, number) for each in originals for trace_id in each.trace_ids}
    values = iter([_renamed(original, renamed) for original in originals])
    value = [None if value is None else next(values) for value in table["value"].to_pylist()]
    trace_id = [renamed[trace_id] for trace_id in table["trace_id"].to_pylist()]
    columns = {
        "value": pa.array(value, pa.binary()),
        "trace_id": pa.array(trace_id, pa.binary(16)),
        "offset": pc.add(table["offset"], number * len(originals)),
        "timestamp_ms": pc.add(table["timestamp_ms"], START_MS + number * step_ms),
    }
    for name, array in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, array)
    return table


def _renamed(original: corpus.Original, renamed: dict[bytes, bytes]) -> bytes:
    value = original.value
    for trace_id in original.trace_ids:
        value = value.replace(trace_id, renamed[trace_id])
    return value


def query(store: Store, rules: RuleSet, *, in_full: bool) -> Counter[tuple[str, str]]:
    """How often each rule has each verdict, by the query."""
    answer = judge_archive(store.root, ArchiveRequest(projector=Projector(rules), bounds=BOUNDS, in_full=in_full))
    return Counter((said.rule_id, said.verdict.value) for said in answer.verdicts) + _judged(answer.closes, rules)


def engine(store: Store, rules: RuleSet) -> Counter[tuple[str, str]]:
    """The same, by the engine: every record is decoded and projected."""
    return _judged(archive_windows.closes(store.root, ArchiveRequest(projector=Projector(rules), bounds=BOUNDS)), rules)


def _judged(closes: Iterator[Close], rules: RuleSet) -> Counter[tuple[str, str]]:
    judgements = (at for close in closes for at in judge(rules, close.chain.facts, whole=close.whole))
    return Counter((at.rule.id, at.verdict.value) for at in judgements if at.verdict.value in FOUND)


def command(store: Store, rules: RuleSet, *options: str) -> tuple[float, list[str]]:
    """How long `betrace replay --archive` takes from its start to its end, and the lines it prints."""
    with tempfile.TemporaryDirectory() as directory:
        for path, text in rules.texts.items():
            Path(directory, Path(path).name).write_text(text)
        where = ["--archive", store.root, "--rules", directory, "--from", "earliest"]
        start_s = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "streams.cli", "replay", *where, *options],
            capture_output=True,
            text=True,
            check=False,
        )
        elapsed_s = time.perf_counter() - start_s
    if done.returncode > 1:
        raise RuntimeError(done.stderr)
    return elapsed_s, done.stdout.splitlines()


def archiving(name: str) -> dict[str, object]:
    """What it costs to archive the corpus once: time per span, bytes per span."""
    originals = corpus.originals(corpus.CORPUS / f"{name}.bin.gz")
    with tempfile.TemporaryDirectory() as directory:
        store = Store.at(directory)
        writer = PartitionWriter(store=store, topic=TOPIC, partition=0, first_offset=0, topic_id="bench")
        start_s = time.perf_counter()
        for offset, original in enumerate(originals * ROUNDS):
            writer.add(RawRecord(TOPIC, 0, offset, START_MS + offset, original.key, original.value))
        writer.cut(len(originals) * ROUNDS)
        elapsed_s = time.perf_counter() - start_s
        once = PartitionWriter(store=store, topic=TOPIC, partition=1, first_offset=0, topic_id="bench")
        for offset, original in enumerate(originals):
            once.add(RawRecord(TOPIC, 1, offset, START_MS + offset, original.key, original.value))
        [written] = once.cut(len(originals))
        size_bytes = Path(store.path(written.file)).stat().st_size
    spans = sum(original.span_count for original in originals)
    return {
        "corpus": name,
        "spans": spans,
        "archived_spans_per_s": round(ROUNDS * spans / elapsed_s),
        "archive_bytes_per_span": round(size_bytes / spans),
        "otlp_bytes_per_span": round(sum(len(original.value) for original in originals) / spans),
    }


def main() -> None:
    """Makes the archive and asks it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--spans", type=int, default=10_000_000)
    parser.add_argument("--corpus", default="partitioned_proto")
    parser.add_argument("--keep", type=Path, help="Makes the archive here, or uses the one that is here.")
    parser.add_argument("--engine", choices=["first", "all", "none"], default="first")
    asked = parser.parse_args()
    _print(archiving(asked.corpus))
    with tempfile.TemporaryDirectory() as directory:
        store = Store.at(str(asked.keep or directory))
        if not store.listing().files:
            make(store, asked.corpus, asked.spans)
        for number, (name, rules) in enumerate(rule_sets()):
            with_engine = asked.engine == "all" or (asked.engine == "first" and number == 0)
            figures = compare(store, rules, with_engine=with_engine)
            _print({"rules": name, **figures})
            if not figures.get("same", True):
                sys.exit(1)


def compare(store: Store, rules: RuleSet, *, with_engine: bool) -> dict[str, object]:
    """How long each way takes, how often each verdict was given, and whether both ways say the `same`."""
    start_s = time.perf_counter()
    by_query = query(store, rules, in_full=False)
    query_s = time.perf_counter() - start_s
    start_s = time.perf_counter()
    by_query_in_full = query(store, rules, in_full=True)
    in_full_s = time.perf_counter() - start_s
    verdicts: Counter[str] = Counter()
    for (_, verdict), count in by_query.items():
        verdicts[verdict] += count
    (summary_s, summary), (signals_s, _) = command(store, rules, "--summary"), command(store, rules)
    figures: dict[str, object] = {
        "query_s": round(query_s, 2),
        "in_full_s": round(in_full_s, 2),
        "summary_s": round(summary_s, 2),
        "signals_s": round(signals_s, 2),
        **verdicts,
    }
    told = Counter({(line["rule"], verdict): line[verdict] for line in map(json.loads, summary) for verdict in FOUND})
    if +told != by_query:
        raise RuntimeError(f"the command says {told}, the query {by_query}")
    if with_engine:
        start_s = time.perf_counter()
        by_engine = engine(store, rules)
        figures |= {
            "engine_s": round(time.perf_counter() - start_s, 2),
            "same": by_query == by_query_in_full == by_engine,
        }
    return figures


def rule_sets() -> Iterator[tuple[str, RuleSet]]:
    """Each new rule for itself, and all the rules of the corpus."""
    for condition in NEW_RULES:
        kind = {} if condition.startswith("when") else {"kind": "pattern"}
        said = {"rules": [{"id": "new-rule", "condition": condition, **kind}]}
        yield condition, compile_texts({"new.yaml": json.dumps(said)})[0]
    yield RULES.name, load([RULES])[0]


def _print(figures: dict[str, object]) -> None:
    print(json.dumps(figures), flush=True)  # noqa: T201, it is a command


if __name__ == "__main__":
    main()
