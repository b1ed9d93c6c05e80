"""Implements `betrace evidence`: keys for the ledger, verification of the evidence, and witness signatures.

In: a directory or URL of evidence, and keys. Out: findings and what was verified on stdout; exit 1 if there are
findings.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from streams.cli import commands, evidence_compare, evidence_push, evidence_report, options
from streams.cli.keys import key_files, verifiers
from streams.cli.ledger import read_text, signer_in
from streams.config.units import iso_ms
from streams.errors import ConfigError
from streams.evidence.ledger import notes, tree_head
from streams.evidence.ledger import seal as seals
from streams.evidence.ledger.findings import Fault, Finding
from streams.evidence.ledger.notes import Algorithm, NoteError, Signer, Verifier
from streams.evidence.ledger.storage import open_storage, seal_path
from streams.evidence.ledger.tree_head import TreeHead
from streams.evidence.ledger.verify import Verification

FOUND = 1

_FILE = click.Path(dir_okay=False, path_type=Path)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The output of `verify --format json`; times are Unix milliseconds of record time, by facts partition."""

    findings: list[Finding]
    seals: int
    entries: dict[str, int]
    verdicts: int
    judged_from_ms: dict[int, int | None]
    judged_to_ms: dict[int, int]
    head_size: int | None
    head_root: str | None


@commands.group("evidence", epilog="\b\nExample:\n  betrace evidence verify evidence/ --key ledger.pub")
def command() -> None:
    """Generate the ledger's keys, verify its evidence, and report on it."""


command.add_command(evidence_compare.command)
command.add_command(evidence_report.command)
command.add_command(evidence_push.command)


@command.command(epilog="\b\nExample:\n  betrace evidence keygen example.com/betrace --key ledger.key --pub ledger.pub")
@click.argument("name")
@click.option("--key", type=_FILE, required=True, help="File to write the private key to.")
@click.option("--pub", type=_FILE, help="File to write the public key to; printed if omitted.")
@click.option("--witness", is_flag=True, help="Generate a witness's key, which cosigns the tree heads of other logs.")
def keygen(name: str, key: Path, pub: Path | None, *, witness: bool) -> None:
    """Generate a key pair, and write or print the public key. Existing files are never overwritten.

    NAME is the log's origin, such as example.com/betrace, or the witness's name.
    """
    files = [key] if pub is None else [key, pub]
    if there := [str(path) for path in files if path.exists()]:
        raise ConfigError(f"no key was generated: {', '.join(there)} already exist; give names of new files")
    try:
        signer = Signer.generated(name, Algorithm.COSIGNATURE_V1 if witness else Algorithm.ED25519)
        _write_new(key, signer.encode(), 0o600)
        if pub is not None:
            _write_new(pub, signer.verifier().encode(), 0o644)
    except NoteError as error:
        raise ConfigError(f"no key was generated: {error}") from error
    except OSError as error:
        raise ConfigError(f"no key was generated: {error.filename}: {error.strerror}") from error
    if pub is None:
        click.echo(signer.verifier().encode())


