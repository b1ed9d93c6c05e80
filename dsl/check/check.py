"""Checks what the grammar cannot: whether a rule that parses can be compiled.

In: nodes and the text that they were parsed from. Out: all errors at once. What passes compiles.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import re2

from dsl import problems
from dsl.check.aggregates import check_comparison
from dsl.check.pairs import check_pair
from dsl.files.draft import Draft
from dsl.judge.builtin import CLOSED_SETS, DURATION, builtin_of
from dsl.judge.predicate import split_subject
from dsl.judge.ruleset import Kind
from dsl.judge.values import ORDER_OPERATORS, pattern_search
from dsl.problems import Problem
from dsl.syntax.nodes import (
    AllOf,
    AnyOf,
    Boolean,
    Comparison,
    Cond,
    CountComparison,
    Duration,
    Elements,
    Expr,
    Has,
    IsTruthy,
    ListLiteral,
    Literal,
    Not,
    Number,
    Pair,
    Reference,
    RuleBody,
    Subject,
    Text,
    TextRange,
    When,
    comparisons,
    expressions,
    subjects,
)
from dsl.syntax.printer import operand_text
from dsl.syntax.source import SourceText

MAX_SUBJECTS = 64

_ONE_VALUE = "one text, number, duration, true, false or $name; for a list use `in`"
_LIST = "a list in [ ] or $name"
_NUMBER = "a number, a duration or $name"
_TEXTS = 'a text or a list of texts; write a number as text: "5"'
_CONTAINED = "a text, number, true, false or a list of them"
_NETWORKS = 'a network such as "10.0.0.0/8", or a list of them'

_EXPECTED_OPERANDS = {"==": _ONE_VALUE, "!=": _ONE_VALUE, "in": _LIST, "not in": _LIST, "contains": _CONTAINED}
_EXPECTED_OPERANDS |= {"matches": _TEXTS, "starts_with": _TEXTS, "ends_with": _TEXTS, "in_cidr": _NETWORKS}
_EXPECTED_OPERANDS |= dict.fromkeys(ORDER_OPERATORS, _NUMBER)


def resolve_kind(body: RuleBody, given: Kind | None, draft: Draft, reported: list[Problem]) -> Kind | None:
    """Determine the kind of a rule from its body, its `kind` field and its header.

    Returns None, and reports a problem, when they contradict each other or none of them determines it.
    """
    if isinstance(body, When):
        if given is not None and given is not Kind.CONDITIONAL:
            reported.append(problems.conflicting_kind(draft.fields["kind"].spot, given.value, conditional=True))
        return Kind.CONDITIONAL
    if given is Kind.CONDITIONAL:
        reported.append(problems.conflicting_kind(draft.fields["kind"].spot, given.value, conditional=False))
        return None
    if given is not None:
        return given
    if len(draft.header_kinds) > 1:
        reported.append(problems.title_and_signal(draft.spot))
        return None
    if not draft.header_kinds and "kind" not in draft.fields:
        reported.append(problems.missing_kind(draft.condition.spot(body.at)))
    return draft.header_kinds[0] if draft.header_kinds else None


def check_body(body: RuleBody, kind: Kind | None, source: SourceText) -> Iterator[Problem]:
    """Yield every error in a rule."""
    exprs = expressions(body)
    if isinstance(body, When):
        yield from _clauses(body, source)
    elif kind is Kind.INVARIANT and not isinstance(body, AllOf):
        yield problems.malformed_invariant(source.spot(body.at), has_or=isinstance(body, AnyOf))
    all_subjects = [subject for expr in exprs for subject, _ in subjects(expr)]
    if len(all_subjects) > MAX_SUBJECTS:
        yield problems.too_many_subjects(source.spot(all_subjects[MAX_SUBJECTS].at), len(all_subjects), MAX_SUBJECTS)
    for expr in exprs:
        yield from _expr(expr, source)
    for subject in all_subjects:
        yield from _subject(subject, source)


def check_cond(cond: Cond, subject: str | None, source: SourceText) -> Iterator[Problem]:
    """Yield every error in the condition of a subject's where, or of an exception (`subject` is None)."""
    for comparison in comparisons(cond):
        if isinstance(comparison, Comparison):
            builtin = None if comparison.name.path else builtin_of(comparison.name.text, subject)
            yield from _comparison(comparison, builtin, source)
        elif isinstance(comparison, IsTruthy) and comparison.name.quoted and not comparison.name.path:
            yield problems.bare_string(source.spot(comparison.at), f'"{comparison.name.text}"')


