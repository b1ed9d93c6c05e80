"""Builds the tables between an archive's rows and verdicts, in DuckDB.

In: a database with the view `archive` (rows with a span), and rules. Out, each from those before it:

    hits      trace_id, tick, atom, identity, start_ns         a row that satisfies an atom, by the atom's index, once
                                                               for the span and once for each event that does, with
                                                               its time; for `Use.ENDS` with its end
    windows   trace_id, first, last, is_simple                 of a trace with a hit: its first hit, its window's end
    judged    trace_id, first, last, has_more, verdicts        the verdicts on the trace, and whether they are final:
                                                               not where a pair that SQL cannot evaluate may apply
    chosen    trace_id                                         the traces that need more detail

The verdicts on a trace that needs no more detail are those of the engine. So a trace is simple only if everything of it
from its first hit on is in one window that neither reached the maximum duration nor overlaps lost input.
"""

# ruff: noqa: S608 - streams.archive.sql makes and quotes the texts in these statements

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import duckdb
import pyarrow as pa

from dsl import Rule, RuleSet, Verdict
from dsl.judge.atoms import MAX_COUNTED, Use
from streams.archive import spans, sql
from streams.windows.chain import Bounds
from streams.windows.sessions import LostTime
from topics.records.facts import TICK_MS

BATCH_ROWS = 8192

_HITS = pa.schema(
    [
        ("trace_id", pa.binary()),
        ("tick", pa.int64()),
        ("atom", pa.int32()),
        ("identity", pa.binary()),
        ("start_ns", pa.uint64()),
    ]
)


class TraceVerdict(NamedTuple):
    """A rule's verdict on a trace with one window, from its first to its last arrival, in ms of record time."""

    rule_id: str
    trace_id: bytes
    verdict: Verdict
    first_ms: int
    last_ms: int


class Counted(NamedTuple):
    """On how many traces a rule has a verdict, and when the first and the last began for it, in ms of record time."""

    rule_id: str
    verdict: Verdict
    traces: int
    first_ms: int
    last_ms: int


