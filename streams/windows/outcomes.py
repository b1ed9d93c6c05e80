"""Evaluates a closed window: compares verdicts with the previous ones and creates findings for those that changed.

In: a close and the judgements of its chain. Out: outcomes, each with a finding if a signal is due. Pure except for
`Chain.last_verdicts`, where the new verdict replaces the old one.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter

import msgspec

from dsl import Judgement, Mode, Rule, RuleSet, Verdict, judge
from dsl.judge.events import span_identity
from streams.windows.chain import Chain, LastVerdict
from streams.windows.close import Close
from streams.windows.dedup import signal_dedup
from streams.windows.facts import WitnessedSpan
from streams.windows.pairs import pair_texts
from topics.records.facts import TICK_MS
from topics.signals.finding import Finding, RuleText, SignalWitness, SourceRange

SIGNALLED = frozenset({Verdict.BROKEN.value, Verdict.UNDETERMINED.value})
SPAN_ID_BYTES = 8
LOG_IDENTITY_BYTES = 16


class Outcome(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The verdict of one rule on one chain, the verdict it replaces, and a finding if a signal is due.

    `first_ms` is the record time of the earliest fact of the rule's own atoms, which is when the trace began for this
    rule. `revision` is that of the chain's last signal, None when it has none. `excepted` is 1 when the rule became
    inapplicable only because of an exception, -1 when that ended, else 0.
    """

    rule: Rule
    first_ms: int
    verdict: str
    previous: str | None
    revision: int | None
    excepted: int
    finding: Finding | None


def evaluate_close(
    close: Close, rules: RuleSet, judged_by: frozenset[str], *, reach_ms: int | None
) -> Iterator[Outcome]:
    """Yield the outcomes of a close, for the rules whose fingerprint is in `judged_by`.

    `reach_ms` is gap + lateness; None omits the findings, for callers that only count verdicts.
    """
    for judgement in _judgements(close, rules):
        rule = judgement.rule
        if rule.fingerprint in judged_by:
            first = first_tick(close.chain, rule)
            if close.read_again_from is None or first < close.read_again_from:
                yield _outcome(close, judgement, first, reach_ms)


def _judgements(close: Close, rules: RuleSet) -> Iterator[Judgement]:
    """Yield the judgements of a close; rules that applied to the chain and no longer do come last."""
    silent = set(close.chain.last_verdicts)
    for judgement in judge(rules, close.chain.facts, whole=close.whole):
        silent.discard(_key(judgement.rule))
        yield judgement
    for rule in rules.rules if silent else ():
        if rule.enabled and _key(rule) in silent:
            yield Judgement(rule, Verdict.NOT_APPLICABLE, (), (), (), excepted=False)


def first_tick(chain: Chain, rule: Rule) -> int:
    """Return the tick of the earliest fact of the rule's own atoms, which other rules cannot influence."""
    facts = chain.facts
    ticks = (facts[atom].first_tick for atom in rule.atoms if atom in facts)
    return min((tick for tick in ticks if tick is not None), default=chain.first)


def _key(rule: Rule) -> str:
    """Return the key of a rule's verdicts.

    Two rules may have the same text, and a push may change the text of a rule: each combination has its own verdicts.
    """
    return f"{rule.id} {rule.fingerprint}"


def _outcome(close: Close, judgement: Judgement, first: int, reach_ms: int | None) -> Outcome:
    rule, verdict = judgement.rule, judgement.verdict.value
    before = close.chain.last_verdicts.get(_key(rule))
    previous = None if before is None else before.verdict
    is_due = verdict != previous and (verdict in SIGNALLED or (before is not None and before.revision is not None))
    published = is_due and rule.mode is Mode.LIVE
    after = _last_verdict(before, judgement, close.closed_ms if published else None)
    close.chain.last_verdicts[_key(rule)] = after
    excepted = judgement.excepted - (before is not None and before.excepted)
    finding = None
    if published and reach_ms is not None and not after.withheld:
        finding = _finding(close, judgement, previous, after, first=first, reach_ms=reach_ms)
    return Outcome(
        rule=rule,
        first_ms=first * TICK_MS,
        verdict=verdict,
        previous=previous,
        revision=after.revision,
        excepted=excepted,
        finding=finding,
    )


