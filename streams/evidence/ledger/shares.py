"""`in_shares(work, first, end)`: neighbouring seals on all processors.

In: a function of seals `[first, end)`, which can be sent to another process. Out: what it returned for each, in order.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from typing import TypeVar

SHARE = 2000
"""Seals from which on another process is worth its start."""

PER_PROCESSOR = 2
"""Processes: while one waits for the disk, which it does for every file that the system does not hold, one computes."""

T = TypeVar("T")


def in_shares(work: Callable[[int, int], T], first: int, end: int) -> Iterator[T]:
    """What `work` returns for each share; a few seals are one share, and stay in this process."""
    count = end - first
    shares = min(PER_PROCESSOR * (os.cpu_count() or 1), 1 + count // SHARE)
    bounds = [*pairwise([first + count * share // shares for share in range(shares + 1)])]
    if shares == 1:
        yield from (work(*bound) for bound in bounds)
        return
    # What a share makes is little and of use to its end: looking for garbage would find none.
    with ProcessPoolExecutor(shares, mp_context=get_context("spawn"), initializer=gc.disable) as processes:
        jobs = [processes.submit(work, *bound) for bound in bounds]
        yield from (job.result() for job in jobs)
