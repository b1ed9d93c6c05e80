"""Writes the audit trail as Parquet beside the evidence it is derived from, each file in a hash chain of manifests.

    audit/000/000/007-seals-360-to-419.parquet   rows (`streams.evidence.audit.rows`) of the seals 360 to 419
    audit/000/000/007.json                       its `Manifest`, which names the hash of the manifest before it

In: a storage with seals. Out: files there. A file ends where the number of a seal is divisible by `SEALS_PER_FILE`, so
every process, killed or not, makes the same files; seals without audit records have no file. The seals are the
evidence, and these files are verified against them.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec
import pyarrow.parquet as pq
import structlog

from streams.errors import StateError
from streams.evidence.audit import rows
from streams.evidence.audit.acts import Removed
from streams.evidence.audit.rows import Sealed
from streams.evidence.ledger import seal as seals
from streams.evidence.ledger import storage
from streams.evidence.ledger.findings import Fault, Finding
from streams.evidence.ledger.log import AUDIT
from streams.evidence.ledger.storage import Storage

log = structlog.get_logger()

SCHEMA = 1
SEALS_PER_FILE = 60
"""The number of seals per file of the audit trail."""
_NAME = re.compile(r"([0-9]{3})\.json")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the chain: the rows of the seals `[first_seal, end_seal)`, in `file`, whose SHA-256 is in hex.

    `previous` is the SHA-256 of the manifest before it, None for the first; `seal_sha256` that of its last seal's file.
    """

    schema: int = SCHEMA
    number: int
    previous: str | None
    first_seal: int
    end_seal: int
    rows: int
    file: str
    file_sha256: str
    seal_sha256: str


@dataclass(frozen=True, slots=True)
class Chained:
    """A manifest and the hash of its bytes."""

    manifest: Manifest
    sha256: str


def manifest_path(number: int) -> str:
    """Return the path of manifest `number`.

    >>> manifest_path(7)
    'audit/000/000/007.json'
    """
    return f"{_stem(number)}.json"


def file_path(number: int, first_seal: int, end_seal: int) -> str:
    """Return the path of the rows of manifest `number`.

    >>> file_path(7, 360, 420)
    'audit/000/000/007-seals-360-to-419.parquet'
    """
    return f"{_stem(number)}-seals-{first_seal}-to-{end_seal - 1}.parquet"


def last(store: Storage) -> Chained | None:
    """Return the last manifest; None if there is none.

    Raises:
        StateError: it cannot be read.
    """
    number = _last_number(store)
    if number is None:
        return None
    try:
        return read(store, number)
    except (OSError, msgspec.DecodeError) as error:
        raise StateError(
            f"{manifest_path(number)} cannot be read: {error}", action="run betrace audit verify"
        ) from error


def read(store: Storage, number: int) -> Chained:
    """Return a manifest; raises `OSError`, or `msgspec.DecodeError` if it is not in canonical form."""
    content = store.read(manifest_path(number))
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (UnicodeDecodeError, RecursionError) as error:  # msgspec does not convert these to its own error
        raise msgspec.DecodeError(f"not valid JSON: {error}") from error
    # No later manifest protects the last one with its hash.
    if manifest.schema != SCHEMA or msgspec.json.encode(manifest) != content:
        raise msgspec.DecodeError("it is not in canonical form")
    return Chained(manifest, hashlib.sha256(content).hexdigest())


def follow(store: Storage, end_seal: int) -> None:
    """Write the files that are due after a seal, if any.

    The seals are the evidence: without files of the trail nothing is lost, and the next call writes them.
    """
    if end_seal % SEALS_PER_FILE:
        return
    try:
        advance(store, end_seal)
    except (StateError, OSError) as error:
        log.error("the audit trail is not archived as Parquet", reason=str(error))  # noqa: TRY400, it is no bug


