"""The engine the slow way: all spans of a trace are kept, and every verdict is found by looking at all of them again.

In: spans with the tick of their record, rules, bounds in ticks. Out: what must be published, whatever the order.
"""

from __future__ import annotations

from collections.abc import Iterator

from dsl import Atom, RuleSet, Span, judge
from dsl.judge.keys import hash_variants
from dsl.judge.occurrences import Occurrences
from streams.windows.chain import Bounds
from streams.windows.facts import AtomFacts
from topics.signals.finding import uid

FOREVER = 1 << 40
Arrived = list[tuple[int, Span]]


def signals(trace: bytes, arrived: Arrived, rules: RuleSet, bounds: Bounds) -> Iterator[tuple[str, int, str, int, int]]:
    """The signals on one trace: uid, revision, verdict, first and last tick of the window."""
    said: dict[tuple[str, int], tuple[str, int]] = {}
    for chain, first, last, whole, came in _closes(arrived, list(rules.atoms.values()), bounds):
        spans = [span for _, span in came]
        facts = {key: _facts(atom, spans) for key, atom in rules.atoms.items() if any(map(atom.holds, spans))}
        verdicts = {at.rule.id: at.verdict.value for at in judge(rules, facts, whole=whole)}
        for rule in rules.rules:
            before, revision = said.get((rule.id, chain), ("not_applicable", 0))
            verdict = verdicts.get(rule.id, "not_applicable")
            if verdict != before and (revision or verdict in {"broken", "undetermined"}):
                revision += 1
                of_rule = [rules.atoms[atom] for atom in rule.atoms]
                begun = min(tick for tick, span in came if any(atom.holds(span) for atom in of_rule))
                yield uid(rule.id, rule.fingerprint, trace, begun * 100), revision, verdict, first, last
            said[rule.id, chain] = verdict, revision


def _closes(arrived: Arrived, atoms: list[Atom], bounds: Bounds) -> Iterator[tuple[int, int, int, bool, Arrived]]:
    """Per close: the chain's first tick, the window's first and last, whether it is whole, the chain's spans."""
    gap, lateness, longest = bounds.gap, bounds.lateness, bounds.max_duration
    chain, opened, last, is_headless, spans = -FOREVER, -FOREVER, -FOREVER, False, Arrived()
    for tick in [*sorted({tick for tick, _ in arrived}), FOREVER]:
        end = min(last + gap + 1, opened + longest, chain + longest + lateness)
        if opened >= 0 and tick >= end:
            yield chain, opened, last, end > last + gap and not is_headless, spans
            opened = -FOREVER
        came = [(at, span) for at, span in arrived if at == tick]
        if opened < 0 and came:
            is_known = tick <= last + gap + lateness
            is_over = not is_known or tick >= chain + longest + lateness
            if is_over and any(atom.holds(span) for _, span in came for atom in atoms):
                chain, is_headless, spans, opened = tick, is_known, [], tick
            elif not is_over:
                opened = tick
        if opened >= 0:
            last, spans = tick, spans + came


def _facts(atom: Atom, spans: list[Span]) -> AtomFacts:
    hits = [span for span in spans if atom.holds(span)]
    found = [(span, hit) for span in hits for hit in atom.hits(span)]
    times = [hit.time_ns for _, hit in found if hit.time_ns is not None]
    occurrences = Occurrences()
    for span, hit in found:
        keys = hash_variants([atom.hit_keys(span, hit)], atom.unredacted_hashes)
        occurrences.add(span.span_id + hit.suffix, hit.time_ns, keys)
    identities = sorted({span.span_id for span in hits})
    return AtomFacts(
        first_ns=min(times, default=None),
        last_ns=max(times, default=None),
        witnesses=[],
        identities=identities,
        occurrences=occurrences,
    )