class Tables:
    """Creates the tables, one after the other; `chosen_count` is known after `judge`."""

    def __init__(self, database: duckdb.DuckDBPyConnection, rules: RuleSet) -> None:
        self.atoms = sql.atoms(rules)
        self.chosen_count = 0
        self._database = database
        self._rules = rules
        self._enabled = [rule for rule in rules.rules if rule.enabled]

    def find_hits(self) -> None:
        """Create `hits`; a span that comes twice counts once, so finding one twice does no harm."""
        self._database.execute(
            "CREATE TABLE hits (trace_id BLOB, tick BIGINT, atom INT, identity BLOB, start_ns UBIGINT)"
        )
        named = {atom.name: atom.index for atom in self.atoms if atom.name is not None}
        if named:
            cases = " ".join(f"WHEN {sql.text(name)} THEN {index}" for name, index in named.items())
            self._add_hits(f"CASE name {cases} END", f"name IN ({', '.join(map(sql.text, named))})")
        for atom in self.atoms:
            if atom.name is not None and named[atom.name] != atom.index:  # several atoms of a name, with other keys
                self._add_hits(str(atom.index), f"name = {sql.text(atom.name)}")
            if atom.is_every_span:
                self._add_hits(str(atom.index), sql.TRUE, "end_ns" if atom.atom.use is Use.ENDS else "start_ns")
            elif atom.name is not None and self._is_any(atom.carries):
                self._add_hits(str(atom.index), f"{atom.carries} AND {atom.has_attribute}")
                self._add_event_hits(atom)
        self._test_rows([atom for atom in self.atoms if not atom.is_sure])

    def find_windows(self, bounds: Bounds, lost: Iterable[LostTime], half_seen_until_ms: int | None = None) -> None:
        """Create `windows`; a trace present at `half_seen_until_ms` or before may have been read only in part."""
        gap, longest = bounds.gap, bounds.max_duration
        is_simple = [f"latest = last AND last + {gap} + 1 <= first + {longest}", *_not_lost(lost, bounds)]
        if half_seen_until_ms is not None:
            is_simple.append(f"seen * {TICK_MS} > {half_seen_until_ms}")
        # Since when a trace was present before its first hit matters only where something is missing.
        seen = "archive JOIN hit USING (trace_id)" if len(is_simple) > 1 else "archive LIMIT 0"
        self._database.execute(
            f"""
            CREATE TABLE windows AS
            WITH hit AS (SELECT trace_id, min(tick) AS first FROM hits GROUP BY trace_id),
            presence AS (SELECT trace_id, min(tick) AS seen FROM (SELECT trace_id, tick FROM {seen}) GROUP BY trace_id),
            arrivals AS (SELECT DISTINCT trace_id, tick FROM archive JOIN hit USING (trace_id) WHERE tick >= first),
            steps AS (SELECT *, lead(tick) OVER (PARTITION BY trace_id ORDER BY tick) - tick AS pause FROM arrivals),
            ends AS (
                SELECT trace_id, min(tick) AS last, max(tick) AS latest
                FROM steps WHERE pause IS NULL OR pause > {gap} GROUP BY ALL
            )
            SELECT trace_id, first, last, {" AND ".join(is_simple)} AS is_simple
            FROM hit JOIN ends USING (trace_id) LEFT JOIN presence USING (trace_id)
            """
        )

    def judge(self, *, in_full: bool) -> None:
        """Create `judged` and `chosen`; with `in_full`, a trace that breaks a rule needs more detail."""
        more = ["NOT is_simple"]
        more += [f"count_{atom.index} >= {MAX_COUNTED}" for atom in self.atoms if atom.atom.counted]
        more += [each for rule in self._enabled for each in self._more(rule, in_full=in_full)]
        verdicts = [verdict for rule in self._enabled for verdict in self._verdicts(rule)]
        self._database.execute(
            f"""
            CREATE TABLE judged AS
            SELECT trace_id, first, last, {sql.any_of(more)} AS has_more, [{", ".join(verdicts)}] AS verdicts
            FROM (SELECT trace_id, {", ".join(self._facts())} FROM hits GROUP BY trace_id)
            JOIN windows USING (trace_id)
            """
        )
        self._database.execute("CREATE TABLE chosen AS SELECT trace_id FROM judged WHERE has_more")
        [(self.chosen_count,)] = self._database.execute("SELECT count(*) FROM chosen").fetchall()

    def trace_verdicts(self) -> Iterator[TraceVerdict]:
        """Yield the verdicts on all traces except the chosen ones."""
        rows = self._database.execute(
            """
            SELECT trace_id, first, last, verdict.code // 2, verdict.code % 2
            FROM (SELECT trace_id, first, last, unnest(verdicts) AS verdict FROM judged WHERE NOT has_more)
            WHERE verdict IS NOT NULL
            """
        )
        for trace_id, first, last, number, is_broken in rows.fetchall():
            yield TraceVerdict(self._enabled[number].id, trace_id, _verdict(is_broken), first * TICK_MS, last * TICK_MS)

    def counted(self, from_ms: int, to_ms: int) -> tuple[list[Counted], int]:
        """Return the counts of traces that began for a rule in `[from_ms, to_ms)`, and how many began then for any."""
        self._database.execute("CREATE VIEW whole AS FROM judged WHERE NOT has_more")
        rows = self._database.execute(
            f"""
            SELECT verdict.code // 2, verdict.code % 2, count(*), min(verdict.first), max(verdict.first)
            FROM (SELECT unnest(verdicts) AS verdict FROM whole)
            WHERE verdict IS NOT NULL AND {_is_between("verdict.first", from_ms, to_ms)} GROUP BY ALL
            """
        ).fetchall()
        [(traces,)] = self._database.execute(
            f"SELECT count(*) FROM whole WHERE {_is_between('first', from_ms, to_ms)}"
        ).fetchall()
        counted = [
            Counted(self._enabled[number].id, _verdict(is_broken), count, first * TICK_MS, last * TICK_MS)
            for number, is_broken, count, first, last in rows
        ]
        return counted, traces

    # Hits

    def _is_any(self, condition: str) -> bool:
        """Return whether there is such a row: checking first avoids reading the attributes of all rows."""
        return bool(self._database.execute(f"SELECT EXISTS (FROM archive WHERE {condition})").fetchall()[0][0])

    def _add_hits(self, atom: str, condition: str, time_ns: str = "start_ns") -> None:
        self._database.execute(
            f"INSERT INTO hits SELECT trace_id, tick, {atom}, coalesce(log_identity, span_id, ''::BLOB), {time_ns} "
            f"FROM archive WHERE {condition}"
        )

    def _add_event_hits(self, atom: sql.AtomSql) -> None:
        """Add a hit for each event with the name of an atom that is only a name."""
        time_ns = "start_ns" if atom.atom.use is not Use.COMPARED else "coalesce(event.time_ns, start_ns)"
        self._database.execute(
            f"INSERT INTO hits SELECT trace_id, tick, {atom.index}, coalesce(log_identity, span_id, ''::BLOB), "
            f"{time_ns} FROM (SELECT *, unnest(events) AS event FROM archive WHERE {atom.carries}) "
            f"WHERE event.name = {sql.text(atom.name or '')}"
        )

    def _test_rows(self, atoms: list[sql.AtomSql]) -> None:
        """Test every row that may hit an atom."""
        if not atoms:
            return
        shown = ", ".join(("trace_id", "tick", *spans.COLUMNS))
        condition = sql.any_of(atom.possible for atom in atoms)
        rows = self._database.sql(f"SELECT {shown} FROM archive WHERE {condition}").to_arrow_reader(BATCH_ROWS)
        # Another statement on the connection would end the reading, so hits are added afterwards.
        hits = pa.concat_tables([_hits_among(pa.Table.from_batches([batch]), atoms) for batch in rows] or [_NO_HITS])
        self._database.register("seen", hits)
        self._database.execute("INSERT INTO hits FROM seen")
        self._database.unregister("seen")

    # Verdicts

    def _facts(self) -> Iterator[str]:
        for each in self.atoms:
            of_atom = f"FILTER (atom = {each.index})"
            yield f"count(*) {of_atom} > 0 AS hit_{each.index}, min(tick) {of_atom} AS tick_{each.index}"
            yield f"min(start_ns) {of_atom} AS first_{each.index}, max(start_ns) {of_atom} AS last_{each.index}"
            if each.atom.pairing:
                yield f"count(*) FILTER (atom = {each.index} AND start_ns IS NULL) > 0 AS unstarted_{each.index}"
            if each.atom.counted:
                yield f"count(DISTINCT identity) {of_atom} AS count_{each.index}"

    def _verdicts(self, rule: Rule) -> Iterator[str]:
        """Yield the verdict of each rule, NULL if it does not apply to the trace.

        `code` is twice the rule's number, and one more if it is broken; `first` the tick of its atoms' first hit.
        """
        if not _can_evaluate(rule):
            yield "NULL::STRUCT(code INTEGER, first BIGINT)"
            return
        applies, broken = self._truths(rule)
        columns = self._columns()
        first = f"least({', '.join(f'tick_{columns[atom]}' for atom in sorted(rule.atoms))})"
        code = f"{2 * self._enabled.index(rule)} + {broken}::INT"
        yield f"CASE WHEN {applies} THEN {{'code': {code}, 'first': {first}}} END"

    def _more(self, rule: Rule, *, in_full: bool) -> Iterator[str]:
        if not _can_evaluate(rule):
            columns = self._columns()
            yield sql.any_of(f"hit_{columns[atom]}" for atom in sorted(rule.formula.trigger_atoms))
            return
        applies, broken = self._truths(rule)
        if in_full:
            yield f"({applies} AND {broken})"
        if rule.formula.unexcepted is not None:
            yield f"(NOT {applies} AND {sql.truth(rule.formula.unexcepted, self._columns())})"

    def _truths(self, rule: Rule) -> tuple[str, str]:
        columns = self._columns()
        return sql.truth(rule.formula.applies, columns), sql.truth(rule.formula.broken, columns)

    def _columns(self) -> dict[bytes, int]:
        return {atom.atom.fingerprint: atom.index for atom in self.atoms}


