"""Implements `betrace rules`: the rule sets on Kafka, and the rules that come with BeTrace."""

from __future__ import annotations

import time
from pathlib import Path

import click
import msgspec

from dsl import RuleSet, library
from dsl.files.schema import rule_file_schema
from dsl.library import LibraryRule
from streams.cli import commands, options, rules_backfill, rules_lsp
from streams.cli.load import load
from streams.cli.rules_backfill import BackfillOptions
from streams.cli.rules_diff import differences, fresh, judging_from
from streams.cli.rules_table import PUSH_HEAD, SET_HEAD, push_cells, push_row, set_cells, set_row
from streams.cli.status import judging_lines
from streams.cli.table import table
from streams.config.security import Security
from streams.config.settings import Settings
from streams.errors import BetraceError, ConfigError
from streams.inspect import status
from streams.observe import logs
from streams.rules import history as pushes
from streams.rules import registry
from streams.rules.history import Pushed
from streams.rules.judging import RuleStart
from streams.rules.registry import RuleSets
from topics.cluster import admin
from topics.errors import TopicsError
from topics.spec import Layout

_HEAD = ("RULE", "SEVERITY", "CONTROLS", "TITLE")


ACTIVE = "active"
"""Names the active set in place of a fingerprint."""

_form = options.output_format("text", "json")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """The output of `library` for a rule."""

    id: str
    framework: str
    severity: str
    controls: tuple[str, ...]
    title: str
    tags: tuple[str, ...]


@commands.group("rules", epilog="\b\nExample:\n  betrace rules push rules/")
def command() -> None:
    """Push rule sets to Kafka, where every worker finds them, or start from the rules that come with BeTrace."""
    logs.configure()


@command.command(
    "push",
    short_help="Make rule files or directories the active rule set.",
    epilog="\b\nExample:\n  betrace rules push rules/ --bootstrap localhost:9092",
)
@click.argument("rules", nargs=-1, required=True, type=click.Path())
@options.revision
@options.by
@options.gap
@options.lateness
@options.cluster
@options.prefix
@click.option("--backfill", is_flag=True, help="Then also judge earlier traces by the new rules: see rules backfill.")
@rules_backfill.backfill_options
def push(*, rules: tuple[str, ...], revision: str | None, backfill: bool, backfill_options: BackfillOptions) -> None:
    """Make RULES, files or directories, the active rule set; a set with an error is rejected.

    Workers follow within seconds. A new rule judges only traces that begin more than --gap and --lateness later,
    because it would see earlier ones only in part; give the values of betrace run, so that the printed time is right.
    --backfill also judges earlier traces, as betrace rules backfill does; all other options belong to it.
    """
    compiled = load(rules)
    settings = backfill_options.settings
    client = admin.connect(settings.client())
    if not admin.partition_counts(client, [settings.topic("rules")]):
        admin.create(client, Layout(prefix=settings.prefix))
    before = next((each.rules for each in pushes.history(settings) if each.is_active), None)
    registry.push(settings, compiled, now_ms=_now_ms(), revision=revision, by=backfill_options.by)
    click.echo(compiled.fingerprint)
    click.echo(judging_from(before, compiled, _now_ms() + settings.gap_ms + settings.lateness_ms), err=True)
    if backfill:
        # If they were pushed before, none of the rules is new: backfill them all.
        new_rules = fresh(before, compiled) or [rule for rule in compiled.rules if rule.enabled]
        rules_backfill.run(backfill_options, compiled, new_rules, pushes.history(settings))


command.add_command(rules_backfill.command)