def _clauses(body: When, source: SourceText) -> Iterator[Problem]:
    if not body.always and not body.never:
        yield problems.missing_clause(source.spot(TextRange(0, len("when"))))
    for word, clauses in (("always", body.always), ("never", body.never)):
        for clause in clauses[1:]:
            yield problems.duplicate_clause(source.spot(clause.at), word)


def _expr(expr: Expr, source: SourceText) -> Iterator[Problem]:
    match expr:
        case AllOf(items) | AnyOf(items):
            for item in items:
                yield from _expr(item, source)
        case Not(item):
            yield from _expr(item, source)
        case Has(name, bare=True) if name.quoted:
            yield problems.bare_string(source.spot(expr.at), f'"{name.text}"')
        case Pair():
            yield from check_pair(expr, source)
        case CountComparison():
            yield from check_comparison(expr, source)


def _subject(subject: Subject, source: SourceText) -> Iterator[Problem]:
    name, where = split_subject(subject)
    if where is not None:
        yield from check_cond(where, name, source)


def _comparison(comparison: Comparison, builtin: str | None, source: SourceText) -> Iterator[Problem]:
    """Yield every error in one comparison; `builtin` is the built-in that its name refers to."""
    spot = source.spot(comparison.value.at)
    if isinstance(comparison.value, Reference) and Elements.ALL in comparison.value.name.path:
        yield problems.reference_to_elements(spot)
    elif comparison.value == ListLiteral(()):
        yield problems.empty_list(spot)
    elif comparison.op in ORDER_OPERATORS and isinstance(comparison.value, Text):
        yield problems.ordered_text(spot, comparison.name.text, comparison.op, comparison.value.value)
    elif not _accepts(comparison):
        yield problems.wrong_operand(spot, comparison.op, _EXPECTED_OPERANDS[comparison.op])
    else:
        for literal in _literals(comparison):
            yield from _literal(literal, comparison, builtin, source)


def _accepts(comparison: Comparison) -> bool:
    """Return whether the operator accepts an operand of this kind."""
    is_reference = isinstance(comparison.value, Reference)
    match comparison.op:
        case "==" | "!=":
            return not isinstance(comparison.value, ListLiteral)
        case "in" | "not in":
            return isinstance(comparison.value, ListLiteral) or is_reference
        case "contains":
            return not is_reference and all(isinstance(each, Text | Number | Boolean) for each in _literals(comparison))
        case "matches" | "starts_with" | "ends_with" | "in_cidr":
            return not is_reference and all(isinstance(each, Text) for each in _literals(comparison))
        case _:
            return isinstance(comparison.value, Number | Duration | Reference)


def _literals(comparison: Comparison) -> tuple[Literal, ...]:
    match comparison.value:
        case ListLiteral(items):
            return items
        case Reference():
            return ()
        case literal:
            return (literal,)


def _literal(literal: Literal, comparison: Comparison, builtin: str | None, source: SourceText) -> Iterator[Problem]:
    """Yield every error in one literal that the operator accepts."""
    spot = source.spot(literal.at)
    if isinstance(literal, Duration) and builtin != DURATION:
        yield problems.misplaced_duration(spot, comparison.name.text)
    elif builtin is not None and builtin in CLOSED_SETS and comparison.op in {"==", "!=", "in", "not in"}:
        known = CLOSED_SETS[builtin]
        if not isinstance(literal, Text) or literal.value not in known:
            shown = literal.value if isinstance(literal, Text) else operand_text(literal)
            yield problems.unknown_value(spot, builtin, shown, known)
    elif isinstance(literal, Text) and comparison.op == "matches":
        yield from _pattern(literal, source)
    elif isinstance(literal, Text) and comparison.op == "in_cidr":
        yield from _network(literal, source)


def _pattern(literal: Text, source: SourceText) -> Iterator[Problem]:
    try:
        pattern_search(literal.value)
    except re2.error as error:
        reason = error.args[0] if error.args else "it is not an RE2 pattern"
        shown = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        yield problems.invalid_pattern(source.spot(literal.at), shown)


def _network(literal: Text, source: SourceText) -> Iterator[Problem]:
    try:
        ipaddress.ip_network(literal.value)
    except ValueError:
        try:
            network = ipaddress.ip_network(literal.value, strict=False)
        except ValueError:
            advice = "write an address and a prefix length, such as 10.0.0.0/8"
        else:
            advice = f"bits beyond the prefix are set; did you mean {network}?"
        yield problems.invalid_network(source.spot(literal.at), literal.value, advice)
