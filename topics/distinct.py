"""Estimates the number of distinct traces with a HyperLogLog sketch (Flajolet et al. 2007) of 4,096 registers.

In: trace ids, or sketches as coverage records carry them. Out: an estimate with a standard error of 1.6 % for any
count, and the sketch as bytes: the registers, one byte each, compressed with zlib; an empty sketch is empty bytes.

Guarantee: the same ids give the same sketch and the same estimate, in whatever order and however often they are added,
and however many sketches are merged.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections import Counter
from collections.abc import Iterable
from typing import Self

_INDEX_BITS = 12
_REGISTERS = 1 << _INDEX_BITS
_RANK_BITS = 64 - _INDEX_BITS
_MAX_RANK = _RANK_BITS + 1
_RANKS = bytes(range(_MAX_RANK + 1))
_HIGH_BITS = int.from_bytes(b"\x80" * _REGISTERS)


class DistinctTraces:
    """A sketch of the trace ids that were added."""

    def __init__(self) -> None:
        self._registers = bytearray(_REGISTERS)

    @classmethod
    def decode(cls, sketch: bytes) -> Self:
        """Decode what `encode` returned; raises `ValueError` if it is damaged."""
        traces = cls()
        if not sketch:
            return traces
        inflate = zlib.decompressobj()
        try:
            registers = inflate.decompress(sketch, _REGISTERS + 1)
        except zlib.error as error:
            raise ValueError(f"the sketch of traces cannot be decompressed: {error}") from error
        if len(registers) != _REGISTERS or not inflate.eof or inflate.unused_data:
            raise ValueError(f"the sketch of traces does not have {_REGISTERS:,} registers")
        if registers.translate(None, _RANKS):
            raise ValueError(f"a register of the sketch of traces is above {_MAX_RANK}")
        traces._registers[:] = registers
        return traces

    def encode(self) -> bytes:
        """Encode the sketch.

        >>> DistinctTraces().encode()
        b''
        """
        if not any(self._registers):
            return b""
        # Only runs of empty registers repeat. With this strategy few ids take 2 bytes each, and many take 1.5 KB.
        deflate = zlib.compressobj(9, strategy=zlib.Z_RLE)
        return deflate.compress(self._registers) + deflate.flush()

    def add(self, trace_ids: Iterable[bytes]) -> None:
        """Add ids; each is hashed first, because applications may choose ids that are not random."""
        registers = self._registers
        for trace_id in trace_ids:
            bits = int.from_bytes(hashlib.blake2b(trace_id, digest_size=8).digest(), "big")
            index = bits & (_REGISTERS - 1)
            rank = _RANK_BITS - (bits >> _INDEX_BITS).bit_length() + 1
            if rank > registers[index]:  # noqa: PLR1730, max() takes three times as long
                registers[index] = rank

    def merge(self, other: DistinctTraces) -> None:
        """Add the ids of another sketch: keep the larger of each pair of registers.

        One subtraction compares all registers, 50 times as fast as a loop. Registers are below 128, so the high bit of
        each byte is free to show which one is larger, and no byte borrows from the next.
        """
        ours, theirs = int.from_bytes(self._registers), int.from_bytes(other._registers)
        is_ours = ((ours | _HIGH_BITS) - theirs) & _HIGH_BITS
        larger = theirs ^ ((ours ^ theirs) & (is_ours - (is_ours >> 7)))
        self._registers[:] = larger.to_bytes(_REGISTERS)

    def estimate(self) -> int:
        """Estimate the number of distinct ids.

        This is the improved raw estimator of Ertl (arXiv:1702.01284, algorithm 6): the estimator of Flajolet et al. is
        off by up to a standard error where it stops counting empty registers.

        >>> DistinctTraces().estimate()
        0
        """
        counts = Counter(self._registers)
        if counts[0] == _REGISTERS:
            return 0
        total = _REGISTERS * _tau(1 - counts[_MAX_RANK] / _REGISTERS)
        for rank in range(_RANK_BITS, 0, -1):
            total = (total + counts[rank]) / 2
        total += _REGISTERS * _sigma(counts[0] / _REGISTERS)
        return round(_REGISTERS**2 / (2 * math.log(2) * total))


def _sigma(fraction: float) -> float:
    """Return the share of the empty registers in the harmonic mean; `fraction` of all registers, below 1, are empty."""
    total, step, previous = fraction, 1.0, -1.0
    while total != previous:
        fraction *= fraction
        previous, total, step = total, total + fraction * step, step * 2
    return total


def _tau(fraction: float) -> float:
    """Return the share of the full registers in the harmonic mean; `fraction` of all registers are not full."""
    if fraction in {0.0, 1.0}:
        return 0.0
    total, step, previous = 1 - fraction, 1.0, -1.0
    while total != previous:
        fraction = math.sqrt(fraction)
        step /= 2
        previous, total = total, total - (1 - fraction) ** 2 * step
    return total / 3
