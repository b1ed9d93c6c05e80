"""What decoders and ingest need from a rule set."""

from __future__ import annotations

import json

import pytest

from dsl import Event, RuleSet, Span, compile_texts


def _rules(condition: str) -> RuleSet:
    rules, _ = compile_texts({"t.rules": f"// id: r\n// kind: pattern\n{condition}"})
    return rules


@pytest.mark.parametrize(
    ("condition", "names", "every_span"),
    [
        ("a", {"a"}, False),
        ("a.where(x == $y and not z)", {"a", "a.x", "a.y", "a.z"}, False),
        ("payment.amount > 5", {"payment", "payment.amount"}, False),
        ("amount > 5", {"amount"}, False),
        ("service.name == x", {"service", "service.name"}, False),
        ("span.status == error", set(), True),
        ("timestamp.hour > 3 and a", {"a"}, True),
        ("span and a", {"a"}, True),
        ("not a", {"a"}, True),
        ("a.where(span.status == error)", {"a", "a.span.status"}, False),
    ],
)
def test_interest_names_what_can_make_an_atom_hold(condition: str, names: set[str], *, every_span: bool) -> None:
    """A span without any of the names can hit an atom only when `every_span` is true."""
    interest = _rules(condition).interest

    assert (frozenset(names), every_span) == (interest.names, interest.every_span)


def test_interest_has_every_attribute_that_is_looked_up() -> None:
    """A decoder that converts only these attributes changes no verdict."""
    condition = "a.where(x == $y) and b.c > 1"
    shown = {"id": "r", "kind": "pattern", "condition": condition, "exceptions": [{"where": "z"}]}
    rules, _ = compile_texts({"t.yaml": json.dumps({"rules": [shown]})})

    assert {"a", "a.x", "x", "a.y", "y", "b", "b.c", "c", "z"} == rules.interest.attributes


@pytest.mark.parametrize(
    "span",
    [
        Span("a"),
        Span("x", attributes={"a": 1}),
        Span("x", events=(Event("e"), Event("a"))),
        Span("x", resource={"a.k": 1}),
        Span("x", scope={"a.k": 1}),
        Span("x", attributes={"a.k": 1}),
    ],
)
def test_hits_finds_the_atom_by_any_name_that_makes_it_hold(span: Span) -> None:
    """An atom is found by span name, attribute, event, resource and scope."""
    hits = _rules("a.where(k exists or not (k exists)) and b").hits(span)

    assert ["a.where(k exists or not k exists)"] == [atom.text for atom in hits]


def test_span_that_names_nothing_hits_nothing() -> None:
    """A span without any name of a rule hits no atom."""
    assert [] == _rules("a and b.where(x == 1)").hits(Span("c", attributes={"x": 1}, events=(Event("d"),)))


@pytest.mark.parametrize(
    ("condition", "span", "witness"),
    [
        ("a", Span("a", attributes={"x": 1}), {}),
        ("a", Span("x", attributes={"a": "v"}), {"a": "v"}),
        ("a.where(x == 1)", Span("a", attributes={"x": 1, "y": 2}), {"x": 1}),
        ("a.where(x == 1)", Span("b", attributes={"a.x": 1, "x": 2}), {"a.x": 1}),
        ("a.where(x == $y)", Span("a", attributes={"x": 1}, resource={"a.y": 1}), {"x": 1, "a.y": 1}),
        ("a.where(x == 2)", Span("a", events=(Event("a", {"x": 1}), Event("a", {"x": 2}))), {"x": 2}),
        ("span.status == error", Span("a", status="error"), {"span.status": "error"}),
        ("a.where(timestamp.hour == 0)", Span("a", start_ns=5), {"timestamp.hour": 0}),
        ("a.where(not x)", Span("a"), {}),
        ("a.where(x exists)", Span("a", attributes={"x": "\ud800"}), {"x": "\ufffd"}),
    ],
)
def test_witness_shows_the_attributes_an_atom_names(condition: str, span: Span, witness: dict[str, object]) -> None:
    """A witness has exactly the attributes that the atom names, by the name under which the span has them."""
    (atom,) = _rules(condition).hits(span)

    assert witness == atom.witness(span)
