"""What each rule sees of one trace, from the source topics.

In: the records that hold a part of the trace. Out: per rule its verdict on all of them, and each of its atoms with
the spans that satisfy it. Windows are no matter here: what is in the topics is judged at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from confluent_kafka import Message

from dsl import RuleSet, Span, Verdict
from streams.decode.decoder import Decoder, Format
from streams.decode.records import TraceSpans
from streams.errors import RecordError
from streams.inspect import offline, trace_lookup
from streams.projection.project import Projector
from topics.otlp.requests import RecordKind


@dataclass(frozen=True, slots=True)
class Part:
    """What one source record holds of the trace; `reason` says why it cannot be read, None when it can."""

    topic: str
    partition: int
    offset: int
    time_ms: int
    trace: TraceSpans
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """What one rule sees: its verdict, what it lacks or forbids, and its atoms as text with the spans of each."""

    rule: str
    verdict: Verdict
    missing: tuple[str, ...]
    present: tuple[str, ...]
    atoms: tuple[tuple[str, tuple[Span, ...]], ...]


def parts(messages: Iterable[Message], trace_id: bytes, projector: Projector, format: Format) -> Iterator[Part]:  # noqa: A002, named like the setting
    """The parts of a trace in records, in their order; one that may hold it and cannot be read is among them."""
    decoder = Decoder(projector.interest, format)
    for message in messages:
        value, topic = message.value() or b"", message.topic() or ""
        if not trace_lookup.may_hold(value, trace_id):
            continue
        _, time_ms = message.timestamp()
        place = (topic, message.partition() or 0, message.offset() or 0, time_ms)
        try:
            decoded = decoder.decode(value, RecordKind.LOGS if "log" in topic else RecordKind.SPANS)
        except RecordError as error:
            yield Part(*place, TraceSpans(0, root_seen=False, spans=[]), str(error))
            continue
        if trace := decoded.traces.get(trace_id):
            yield Part(*place, trace)


def sights(trace_id: bytes, found: Sequence[Part], rules: RuleSet) -> list[Sight]:
    """What each enabled rule sees of the parts, sorted by rule id."""
    judged = {
        judgement.rule.id: judgement
        for _, judgement in offline.judge_spans([{trace_id: part.trace} for part in found], rules)
    }
    seen: defaultdict[bytes, list[Span]] = defaultdict(list)
    for part in found:
        for span in part.trace.spans:
            for atom in rules.hits(span):
                seen[atom.fingerprint].append(span)
    said = []
    for rule in rules.rules:
        if rule.enabled:
            atoms = sorted((rules.atoms[each].text, tuple(seen[each])) for each in rule.atoms)
            judgement = judged.get(rule.id)
            verdict = Verdict.NOT_APPLICABLE if judgement is None else judgement.verdict
            missing, present = ((), ()) if judgement is None else (judgement.missing, judgement.present)
            said.append(Sight(rule.id, verdict, missing, present, tuple(atoms)))
    return said
