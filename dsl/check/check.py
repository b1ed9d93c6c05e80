"""Checks what the grammar cannot: whether a rule means something.

In: nodes and the passage they were read from. Out: errors, all of them at once. What passes here compiles.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import re2

from dsl import problems
from dsl.check.pairs import check_pair
from dsl.files.draft import Draft
from dsl.judge.builtin import CLOSED_SETS, DURATION, builtin_of
from dsl.judge.predicate import parts
from dsl.judge.ruleset import Kind
from dsl.judge.values import ORDERS, pattern_search
from dsl.problems import Problem
from dsl.syntax.nodes import (
    AllOf,
    AnyOf,
    At,
    Boolean,
    Choices,
    Compared,
    Cond,
    Duration,
    Expr,
    Form,
    Has,
    Literal,
    Not,
    Number,
    Pair,
    Reference,
    Subject,
    Test,
    Text,
    Truth,
    When,
    subjects,
    tests,
)
from dsl.syntax.printer import operand_text
from dsl.syntax.source import Passage

MAX_SUBJECTS = 64

_ONE_VALUE = "one text, number, duration, true, false or $name; for a list use `in`"
_LIST = "a list in [ ] or $name"
_NUMBER = "a number, a duration or $name"
_TEXTS = 'a text or a list of texts; write a number as text: "5"'
_CONTAINED = "a text, number, true, false or a list of them"
_NETWORKS = 'a network such as "10.0.0.0/8", or a list of them'
_COUNT = "a number or another count"

_NEEDS = {"==": _ONE_VALUE, "!=": _ONE_VALUE, "in": _LIST, "not in": _LIST, "contains": _CONTAINED}
_NEEDS |= {"matches": _TEXTS, "starts_with": _TEXTS, "ends_with": _TEXTS, "in_cidr": _NETWORKS}
_NEEDS |= dict.fromkeys(ORDERS, _NUMBER)


def kind_of(form: Form, given: Kind | None, draft: Draft, found: list[Problem]) -> Kind | None:
    """The kind of a rule, from its form, its `kind` field and its header; None, with a problem, when nothing tells."""
    if isinstance(form, When):
        if given not in {None, Kind.CONDITIONAL}:
            found.append(problems.wrong_kind(draft.fields["kind"].spot, draft.fields["kind"].text, conditional=True))
        return Kind.CONDITIONAL
    if given is Kind.CONDITIONAL:
        found.append(problems.wrong_kind(draft.fields["kind"].spot, given.value, conditional=False))
        return None
    if given is not None:
        return given
    if len(draft.header_kinds) > 1:
        found.append(problems.title_and_signal(draft.spot))
        return None
    if not draft.header_kinds and "kind" not in draft.fields:
        found.append(problems.no_kind(draft.condition.spot(form.at)))
    return draft.header_kinds[0] if draft.header_kinds else None


def check_form(form: Form, kind: Kind | None, passage: Passage) -> Iterator[Problem]:
    """Everything wrong with a whole rule."""
    exprs = [form.condition, *form.always, *form.never] if isinstance(form, When) else [form]
    if isinstance(form, When):
        yield from _clauses(form, passage)
    elif kind is Kind.INVARIANT and not isinstance(form, AllOf):
        yield problems.shapeless_invariant(passage.spot(form.at), has_or=isinstance(form, AnyOf))
    asked = [subject for expr in exprs for subject, _ in subjects(expr)]
    if len(asked) > MAX_SUBJECTS:
        yield problems.too_many_subjects(passage.spot(asked[MAX_SUBJECTS].at), len(asked), MAX_SUBJECTS)
    for expr in exprs:
        yield from _expr(expr, passage)
    for subject in asked:
        yield from _subject(subject, passage)


def check_cond(cond: Cond, subject: str | None, passage: Passage) -> Iterator[Problem]:
    """Everything wrong with what stands inside where of a subject, or (None) of an exception."""
    for test in tests(cond):
        if isinstance(test, Test):
            yield from _test(test, builtin_of(test.name.text, subject), passage)
        elif isinstance(test, Truth) and test.name.quoted:
            yield problems.bare_string(passage.spot(test.at), f'"{test.name.text}"')


def _clauses(form: When, passage: Passage) -> Iterator[Problem]:
    if not form.always and not form.never:
        yield problems.no_clause(passage.spot(At(0, len("when"))))
    for word, clauses in (("always", form.always), ("never", form.never)):
        for clause in clauses[1:]:
            yield problems.clause_twice(passage.spot(clause.at), word)


def _expr(expr: Expr, passage: Passage) -> Iterator[Problem]:
    match expr:
        case AllOf(items) | AnyOf(items):
            for item in items:
                yield from _expr(item, passage)
        case Not(item):
            yield from _expr(item, passage)
        case Has(name, bare=True) if name.quoted:
            yield problems.bare_string(passage.spot(expr.at), f'"{name.text}"')
        case Pair():
            yield from check_pair(expr, passage)
        case Compared(left, op, right):
            for side in (left, right):
                if isinstance(side, Duration):
                    yield problems.wrong_operand(passage.spot(side.at), op, _COUNT)


def _subject(subject: Subject, passage: Passage) -> Iterator[Problem]:
    name, where = parts(subject)
    if where is not None:
        yield from check_cond(where, name, passage)


def _test(test: Test, builtin: str | None, passage: Passage) -> Iterator[Problem]:
    """Everything wrong with one comparison; `builtin` is the built-in that the name stands for."""
    spot = passage.spot(test.value.at)
    if test.value == Choices(()):
        yield problems.empty_list(spot)
    elif test.op in ORDERS and isinstance(test.value, Text):
        yield problems.text_order(spot, test.name.text, test.op, test.value.value)
    elif not _takes(test):
        yield problems.wrong_operand(spot, test.op, _NEEDS[test.op])
    else:
        for literal in _literals(test):
            yield from _literal(literal, test, builtin, passage)


def _takes(test: Test) -> bool:
    """Whether the operator takes a value of this kind."""
    is_reference = isinstance(test.value, Reference)
    match test.op:
        case "==" | "!=":
            return not isinstance(test.value, Choices)
        case "in" | "not in":
            return isinstance(test.value, Choices) or is_reference
        case "contains":
            return not is_reference and all(isinstance(each, Text | Number | Boolean) for each in _literals(test))
        case "matches" | "starts_with" | "ends_with" | "in_cidr":
            return not is_reference and all(isinstance(each, Text) for each in _literals(test))
        case _:
            return isinstance(test.value, Number | Duration | Reference)


def _literals(test: Test) -> tuple[Literal, ...]:
    match test.value:
        case Choices(items):
            return items
        case Reference():
            return ()
        case literal:
            return (literal,)


def _literal(literal: Literal, test: Test, builtin: str | None, passage: Passage) -> Iterator[Problem]:
    """Everything wrong with one literal of a comparison whose operator takes it."""
    spot = passage.spot(literal.at)
    if isinstance(literal, Duration) and builtin != DURATION:
        yield problems.misplaced_duration(spot, test.name.text)
    elif builtin is not None and builtin in CLOSED_SETS and test.op in {"==", "!=", "in", "not in"}:
        known = CLOSED_SETS[builtin]
        if not isinstance(literal, Text) or literal.value not in known:
            shown = literal.value if isinstance(literal, Text) else operand_text(literal)
            yield problems.outside_closed_set(spot, builtin, shown, known)
    elif isinstance(literal, Text) and test.op == "matches":
        yield from _pattern(literal, passage)
    elif isinstance(literal, Text) and test.op == "in_cidr":
        yield from _network(literal, passage)


def _pattern(literal: Text, passage: Passage) -> Iterator[Problem]:
    try:
        pattern_search(literal.value)
    except re2.error as error:
        reason = error.args[0] if error.args else "it is no RE2 pattern"
        shown = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        yield problems.bad_pattern(passage.spot(literal.at), shown)


def _network(literal: Text, passage: Passage) -> Iterator[Problem]:
    try:
        ipaddress.ip_network(literal.value)
    except ValueError:
        try:
            network = ipaddress.ip_network(literal.value, strict=False)
        except ValueError:
            advice = "write an address and the length of its prefix, as in 10.0.0.0/8"
        else:
            advice = f"its bits beyond the prefix are set; did you mean {network}?"
        yield problems.bad_network(passage.spot(literal.at), literal.value, advice)
