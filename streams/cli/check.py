"""`betrace check`: every problem of the rules at once."""

from __future__ import annotations

from datetime import UTC, datetime

import click
import msgspec

from dsl import Severity
from dsl.review import review
from dsl.show import render_json, render_text

EXIT_PROBLEMS = 2


@click.command("check", epilog="\b\nExample:\n  betrace check rules/ --format json")
@click.argument("rules", nargs=-1, required=True, type=click.Path())
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How problems are printed.")
def command(rules: tuple[str, ...], form: str) -> None:
    """Report all problems of RULES, files or directories; exit 2 if one is an error."""
    # The wall clock only says which exceptions have expired by now; verdicts never depend on it.
    problems = review(rules, datetime.now(UTC).date())
    if form == "json":
        click.echo(msgspec.json.encode(render_json(problems)))
    elif problems:
        click.echo(render_text(problems), nl=False)
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    click.echo(f"{errors} errors, {len(problems) - errors} warnings", err=True)
    if errors:
        raise click.exceptions.Exit(EXIT_PROBLEMS)