@command.command(
    "list",
    short_help="List the rule sets on Kafka, the latest push first.",
    epilog="\b\nExample:\n  betrace rules list --bootstrap localhost:9092",
)
@options.cluster
@options.prefix
@_form
def list_sets(bootstrap: str, security: Security, prefix: str, form: str) -> None:
    """List the rule sets on Kafka, the most recent push first, and from when the active rules judge."""
    settings = _settings(bootstrap, security, prefix)
    sets = pushes.history(settings)
    try:
        rule_starts = _judging(settings, sets)
        lines = judging_lines(rule_starts)
    except (BetraceError, TopicsError) as error:
        rule_starts, lines = None, []
        click.echo(f"from when rules judge is unknown: {error}", err=True)
    rows = [set_row(each, rule_starts) for each in sets]
    if form == "json":
        click.echo(msgspec.json.encode(rows))
        return
    for line in table(SET_HEAD, map(set_cells, rows)):
        click.echo(line)
    for line in ["", "active:", *lines] if lines else []:
        click.echo(line)


@command.command(
    "history",
    short_help="List every push and rollback, the latest first.",
    epilog="\b\nExample:\n  betrace rules history --bootstrap localhost:9092",
)
@options.cluster
@options.prefix
@_form
def show_history(bootstrap: str, security: Security, prefix: str, form: str) -> None:
    """List every push and rollback, the latest first; BY is the name given with the push."""
    sets = pushes.history(_settings(bootstrap, security, prefix))
    made = sorted((push for each in sets for push in each.pushes), key=lambda push: push.number, reverse=True)
    rows = [push_row(push) for push in made]
    if form == "json":
        click.echo(msgspec.json.encode(rows))
        return
    for line in table(PUSH_HEAD, map(push_cells, rows)):
        click.echo(line)


@command.command("show", epilog="\b\nExample:\n  betrace rules show 3f9a --bootstrap localhost:9092")
@click.argument("name", metavar="[SET]", default=ACTIVE)
@options.cluster
@options.prefix
def show(name: str, bootstrap: str, security: Security, prefix: str) -> None:
    """Print the files of a rule set.

    SET is a fingerprint or its beginning; the active set if omitted.
    """
    for path, text in sorted(
        _find_set(pushes.history(_settings(bootstrap, security, prefix)), name).record.texts.items()
    ):
        click.echo(f"// {path}\n\n{text.rstrip()}\n")


@command.command(
    "diff",
    short_help="Print how two rule sets differ, rule by rule.",
    epilog="\b\nExample:\n  betrace rules diff rules/ --bootstrap localhost:9092",
)
@click.argument("first", metavar="SET|PATH")
@click.argument("second", metavar="[SET|PATH]", default=ACTIVE)
@options.cluster
@options.prefix
def diff(first: str, second: str, bootstrap: str, security: Security, prefix: str) -> None:
    """Print how two rule sets differ, rule by rule: what pushing the first in place of the second changes.

    Each is a fingerprint or its beginning, or a file or directory of rules; the second is the active set if omitted.
    """
    history = pushes.history(_settings(bootstrap, security, prefix))
    new, old = (
        load([name]) if Path(name).exists() else _compiled(_find_set(history, name)) for name in (first, second)
    )
    for line in differences(old, new):
        click.echo(line)


@command.command("rollback", epilog="\b\nExample:\n  betrace rules rollback --bootstrap localhost:9092")
@click.argument("name", metavar="[SET]", required=False)
@options.by
@options.cluster
@options.prefix
def rollback(name: str | None, by: str | None, bootstrap: str, security: Security, prefix: str) -> None:
    """Make a rule set that was pushed earlier active again.

    SET is a fingerprint or its beginning; the set pushed before the active one if omitted.
    """
    settings = _settings(bootstrap, security, prefix)
    history = pushes.history(settings)
    target = _before_active(history) if name is None else _find_set(history, name)
    _compiled(target)
    registry.activate(settings, target.fingerprint, now_ms=_now_ms(), by=by)
    click.echo(target.fingerprint)


