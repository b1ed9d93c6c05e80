"""Any rule, any condition of an exception and any span, small enough that they often meet."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from dsl import Event, Span, Value
from dsl.judge.span import Attributes
from dsl.syntax import nodes

_names = st.sampled_from(["x", "y", "x", "y", "a.x", "b.y", "a", "timestamp.hour", "span.name"]).map(nodes.Name)
_texts = st.sampled_from(["a", "b", "1", "true", "ab", "10.1.2.3", ""]).map(nodes.Text)
_numbers = st.sampled_from([0, 1, 2, 12, 1.5, -1]).map(nodes.Number)
_literals: st.SearchStrategy[nodes.Literal] = _texts | _numbers | st.booleans().map(nodes.Boolean)
_patterns = st.sampled_from(["^a", "b$", "a|1", "^$"]).map(nodes.Text)
_networks = st.sampled_from(["10.0.0.0/8", "10.1.2.3", "192.0.2.0/24"]).map(nodes.Text)
_references = st.builds(nodes.Reference, _names)


def _tests(ops: str, one: st.SearchStrategy[nodes.Literal], *, many: bool) -> st.SearchStrategy[nodes.Comparison]:
    several = st.lists(one, min_size=1, max_size=3).map(tuple).map(nodes.ListLiteral)
    return st.builds(nodes.Comparison, _names, st.sampled_from(ops.split()), one | several if many else one)


_lists = st.lists(_literals, min_size=1, max_size=3).map(tuple).map(nodes.ListLiteral)
_comparisons = (
    _tests("== != < <= > >=", _numbers, many=False)
    | _tests("== !=", _literals, many=False)
    | _tests("contains", _literals, many=True)
    | _tests("starts_with ends_with", _texts, many=True)
    | _tests("matches", _patterns, many=True)
    | _tests("in_cidr", _networks, many=True)
    | st.builds(nodes.Comparison, _names, st.sampled_from(["in", "not in"]), _lists)
    | st.builds(nodes.Comparison, _names, st.sampled_from(["==", "!=", "<", ">=", "in", "not in"]), _references)
    | st.builds(nodes.Exists, _names)
)


def _joined(items: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    several = st.lists(items, min_size=2, max_size=3).map(tuple)
    return st.builds(nodes.Not, items) | st.builds(nodes.AllOf, several) | st.builds(nodes.AnyOf, several)


_truthy = st.builds(nodes.IsTruthy, _names)
_paths = st.lists(st.sampled_from(["a", "1", 0, 1, nodes.Elements.ALL]), min_size=1, max_size=2).map(tuple)
_reaching = st.builds(
    lambda asked, name, path: replace(asked, name=replace(name, path=path)),
    _comparisons | _truthy,
    st.sampled_from(["x", "y"]).map(nodes.Name),
    _paths,
)
_tested = _comparisons | _truthy | _reaching
conditions = _tested | _tested | _joined(_tested | _joined(_tested))
_bare = st.builds(nodes.Has, st.sampled_from(["a", "b"]).map(nodes.Name))
_has = _bare | st.builds(nodes.Has, st.sampled_from(["a", "b", "a.x", "span"]).map(nodes.Name), conditions)
_subjects = _has | st.builds(nodes.HasAttribute, _comparisons)
_counts = (
    st.builds(nodes.Count, _has)
    | st.builds(nodes.Aggregate, st.just("count by"), _has, _names)
    | st.builds(nodes.Aggregate, st.sampled_from([nodes.DISTINCT, *nodes.MEASURES]), _subjects, _names)
)
_duration = st.just(nodes.TraceDuration())
_durations = st.integers(-1, 4).map(nodes.Duration)
_few = st.sampled_from([-1, 0, 1, 2, 1.5]).map(nodes.Number)
_signs = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
_orders = st.sampled_from(["before", "after"]).map(nodes.RelationWord)
_keys = st.lists(
    st.builds(nodes.JoinKey, st.sampled_from(["same", "same", "different"]), _names)
    | st.builds(nodes.JoinKey, st.sampled_from(["==", "!="]), _names, _names),
    max_size=2,
).map(tuple)
_structures = st.sampled_from(["above", "below", "directly above", "directly below", "beside"]).map(nodes.RelationWord)
_within = st.builds(nodes.RelationWord, st.just("within"), st.sampled_from([0, 1, 2, 10**9]).map(nodes.Duration))
_words = st.tuples(_orders) | st.tuples(_orders, _within) | st.tuples(_orders, _structures)
_unordered = st.just(()) | st.tuples(_structures) | st.tuples(_within)
_between = st.lists(st.builds(nodes.Without, _subjects, st.booleans()), max_size=1).map(tuple)
_relations = st.builds(nodes.Relations, _words, _keys, _between) | st.builds(
    nodes.Relations, _words | _unordered, _keys
)
_partners = st.builds(nodes.Partner, _subjects, _relations, st.booleans())
_narrowing = st.none() | st.builds(nodes.Partner, _subjects, _relations)
_pairs = st.builds(
    nodes.Pair, quantifier=st.sampled_from(["each", "some"]), subject=_subjects, that=_narrowing, partner=_partners
)
_leaves = (
    _subjects
    | _pairs
    | st.builds(nodes.Order, _subjects, st.sampled_from(["before", "after"]), _subjects)
    | st.builds(nodes.CountComparison, _counts, _signs, _counts | _few)
    | st.builds(nodes.CountComparison, _few, _signs, _counts)
    | st.builds(nodes.CountComparison, _duration, _signs, _durations)
    | st.builds(nodes.CountComparison, _durations, _signs, _duration)
)
_exprs = _leaves | _joined(_leaves) | _joined(_leaves | _joined(_leaves))
_invariants = st.lists(_exprs, min_size=2, max_size=3).map(tuple).map(nodes.AllOf)
_one = st.tuples(_exprs)
_whens = st.builds(nodes.When, _exprs, _one, _one | st.just(())) | st.builds(nodes.When, _exprs, st.just(()), _one)
rules = (
    st.tuples(_exprs, st.just("pattern"))
    | st.tuples(_invariants, st.just("invariant"))
    | st.tuples(_whens, st.just("conditional"))
)

_plain: st.SearchStrategy[Value] = st.sampled_from(
    [None, True, False, 0, 1, 2, 12, 1.5, -1, float("nan"), "a", "b", "1", "TRUE", "ab", "10.1.2.3", "", "1.50", b"a"]
)
_json = st.sampled_from(
    ['{"a": 1}', '[1, "a", {"a": [2]}]', '{"1": {"a": true}, "a": ["b"]}', "[[1], null]", "{", "[] "]
)
_one_plain = st.dictionaries(st.sampled_from(["a", "1"]), _plain | _json, max_size=1)
_values = _plain | _json | st.lists(_plain | _one_plain | _json, max_size=2) | _one_plain
_attributes: st.SearchStrategy[Attributes] = st.dictionaries(
    st.sampled_from(["x", "y", "a.x", "b.y", "a", "b"]), _values, max_size=3
)
_few_attributes: st.SearchStrategy[Attributes] = st.just({}) | _attributes


def _identified(span: Span) -> Span:
    """The span, whose id is its identity."""
    span.span_id = span.identity
    return span


spans = st.builds(
    Span,
    name=st.sampled_from(["a", "b", "d"]),
    start_ns=st.sampled_from([None, 1, 2, 12 * 3600 * 10**9]),
    end_ns=st.sampled_from([None, 2, 4]),
    attributes=_attributes,
    events=st.lists(
        st.builds(Event, st.sampled_from(["a", "b"]), _few_attributes, st.sampled_from([None, 1, 2, 3])), max_size=3
    ).map(tuple),
    resource=_few_attributes,
    scope=_few_attributes,
    parent_id=st.sampled_from([b"", b"1" * 8, b"2" * 8, b"4" * 8]),
    kind=st.sampled_from([None, "server"]),
    identity=st.sampled_from([b"1" * 8, b"2" * 8, b"3" * 8]),
).map(_identified)