def _write_new(path: Path, line: str, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(line + "\n")


@command.command(epilog="\b\nExample:\n  betrace evidence pubkey --key ledger.key > ledger.pub")
@click.option("--key", type=_FILE, required=True, help="File with the private key.")
def pubkey(key: Path) -> None:
    """Print the public key that belongs to a private key."""
    click.echo(signer_in(read_text(key), str(key)).verifier().encode())


@command.command(
    short_help="Find every change of the evidence, and every coverage gap.",
    epilog="\b\nExample:\n  betrace evidence verify s3://audit/evidence --key ledger.pub --head head.note",
)
@click.argument("evidence")
@key_files(required=True)
@click.option("--head", "heads", multiple=True, type=_FILE, help="A tree head obtained elsewhere; repeatable.")
@options.output_format("text", "json", help_text="Output format; JSON is one object.")
def verify(evidence: str, keys: tuple[Path, ...], heads: tuple[Path, ...], *, form: str) -> None:
    """Verify evidence: find every change, removal, insertion, reordering and truncation, and every coverage gap.

    EVIDENCE is the directory or URL that the ledger writes. Prints a line per finding, and exits with 1 if there is
    one. A truncated end is detected only with a tree head obtained elsewhere: a copy of the last file of seals/, or a
    record of the tree_heads topic.
    """
    known_keys = verifiers(keys)
    known = [_head(path, known_keys) for path in heads]
    verification = Verification(open_storage(evidence), known_keys, known)
    findings = []
    for finding in verification.findings():
        findings.append(finding)
        if form == "text":
            click.echo(finding.text())
    click.echo(_json(verification, findings) if form == "json" else "\n".join(_summary(verification, findings, known)))
    if findings:
        raise click.exceptions.Exit(FOUND)


@command.command(
    short_help="Verify evidence, and sign its tree head as a witness.",
    epilog="\b\nExample:\n  betrace evidence cosign evidence/ --key ledger.pub --witness w.key > head.note",
)
@click.argument("evidence")
@key_files(required=True)
@click.option("--witness", type=_FILE, required=True, help="The witness's private key.")
@click.option("--head", "heads", multiple=True, type=_FILE, help="Head that was cosigned before; detects truncation.")
def cosign(evidence: str, keys: tuple[Path, ...], witness: Path, heads: tuple[Path, ...]) -> None:
    """Verify evidence as a witness, and print its tree head with the witness's signature.

    Signs nothing if there is any finding but a coverage gap. Keep the output, and give it as --head the next time: the
    witness then signs only a log that continues from it.
    """
    signer = signer_in(read_text(witness), str(witness))
    known_keys = verifiers(keys)
    if signer.algorithm is not Algorithm.COSIGNATURE_V1:
        raise ConfigError(f"{witness} is not a witness's key: generate one with betrace evidence keygen --witness")
    known = [_head(path, [*known_keys, signer.verifier()]) for path in heads]
    store = open_storage(evidence)
    verification = Verification(store, known_keys, known)
    damages = [finding for finding in verification.findings() if finding.fault is not Fault.GAP]
    for finding in damages:
        click.echo(finding.text(), err=True)
    if damages or verification.head is None:
        raise click.exceptions.Exit(FOUND)
    head = notes.decode(seals.note_in(store.read(seal_path(verification.head.size - 1))))
    click.echo(notes.cosign(head, signer, time.time_ns() // 1_000_000_000).encode(), nl=False)


def _head(path: Path, verifiers: Sequence[Verifier]) -> TreeHead:
    try:
        note = notes.decode(seals.note_in(read_text(path).encode()))
        signed_by = notes.verified(note, verifiers)
        head = tree_head.decode(note.text)
    except NoteError as error:
        raise ConfigError(f"{path} is not a tree head: {error}") from error
    if not signed_by:
        raise ConfigError(f"{path} is not signed by any of the keys")
    return head


def _summary(verification: Verification, findings: list[Finding], known: list[TreeHead]) -> list[str]:
    totals, head = verification.totals, verification.head
    entries = ", ".join(f"{count} {topic}" for topic, count in sorted(totals.entries.items()))
    lines = [f"{totals.seals} seals, entries: {entries or 'none'}; {totals.verdicts} verdicts on traces"]
    if totals.judged_to_ms:
        lines.append(f"judged up to {iso_ms(min(totals.judged_to_ms.values()))} of record time")
    if head is not None:
        lines.append(f"head: {head.size} seals, root {head.root.hex()}, {seal_path(head.size - 1)}")
    if not known:
        lines.append("without --head a truncated end cannot be detected: give a tree head obtained elsewhere")
    return [*lines, f"{len(findings)} findings" if findings else "unchanged and complete"]


def _json(verification: Verification, findings: list[Finding]) -> str:
    totals, head = verification.totals, verification.head
    report = Report(
        findings=findings,
        seals=totals.seals,
        entries=totals.entries,
        verdicts=totals.verdicts,
        judged_from_ms=totals.judged_from_ms,
        judged_to_ms=totals.judged_to_ms,
        head_size=None if head is None else head.size,
        head_root=None if head is None else head.root.hex(),
    )
    return msgspec.json.encode(report).decode()
