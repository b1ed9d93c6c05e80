"""Files for their owner and group only: what a program makes while it keeps state or evidence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

UMASK = 0o027
"""No more than 0640 for a file and 0750 for a directory, whichever library makes it."""


@contextmanager
def private_files() -> Iterator[None]:
    """Take from the umask of this process what others could do; it may take more. Also a decorator.

    Of the whole process, because RocksDB and Faust make most of these files and ask nobody.
    """
    before = os.umask(UMASK)
    os.umask(before | UMASK)
    try:
        yield
    finally:
        os.umask(before)
