"""Implements `betrace explain`: shows what each rule saw of one trace."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import click
import msgspec
from confluent_kafka import Message

from dsl import Span, Verdict
from dsl.compile.write_tests import yaml_text
from streams.cli import commands, options
from streams.cli.load import load
from streams.cli.made_settings import redaction
from streams.config.security import Security
from streams.config.settings import Settings
from streams.config.units import iso_ms
from streams.decode.decoder import Format
from streams.errors import ConfigError
from streams.inspect import as_test as tests
from streams.inspect import explain, published
from streams.inspect.explain import Part, Sight
from streams.kafka import follow
from streams.observe import logs
from streams.observe.terminal import printable
from streams.projection.project import Projector
from streams.rules import registry
from streams.rules.chosen import only
from streams.rules.history import history
from streams.windows.chain import Bounds
from topics.signals.digest import Digest

SHOWN_SPANS = 5


class Atom(msgspec.Struct, frozen=True):
    """One atom of a rule, and the ids of the spans that satisfy it."""

    atom: str
    spans: list[str]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `--format json`: what a rule saw."""

    rule: str
    verdict: str
    missing: tuple[str, ...]
    present: tuple[str, ...]
    atoms: list[Atom]
    signal: str | None
    no_signal: str | None


@commands.command(
    "explain",
    epilog="\b\nExamples:\n  betrace explain 4bf92f3577b34da6a3ce929d0e0e4736 --from 2h\n"
    "  betrace explain 4bf92f3577b34da6a3ce929d0e0e4736 --as-test --rule phi-access-is-audited",
)
@click.argument("trace_id", callback=options.trace_id)
@options.cluster
@options.prefix
@options.source_topics
@options.setting("--rules", multiple=True, type=click.Path(), help="Use these rules instead of the active ones.")
@options.one_rule
@options.encoding
@options.gap
@options.lateness
@options.max_duration
@options.as_test
@options.redact
@options.redact_key_file
@options.search_from("earliest", "Start of the search.")
@options.output_format("text", "json", help_text="Output format; JSON is an object for each rule.")
def command(
    *,
    trace_id: str,
    bootstrap: str,
    security: Security,
    prefix: str,
    source_topics: tuple[str, ...],
    rules: tuple[str, ...],
    rule_id: str | None,
    encoding: str,
    gap: int,
    lateness: int,
    max_duration: int,
    as_test: bool,
    redact: str,
    redact_key_file: Path | None,
    begin: str,
    form: str,
) -> None:
    """Print what each rule saw of the trace TRACE_ID: its verdict, and its parts with the spans that satisfy them.

    For a verdict that should have a signal, names the signal, or why there is none: that requires the --gap and
    --lateness given to betrace run.

    Reads the source topics from --from to their ends without joining a group, and judges all records at once, whenever
    they arrived.

    With --as-test, prints the trace as a test to paste under the rule, with the verdict of its last window: give the
    --gap, --lateness, --max-duration and --redact of betrace run.
    """
    if not as_test:
        options.refuse_without_as_test("max_duration", "redact", "redact_key_file")
    logs.configure()
    settings = Settings(
        bootstrap=bootstrap, security=security, prefix=prefix, source_topics=source_topics, state_dir=Path()
    )
    compiled = load(rules) if rules else registry.read_active(settings)
    if as_test or rule_id is not None:
        compiled = only(compiled, rule_id)
    id_bytes = bytes.fromhex(trace_id)
    parts = list(explain.parts(_records(settings, begin), id_bytes, Projector(compiled), Format(encoding)))
    for part in parts:
        if part.reason is not None:
            click.echo(f"{part.topic}[{part.partition}] {part.offset} cannot be read: {part.reason}", err=True)
    read = [part for part in parts if part.reason is None]
    if not read:
        raise ConfigError(f"no record of trace {trace_id} is on {', '.join(source_topics)} since {begin}")
    if as_test:
        bounds = Bounds.of_ms(gap_ms=gap, lateness_ms=lateness, max_duration_ms=max_duration)
        test = tests.of_parts(id_bytes, read, compiled, bounds, redaction(redact, redact_key_file), clock_ms=_now_ms())
        click.echo(yaml_text([test]), nl=False)
        return
    sights = explain.sights(id_bytes, read, compiled)
    sets, signals = history(settings), _signals(settings, begin, trace_id)
    began_ms = min(part.time_ms for part in read)
    reasons = {
        rule.id: published.reason(rule, sets, began_ms=began_ms, reach_ms=gap + lateness, gap_ms=gap)
        for rule in compiled.rules
        if rule.id not in signals
    }
    results = Published(signals, reasons)
    for line in (_json(sight, results) for sight in sights) if form == "json" else _lines(read, sights, results):
        click.echo(line)


