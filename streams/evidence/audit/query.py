"""One question in SQL, with an end: a single SELECT, so long and no longer.

In: the database of a trail (`streams.evidence.audit.trail`) and a text. Out: rows in batches, as they come. What must
hold: the database works in a thread of its own, so that Ctrl-C and the time limit end it wherever it is.
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
LOOK_EVERY_S = 0.1
_AHEAD = 2
"""So many batches wait for whoever reads them."""

_Item: TypeAlias = "pa.Schema | pa.RecordBatch | BaseException | None"


@dataclass(frozen=True, slots=True)
class Answer:
    """The columns, and the rows in batches."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


@contextmanager
def answer(database: duckdb.DuckDBPyConnection, sql: str, time_s: float | None = None) -> Iterator[Answer]:
    """The answer to `sql`; the database works on it for at most `time_s`, and not after the context.

    Raises:
        ConfigError: it is not a single SELECT, or takes longer.
        duckdb.Error: it fails.
    """
    work = _Work(database, _select(database, sql), time_s)
    try:
        yield Answer(work.take(), iter(work.take, None))
    finally:
        work.end()


def _select(database: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    statements = database.extract_statements(sql)
    if len(statements) != 1 or statements[0].type is not duckdb.StatementType.SELECT:
        raise ConfigError("a question is one SELECT: no other statement is taken, and no second one")
    return statements[0]


class _Work:
    """A statement that is executed in a thread; `take` gives the schema, then batches, then None."""

    def __init__(self, database: duckdb.DuckDBPyConnection, statement: duckdb.Statement, time_s: float | None) -> None:
        self._database = database
        self._statement = statement
        self._time_s = time_s
        self._left_s = time_s
        self._items: queue.Queue[_Item] = queue.Queue(_AHEAD)
        self._is_ended = threading.Event()
        self._thread = threading.Thread(target=self._execute, name="query", daemon=True)
        self._thread.start()

    def take(self) -> _Item:
        """The next item; only the time that is waited here counts, not that of whoever prints it.

        Raises:
            ConfigError: the time is up.
            duckdb.Error: the statement fails.
        """
        while self._left_s is None or self._left_s > 0:
            before_s = time.monotonic()
            try:
                item = self._items.get(timeout=LOOK_EVERY_S)
            except queue.Empty:
                item = self
            if self._left_s is not None:
                self._left_s -= time.monotonic() - before_s
            if isinstance(item, BaseException):
                raise item
            if item is not self:
                return item
        raise ConfigError(f"the question took longer than {self._time_s:g}s: ask for less, or give it more --timeout")

    def end(self) -> None:
        """Interrupt the statement if it still runs, and wait for the thread."""
        self._is_ended.set()
        while self._thread.is_alive():
            # Before the statement has begun there is nothing to interrupt yet.
            self._database.interrupt()
            self._thread.join(LOOK_EVERY_S)

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
        """Hand over an item; False when nobody takes it any more."""
        while not self._is_ended.is_set():
            try:
                self._items.put(item, timeout=LOOK_EVERY_S)
            except queue.Full:
                continue
            return True
        return False
