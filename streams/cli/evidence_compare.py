"""Implements `betrace evidence compare`: compares evidence with coverage that a second party keeps.

In: evidence, keys, and a copy: evidence of another ledger, or a file with records of the verdicts topic. Out: the
differences on stdout; exit 1 if there are any, or if the evidence itself does not verify.
"""

from __future__ import annotations

from pathlib import Path

import click

from streams.cli import commands
from streams.cli.keys import key_files, verifiers
from streams.config.units import iso_ms
from streams.evidence.ledger import compare
from streams.evidence.ledger.findings import Fault
from streams.evidence.ledger.storage import open_storage
from streams.evidence.ledger.verify import Verification

FOUND = 1


@commands.command(
    "compare", epilog="\b\nExample:\n  betrace evidence compare evidence/ coverage.jsonl --key ledger.pub"
)
@click.argument("evidence")
@click.argument("other")
@key_files(required=True)
def command(evidence: str, other: str, keys: tuple[Path, ...]) -> None:
    """Compare evidence with the coverage that a second party keeps.

    OTHER is the evidence of another ledger that reads the same topics, or a file of records of betrace.verdicts, one
    per line, as any consumer of the topic prints them. The evidence is verified first. Only this comparison shows what
    the ledger's own operator omitted or invented before sealing, for the period that both copies cover.
    """
    store = open_storage(evidence)
    count = 0
    for finding in Verification(store, verifiers(keys)).findings():
        if finding.fault is not Fault.GAP:
            click.echo(finding.text())
            count += 1
    theirs = compare.copied(Path(other)) if Path(other).is_file() else compare.sealed(open_storage(other))
    comparison = compare.Comparison()
    for difference in comparison.differences(compare.sealed(store), theirs):
        click.echo(difference)
        count += 1
    until = f", up to {iso_ms(min(comparison.to_ms.values()))} of record time" if comparison.to_ms else ""
    click.echo(f"{comparison.agree} coverage records agree{until}")
    click.echo(f"{count} findings" if count else "no differences")
    if count:
        raise click.exceptions.Exit(FOUND)
