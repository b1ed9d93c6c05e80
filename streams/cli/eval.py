"""Implements `betrace eval`: judges rules on traces in a file, without Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from dsl import Judgement, Verdict
from dsl.compile.write_tests import yaml_text
from streams.cli import commands, options
from streams.cli.load import load
from streams.cli.made_settings import redaction
from streams.config.units import rfc3339_ns
from streams.inspect import as_test as tests
from streams.inspect import offline, spans_file
from streams.projection.project import Projector
from streams.rules.chosen import only
from streams.windows.close import Close
from streams.windows.outcomes import witnesses
from topics.values import Scalar

EXIT_BROKEN, EXIT_UNREAD = 1, 2


class Witness(msgspec.Struct, frozen=True, kw_only=True):
    """A witness span, and the subject of the rule that it satisfied."""

    subject: str
    span_id: str
    name: str
    service: str | None
    start: str | None
    attributes: dict[str, Scalar]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of output: a rule's verdict on a trace."""

    rule: str
    trace_id: str
    verdict: str
    witnesses: list[Witness]
    missing: tuple[str, ...]
    present: tuple[str, ...]


@commands.command(
    "eval",
    epilog="\b\nExamples:\n  betrace eval rules/ --spans spans.jsonl\n"
    "  betrace eval rules/ --spans spans.jsonl --as-test --rule phi-access-is-audited",
)
@click.argument("rules", nargs=-1, required=True, type=click.Path())
@click.option(
    "--spans",
    required=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="OTLP/JSON requests or simple spans, one per line; - is stdin.",
)
@options.as_test
@options.one_rule
@options.redact
@options.redact_key_file
def command(
    *,
    rules: tuple[str, ...],
    spans: Path,
    as_test: bool,
    rule_id: str | None,
    redact: str,
    redact_key_file: Path | None,
) -> None:
    """Judge RULES on the traces in a file: one JSON line per applicable rule and trace.

    Exit 1 if a rule is broken, 2 if a line of the file cannot be read; the other lines are judged nevertheless.
    With --as-test, print each of these traces as a test to paste under the rule, with the verdict that it has now.
    """
    if not as_test:
        options.refuse_without_as_test("redact", "redact_key_file")
    compiled = load(rules)
    if as_test or rule_id is not None:
        compiled = only(compiled, rule_id)
    with click.open_file(str(spans), "rb") as file:
        spans_read = spans_file.read(file, Projector(compiled).interest, file=str(spans))
    for unread in spans_read.unread:
        click.echo(unread, err=True)
    if as_test:
        hidden = redaction(redact, redact_key_file)
        click.echo(yaml_text(tests.of_traces(spans_read.decoded.traces, compiled, hidden)), nl=False)
        raise click.exceptions.Exit(EXIT_UNREAD if spans_read.unread else 0)
    verdicts = set()
    for close, judgement in offline.judge_spans([spans_read.decoded.traces], compiled):
        if judgement.verdict is not Verdict.NOT_APPLICABLE:
            verdicts.add(judgement.verdict)
            click.echo(msgspec.json.encode(line(close, judgement)))
    if spans_read.unread:
        raise click.exceptions.Exit(EXIT_UNREAD)
    if Verdict.BROKEN in verdicts:
        raise click.exceptions.Exit(EXIT_BROKEN)


def line(close: Close, judgement: Judgement) -> Line:
    """Return the output line of a judgement."""
    return Line(
        rule=judgement.rule.id,
        trace_id=close.trace_id.hex(),
        verdict=judgement.verdict.value,
        witnesses=list(_witnesses(close, judgement)),
        missing=judgement.missing,
        present=judgement.present,
    )


def _witnesses(close: Close, judgement: Judgement) -> Iterator[Witness]:
    for witness in witnesses(close.chain, judgement):
        start = None if witness.start_ns is None else rfc3339_ns(witness.start_ns)
        yield Witness(
            subject=witness.subject,
            span_id=witness.span_id.hex(),
            name=witness.name,
            service=witness.service,
            start=start,
            attributes=witness.attributes,
        )
