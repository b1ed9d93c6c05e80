"""Opens the audit trail in DuckDB: a database with the view `audit_spans`.

In: evidence storage, read only. Out: a database in memory. Rows that are not in Parquet yet come from the seals, so a
query sees everything that is sealed, except what was removed (`streams.evidence.audit.retention`).

Whatever the query, the database reads only the trail's files, writes only what it spills to a scratch directory, loads
no extension, cannot see this program's variables, and nothing can change that any more.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb
import msgspec
import pyarrow as pa

from streams.errors import ConfigError, StateError
from streams.evidence.audit import acts, archive, rows
from streams.evidence.ledger import storage
from streams.evidence.ledger.storage import Directory, Storage

VIEW = "audit_spans"


MEMORY_BYTES = 1 << 30

_SEALED_OFF = {
    "allow_community_extensions": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    # Otherwise DuckDB resolves unknown table names to variables of this program.
    "python_enable_replacements": False,
}


@contextmanager
def opened(store: Storage, memory_bytes: int = MEMORY_BYTES) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database with the view and this memory limit within this context.

    Raises:
        ConfigError: a statement fails; the message is DuckDB's.
        StateError: the evidence cannot be read.
    """
    with (
        tempfile.TemporaryDirectory(prefix="betrace-") as scratch,
        closing(duckdb.connect(config={**_SEALED_OFF, "memory_limit": f"{memory_bytes}B"})) as database,
    ):
        try:
            files, first_seal = _files(store, Path(scratch))
            tail = _tail(store, first_seal)
        except (OSError, msgspec.DecodeError, ValueError) as error:
            raise StateError(f"the audit trail cannot be read: {error}", action="run betrace audit verify") from error
        database.register("audit_tail", tail)
        parquet = ", ".join(_quoted(str(file)) for file in files)
        union = f"SELECT * FROM read_parquet([{parquet}]) UNION ALL " if files else ""  # noqa: S608, quoted
        try:
            database.execute("SET TimeZone = 'UTC'")
            database.execute("SET enable_progress_bar = false")
            database.execute(f"SET temp_directory = {_quoted(str(Path(scratch) / 'spill'))}")
            database.execute(f"SET allowed_paths = [{parquet}]")
            database.execute("SET enable_external_access = false")
            database.execute(f"CREATE VIEW {VIEW} AS {union}SELECT * FROM audit_tail")  # noqa: S608, as above
            database.execute("SET lock_configuration = true")
            yield database
        except duckdb.Error as error:
            raise ConfigError(str(error)) from error


def _files(store: Storage, scratch: Path) -> tuple[list[Path], int]:
    """Return the local paths of the Parquet files, and the first seal that is in none of them."""
    end = archive.last(store)
    if end is None:
        return [], 0
    paths = []
    removed = acts.removed(acts.read_all(store))
    for number in range(end.manifest.number + 1):
        file = archive.read(store, number).manifest.file
        try:
            paths.append(_local(store, file, scratch / f"{number}.parquet"))
        except FileNotFoundError:
            # An act that claims the removal of a file that still exists is not believed.
            if file not in removed:
                raise
    return paths, end.manifest.end_seal


def _local(store: Storage, file: str, copy: Path) -> Path:
    """Return the local path of the file, possibly a copy; raises `FileNotFoundError`."""
    if isinstance(store, Directory):
        store.path(file).stat()
        return store.path(file)
    copy.write_bytes(store.read(file))
    return copy


def _tail(store: Storage, first_seal: int) -> pa.Table:
    last = storage.last_seal(store)
    sealed = (
        one
        for number in range(first_seal, (-1 if last is None else last) + 1)
        for one in archive.entries(store, number)
    )
    return rows.table(sealed)


def _quoted(text: str) -> str:
    """Return a text as an SQL literal: DuckDB accepts file names in a view in no other form."""
    return "'" + text.replace("'", "''") + "'"
