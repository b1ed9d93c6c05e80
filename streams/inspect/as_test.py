"""Makes tests of rules from real traces: redacted as signals are, and with only what the rule looks at.

In: the spans of a trace, and a rule. Out: a `TraceTest` with the verdict that the rule has on the original trace, or an
error: a test whose redacted spans would have another verdict is never returned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from dsl import Event, Judgement, RuleSet, Span, Value, Verdict, judge
from dsl.compile.write_tests import TraceTest
from dsl.judge.span import Attributes
from streams.decode.records import TraceSpans
from streams.errors import ConfigError
from streams.inspect import offline
from streams.projection.project import Projector
from streams.projection.redact import Redaction
from streams.windows.chain import Bounds
from streams.windows.close import Close
from streams.windows.reorder import Arrival
from streams.windows.sessions import Sessions
from topics.records.facts import TICK_MS, Entry, Touch, pack_touches

if TYPE_CHECKING:
    # Judging a file needs no Kafka client.
    from streams.inspect.explain import Part

LOG_UID = "log.record.uid"
"""OpenTelemetry's attribute that distinguishes log records which are otherwise equal."""

GENERATED_ID_BYTES = 8


def of_parts(
    trace_id: bytes, parts: Sequence[Part], rules: RuleSet, bounds: Bounds, redaction: Redaction, *, clock_ms: int
) -> TraceTest:
    """Return the trace in source records as a test of the only rule in a set.

    The verdict is that of the last window to which the rule applies, as live processing gives it by `clock_ms`; a
    window that is still open is judged as at the end of the input.

    Raises:
        ConfigError: redacted, the trace would have another verdict.
    """
    verdict, whole, chosen = Verdict.NOT_APPLICABLE, True, list(parts)
    for close, judgement in _judged(trace_id, parts, rules, bounds, clock_ms):
        first, last = close.chain.first, close.window.last
        verdict, whole = judgement.verdict, close.whole
        chosen = [part for part in parts if first <= part.time_ms // TICK_MS <= last]
    spans = [span for part in chosen for span in part.trace.spans]
    return _test(trace_id, spans, rules, redaction, verdict=verdict, whole=whole)


def of_traces(traces: Mapping[bytes, TraceSpans], rules: RuleSet, redaction: Redaction) -> Iterator[TraceTest]:
    """Yield each trace of a file to which the only rule in a set applies, as a test; raises as `of_parts` does."""
    for close, judgement in offline.judge_spans([traces], rules):
        if judgement.verdict is not Verdict.NOT_APPLICABLE:
            spans = traces[close.trace_id].spans
            yield _test(close.trace_id, spans, rules, redaction, verdict=judgement.verdict, whole=close.whole)


def _judged(
    trace_id: bytes, parts: Iterable[Part], rules: RuleSet, bounds: Bounds, clock_ms: int
) -> Iterator[tuple[Close, Judgement]]:
    """Yield the judgements on the windows of a trace, in the order of record time."""
    projector = Projector(rules)
    sessions = Sessions(bounds, {print_: atom.counted for print_, atom in rules.atoms.items() if atom.counted})
    for part in parts:
        tick, trace = part.time_ms // TICK_MS, part.trace
        if facts := projector.facts(trace):
            entry = Entry(trace_id, part.offset, part.offset, tick, trace.span_count, trace.root_seen, facts)
            sessions.buffer.add(tick, Arrival(part.topic, part.partition, entry), 0)
        else:
            sessions.buffer.add_touches(tick, pack_touches([Touch(trace_id, tick, trace.span_count)]), 0)
    for close in chain(sessions.advance(clock_ms), sessions.end()):
        for judgement in judge(rules, close.chain.facts, whole=close.whole):
            yield close, judgement


def _test(
    trace_id: bytes, spans: Sequence[Span], rules: RuleSet, redaction: Redaction, *, verdict: Verdict, whole: bool
) -> TraceTest:
    """Return the test; spans that satisfy no part of the rule are left out if the verdict does not need them."""
    hits = [span for span in spans if rules.hits(span)]
    for chosen in (hits, spans):
        test = TraceTest(
            name=f"trace {trace_id.hex()}",
            spans=tuple(_distinct([_shown(span, rules, redaction) for span in chosen])),
            hit_max_duration=not whole,
            expect=verdict,
        )
        if test.verdict(rules) is verdict:
            return test
    [rule] = rules.rules
    redacted = sorted(name for name in rules.interest.attributes if redaction.is_redacted(name))
    raise ConfigError(
        f"trace {trace_id.hex()} cannot be a test of {rule.id}: its verdict is {verdict.value}, but that of the test "
        + (
            f"would be {test.verdict(rules).value}, because of what is redacted: {', '.join(redacted)}"
            if redacted
            else f"would be {test.verdict(rules).value}"
        )
    )


def _shown(span: Span, rules: RuleSet, redaction: Redaction) -> Span:
    """Return a span with what the rule looks at, redacted, and with an id."""
    interest = rules.interest
    names = interest.names | interest.attributes

    def shown(attributes: Attributes) -> Attributes:
        return redaction.redacted({name: value for name, value in attributes.items() if name in names})

    def builtin(name: str, value: Value) -> Value:
        return redaction.value(name, value) if name in names else None

    def with_shown(event: Event) -> Event:
        return msgspec.structs.replace(event, attributes=shown(event.attributes))

    return msgspec.structs.replace(
        span,
        span_id=span.span_id if span.is_log else span.span_id or span.identity[:GENERATED_ID_BYTES],
        attributes=shown(span.attributes),
        resource=shown(span.resource),
        scope=shown(span.scope),
        events=tuple(with_shown(each) for each in span.events if each.name in names),
        status_message=builtin("span.status_message", span.status_message) or "",
        scope_name=builtin("scope.name", span.scope_name),
        log_body=builtin("log.body", span.log_body),
        log_severity=builtin("log.severity", span.log_severity),
    )


def _distinct(spans: Iterable[Span]) -> Iterator[Span]:
    """Yield the spans, each once; log records that differ only in what is not shown get a unique id."""
    seen: dict[bytes, set[bytes]] = {}
    for span in spans:
        content = msgspec.msgpack.encode(msgspec.structs.replace(span, identity=b""))
        identities = seen.setdefault(content, set())
        if span.identity in identities:
            continue
        identities.add(span.identity)
        if span.is_log and len(identities) > 1:
            span = msgspec.structs.replace(span, attributes={**span.attributes, LOG_UID: span.identity.hex()})  # noqa: PLW2901
        yield span
