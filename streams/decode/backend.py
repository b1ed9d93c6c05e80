"""Selects the decoder backend for protobuf requests: the compiled scanner, or Python alone.

In: the environment variable `BETRACE_SCANNER`, and whether `streams.decode._scan` was compiled, which an installation
without a C compiler omits. Out: a scanner, or None. Both give the same result; the scanner is faster.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from enum import Enum
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias

from dsl import Interest
from streams.decode.records import Decoded
from streams.errors import ConfigError

if TYPE_CHECKING:
    from streams.decode.batches import ReadBatch

VARIABLE = "BETRACE_SCANNER"
_SCANNER = "streams.decode._scan"

Scan: TypeAlias = Callable[[bytes, bool], Decoded | None]
"""Returns the traces of a request, or None when the other path must decode it; True is for a topic of log records."""


class Backend(Enum):
    """Which path decodes requests; AUTO is CYTHON where the scanner was compiled, else PURE."""

    AUTO = "auto"
    PURE = "pure"
    CYTHON = "cython"


def compiled() -> ModuleType | None:
    """Return the compiled scanner, None if there is none; one that cannot be loaded raises `ImportError`."""
    try:
        return importlib.import_module(_SCANNER)
    except ModuleNotFoundError as error:
        if error.name != _SCANNER:
            raise
        return None


def backend_from_env() -> Backend:
    """Return the backend that the environment requests.

    Raises:
        ConfigError: the value is not a backend.
    """
    requested = os.environ.get(VARIABLE) or Backend.AUTO.value
    try:
        return Backend(requested)
    except ValueError:
        raise ConfigError(f"{VARIABLE} is {requested!r}, must be auto, pure or cython") from None


def selected_backend(requested: Backend | None = None) -> Backend:
    """Return the backend to use, never AUTO; `requested` defaults to the environment's.

    Raises:
        ConfigError: the scanner is requested and was not compiled, or the environment has an invalid value.
    """
    requested = requested or backend_from_env()
    if requested is Backend.PURE:
        return requested
    if compiled() is not None:
        return Backend.CYTHON
    if requested is Backend.CYTHON:
        raise ConfigError("the scanner was not compiled: install a C compiler and then BeTrace again, or set auto")
    return Backend.PURE


def scanner(interest: Interest, requested: Backend | None = None) -> Scan | None:
    """Return the scanner for this interest, None when Python alone decodes; raises as `selected_backend` does."""
    module = compiled() if selected_backend(requested) is Backend.CYTHON else None
    if module is None:
        return None
    scan: Scan = module.Scanner(interest).scan
    return scan


def batch_reader(interest: Interest, requested: Backend | None = None) -> ReadBatch | None:
    """Return the scanner's batch reader, or None when Python alone decodes; raises as `selected_backend` does."""
    module = compiled() if selected_backend(requested) is Backend.CYTHON else None
    if module is None:
        return None
    read_batch: ReadBatch = module.Scanner(interest).read_batch
    return read_batch
