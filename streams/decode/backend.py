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
    from streams.decode.batches import ReadRun

VARIABLE = "BETRACE_SCANNER"
_SCANNER = "streams.decode._scan"

Scan: TypeAlias = Callable[[bytes, bool], Decoded | None]
"""The traces in a request, None when the other path must look at it; True is for a topic of log records."""


class Choice(Enum):
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


def choice() -> Choice:
    """What the environment asks for.

    Raises:
        ConfigError: it is no choice.
    """
    asked = os.environ.get(VARIABLE) or Choice.AUTO.value
    try:
        return Choice(asked)
    except ValueError:
        raise ConfigError(f"{VARIABLE} is {asked!r}, must be auto, pure or cython") from None


def chosen(asked: Choice | None = None) -> Choice:
    """The path that is taken, never AUTO; `asked` is the environment's choice when it is None.

    Raises:
        ConfigError: the scanner is asked for and was not compiled, or the environment asks for something else.
    """
    asked = asked or choice()
    if asked is Choice.PURE:
        return asked
    if compiled() is not None:
        return Choice.CYTHON
    if asked is Choice.CYTHON:
        raise ConfigError("the scanner was not compiled: install again where there is a C compiler, or set auto")
    return Choice.PURE


def scanner(interest: Interest, asked: Choice | None = None) -> Scan | None:
    """The scanner for what rules look at, None when Python alone decodes; raises as `chosen`."""
    module = compiled() if chosen(asked) is Choice.CYTHON else None
    if module is None:
        return None
    scan: Scan = module.Scanner(interest).scan
    return scan


def run_reader(interest: Interest, asked: Choice | None = None) -> ReadRun | None:
    """What reads runs of records for what rules look at, None when Python alone decodes; raises as `chosen`."""
    module = compiled() if chosen(asked) is Choice.CYTHON else None
    if module is None:
        return None
    read_run: ReadRun = module.Scanner(interest).read_run
    return read_run
