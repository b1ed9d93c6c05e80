"""Explains what each rule sees of one trace in the source topics.

In: the records that contain a part of the trace. Out: for each rule its verdict on all of them, and its atoms with the
spans that satisfy them. There are no windows here: everything in the topics is judged at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from confluent_kafka import Message

from dsl import RuleSet, Span, Verdict
from streams.decode.decoder import Decoder, Format
from streams.decode.records import TraceSpans
from streams.decode.trace_ids import may_hold
from streams.errors import RecordError
from streams.inspect import offline
from streams.projection.project import Projector
from topics.otlp.requests import RecordKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The part of the trace in one source record; `reason` says why the record cannot be read, None if it can."""

    topic: str
    partition: int
    offset: int
    time_ms: int
    trace: TraceSpans
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one rule sees: its verdict, what it lacks or forbids, and the text of its atoms with their spans."""

    rule: str
    verdict: Verdict
    missing: tuple[str, ...]
    present: tuple[str, ...]
    atoms: tuple[tuple[str, tuple[Span, ...]], ...]


def parts(messages: Iterable[Message], trace_id: bytes, projector: Projector, format: Format) -> Iterator[Part]:  # noqa: A002, named like the setting
    """Yield the parts of a trace in records, in order, including records that may contain one and cannot be read."""
    decoder = Decoder(projector.interest, format)
    for message in messages:
        value, topic = message.value() or b"", message.topic() or ""
        if not may_hold(value, trace_id):
            continue
        _, time_ms = message.timestamp()
        at = partial(
            Part, topic=topic, partition=message.partition() or 0, offset=message.offset() or 0, time_ms=time_ms
        )
        try:
            decoded = decoder.decode(value, RecordKind.LOGS if "log" in topic else RecordKind.SPANS)
        except RecordError as error:
            yield at(trace=TraceSpans(0, root_seen=False, spans=[]), reason=str(error))
            continue
        if trace := decoded.traces.get(trace_id):
            yield at(trace=trace)


def sights(trace_id: bytes, parts: Sequence[Part], rules: RuleSet) -> list[Sight]:
    """Return what each enabled rule sees of the parts, sorted by rule id."""
    judged = {
        judgement.rule.id: judgement
        for _, judgement in offline.judge_spans([{trace_id: part.trace} for part in parts], rules)
    }
    matches: defaultdict[bytes, list[Span]] = defaultdict(list)
    for part in parts:
        for span in part.trace.spans:
            for atom in rules.hits(span):
                matches[atom.fingerprint].append(span)
    result = []
    for rule in rules.rules:
        if rule.enabled:
            atoms = sorted((rules.atoms[each].text, tuple(matches[each])) for each in rule.atoms)
            judgement = judged.get(rule.id)
            verdict = Verdict.NOT_APPLICABLE if judgement is None else judgement.verdict
            missing, present = ((), ()) if judgement is None else (judgement.missing, judgement.present)
            result.append(Sight(rule=rule.id, verdict=verdict, missing=missing, present=present, atoms=tuple(atoms)))
    return result
