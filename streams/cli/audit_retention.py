"""Implements `betrace audit retain`, `hold`, `release` and `holds`: retention of the trail's files, and legal holds.

In: evidence storage and the ledger's private key, which signs each of these acts. Out: a line per file or hold on
stdout.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from streams.cli import commands, options
from streams.cli.keys import verifiers
from streams.cli.ledger import signers_in
from streams.errors import ConfigError
from streams.evidence.audit import acts, retention
from streams.evidence.audit.acts import Hold, Noted, Release
from streams.evidence.ledger.notes import Signer
from streams.evidence.ledger.storage import Storage, open_storage
from streams.pages.words import span

_KEY = click.Path(dir_okay=False, path_type=Path)


def _signed(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return the options for the keys: the one that signs, and those that signed earlier acts."""
    key = options.setting(
        "--ledger-key", "ledger_keys", multiple=True, type=_KEY, help="File with the ledger's private key."
    )
    known = click.option(
        "--key", "keys", multiple=True, type=_KEY, help="Public key that signed earlier acts; repeatable."
    )
    return key(known(command))


@commands.command(
    short_help="Remove the trail's old files, except those under hold.",
    epilog="\b\nExample:\n  betrace audit retain evidence/ --older-than 400d --ledger-key ledger.key",
)
@click.argument("evidence")
@options.moment("--older-than", required=True, help="Remove what was sealed before this: a duration (400d), or a time.")
@_signed
@click.option("--dry-run", is_flag=True, help="Print what would be removed, and remove nothing.")
def retain(
    evidence: str, older_than_ms: int, ledger_keys: tuple[Path, ...], keys: tuple[Path, ...], *, dry_run: bool
) -> None:
    """Remove the trail's files that are old enough, except those with anything under hold.

    A signed act records which files were removed, with their hashes, so that betrace audit verify still succeeds. The
    seals keep what they sealed: they are the evidence, and only the storage's own retention removes them.
    """
    store, signers, done = _opened(evidence, ledger_keys, keys)
    result = retention.retain(store, older_than_ms, _now_ms(), signers, done, is_dry=dry_run)
    for each in result.removed:
        word = "would be removed" if dry_run else "removed"
        click.echo(f"{each.file}: {word}, {each.rows} records of {span(each.first_ms, each.last_ms)}")
    for each, number in result.held:
        click.echo(f"{each.file}: kept by hold {number}")


@commands.command(
    short_help="Put a period under legal hold.",
    epilog="\b\nExample:\n  betrace audit hold evidence/ --from 30d --reason 'case 4711' --ledger-key k",
)
@click.argument("evidence")
@options.moment("--from", required=True, help="Start of the hold.")
@options.moment("--to", help="End of the hold, exclusive; now if omitted.")
@click.option("--reason", required=True, help="Why, and who requested it.")
@_signed
def hold(
    evidence: str,
    from_ms: int,
    to_ms: int | None,
    reason: str,
    ledger_keys: tuple[Path, ...],
    keys: tuple[Path, ...],
) -> None:
    """Put a period under legal hold: retain removes no file with anything from it. Prints the hold's number."""
    now_ms = _now_ms()
    end_ms = now_ms if to_ms is None else to_ms
    if end_ms <= from_ms:
        raise ConfigError("the hold is empty: --to is not after --from")
    store, signers, done = _opened(evidence, ledger_keys, keys)
    click.echo(str(acts.append(store, Hold(from_ms, end_ms, reason), now_ms, signers, done)))


@commands.command(
    epilog="\b\nExample:\n  betrace audit release evidence/ 0 --reason 'case 4711 is closed' --ledger-key k"
)
@click.argument("evidence")
@click.argument("number", type=int)
@click.option("--reason", required=True, help="Why, and who decided it.")
@_signed
def release(evidence: str, number: int, reason: str, ledger_keys: tuple[Path, ...], keys: tuple[Path, ...]) -> None:
    """End the hold with this number."""
    store, signers, done = _opened(evidence, ledger_keys, keys)
    if number not in acts.holds(done):
        raise ConfigError(f"no hold {number} is in force: betrace audit holds lists those that are")
    acts.append(store, Release(number, reason), _now_ms(), signers, done)


@commands.command(epilog="\b\nExample:\n  betrace audit holds evidence/")
@click.argument("evidence")
def holds(evidence: str) -> None:
    """List the holds in force: number, period, reason."""
    for number, each in acts.holds(acts.read_all(open_storage(evidence))).items():
        click.echo(f"{number}\t{span(each.from_ms, each.to_ms)}\t{each.reason}")


def _opened(
    evidence: str, ledger_keys: tuple[Path, ...], keys: tuple[Path, ...]
) -> tuple[Storage, list[Signer], list[Noted]]:
    """Return the storage, the signers, and the acts so far, verified: a forged release must not end a hold."""
    store, signers = open_storage(evidence), signers_in(ledger_keys)
    known_keys = [*(signer.verifier() for signer in signers), *verifiers(keys)]
    return store, signers, acts.read_all(store, known_keys)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
