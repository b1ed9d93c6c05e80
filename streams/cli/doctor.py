"""Implements `betrace doctor`: lists the records of BeTrace's own topics that cannot be read, and repairs them.

In: the address of a cluster. Out: a line per finding on stdout and, with `--repair`, what was repaired.
"""

from __future__ import annotations

from pathlib import Path

import click

from streams.cli import commands, options
from streams.config.security import Security
from streams.config.settings import Settings
from streams.errors import StateError
from streams.inspect import doctor
from streams.observe import logs


@commands.command("doctor", epilog="\b\nExample:\n  betrace doctor --bootstrap localhost:9092")
@options.cluster
@options.prefix
@click.option("--repair", is_flag=True, help="Repair what can be repaired.")
def command(*, bootstrap: str, security: Security, prefix: str, repair: bool) -> None:
    """Print which rule sets and checkpoints on Kafka cannot be read, why, and the consequences.

    --repair deletes records that nothing depends on, and replaces a checkpoint of another version by the last one of
    this version: use it only if no other version has run here. Exits with 3 if something that stops a worker was not
    repaired.
    """
    logs.configure()
    findings = doctor.find_damage(Settings(bootstrap=bootstrap, security=security, prefix=prefix, state_dir=Path()))
    left = 0
    for each in findings:
        click.echo(f"{each.where}: {each.reason}: {each.follows}")
        if repair and each.repair is not None:
            each.repair()
            click.echo(f"{each.where}: repaired")
        else:
            left += each.stops
    if not findings:
        click.echo("every rule set and checkpoint can be read")
    if left:
        raise StateError(
            f"{left} {'finding stops' if left == 1 else 'findings stop'} a worker",
            action="follow the instructions in each line; --repair repairs some findings",
        )
