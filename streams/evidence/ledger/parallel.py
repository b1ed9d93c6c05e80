"""Runs a function over ranges of consecutive seals on all processors.

In: a function of seals `[first, end)` that can be pickled. Out: its result for each range, in order.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from typing import TypeVar

RANGE_SEALS = 2000
"""The number of seals that is worth starting another process."""

PER_PROCESSOR = 2
"""Processes per processor: while one waits for the disk, as for every file not in the page cache, another computes."""

T = TypeVar("T")


def map_seal_ranges(function: Callable[[int, int], T], first: int, end: int) -> Iterator[T]:
    """Yield the result of `function` for each range; a few seals are one range, and stay in this process."""
    count = end - first
    ranges = min(PER_PROCESSOR * (os.cpu_count() or 1), 1 + count // RANGE_SEALS)
    bounds = [*pairwise([first + count * part // ranges for part in range(ranges + 1)])]
    if ranges == 1:
        yield from (function(*bound) for bound in bounds)
        return
    # A range allocates little and needs it to its end: garbage collection would find nothing.
    with ProcessPoolExecutor(ranges, mp_context=get_context("spawn"), initializer=gc.disable) as processes:
        jobs = [processes.submit(function, *bound) for bound in bounds]
        yield from (job.result() for job in jobs)