def _last_verdict(before: LastVerdict | None, judgement: Judgement, published_ms: int | None) -> LastVerdict:
    """Return the verdict to remember; `published_ms` is None when no signal goes out."""
    revision, created_ms = (None, None) if before is None else (before.revision, before.created_ms)
    if published_ms is not None:
        revision, created_ms = (1, published_ms) if revision is None else (revision + 1, created_ms)
    withheld = before is not None and before.withheld
    return LastVerdict(judgement.verdict.value, revision, created_ms, judgement.excepted, withheld)


def withhold(chain: Chain, rule: Rule) -> None:
    """Mark the rule's first signal on the chain as unpublished, so that no amendment is published either."""
    chain.last_verdicts[_key(rule)] = msgspec.structs.replace(chain.last_verdicts[_key(rule)], withheld=True)


def _finding(
    close: Close, judgement: Judgement, previous: str | None, last: LastVerdict, *, first: int, reach_ms: int
) -> Finding:
    chain, window = close.chain, close.window
    return Finding(
        rule=rule_text(judgement.rule),
        trace_id=close.trace_id,
        verdict=last.verdict,
        revision=last.revision or 1,
        previous_verdict=previous,
        late=_is_late(chain, judgement.rule, first * TICK_MS - reach_ms),
        close_reason=close.reason.value,
        first_fact_ms=first * TICK_MS,
        first_ms=window.first * TICK_MS,
        last_ms=window.last * TICK_MS,
        closed_ms=close.closed_ms,
        first_published_ms=close.closed_ms if last.created_ms is None else last.created_ms,
        spans=window.span_count,
        root_seen=window.root_seen,
        missing=judgement.missing,
        present=judgement.present,
        witnesses=tuple(witnesses(chain, judgement)),
        pairs=tuple(pair_texts(judgement.explanations, chain.facts)),
        sources=tuple(SourceRange(at.topic, at.partition, at.first_offset, at.last_offset) for at in chain.sources),
        dedup=signal_dedup(judgement.rule, chain.facts, first * TICK_MS),
    )


def rule_text(rule: Rule) -> RuleText:
    """Return what a signal states about its rule."""
    triage = rule.triage
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
        author=triage.author,
        version=triage.version,
        date=triage.date,
        modified=triage.modified,
        related=triage.related,
        attack=triage.attack,
        atlas=triage.atlas,
        runbook=triage.runbook,
        false_positives=triage.false_positives,
        risk_score=triage.risk_score,
    )


def witnesses(chain: Chain, judgement: Judgement) -> Iterator[SignalWitness]:
    """Yield the witnesses of a judgement, by subject in the order of the rule, then by start.

    A subject that is compared in several ways has an atom for each. Its spans are shown once, with what all of its
    atoms show.
    """
    by_subject: dict[str, dict[bytes, WitnessedSpan]] = {}
    for subject, atom in judgement.subjects:
        shown = by_subject.setdefault(subject, {})
        for span in chain.facts[atom].witnesses if atom in chain.facts else ():
            known = shown.get(span.identity)
            shown[span.identity] = span if known is None else _with_attributes_of(known, span)
    for subject, shown in by_subject.items():
        yield from (_signal_witness(subject, span) for span in sorted(shown.values(), key=attrgetter("order")))


def _with_attributes_of(span: WitnessedSpan, other: WitnessedSpan) -> WitnessedSpan:
    attributes = {**other.witness.attributes, **span.witness.attributes}
    in_order = {name: attributes[name] for name in sorted(attributes)}
    return msgspec.structs.replace(span, witness=msgspec.structs.replace(span.witness, attributes=in_order))


def _signal_witness(subject: str, span: WitnessedSpan) -> SignalWitness:
    identity = span_identity(span.identity)
    size, is_log = len(identity), len(identity) >= LOG_IDENTITY_BYTES
    return SignalWitness(
        subject=subject,
        # The hash that identifies a span without an id is not a span id: no tool could look it up.
        span_id=identity if is_log or size <= SPAN_ID_BYTES else b"",
        name=span.witness.name,
        service=span.witness.service,
        start_ns=span.start_ns,
        duration_ns=span.witness.duration_ns,
        attributes=dict(span.witness.attributes),
        is_log=is_log,
    )


def _is_late(chain: Chain, rule: Rule, earliest_ms: int) -> bool:
    """Return whether a hit of the rule is before `earliest_ms`, that is gap + lateness before its record."""
    starts_ns = [chain.facts[atom].first_ns for atom in rule.atoms if atom in chain.facts]
    return any(start_ns is not None and start_ns // 1_000_000 < earliest_ms for start_ns in starts_ns)
