"""Implements `betrace check`: reports every problem of the rules, prints them in canonical form, or explains one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from difflib import get_close_matches

import click
import msgspec

from dsl import RulesError, Severity
from dsl.compile.compile import CompiledRule, load_compiled
from dsl.compile.review import review_files
from dsl.compile.write import rules_text
from dsl.explain.explain import explain
from dsl.show import render_grouped, render_json, render_text
from streams.cli import commands, options, sarif
from streams.errors import ConfigError
from streams.projection.project import IDENTITY_ATTRIBUTES

EXIT_PROBLEMS = 2
SHOWN_IDS = 10


@commands.command("check", epilog="\b\nExample:\n  betrace check rules/ --explain phi-access-is-audited")
@click.argument("rules", nargs=-1, required=True, type=click.Path())
@options.output_format("text", "json", "sarif", help_text="Output format of problems; sarif is SARIF 2.1.0.")
@click.option("--print", "prints", is_flag=True, help="Print the rules in canonical form, as a YAML rule file.")
@click.option("--explain", "rule_id", metavar="RULE", help="Explain in plain English what the rule with this id does.")
def command(rules: tuple[str, ...], form: str, rule_id: str | None, *, prints: bool) -> None:
    """Report all problems of RULES, files or directories; exit 2 if one of them is an error.

    Runs the tests in YAML files. Warnings with the same advice are shown as one, with all their locations.
    """
    if prints and rule_id is not None:
        raise click.UsageError("--print and --explain exclude each other: give one of them")
    if prints:
        click.echo(rules_text(_compiled(rules)), nl=False)
    elif rule_id is not None:
        click.echo(explain(_named(_compiled(rules), rule_id), IDENTITY_ATTRIBUTES), nl=False)
    else:
        _report(rules, form)


def _report(rules: Sequence[str], form: str) -> None:
    # The wall clock only decides which exceptions have expired by now; verdicts never depend on it.
    found = review_files(rules, datetime.now(UTC).date())
    problems = found.problems
    if form == "json":
        click.echo(msgspec.json.encode(render_json(problems)))
    elif form == "sarif":
        click.echo(msgspec.json.encode(sarif.log(problems)))
    elif problems:
        click.echo(render_grouped(problems), nl=False)
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    read = f"{_amount(found.rule_count, 'rule')}, {_amount(found.test_count, 'test')}"
    click.echo(f"{read}: {_amount(errors, 'error')}, {_amount(len(problems) - errors, 'warning')}", err=True)
    if errors:
        raise click.exceptions.Exit(EXIT_PROBLEMS)


def _amount(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _compiled(rules: Sequence[str]) -> list[CompiledRule]:
    try:
        return load_compiled(rules)
    except RulesError as error:
        raise ConfigError("the rules have errors\n" + render_text(error.problems)) from error


def _named(rules: Sequence[CompiledRule], rule_id: str) -> CompiledRule:
    known = {each.rule.id: each for each in rules}
    if rule_id in known:
        return known[rule_id]
    folded = {each.lower(): each for each in known}
    close = get_close_matches(rule_id.lower(), folded, n=1)
    listed = ", ".join([*known][:SHOWN_IDS]) + ("" if len(known) <= SHOWN_IDS else ", …")
    advice = f"did you mean `{folded[close[0]]}`?" if close else f"known ids are {listed}"
    raise ConfigError(f"no rule has the id `{rule_id}`; {advice}")
