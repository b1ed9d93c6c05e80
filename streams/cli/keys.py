"""Reads the public keys of ledgers and witnesses on the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from streams.cli.ledger import read_text
from streams.errors import ConfigError
from streams.evidence.ledger.notes import NoteError, Verifier

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(dir_okay=False, path_type=Path)


def key_files(*, required: bool) -> Callable[[F], F]:
    """Return the option `--key`."""
    text = "Public key of the ledger or of a witness; repeatable."
    if not required:
        text += " Without it nothing is verified."
    return click.option("--key", "keys", multiple=True, required=required, type=_FILE, help=text)


def verifiers(paths: Iterable[Path]) -> list[Verifier]:
    """Return the public keys in the files; raises `ConfigError`."""
    return [verifier for path in paths for verifier in verifiers_in(path)]


def verifiers_in(path: Path) -> list[Verifier]:
    """Return the public keys in a file; raises `ConfigError`."""
    try:
        return [Verifier.decode(line) for line in read_text(path).splitlines() if line.strip()]
    except NoteError as error:
        raise ConfigError(f"{path} does not contain a public key: {error}") from error