@dataclass(frozen=True, slots=True)
class Published:
    """The signals about the trace by rule id, and why a rule has none."""

    signals: dict[str, Digest]
    reasons: dict[str, str]

    def signal(self, sight: Sight) -> str | None:
        """Return the uid and revision of a rule's signal."""
        digest = self.signals.get(sight.rule)
        return None if digest is None else f"{digest.uid}.{digest.revision}"

    def reason(self, sight: Sight) -> str | None:
        """Return why a rule whose verdict should have a signal has none."""
        return self.reasons.get(sight.rule) if sight.verdict in (Verdict.BROKEN, Verdict.UNDETERMINED) else None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _signals(settings: Settings, begin: str, trace_id: str) -> dict[str, Digest]:
    since = follow.since(begin, _now_ms())
    messages = follow.follow(settings.reader(), settings.topic("signals"), since, until_end=True)
    return published.last_signals(messages, trace_id)


def _records(settings: Settings, begin: str) -> Iterator[Message]:
    since = follow.since(begin, _now_ms())
    for topic in settings.source_topics:
        yield from follow.follow(settings.reader(), topic, since, until_end=True)


def _lines(parts: list[Part], sights: list[Sight], published: Published) -> Iterator[str]:
    times_ms = sorted(part.time_ms for part in parts)
    pause_ms = max((after - before for before, after in pairwise(times_ms)), default=0)
    spans = sum(part.trace.span_count for part in parts)
    root = "a root" if any(part.trace.root_seen for part in parts) else "no root"
    yield (
        f"{spans} spans in {len(parts)} records from {iso_ms(times_ms[0])} to {iso_ms(times_ms[-1])}, {root}; "
        f"the longest pause is {pause_ms / 1000:g}s"
    )
    for sight in sights:
        yield ""
        yield f"{sight.rule}: {sight.verdict.value}"
        if (signal := published.signal(sight)) is not None:
            yield f"  signal: {signal}, {published.signals[sight.rule].verdict}"
        elif (reason := published.reason(sight)) is not None:
            yield f"  signal: none: {reason}"
        for text, matches in sight.atoms:
            yield f"  {text}: {_span_names(matches)}"
        for text in sight.missing:
            yield f"  missing: {text}"
        for text in sight.present:
            yield f"  forbidden, but present: {text}"


def _span_names(spans: tuple[Span, ...]) -> str:
    if not spans:
        return "not seen"
    shown = [f"{span.span_id.hex() or 'log record'} {_plain(span.name)}" for span in spans[:SHOWN_SPANS]]
    more = [f"{len(spans) - SHOWN_SPANS} more"] if len(spans) > SHOWN_SPANS else []
    return ", ".join(shown + more)


def _plain(text: str) -> str:
    """Return a span's name, which may contain anything, on one line."""
    return printable(text[:80])


def _json(sight: Sight, published: Published) -> bytes:
    atoms = [Atom(text, [(span.identity or span.span_id).hex() for span in spans]) for text, spans in sight.atoms]
    return msgspec.json.encode(
        Line(
            rule=sight.rule,
            verdict=sight.verdict.value,
            missing=sight.missing,
            present=sight.present,
            atoms=atoms,
            signal=published.signal(sight),
            no_signal=published.reason(sight),
        )
    )
