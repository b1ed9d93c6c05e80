"""The audit trail in DuckDB: a database with the view `audit_spans`.

In: a storage of evidence, read only. Out: a database in memory. What is not in Parquet yet comes from the seals, so a
question is answered with all that is sealed, but for what was removed (`streams.evidence.audit.retention`).

What must hold: whatever is asked, the database reads the trail's files and no other one, writes none but what it spills
to a scratch directory, loads no extension, knows no variable of this program, and nobody can change that any more.
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
    # Else a name that is no table is looked up among the variables of this program.
    "python_enable_replacements": False,
}


@contextmanager
def opened(store: Storage, memory_bytes: int = MEMORY_BYTES) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with the view, which takes at most so much memory, for as long as the context lasts.

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
    """The Parquet files, on this machine, and the first seal that is in none of them."""
    end = archive.last(store)
    if end is None:
        return [], 0
    found = []
    gone = acts.removed(acts.read_all(store))
    for number in range(end.manifest.number + 1):
        file = archive.read(store, number).manifest.file
        try:
            found.append(_local(store, file, scratch / f"{number}.parquet"))
        except FileNotFoundError:
            # Of one that is there nobody is believed that it is gone.
            if file not in gone:
                raise
    return found, end.manifest.end_seal


def _local(store: Storage, file: str, copy: Path) -> Path:
    """The file on this machine, perhaps as a copy; raises `FileNotFoundError`."""
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
    """A text as SQL writes it: DuckDB takes the names of files in a view in no other way."""
    return "'" + text.replace("'", "''") + "'"
