"""Finds the audit record that was sealed with a source position.

In: storage, a partition of the audit trail, a source position, and the number of seals. Out: the SHA-256 of the
record's value, None if nothing was sealed with this position. Each seal names the highest position of each source so
far, so a few reads find the seal with a position.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import msgspec

from streams.evidence.ledger import entry, storage
from streams.evidence.ledger import seal as seals
from streams.evidence.ledger.seal import Parts, Seal
from streams.evidence.ledger.storage import Storage
from topics.records.audit import SourcePosition, position_in

_KEPT_HIGHEST = 256
_KEPT_SEALS = 4


class SealedAudit:
    """The audit trail of a storage, by source position."""

    def __init__(self, store: Storage) -> None:
        self._store = store
        self._highest = lru_cache(_KEPT_HIGHEST)(self._read_highest)
        # Repeats come in order, those of all partitions at about the same pace.
        self._hashes = lru_cache(_KEPT_SEALS)(self._read_hashes)

    def value_hash(self, partition: int, position: SourcePosition, end: int) -> bytes | None:
        """Return the hash of the record that was sealed at this position in the seals below `end`.

        Also None if a seal cannot be read: the caller then seals a record twice, and loses none.
        """
        number = self._seal_of(partition, position, end)
        try:
            return None if number is None else self._hashes(number).get((partition, position))
        except (OSError, msgspec.DecodeError):
            return None

    def _seal_of(self, partition: int, position: SourcePosition, end: int) -> int | None:
        """Return the first seal that reached the position, searching from the end."""
        low, high, step = end - 1, end, 1
        while low >= 0 and self._is_reached(low, partition, position):
            low, high, step = max(low - step, -1), low, step * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._is_reached(middle, partition, position) else (middle, high)
        return high if high < end else None

    def _is_reached(self, number: int, partition: int, position: SourcePosition) -> bool:
        try:
            highest = self._highest(number).get((partition, position.topic, position.partition))
        except (OSError, msgspec.DecodeError):
            return False  # the search continues above it
        return highest is not None and highest >= position

    def _read_highest(self, number: int) -> dict[tuple[int, str, int], SourcePosition]:
        seal, _ = self._read(number)
        return {
            (state.partition, position.topic, position.partition): position
            for state in seal.logs
            if state.topic == seals.AUDIT
            for position in state.sources
        }

    def _read_hashes(self, number: int) -> dict[tuple[int, SourcePosition], bytes]:
        seal, parts = self._read(number)
        hashes: dict[tuple[int, SourcePosition], bytes] = {}
        start = 0
        for state in seal.logs:
            for line in parts.entries[start : start + state.added] if state.topic == seals.AUDIT else ():
                record = entry.decode(line)
                position = position_in(record.header_pairs())
                if position is not None:
                    hashes.setdefault((state.partition, position), hashlib.sha256(record.value_bytes()).digest())
            start += state.added
        return hashes

    def _read(self, number: int) -> tuple[Seal, Parts]:
        parts = seals.split(self._store.read(storage.seal_path(number)))
        return seals.decode(parts.line), parts
