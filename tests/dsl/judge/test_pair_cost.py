"""What pairs cost: each is evaluated once for a judgement, in time that grows with the trace."""

from __future__ import annotations

from collections import Counter

import pytest

from dsl import Span, compile_texts, judge
from dsl.compile.review import InMemoryAtomFacts
from dsl.judge.occurrences import Occurrences
from tests.support.growth import LINEAR, growth

CHAIN = 50
"""The length of a chain of spans, in which each is the child of the one before."""


class _CountedFacts:
    """The facts of an atom; it counts how often their occurrences are read."""

    def __init__(self, facts: InMemoryAtomFacts) -> None:
        self._facts = facts
        self.reads = 0
        self.first_ns, self.last_ns, self.identity_count = facts.first_ns, facts.last_ns, facts.identity_count

    @property
    def occurrences(self) -> Occurrences | None:
        """Those of the facts."""
        self.reads += 1
        return self._facts.occurrences


def _reads(text: str, spans: list[Span], *, whole: bool) -> Counter[str]:
    """How often the occurrences of each atom are read to judge a trace."""
    rules, _ = compile_texts({"t.rules": text})
    remembered: dict[bytes, InMemoryAtomFacts] = {}
    for span in spans:
        for atom in rules.hits(span):
            remembered.setdefault(atom.fingerprint, InMemoryAtomFacts()).add(atom, span)
    facts = {fingerprint: _CountedFacts(each) for fingerprint, each in remembered.items()}
    judge(rules, facts, whole=whole)
    reads: Counter[str] = Counter()
    for fingerprint, each in facts.items():
        reads[rules.atoms[fingerprint].text] += each.reads
    return +reads


def _span(name: str, number: int, parent: int | None = None, k: int = 0) -> Span:
    span_id = f"{number:08}".encode()
    parent_id = b"" if parent is None else f"{parent:08}".encode()
    return Span(name, span_id=span_id, parent_id=parent_id, start_ns=1 + number, attributes={"k": k}, identity=span_id)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    "condition",
    [
        "when { a } always { each a has b with same k }",
        "when { a } always { each a has own b with same k }",
        "when { a } always { not not (each a has b with same k or c) }",
        "when { some a has b with same j } never { a }",
        "when { a } never { some a has b with same j }",
    ],
)
def test_a_pair_is_evaluated_once_for_a_judgement(condition: str, *, whole: bool) -> None:
    """Verdict, reasons and explanation share one evaluation, and so do two rules with one pair."""
    spans = [_span("a", 1), _span("b", 2, k=1)]
    for span in spans:
        span.attributes = {**span.attributes, "j": 1}

    reads = _reads(f"// id: one\n{condition}\n// id: two\n{condition}", spans, whole=whole)

    assert Counter(a=1, b=1) == reads


def test_one_index_is_kept_at_a_time() -> None:
    """Of several pairs, each that explains the verdict is evaluated once more, so that memory holds one index."""
    condition = "when { a } always { each a has b with same k } never { not each a has c with same k }"

    reads = _reads(f"// id: r\n{condition}", [_span("a", 1), _span("b", 2, k=1), _span("c", 3, k=1)], whole=True)

    assert Counter(a=4, b=2, c=2) == reads


@pytest.mark.parametrize(
    "pair",
    [
        "each a has a below",
        "each a has a above",
        "each a has own a before with same k",
        "each a that has b below has a after with different k",
    ],
)
def test_time_to_judge_a_pair_grows_with_the_trace(pair: str) -> None:
    """Chains in which every span is the child of the one before; ancestors are counted up to a limit anyway."""
    rules, _ = compile_texts({"t.rules": f"// id: r\nwhen {{ a }} always {{ {pair} }}"})

    def facts(count: int) -> dict[bytes, InMemoryAtomFacts]:
        found: dict[bytes, InMemoryAtomFacts] = {}
        for number in range(count):
            name, parent = "a" if number < count - 1 else "b", number - 1 if number % CHAIN else None
            span = _span(name, number, parent, number % 7)
            for atom in rules.hits(span):
                found.setdefault(atom.fingerprint, InMemoryAtomFacts()).add(atom, span)
        return found

    short, long = facts(500), facts(2000)

    assert LINEAR > growth(lambda: judge(rules, short, whole=True), lambda: judge(rules, long, whole=True))
