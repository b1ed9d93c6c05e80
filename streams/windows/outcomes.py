"""What is said of a closed window: verdicts compared with the last ones, findings for those that changed.

In: a close and the judgements of its chain. Out: outcomes, each with a finding when a signal is due. Pure but for
`Chain.judged`, where the new verdict takes the old one's place.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from dsl import Judgement, Mode, Rule, RuleSet, Verdict, judge
from streams.windows.chain import Chain, Judged
from streams.windows.close import Close
from streams.windows.pairs import pair_texts
from topics.records.facts import TICK_MS
from topics.signals.finding import Finding, RuleText, SignalWitness, SourceRange

SIGNALLED = frozenset({Verdict.BROKEN.value, Verdict.UNDETERMINED.value})
SPAN_ID_BYTES = 8
LOG_IDENTITY_BYTES = 16


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """One rule's verdict on one chain: the new one, the one it takes back, and the finding if one is due.

    `first_ms` is the record time of the earliest fact of the rule's own atoms: when the trace began, for this rule.
    `revision` is that of the chain's last signal, None when it has none. `excepted` is 1 when the rule would be
    applicable but for an exception, -1 when that was so until now, else 0.
    """

    rule: Rule
    first_ms: int
    verdict: str
    previous: str | None
    revision: int | None
    excepted: int
    finding: Finding | None


def outcomes(close: Close, rules: RuleSet, judged_by: frozenset[str], *, reach_ms: int | None) -> Iterator[Outcome]:
    """The outcomes of one close, for the rules whose fingerprint is in `judged_by`.

    `reach_ms` is gap + lateness; None, where verdicts are only counted, leaves the findings out.
    """
    for judgement in _judgements(close, rules):
        rule = judgement.rule
        if rule.fingerprint in judged_by:
            first = first_tick(close.chain, rule)
            if close.read_again_from is None or first < close.read_again_from:
                yield _outcome(close, judgement, first, reach_ms)


def _judgements(close: Close, rules: RuleSet) -> Iterator[Judgement]:
    """The judgements of a close; those of rules that were about the chain and are not any more come last."""
    silent = set(close.chain.judged)
    for judgement in judge(rules, close.chain.facts, whole=close.whole):
        silent.discard(_key(judgement.rule))
        yield judgement
    for rule in rules.rules if silent else ():
        if rule.enabled and _key(rule) in silent:
            yield Judgement(rule, Verdict.NOT_APPLICABLE, (), (), (), excepted=False)


def first_tick(chain: Chain, rule: Rule) -> int:
    """The record tick of the chain's earliest fact of the rule's own atoms: the same, whatever other rules hit."""
    facts = chain.facts
    found = (facts[atom].first_tick for atom in rule.atoms if atom in facts)
    return min((tick for tick in found if tick is not None), default=chain.first)


def _key(rule: Rule) -> str:
    """Two rules may say the same, and one rule something else after a push: each has verdicts of its own."""
    return f"{rule.id} {rule.fingerprint}"


def _outcome(close: Close, judgement: Judgement, first: int, reach_ms: int | None) -> Outcome:
    rule, verdict = judgement.rule, judgement.verdict.value
    before = close.chain.judged.get(_key(rule))
    previous = None if before is None else before.verdict
    is_due = verdict != previous and (verdict in SIGNALLED or (before is not None and before.revision is not None))
    published = is_due and rule.mode is Mode.LIVE
    after = _judged(before, judgement, close.closed_ms if published else None)
    close.chain.judged[_key(rule)] = after
    excepted = judgement.excepted - (before is not None and before.excepted)
    finding = None
    if published and reach_ms is not None and not after.withheld:
        finding = _finding(close, judgement, previous, after, first=first, reach_ms=reach_ms)
    return Outcome(rule, first * TICK_MS, verdict, previous, after.revision, excepted, finding)


def _judged(before: Judged | None, judgement: Judgement, published_ms: int | None) -> Judged:
    """What is remembered; `published_ms` is None when no signal goes out."""
    revision, created_ms = (None, None) if before is None else (before.revision, before.created_ms)
    if published_ms is not None:
        revision, created_ms = (1, published_ms) if revision is None else (revision + 1, created_ms)
    withheld = before is not None and before.withheld
    return Judged(judgement.verdict.value, revision, created_ms, judgement.excepted, withheld)


def withhold(chain: Chain, rule: Rule) -> None:
    """The rule's first signal on the chain is not published: whoever reads signals never hears of it."""
    chain.judged[_key(rule)] = msgspec.structs.replace(chain.judged[_key(rule)], withheld=True)


def _finding(
    close: Close, judgement: Judgement, previous: str | None, judged: Judged, *, first: int, reach_ms: int
) -> Finding:
    chain, window = close.chain, close.window
    return Finding(
        rule=rule_text(judgement.rule),
        trace_id=close.trace_id,
        verdict=judged.verdict,
        revision=judged.revision or 1,
        previous_verdict=previous,
        late=_is_late(chain, judgement.rule, first * TICK_MS - reach_ms),
        close_reason=close.reason.value,
        first_fact_ms=first * TICK_MS,
        first_ms=window.first * TICK_MS,
        last_ms=window.last * TICK_MS,
        closed_ms=close.closed_ms,
        first_published_ms=close.closed_ms if judged.created_ms is None else judged.created_ms,
        spans=window.span_count,
        root_seen=window.root_seen,
        missing=judgement.missing,
        present=judgement.present,
        witnesses=tuple(shown(chain, judgement)),
        pairs=tuple(pair_texts(judgement.pairs, chain.facts)),
        sources=tuple(SourceRange(at.topic, at.partition, at.first_offset, at.last_offset) for at in chain.sources),
    )


def rule_text(rule: Rule) -> RuleText:
    """What a signal tells of its rule."""
    return RuleText(
        id=rule.id,
        title=rule.title,
        description=rule.description,
        severity=rule.severity.value,
        kind=rule.kind.value,
        controls=rule.controls,
        tags=rule.tags,
        owner=rule.owner,
        references=rule.references,
        fingerprint=rule.fingerprint,
        text=rule.text,
    )


def shown(chain: Chain, judgement: Judgement) -> Iterator[SignalWitness]:
    """The witnesses of a judgement: by subject in the order of the rule, then by start."""
    for subject, atom in judgement.subjects:
        remembered = chain.facts.get(atom)
        for seen in remembered.witnesses if remembered else ():
            size, is_log = len(seen.identity), len(seen.identity) >= LOG_IDENTITY_BYTES
            yield SignalWitness(
                subject=subject,
                # What a span without an id is told by is no id, and leads nowhere.
                span_id=seen.identity if is_log or size <= SPAN_ID_BYTES else b"",
                name=seen.witness.name,
                service=seen.witness.service,
                start_ns=seen.start_ns,
                duration_ns=seen.witness.duration_ns,
                attributes=dict(seen.witness.attributes),
                is_log=is_log,
            )


def _is_late(chain: Chain, rule: Rule, earliest_ms: int) -> bool:
    """What the rule looks at started before `earliest_ms`: more than gap + lateness before it was recorded."""
    starts_ns = [chain.facts[atom].first_ns for atom in rule.atoms if atom in chain.facts]
    return any(start_ns is not None and start_ns // 1_000_000 < earliest_ms for start_ns in starts_ns)
