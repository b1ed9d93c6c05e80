"""`betrace rules`: the rule sets on Kafka, and the rules that come with BeTrace."""

from __future__ import annotations

import time
from pathlib import Path

import click
import msgspec

from dsl import library
from dsl.library import LibraryRule
from streams import ruleset
from streams.cli import options
from streams.cli.load import load
from streams.cli.table import table
from streams.errors import ConfigError
from streams.settings import Settings
from topics import admin
from topics.spec import Layout

_HEAD = ("RULE", "SEVERITY", "CONTROLS", "TITLE")


class Row(msgspec.Struct, frozen=True):
    """What is listed of a rule of the library."""

    id: str
    framework: str
    severity: str
    controls: tuple[str, ...]
    title: str
    tags: tuple[str, ...]


@click.group("rules", epilog="\b\nExample:\n  betrace rules push rules/")
def command() -> None:
    """Push rule sets to Kafka, where every worker finds them, or start from the rules that come with BeTrace."""


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


@command.command("library", epilog="\b\nExample:\n  betrace rules library --copy rules/ hipaa soc2")
@click.argument("names", nargs=-1)
@options.setting("--copy", type=click.Path(path_type=Path), help="Write the rules to this directory.")
@options.setting("--force", is_flag=True, help="Overwrite files that are there.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    envvar="BETRACE_FORMAT",
    show_envvar=True,
    show_default=True,
    help="How the list is printed.",
)
def show_library(names: tuple[str, ...], copy: Path | None, form: str, *, force: bool) -> None:
    """List the rules that come with BeTrace, or copy them.

    NAMES are frameworks or ids of rules; without any, all are meant. A framework is copied as one file, a rule as a
    file of its own. When one of the files is there already, nothing is copied.
    """
    try:
        found, files = library.rules(names), library.files(names)
    except library.UnknownNameError as error:
        raise click.UsageError(str(error)) from error
    if copy is not None:
        for path in _write(copy, files, force=force):
            click.echo(path)
    elif form == "json":
        click.echo(msgspec.json.encode([_row(each) for each in found]))
    else:
        for line in table(_HEAD, map(_cells, found)):
            click.echo(line)


def _write(directory: Path, files: dict[str, str], *, force: bool) -> list[Path]:
    """Writes all of the files or, when one is there and must not be overwritten, none."""
    paths = {directory / name: text for name, text in files.items()}
    try:
        there = [str(path) for path in paths if path.exists() and not force]
        for path, text in paths.items() if not there else ():
            directory.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"the rules cannot be written: {error}") from error
    if there:
        raise ConfigError(f"already there: {', '.join(there)}; overwrite with --force, or give another directory")
    return list(paths)


def _row(each: LibraryRule) -> Row:
    rule = each.rule
    return Row(rule.id, each.framework, rule.severity.value, rule.controls, rule.title, rule.tags)


def _cells(each: LibraryRule) -> tuple[str, ...]:
    rule = each.rule
    return (rule.id, rule.severity.value, ", ".join(rule.controls), rule.title)
