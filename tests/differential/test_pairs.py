"""Pairs against a reference that holds every span against every other: the same verdicts, in any order of facts."""

from __future__ import annotations

import json
from random import Random

import msgspec
from hypothesis import event, given
from hypothesis import strategies as st

from dsl import Event, Judgement, RuleSet, Span, Value, compile_texts, judge
from dsl.compile.review import judge_trace
from dsl.judge.span import Attributes
from dsl.syntax import nodes
from dsl.syntax.printer import body_text, cond_text
from streams.projection.project import Projector
from streams.projection.redact import Redaction, Treatment
from streams.windows.facts import AtomFacts
from tests.differential import naive_rules
from tests.differential.naive_rules import Trace
from topics.records.facts import Fact

_names = st.sampled_from(["a", "b", "d"]).map(nodes.Name)
_subjects = st.builds(nodes.Has, _names)
_key_names = st.sampled_from(["x", "y"]).map(nodes.Name)
_keys = st.lists(
    st.builds(nodes.JoinKey, st.sampled_from(["same", "same", "different"]), _key_names)
    | st.builds(nodes.JoinKey, st.sampled_from(["==", "!="]), _key_names, _key_names),
    max_size=2,
).map(tuple)
_structures = st.sampled_from(["above", "below", "directly above", "directly below", "beside"]).map(nodes.RelationWord)
_durations = st.integers(0, 3).map(nodes.Duration)
_within = st.builds(nodes.RelationWord, st.just("within"), _durations)
_sometimes = st.just(()) | st.just(()) | st.tuples(_within) | st.tuples(_structures) | st.tuples(_structures, _within)
_orders = st.sampled_from(["before", "after"]).map(nodes.RelationWord)
_between = st.lists(st.builds(nodes.Without, _subjects, st.booleans()), max_size=1).map(tuple)
_ordered = st.tuples(_orders, _sometimes).map(lambda words: (words[0], *words[1]))
_relations = (
    st.builds(nodes.Relations, _ordered, _keys, _between)
    | st.builds(nodes.Relations, _sometimes, _keys)
    | st.builds(nodes.Relations, st.tuples(_orders))
)
_narrowing = st.none() | st.builds(nodes.Partner, _subjects, _relations)
_partners = st.builds(nodes.Partner, _subjects, _relations, st.booleans())
_pairs = st.builds(
    nodes.Pair, quantifier=st.sampled_from(["each", "some"]), subject=_subjects, that=_narrowing, partner=_partners
)
_exprs = _pairs | _pairs.map(nodes.Not)
_one, _none = st.tuples(_exprs), st.just(())
_rules = st.tuples(_exprs, st.just("pattern")) | st.tuples(
    st.builds(nodes.When, _subjects | _exprs, _one, _none | _one) | st.builds(nodes.When, _exprs, _none, _one),
    st.just("conditional"),
)
_exceptions = st.lists(
    st.sampled_from([nodes.Comparison(nodes.Name("x"), "==", nodes.Number(1)), nodes.Exists(nodes.Name("y"))]),
    max_size=1,
)

_values: st.SearchStrategy[Value] = st.sampled_from(
    [1, 2, "1", 1.0, [1, 2], ["2", 3], True, "true", None, [], float("nan"), "01", b"1"]
)
_attributes: st.SearchStrategy[Attributes] = st.dictionaries(st.sampled_from(["x", "y", "a", "b"]), _values, max_size=2)


def _identified(span: Span) -> Span:
    """The span, which its id identifies unless it is a log record."""
    span.identity = span.identity if span.is_log else span.span_id
    return span


_spans = st.builds(
    Span,
    name=st.sampled_from(["a", "b", "d"]),
    start_ns=st.sampled_from([None, 1, 2, 3, 4, 5, 6]),
    attributes=_attributes,
    events=st.lists(
        st.builds(Event, st.sampled_from(["a", "b"]), _attributes, st.sampled_from([None, 2, 3, 5])), max_size=2
    ).map(tuple),
    span_id=st.integers(1, 7).map(lambda number: bytes([number]) * 8),
    parent_id=st.integers(0, 8).map(lambda number: bytes([number]) * 8 * (number > 0)),
    is_log=st.sampled_from([False, False, False, True]),
    kind=st.sampled_from([None, None, "server", "consumer", "client"]),
    identity=st.integers(1, 7).map(lambda number: bytes([number]) * 8),
).map(_identified)
_REDACTED = Redaction({"x": Treatment.HASH, "b.y": Treatment.MASK}, b"0123456789abcdef")


@given(_rules, _exceptions, st.lists(_spans, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_verdict_is_that_of_the_reference(
    rule: tuple[nodes.RuleBody, str], exceptions: list[nodes.Cond], spans: list[Span], random: Random
) -> None:
    """Whole or cut, from spans or from facts in any order and number, a pair says what the reference says."""
    form, kind = rule
    excepted = [{"where": cond_text(cond)} for cond in exceptions]
    said = {"id": "r", "kind": kind, "condition": body_text(form), "exceptions": excepted}
    rules, _ = compile_texts({"t.yaml": json.dumps({"rules": [said]})})
    facts = [*Projector(rules, redaction=_REDACTED).facts_of(spans)] * 2
    random.shuffle(facts)
    window = merged(rules, facts[: len(spans)], facts[len(spans) :])

    for is_whole in (True, False):
        expected = naive_rules.verdict(form, kind, Trace(spans, is_whole, tuple(exceptions)))
        event(f"{'whole' if is_whole else 'cut'}: {expected}")

        assert expected == one_verdict(judge_trace(rules, spans, whole=is_whole))
        assert expected == one_verdict(judge(rules, window, whole=is_whole))


def merged(rules: RuleSet, *groups: list[Fact]) -> dict[bytes, AtomFacts]:
    """What windows remember that saw the facts in groups and became one, read back from disk."""
    found: dict[bytes, AtomFacts] = {}
    for facts in groups:
        for fact in facts:
            one = AtomFacts()
            counted = rules.atoms[fact.atom].counted
            one.add(msgspec.msgpack.decode(msgspec.msgpack.encode(fact), type=Fact), counted, 1)
            found.setdefault(fact.atom, AtomFacts()).merge(one, counted, fact.atom)
    return msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=dict[bytes, AtomFacts])


def one_verdict(judgements: list[Judgement]) -> str:
    """The verdict of the only rule, or `excepted`."""
    for judgement in judgements:
        return "excepted" if judgement.excepted else judgement.verdict.value
    return "not_applicable"