@command.command("library", epilog="\b\nExample:\n  betrace rules library --copy rules/ hipaa soc2")
@click.argument("names", nargs=-1)
@click.option("--copy", type=click.Path(path_type=Path), help="Write the rules to this directory.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@_form
def show_library(names: tuple[str, ...], copy: Path | None, form: str, *, force: bool) -> None:
    """List the rules that come with BeTrace, or copy them.

    NAMES are frameworks or ids of rules; all if omitted. A framework is copied as one file, a rule as a file of its
    own. If one of the files already exists, nothing is copied.
    """
    try:
        library_rules, files = library.rules(names), library.files(names)
    except library.UnknownNameError as error:
        raise click.UsageError(str(error)) from error
    if copy is not None:
        for path in _write(copy, files, force=force):
            click.echo(path)
    elif form == "json":
        click.echo(msgspec.json.encode([_row(each) for each in library_rules]))
    else:
        for line in table(_HEAD, map(_cells, library_rules)):
            click.echo(line)


@command.command(
    "schema",
    short_help="Print the JSON Schema of YAML rule files.",
    epilog="\b\nExample:\n  betrace rules schema > rules.schema.json",
)
def show_schema() -> None:
    """Print the JSON Schema of YAML rule files, by which editors complete keys and mark mistakes.

    Editors with the YAML language server use it for files that begin with a comment that names it:
    "yaml-language-server: $schema=FILE".
    """
    click.echo(msgspec.json.format(msgspec.json.encode(rule_file_schema()), indent=2))


command.add_command(rules_lsp.command)


def _write(directory: Path, files: dict[str, str], *, force: bool) -> list[Path]:
    """Write all files; write none if one exists and must not be overwritten."""
    paths = {directory / name: text for name, text in files.items()}
    try:
        there = [str(path) for path in paths if path.exists() and not force]
        for path, text in paths.items() if not there else ():
            directory.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"the rules cannot be written: {error}") from error
    if there:
        raise ConfigError(f"already exists: {', '.join(there)}; overwrite with --force, or give another directory")
    return list(paths)


def _row(each: LibraryRule) -> Row:
    rule = each.rule
    return Row(
        id=rule.id,
        framework=each.framework,
        severity=rule.severity.value,
        controls=rule.controls,
        title=rule.title,
        tags=rule.tags,
    )


def _cells(each: LibraryRule) -> tuple[str, ...]:
    rule = each.rule
    return (rule.id, rule.severity.value, ", ".join(rule.controls), rule.title)


def _judging(settings: Settings, sets: list[Pushed]) -> list[RuleStart] | None:
    """Return from when each active rule judges; None if that is unknown."""
    known = RuleSets()
    for each in sets:
        if each.rules is not None:
            known.add_pushed(each.fingerprint, each.rules)
    active = next((each.rules for each in sets if each.is_active), None)
    return [] if active is None else status.judging_from(settings, known, active.fingerprint)


def _settings(bootstrap: str, security: Security, prefix: str) -> Settings:
    return Settings(bootstrap=bootstrap, security=security, prefix=prefix, state_dir=Path())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _find_set(history: list[Pushed], name: str) -> Pushed:
    """Return the set with this name.

    Raises:
        ConfigError: there is no such set, or more than one.
    """
    matches = [each for each in history if each.is_active] if name == ACTIVE else []
    matches = matches or [each for each in history if each.fingerprint.startswith(name)]
    if len(matches) != 1:
        count = "no rule set" if not matches else f"{len(matches)} rule sets"
        raise ConfigError(f"there is {count} {name} on Kafka: betrace rules list shows all sets")
    return matches[0]


def _before_active(history: list[Pushed]) -> Pushed:
    index = next((number for number, each in enumerate(history) if each.is_active), None)
    activation = None if index is None else history[index].activation
    if activation is not None and not activation.is_certain:
        raise ConfigError(
            "another set may be active, activated in records that cannot be read: name the set to return to"
        )
    if index is None or index + 1 == len(history):
        raise ConfigError("no rule set was pushed before the active one: betrace rules list shows all sets")
    return history[index + 1]


def _compiled(each: Pushed) -> RuleSet:
    if each.rules is None:
        raise ConfigError(f"this version cannot compile rule set {each.fingerprint}: use the version that pushed it")
    return each.rules
