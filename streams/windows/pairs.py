"""Describes the spans that a pair is about, and the numbers of an aggregate, for the sentence of a signal.

In: the explanations of a judgement, and the facts of its chain. Out: a text for each pair: how many of its subject have
or lack a partner, and which. One for each aggregate: what the numbers are. A span is named by the values that the pair
compares, if its witness was kept, and by its start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from dsl.judge.aggregates import QuantityExplanation
from dsl.judge.occurrences import Occurrence
from dsl.judge.pairs import PairExample, PairExplanation
from streams.windows.facts import AtomFacts
from topics.signals.finding import PairText
from topics.signals.sentence import plain_or_quoted
from topics.times import rfc3339

_ID_BYTES = 8


def pair_texts(
    explanations: Iterable[PairExplanation | QuantityExplanation], facts: Mapping[bytes, AtomFacts]
) -> Iterator[PairText]:
    """Yield a text for each pair or aggregate; it is empty where the first and last starts sufficed to decide."""
    for explanation in explanations:
        if isinstance(explanation, QuantityExplanation):
            yield PairText(explanation.text, " and ".join(explanation.amounts))
            continue
        text = _lacking(explanation, facts) if explanation.is_missing else _having(explanation, facts)
        yield PairText(explanation.labels.text, text if explanation.examples else "")


def _lacking(explanation: PairExplanation, facts: Mapping[bytes, AtomFacts]) -> str:
    labels = explanation.labels
    own = " of their own" if explanation.is_own else ""
    return f"{_counted(explanation)} no {labels.partner}{own}: {_listed(explanation, facts)}"


def _having(explanation: PairExplanation, facts: Mapping[bytes, AtomFacts]) -> str:
    return f"{_counted(explanation)} such {explanation.labels.partner}: {_listed(explanation, facts)}"


def _counted(explanation: PairExplanation) -> str:
    has = "has" if explanation.count == 1 else "have"
    return f"{explanation.count} of {explanation.total} {explanation.labels.subject} {has}"


def _listed(explanation: PairExplanation, facts: Mapping[bytes, AtomFacts]) -> str:
    shown = [_span(example, explanation, facts) for example in explanation.examples]
    left_out = explanation.count - len(shown)
    return ", ".join([*shown, *([f"{left_out} more"] if left_out else [])])


def _span(example: PairExample, explanation: PairExplanation, facts: Mapping[bytes, AtomFacts]) -> str:
    labels = explanation.labels
    shown = _shown(example.occurrence, labels.keys, facts.get(explanation.subject))
    remembered = facts.get(explanation.partner)
    if example.partner is None or remembered is None or remembered.occurrences is None:
        return shown
    partner = remembered.occurrences.get(example.partner)
    # A key that both have in common is shown once.
    return (
        shown
        if partner is None
        else f"{shown} with {labels.partner} {_shown(partner, labels.partner_keys, remembered)}"
    )


def _shown(occurrence: Occurrence, keys: Iterable[str], remembered: AtomFacts | None) -> str:
    """Return the values of an occurrence that a pair compares, and its start."""
    identity = occurrence.identity
    start_ns = occurrence.order[0]
    start = rfc3339(start_ns // 1_000_000) if start_ns >= 0 else None
    at = f"at {start}" if start else f"span {identity[:_ID_BYTES].hex()}"
    return " ".join([*_values(identity, keys, remembered), at])


def _values(identity: bytes, keys: Iterable[str], remembered: AtomFacts | None) -> list[str]:
    """Return the values of keys, redacted, as the witness of a span has them."""
    witnesses = remembered.witnesses if remembered else []
    witness = next((each.witness for each in witnesses if each.identity == identity), None)
    if witness is None:
        return []
    named = {
        name: value
        for key in keys
        for name, value in witness.attributes.items()
        if name == key or name.endswith(f".{key}")
    }
    return [f"{name} {plain_or_quoted(str(value))}" for name, value in named.items()]
