"""Runs one SQL query with a time limit: a single SELECT.

In: the database of a trail (`streams.evidence.audit.trail`) and a text. Out: rows in batches, as they come. The
database works in a thread of its own, so that Ctrl-C and the time limit interrupt it at any point.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import duckdb
import pyarrow as pa

from streams.errors import ConfigError

BATCH = 10_000
POLL_S = 0.1
END_S = 10.0
"""How long to wait for a statement that was interrupted; the thread does not keep the process alive."""
_AHEAD = 2
"""The number of batches that wait for the consumer."""

_Item: TypeAlias = "pa.Schema | pa.RecordBatch | BaseException | None"


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The columns of a result, and its rows in batches."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


@contextmanager
def run_query(database: duckdb.DuckDBPyConnection, sql: str, time_s: float | None = None) -> Iterator[QueryResult]:
    """Execute `sql` within this context, for at most `time_s`.

    Raises:
        ConfigError: it is not a single SELECT, or takes longer.
        duckdb.Error: it fails.
    """
    statement = _Statement(database, _select(database, sql), time_s)
    try:
        yield QueryResult(statement.take(), iter(statement.take, None))
    finally:
        statement.end()


def _select(database: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    statements = database.extract_statements(sql)
    if len(statements) != 1 or statements[0].type is not duckdb.StatementType.SELECT:
        raise ConfigError("a query is exactly one SELECT: other statements are not allowed")
    return statements[0]


class _Statement:
    """A statement that a thread executes; `take` returns the schema, then batches, then None."""

    def __init__(self, database: duckdb.DuckDBPyConnection, statement: duckdb.Statement, time_s: float | None) -> None:
        self._database = database
        self._statement = statement
        self._time_s = time_s
        self._time_left_s = time_s
        self._items: queue.Queue[_Item] = queue.Queue(_AHEAD)
        self._is_ended = threading.Event()
        self._thread = threading.Thread(target=self._execute, name="query", daemon=True)
        self._thread.start()

    def take(self) -> _Item:
        """Return the next item; only the time waited here counts against the limit.

        Raises:
            ConfigError: the time is up.
            duckdb.Error: the statement fails.
        """
        while self._time_left_s is None or self._time_left_s > 0:
            before_s = time.monotonic()
            try:
                item = self._items.get(timeout=POLL_S)
            except queue.Empty:
                item = self
            if self._time_left_s is not None:
                self._time_left_s -= time.monotonic() - before_s
            if isinstance(item, BaseException):
                raise item
            if item is not self:
                return item
        raise ConfigError(f"the query took longer than {self._time_s:g}s: narrow it, or give a longer --timeout")

    def end(self) -> None:
        """Interrupt the statement if it is still running, and wait for the thread."""
        self._is_ended.set()
        deadline_s = time.monotonic() + END_S
        # Ctrl-C can come between any two instructions; the thread may then wait for a lock that nobody releases.
        while self._thread.is_alive() and time.monotonic() < deadline_s:
            # Before the statement has started there is nothing to interrupt yet.
            self._database.interrupt()
            self._thread.join(POLL_S)

    def _execute(self) -> None:
        try:
            reader = self._database.sql(self._statement).to_arrow_reader(BATCH)
            self._give(reader.schema)
            for batch in reader:
                if not self._give(batch):
                    return
            self._give(None)
        except Exception as error:  # noqa: BLE001, raised again in `take`
            self._give(error)

    def _give(self, item: _Item) -> bool:
        """Hand over an item; return False if the consumer has gone."""
        while not self._is_ended.is_set():
            try:
                self._items.put(item, timeout=POLL_S)
            except queue.Full:
                continue
            return True
        return False
