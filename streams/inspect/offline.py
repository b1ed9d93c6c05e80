"""Judges traces from a file without Kafka: `betrace eval` runs it, and tests compare live processing with it.

In: decoded records and rules. Out: one window per trace, closed by the end of the input, with its judgements.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from dsl import Judgement, RuleSet, judge
from streams.decode.records import TraceSpans
from streams.projection.project import IDENTITY_ATTRIBUTES, Projector
from streams.windows.chain import Bounds
from streams.windows.close import Close
from streams.windows.reorder import Arrival
from streams.windows.sessions import Sessions
from topics.records.facts import Entry

FILE = "file"
"""The name of the source topic for a file."""


def judge_spans(
    traces: Iterable[Mapping[bytes, TraceSpans]], rules: RuleSet, identity: tuple[str, ...] = IDENTITY_ATTRIBUTES
) -> Iterator[tuple[Close, Judgement]]:
    """Yield the verdicts on traces from a file: one window per trace, closed by the end of the input.

    `traces` are decoded records in any order. Judgements come by trace id, then in the order of the rules.
    """
    projector = Projector(rules, identity)
    counted = {fingerprint: atom.counted for fingerprint, atom in rules.atoms.items() if atom.counted}
    sessions = Sessions(Bounds(gap=1, lateness=0, max_duration=1), counted)
    for offset, record in enumerate(traces):
        for trace_id, trace in record.items():
            facts = projector.facts(trace)
            if facts:
                entry = Entry(trace_id, offset, offset, 0, trace.span_count, trace.root_seen, facts)
                sessions.buffer.add(0, Arrival(FILE, 0, entry), 0)
    for close in sessions.end():
        for judgement in judge(rules, close.chain.facts, whole=close.whole):
            yield close, judgement
