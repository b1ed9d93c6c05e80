"""`betrace rules`: the rule sets on Kafka."""

from __future__ import annotations

import time
from pathlib import Path

import click

from streams import ruleset
from streams.cli import options
from streams.cli.load import load
from streams.settings import Settings
from topics import admin
from topics.spec import Layout


@click.group("rules", epilog="\b\nExample:\n  betrace rules push rules/")
def command() -> None:
    """Push rule sets to Kafka, where every worker finds them."""


@command.command("push", epilog="\b\nExample:\n  betrace rules push rules/ --bootstrap localhost:9092")
@click.argument("rules", nargs=-1, required=True, type=click.Path())
@options.bootstrap
@options.prefix
def push(rules: tuple[str, ...], bootstrap: str, prefix: str) -> None:
    """Make RULES, files or directories, the active rule set; a set with an error is refused whole."""
    compiled = load(rules)
    settings = Settings(bootstrap=bootstrap, prefix=prefix, state_dir=Path())
    admin.create(admin.connect(settings.client()), Layout(prefix=prefix))
    ruleset.push(settings, compiled, now_ms=time.time_ns() // 1_000_000)
    click.echo(compiled.fingerprint)
