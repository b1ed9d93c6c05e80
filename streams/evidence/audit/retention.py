"""Removes files of the trail that are older than the retention, but none under a hold.

In: storage with a chain of manifests (`streams.evidence.audit.archive`), and acts (`streams.evidence.audit.acts`). Out:
fewer files, and an act that names each with its hashes. The manifests stay, so the chain still verifies and shows what
is gone.

    1  remove files that an earlier act names: it was killed before it could
    2  check files that were sealed before the time, and that no hold protects, against their manifests
    3  append the act
    4  remove the files

Only Parquet files are removed. The seals are the evidence, and keep what they sealed for as long as the storage keeps
them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
import pyarrow.compute as pc

from streams.errors import StateError
from streams.evidence.audit import acts, archive, rows
from streams.evidence.audit.acts import Noted, Removal, Removed
from streams.evidence.ledger import seal as seals
from streams.evidence.ledger import storage
from streams.evidence.ledger.notes import Signer
from streams.evidence.ledger.storage import Storage


@dataclass(slots=True)
class Retained:
    """The files that were (or would be) removed, and those old enough but protected by a hold, with its number."""

    removed: list[Removed] = field(default_factory=list)
    held: list[tuple[Removed, int]] = field(default_factory=list)


def retain(
    store: Storage, before_ms: int, now_ms: int, signers: Sequence[Signer], done: Sequence[Noted], *, is_dry: bool
) -> Retained:
    """Remove what was sealed before `before_ms`; `done` are the acts so far, which the caller has verified.

    Raises:
        StateError: a file does not match its manifest, or the storage does not allow its removal.
    """
    result = plan(store, before_ms, done)
    if is_dry:
        return result
    # 1
    _remove(store, acts.removed(done))
    if result.removed:
        # 3
        acts.append(store, Removal(before_ms, result.removed), now_ms, signers, done)
        # 4
        _remove(store, [each.file for each in result.removed])
    return result


def plan(store: Storage, before_ms: int, done: Sequence[Noted]) -> Retained:
    """Return what to remove; raises `StateError`."""
    result = Retained()
    in_force, removed = acts.holds(done), acts.removed(done)
    try:
        for each in _files(store, before_ms, removed):
            holding = [number for number, hold in in_force.items() if each.is_held_by(hold)]
            if holding:
                result.held.append((each, holding[0]))
            else:
                result.removed.append(each)
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise StateError(f"the trail cannot be read: {error}", action="run betrace audit verify") from error
    return result


def _files(store: Storage, before_ms: int, removed: dict[str, Removed]) -> Iterator[Removed]:
    """Yield every file that is old enough and not yet removed, with the times in it."""
    end = archive.last(store)
    for number in range(0 if end is None else end.manifest.number + 1):
        chained = archive.read(store, number)
        manifest = chained.manifest
        if manifest.file in removed:
            continue
        sealed_ms = [_sealed_ms(store, seal) for seal in (manifest.first_seal, manifest.end_seal - 1)]
        # Not the span's own timestamp: a wrong one would keep the file for ever, or not long enough.
        if sealed_ms[-1] >= before_ms:
            continue
        content = store.read(manifest.file)
        # 2
        if hashlib.sha256(content).hexdigest() != manifest.file_sha256:
            raise ValueError(f"{manifest.file} does not match its manifest")
        times_ms = [*sealed_ms, *_times_ms(content)]
        yield Removed(
            manifest=number,
            manifest_sha256=chained.sha256,
            file=manifest.file,
            file_sha256=manifest.file_sha256,
            rows=manifest.rows,
            first_ms=min(times_ms),
            last_ms=max(times_ms),
        )


def _sealed_ms(store: Storage, number: int) -> int:
    return seals.decode(seals.split(store.read(storage.seal_path(number))).line).time_ms


def _times_ms(content: bytes) -> Iterator[int]:
    """Yield the first and last times in rows, of when something happened and of when it was received."""
    table = rows.read(content, ["timestamp", "received"])
    for column in table.columns:
        for moment in pc.min_max(column).as_py().values():
            if isinstance(moment, datetime):
                yield int(moment.timestamp() * 1000)


def _remove(store: Storage, files: Sequence[str] | dict[str, Removed]) -> None:
    for file in files:
        try:
            store.remove(file)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StateError(
                f"{file} cannot be removed: {error}",
                action="check whether the storage locks it; the next betrace audit retain removes it",
            ) from error