def advance(store: Storage, end_seal: int) -> int:
    """Write the files that are due for the seals below `end_seal`, and return their number.

    Raises:
        StateError: a seal cannot be read, or a file exists with other content.
    """
    before = last(store)
    first = before.manifest.end_seal if before else 0
    made = 0
    pending: list[Sealed] = []
    for number in range(first, end_seal // SEALS_PER_FILE * SEALS_PER_FILE):
        try:
            pending += entries(store, number)
        except (OSError, msgspec.DecodeError) as error:
            raise StateError(
                f"{storage.seal_path(number)} cannot be read: {error}", action="run betrace evidence verify"
            ) from error
        if pending and (number + 1) % SEALS_PER_FILE == 0:
            before = _make(store, before, pending, number + 1)
            made, pending = made + 1, []
    return made


def entries(store: Storage, number: int) -> Iterator[Sealed]:
    """Yield the audit records of a seal; raises `OSError`, `msgspec.DecodeError`."""
    parts = seals.split(store.read(storage.seal_path(number)))
    start = 0
    for state in seals.decode(parts.line).logs:
        if state.topic == AUDIT:
            yield from (Sealed(number, state.partition, text) for text in parts.entries[start : start + state.added])
        start += state.added


def findings(store: Storage, end_seal: int, removed: Mapping[str, Removed]) -> Iterator[Finding]:
    """Yield what is wrong with the chain, and with its files compared with the seals, which are assumed to be right.

    A file in `removed`, with the hashes recorded there, may be missing.
    """
    number, end = _last_number(store), 0
    named = set[str]()
    before: str | None = None
    for expected in range(-1 if number is None else number + 1):
        path = manifest_path(expected)
        named.add(path)
        try:
            chained = read(store, expected)
        except FileNotFoundError:
            yield Finding(path, Fault.MISSING, "the manifest does not exist")
            before = None
            continue
        except (OSError, msgspec.DecodeError) as error:
            yield Finding(path, Fault.CHANGED, f"it cannot be read: {error}")
            before = None
            continue
        manifest = chained.manifest
        named.add(manifest.file)
        if manifest.number != expected or ((expected == 0 or before is not None) and manifest.previous != before):
            yield Finding(path, Fault.CHANGED, "it does not follow the manifest before it")
        if manifest.first_seal != end and before == manifest.previous:
            yield Finding(
                path, Fault.GAP, f"it begins at seal {manifest.first_seal}, but the one before ended at {end}"
            )
        yield from _check(store, path, chained, removed.get(manifest.file))
        before, end = chained.sha256, manifest.end_seal
    for file in _files(store):
        if file not in named:
            yield Finding(file, Fault.UNKNOWN, "no manifest names it")
    if end_seal - end > SEALS_PER_FILE:
        due = range(end, end_seal // SEALS_PER_FILE * SEALS_PER_FILE)
        if any(True for seal in due for _ in _readable(store, seal)):
            yield Finding(
                manifest_path((number or -1) + 1), Fault.MISSING, f"the records of seals from {end} on are in no file"
            )


def _readable(store: Storage, number: int) -> list[Sealed]:
    try:
        return [*entries(store, number)]
    except (OSError, msgspec.DecodeError):
        return []  # `streams.evidence.ledger.verify` finds what is wrong with seals


def _check(store: Storage, path: str, chained: Chained, removed: Removed | None) -> Iterator[Finding]:
    manifest = chained.manifest
    try:
        content = _content(store, chained, removed)
        seal = store.read(storage.seal_path(manifest.end_seal - 1))
    except FileNotFoundError as error:
        yield Finding(path, Fault.MISSING, f"the file it names is missing: {error}")
        return
    except (OSError, ValueError) as error:
        yield Finding(path, Fault.CHANGED, f"the file it names cannot be read: {error}")
        return
    if hashlib.sha256(seal).hexdigest() != manifest.seal_sha256:
        yield Finding(path, Fault.CHANGED, "it was made for another last seal")
    if content is None:
        return
    if hashlib.sha256(content).hexdigest() != manifest.file_sha256:
        yield Finding(manifest.file, Fault.CHANGED, "its hash is not the one in the manifest")
        return
    sealed = [one for number in range(manifest.first_seal, manifest.end_seal) for one in _readable(store, number)]
    try:
        held = rows.read(content)
    except (OSError, ValueError) as error:
        yield Finding(manifest.file, Fault.CHANGED, f"it cannot be read: {error}")
        return
    if not held.equals(rows.table(sealed)) or manifest.rows != len(sealed):
        yield Finding(manifest.file, Fault.CHANGED, "its rows are not the records that were sealed")


def _content(store: Storage, chained: Chained, removed: Removed | None) -> bytes | None:
    """Return the file that a manifest names; None if exactly that file was removed; raises `OSError`."""
    try:
        return store.read(chained.manifest.file)
    except FileNotFoundError:
        if removed and (removed.manifest_sha256, removed.file_sha256) == (chained.sha256, chained.manifest.file_sha256):
            return None
        raise


def _make(store: Storage, before: Chained | None, sealed: list[Sealed], end_seal: int) -> Chained:
    number = before.manifest.number + 1 if before else 0
    first_seal = before.manifest.end_seal if before else 0
    file = file_path(number, first_seal, end_seal)
    content = _created(store, file, sealed)
    manifest = Manifest(
        number=number,
        previous=before.sha256 if before else None,
        first_seal=first_seal,
        end_seal=end_seal,
        rows=len(sealed),
        file=file,
        file_sha256=hashlib.sha256(content).hexdigest(),
        seal_sha256=hashlib.sha256(store.read(storage.seal_path(end_seal - 1))).hexdigest(),
    )
    text = msgspec.json.encode(manifest)
    try:
        store.create(manifest_path(number), text)
    except FileExistsError as error:
        if store.read(manifest_path(number)) != text:
            raise _other(manifest_path(number)) from error
    return Chained(manifest, hashlib.sha256(text).hexdigest())


def _created(store: Storage, file: str, sealed: list[Sealed]) -> bytes:
    """Return the file's content; accept one left by a killed process if its rows are these."""
    made = rows.table(sealed)
    buffer = io.BytesIO()
    pq.write_table(made, buffer, compression="zstd")
    try:
        store.create(file, buffer.getvalue())
    except FileExistsError as error:
        content = store.read(file)
        if content != buffer.getvalue() and not rows.read(content).equals(made):
            raise _other(file) from error
        return content
    return buffer.getvalue()


def _other(file: str) -> StateError:
    return StateError(f"{file} already exists with other records", action="run betrace audit verify")


def _stem(number: int) -> str:
    return f"{AUDIT}/{number // 1_000_000:03}/{number // 1000 % 1000:03}/{number % 1000:03}"


def _last_number(store: Storage) -> int | None:
    for first in reversed(store.names(AUDIT)):
        for second in reversed(store.names(f"{AUDIT}/{first}")):
            numbers = [
                int(found[1]) for name in store.names(f"{AUDIT}/{first}/{second}") if (found := _NAME.fullmatch(name))
            ]
            if numbers and first.isdecimal() and second.isdecimal():
                return int(first) * 1_000_000 + int(second) * 1000 + max(numbers)
    return None


def _files(store: Storage) -> Iterator[str]:
    for first in store.names(AUDIT):
        for second in store.names(f"{AUDIT}/{first}"):
            yield from (f"{AUDIT}/{first}/{second}/{name}" for name in store.names(f"{AUDIT}/{first}/{second}"))
