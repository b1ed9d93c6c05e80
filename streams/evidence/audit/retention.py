"""`retain(store, …)`: removes files of the trail that are older than they have to be kept, but none under a hold.

In: a storage with a chain of manifests (`streams.evidence.audit.archive`), and acts (`streams.evidence.audit.acts`).
Out: files less, and an act that names each with its hashes. The manifests stay, so the chain still verifies and says
what is gone.

    1  files that an earlier act names are removed: it was killed before it could
    2  files of which all was sealed before the time, and that no hold keeps, are checked against their manifests
    3  the act is done
    4  the files are removed

Only the Parquet files go. The seals are the evidence, and keep what they sealed for as long as the storage keeps them.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
import pyarrow.compute as pc
import pyarrow.parquet as pq

from streams.errors import StateError
from streams.evidence.audit import acts, archive
from streams.evidence.audit.acts import Noted, Removal, Removed
from streams.evidence.ledger import seal as seals
from streams.evidence.ledger import storage
from streams.evidence.ledger.notes import Signer
from streams.evidence.ledger.storage import Storage


@dataclass(slots=True)
class Retained:
    """What was removed (or would be), and of what is old enough what holds keep, with the number of the hold."""

    removed: list[Removed] = field(default_factory=list)
    held: list[tuple[Removed, int]] = field(default_factory=list)


def retain(
    store: Storage, before_ms: int, now_ms: int, signers: Sequence[Signer], done: Sequence[Noted], *, is_dry: bool
) -> Retained:
    """Removes what was sealed before `before_ms`; `done` are the acts so far, which the caller has verified.

    Raises:
        StateError: a file is not what its manifest says, or storage does not let it go.
    """
    found = plan(store, before_ms, done)
    if is_dry:
        return found
    # 1
    _remove(store, acts.removed(done))
    if found.removed:
        # 3
        acts.append(store, Removal(before_ms, found.removed), now_ms, signers, done)
        # 4
        _remove(store, [each.file for each in found.removed])
    return found


def plan(store: Storage, before_ms: int, done: Sequence[Noted]) -> Retained:
    """What is to be removed; raises `StateError`."""
    found = Retained()
    in_force, gone = acts.holds(done), acts.removed(done)
    try:
        for each in _files(store, before_ms, gone):
            holding = [number for number, hold in in_force.items() if each.is_held_by(hold)]
            if holding:
                found.held.append((each, holding[0]))
            else:
                found.removed.append(each)
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise StateError(f"the trail cannot be read: {error}", action="run betrace audit verify") from error
    return found


def _files(store: Storage, before_ms: int, gone: dict[str, Removed]) -> Iterator[Removed]:
    """Every file that is old enough and not gone, with the time of what is in it."""
    end = archive.last(store)
    for number in range(0 if end is None else end.manifest.number + 1):
        chained = archive.read(store, number)
        manifest = chained.manifest
        if manifest.file in gone:
            continue
        sealed_ms = [_sealed_ms(store, seal) for seal in (manifest.first_seal, manifest.end_seal - 1)]
        # Not the time that a span gives itself: a wrong one would keep it for ever, or not long enough.
        if sealed_ms[-1] >= before_ms:
            continue
        content = store.read(manifest.file)
        # 2
        if hashlib.sha256(content).hexdigest() != manifest.file_sha256:
            raise ValueError(f"{manifest.file} is not the file that its manifest was made for")
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
    """The first and last times that rows name, of what happened and of when it was received."""
    table = pq.read_table(io.BytesIO(content), columns=["timestamp", "received"])
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
                action="see whether storage locks it; it is removed by the next betrace audit retain",
            ) from error
