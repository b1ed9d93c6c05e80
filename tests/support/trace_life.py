"""The life of one trace, from spans to the outcomes of its windows; without Kafka and without a clock."""

from __future__ import annotations

from dataclasses import dataclass, field

from dsl import RuleSet, Span, Value, compile_texts
from streams.decode.decoder import TraceSpans
from streams.projection.project import Projector
from streams.windows.chain import Bounds
from streams.windows.outcomes import Outcome, evaluate_close
from streams.windows.reorder import Arrival
from streams.windows.sessions import Sessions
from topics.records.facts import TICK_MS, Entry, Touch, pack_touches
from topics.signals.finding import Finding

BOUNDS = Bounds(gap=10, lateness=50, max_duration=100)
REACH_MS = (BOUNDS.gap + BOUNDS.lateness) * TICK_MS
TOPIC = "otlp_spans"
TRACE = bytes.fromhex("0af7651916cd43dd8448eb211c80319c")


def compiled(*texts: str) -> RuleSet:
    """Compile rules; a text that begins with a line feed is YAML."""
    names = [f"{number}.{'yaml' if text.startswith(chr(10)) else 'rules'}" for number, text in enumerate(texts)]
    rules, _ = compile_texts(dict(zip(names, texts, strict=True)))
    return rules


@dataclass(slots=True)
class Life:
    """The life of one trace in ticks; `offset` is that of its next record."""

    rules: RuleSet
    sessions: Sessions = field(init=False)
    judged_by: frozenset[str] = field(init=False)
    offset: int = 7

    def __post_init__(self) -> None:
        counted = {atom.fingerprint: atom.counted for atom in self.rules.atoms.values() if atom.counted}
        self.sessions = Sessions(BOUNDS, counted)
        self.judged_by = frozenset(rule.fingerprint for rule in self.rules.rules)

    def arrive(self, tick: int, *spans: Span) -> None:
        """Add a record of the trace with these spans."""
        facts = Projector(self.rules).facts(TraceSpans(len(spans), root_seen=True, spans=list(spans)))
        if facts:
            entry = Entry(TRACE, self.offset, self.offset, tick, len(spans), root_seen=True, facts=facts)
            self.sessions.buffer.add(tick, Arrival(TOPIC, 1, entry), 0)
        else:
            self.sessions.buffer.add_touches(tick, pack_touches([Touch(TRACE, tick, len(spans))]), 0)
        self.offset += 1

    def until(self, tick: int) -> list[Outcome]:
        """Advance the clock to the tick; return the outcomes of the windows that close."""
        return [
            outcome
            for close in self.sessions.advance(tick * TICK_MS)
            for outcome in evaluate_close(close, self.rules, self.judged_by, reach_ms=REACH_MS)
        ]

    def findings(self, tick: int) -> list[Finding]:
        """Return the findings among the outcomes."""
        return [outcome.finding for outcome in self.until(tick) if outcome.finding is not None]


def span(
    name: str, number: int = 1, start_ns: int | None = 20 * 10**9, attributes: dict[str, Value] | None = None
) -> Span:
    """Create a span; its id is its number."""
    return Span(name, number.to_bytes(8, "big"), start_ns=start_ns, end_ns=None, attributes=attributes or {})
