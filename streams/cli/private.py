"""Makes files readable by their owner and group only, for programs that keep state or evidence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

UMASK = 0o027
"""At most 0640 for a file and 0750 for a directory, whichever library creates it."""


@contextmanager
def private_files() -> Iterator[None]:
    """Tighten the umask of this process so that others have no access. Also a decorator.

    It is the whole process's umask because RocksDB and Faust create most of these files.
    """
    before = os.umask(UMASK)
    os.umask(before | UMASK)
    try:
        yield
    finally:
        os.umask(before)
