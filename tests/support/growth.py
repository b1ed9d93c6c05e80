"""How computing time grows with the input, on whatever machine, beside whatever else it does."""

from __future__ import annotations

import time
from collections.abc import Callable

LINEAR = 10
"""The bound for an input of which one is four times as long: linear time grows by 4, quadratic time by 16."""

NOISE_S = 0.002
TIMES = 4


def growth(short: Callable[[], object], long: Callable[[], object]) -> float:
    """Returns how many times as long the second takes as the first; what drowns in noise is no growth.

    Only the time that this process computes counts, of the best of some calls: it is called again while it seems to
    grow more than linearly.
    """
    short()
    short_s, long_s = _once_s(short), _once_s(long)
    for _ in range(TIMES):
        if (long_s + NOISE_S) / (short_s + NOISE_S) < LINEAR:
            break
        short_s, long_s = min(short_s, _once_s(short)), min(long_s, _once_s(long))
    return (long_s + NOISE_S) / (short_s + NOISE_S)


def _once_s(call: Callable[[], object]) -> float:
    begun_s = time.process_time()
    call()
    return time.process_time() - begun_s
