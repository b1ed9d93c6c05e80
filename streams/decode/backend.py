"""Which of the two paths decodes protobuf requests: the compiled scanner, or Python alone.

In: what the environment says in `BETRACE_SCANNER`, and whether `streams.decode._scan` was compiled, which an
installation without a C compiler leaves out. Out: a scanner, or none. The two give the same result; the scanner is
faster.
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
"""The traces in a request, None when the other path must look at it; True is for a topic of log records."""


class Backend(Enum):
    """Whether requests are scanned: AUTO where the scanner was compiled."""

    AUTO = "auto"
    PURE = "pure"
    CYTHON = "cython"


def compiled() -> ModuleType | None:
    """The compiled scanner, None where there is none; one that cannot be loaded raises `ImportError`."""
    try:
        return importlib.import_module(_SCANNER)
    except ModuleNotFoundError as error:
        if error.name != _SCANNER:
            raise
        return None


def backend_from_env() -> Backend:
    """What the environment asks for.

    Raises:
        ConfigError: it is no choice.
    """
    requested = os.environ.get(VARIABLE) or Backend.AUTO.value
    try:
        return Backend(requested)
    except ValueError:
        raise ConfigError(f"{VARIABLE} is {requested!r}, must be auto, pure or cython") from None


def selected_backend(requested: Backend | None = None) -> Backend:
    """The path that is taken, never AUTO; `requested` is the environment's choice when it is None.

    Raises:
        ConfigError: the scanner is requested for and was not compiled, or the environment asks for something else.
    """
    requested = requested or backend_from_env()
    if requested is Backend.PURE:
        return requested
    if compiled() is not None:
        return Backend.CYTHON
    if requested is Backend.CYTHON:
        raise ConfigError("the scanner was not compiled: install again where there is a C compiler, or set auto")
    return Backend.PURE


def scanner(interest: Interest, requested: Backend | None = None) -> Scan | None:
    """The scanner for what rules look at, None when Python alone decodes; raises as `selected_backend`."""
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
