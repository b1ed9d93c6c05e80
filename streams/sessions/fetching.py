"""Lets Faust's client pass over batches that it cannot read, instead of ending the program.

In: fetched record batches. Out: the records of those that can be read. A batch with a wrong checksum, one that cannot
be decompressed, or one that inflates beyond `INFLATED_BYTES`, is passed over here with a warning. The next record that
Faust delivers shows the gap, and `streams.sessions.worker` reads it with a reader of its own: what is lost is decided
there, and nothing is lost because of what happens here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from aiokafka.codec import cramjam
from aiokafka.consumer import fetcher
from aiokafka.record import default_records
from aiokafka.record._crecords import default_records as compiled_records

log = structlog.get_logger()

INFLATED_BYTES = 100_000_000
"""As much as librdkafka inflates a batch to, by default."""
_FIRST_BYTES = 1 << 20
_GROWTH = 8


class TooLargeError(Exception):
    """A batch inflates beyond the limit, or is damaged."""


def install() -> None:
    """Replace what aiokafka reads batches with, in this process."""
    fetcher.PartitionRecords = PassingRecords
    for module in (default_records, compiled_records):
        for name in ("zstd", "lz4", "gzip"):
            setattr(module, f"{name}_decode", partial(inflate, getattr(cramjam, name).decompress_into))


def inflate(
    decompress_into: Callable[[bytes, bytearray], int], payload: bytes, limit_bytes: int = INFLATED_BYTES
) -> bytes:
    """Decompress a payload with a codec of cramjam, in buffers that grow up to the limit.

    Raises:
        TooLargeError: the content is larger, or damaged.
    """
    payload, size_bytes = bytes(payload), min(_FIRST_BYTES, limit_bytes)
    while True:
        buffer = bytearray(size_bytes)
        try:
            count = decompress_into(payload, buffer)
        except cramjam.DecompressionError as error:
            if size_bytes == limit_bytes:
                raise TooLargeError(f"a batch of {len(payload)} bytes cannot be inflated: {error}") from error
            size_bytes = min(_GROWTH * size_bytes, limit_bytes)
        else:
            return bytes(memoryview(buffer)[:count])


class _Batches:
    """The batches of a fetch, as `PartitionRecords` takes them; `current` is the one that was taken last."""

    def __init__(self, batches: Any) -> None:  # noqa: ANN401, aiokafka's compiled batches have no public type
        self._batches = batches
        self.current: Any = None

    def has_next(self) -> bool:
        """Return whether another batch was fetched whole."""
        return bool(self._batches.has_next())

    def next_batch(self) -> Any:  # noqa: ANN401, as above
        """Return the next batch."""
        self.current = None
        self.current = self._batches.next_batch()
        return self.current


class PassingRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka has no types
    """The records of a fetch without those of batches that cannot be read."""

    next_fetch_offset: int

    def __init__(self, tp: Any, records: Any, *args: Any) -> None:  # noqa: ANN401, as aiokafka has them
        self._batches = _Batches(records)
        super().__init__(tp, self._batches, *args)

    def __next__(self) -> Any:  # noqa: ANN401, as aiokafka has it
        """Return the next record that can be read."""
        while True:
            try:
                return super().__next__()
            except StopIteration:
                raise
            except Exception as error:  # noqa: BLE001, whatever a damaged batch causes in a decoder
                self._pass_over(error)

    def _pass_over(self, error: Exception) -> None:
        batch, offset = self._batches.current, self.next_fetch_offset
        # If even its length is damaged, what else was fetched is too; it is fetched again from the next offset on.
        end = offset + 1 if batch is None else max(batch.next_offset, offset + 1)
        log.warning(
            "facts messages cannot be read by Faust, reading them with another client",
            partition=self._tp.partition,
            offset=offset,
            to_offset=end,
            error=repr(error),
        )
        self.next_fetch_offset = end
        self._records_iterator = iter(()) if batch is None else self._unpack_records()