_NO_HITS = _HITS.empty_table()


def _is_between(tick: str, from_ms: int, to_ms: int) -> str:
    return f"{tick} * {TICK_MS} >= {from_ms} AND {tick} * {TICK_MS} < {to_ms}"


def _can_evaluate(rule: Rule) -> bool:
    """Return whether SQL alone can evaluate the rule on a trace."""
    formula = rule.formula
    return all(term is None or sql.can_evaluate(term) for term in (formula.applies, formula.broken, formula.unexcepted))


def _verdict(is_broken: int) -> Verdict:
    return Verdict.BROKEN if is_broken else Verdict.HELD


def _hits_among(rows: pa.Table, atoms: list[sql.AtomSql]) -> pa.Table:
    """Return the hits among these rows."""
    keys = frozenset[str]().union(*(atom.atom.attributes for atom in atoms))
    trace_ids, ticks = rows["trace_id"].to_pylist(), rows["tick"].to_pylist()
    hits = [
        (trace_id, tick, atom.index, span.identity, hit.time_ns)
        for trace_id, tick, span in zip(trace_ids, ticks, spans.spans(rows, keys), strict=True)
        for atom in atoms
        if atom.atom.holds(span)
        for hit in atom.atom.hits(span)
    ]
    if not hits:
        return _NO_HITS
    return pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(zip(*hits, strict=True), _HITS, strict=True)],
        schema=_HITS,
    )


def _not_lost(lost: Iterable[LostTime], bounds: Bounds) -> Iterator[str]:
    """Yield the conditions that `Sessions` checks for the chain of a closing window whose trace never rested before."""
    for each in lost:
        from_ms = f"(seen - {bounds.gap + bounds.lateness}) * {TICK_MS}"
        to_ms = f"(last + {bounds.gap} + 1) * {TICK_MS}"
        yield f"NOT ({each.from_ms} < {to_ms}" + ("" if each.to_ms is None else f" AND {each.to_ms} >= {from_ms}") + ")"
