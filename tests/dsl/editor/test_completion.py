"""What is proposed at the cursor, which `|~` marks in the texts."""

from __future__ import annotations

import pytest

from dsl.check.semconv import listed_names
from dsl.editor.completion import propose
from dsl.editor.vocabulary import Vocabulary
from dsl.syntax.source import source_file
from tests.support.growth import LINEAR, growth

WORDS = Vocabulary(("payment", "GET /x"), ("amount",), ("risky",), ("pii_read",))
CURSOR = "|~"


def proposed(path: str, text: str) -> list[str] | None:
    """What is written for each proposal, without names of the semantic conventions."""
    before = text[: text.index(CURSOR)]
    line, column = before.count("\n"), len(before.rpartition("\n")[2])
    found = propose(source_file(path, text.replace(CURSOR, "")), line, column, WORDS)
    return None if found is None else [each.text for each in found.items if each.label not in listed_names()]


EXPRESSION = "avg( count( distinct( each max( min( not some sum( trace.duration trace.has( "
IN_RULES = {
    "when { |~": EXPRESSION + 'payment trace.has("GET /x") amount @pii_read',
    "when { a } |~": "always never",
    "when { a } al|~": "always never",
    "when { each a |~": "has that",
    "when { each a that has b |~": "above after before below beside directly has with within without",
    "when { each a has |~": 'own trace.has( payment trace.has("GET /x") amount @pii_read',
    "when { each a has b |~": "above after and before below beside directly or with within without",
    "when { each a has b with |~": "different same amount",
    "when { each a has b directly |~": "above below",
    "when { each a has b before without c |~": "between",
    "when { each @pii_read has @risky |~": "above after and before below beside directly or with within without",
    "when { a.where(|~": "not amount",
    "when { a.where(b == $|~": "amount",
    "when { a.where(x |~": "and contains ends_with exists in in_cidr matches not in or starts_with",
    "when { a.where(span.status == |~": "false true unset ok error @risky",
    "when { a.where(x in @|~": "@risky",
    "when { @|~": "@pii_read",
    "when { trace.has(a).|~": ".where( after and before or",
    "when { count(a |~": "by",
    'when { "unfinished |~': "",
    "a and // a comment |~": "",
}


@pytest.mark.parametrize("text", IN_RULES)
def test_words_are_those_that_the_grammar_accepts(text: str) -> None:
    """Behind a header, also below another rule, the keywords and names are those that can stand there."""
    found = proposed("a.rules", f"// id: first\na and b\n\n// id: second\n{text}\n\n// id: third\nwhen {{ a }}")

    assert IN_RULES[text] == " ".join(found or [])


def test_names_behind_a_mistake_are_proposed_without_keywords() -> None:
    """Where the text before the cursor cannot be parsed, every name is proposed."""
    assert ["payment", 'trace.has("GET /x")', "amount"] == proposed("a.rules", "// id: a\nwhen when |~")


def test_where_follows_the_name_at_the_cursor() -> None:
    """Behind a name with a dot, `where` is proposed for the whole name, which editors match."""
    assert "payment.where(" in (proposed("a.rules", "// id: a\nwhen { payment.|~") or [])


def test_keys_of_headers_are_proposed_in_comments() -> None:
    """A comment that is one word can be a line of a header, another one has no proposals."""
    assert "severity: " in (proposed("a.rules", "// id: a\n// se|~") or [])
    assert None is proposed("a.rules", "// id: a\n// this is se|~")


IN_YAML = {
    "rules:\n- id: x\n  condition: when { a } |~": "always never",
    "rules:\n- id: x\n  condition: |\n    when { a }\n    |~": "always never",
    "rules:\n  - condition: >-\n      when { a }\n\n      al|~\n    id: y": "always never",
    "rules:\n  - condition: when { a }\n      al|~": "always never",
    "rules:\n  - exceptions:\n      - where: amount in @|~": "@risky",
    "exceptions: [{where: amount in @|~": "@risky",
    'subjects:\n  bulk: "@|~': "@pii_read",
    "subjects:\n  bulk: payment.where(a exists |~": "and or",
}


@pytest.mark.parametrize("text", IN_YAML)
def test_yaml_scalars_are_rule_text(text: str) -> None:
    """In conditions, wheres and subjects, in every style of YAML, the same is proposed."""
    assert IN_YAML[text] == " ".join(proposed("a.yaml", text) or [])


@pytest.mark.parametrize("text", ["rules:\n- id: |~", "|~", "# condition: a |~", "lists:\n  a: [|~", "tests: |~"])
def test_nothing_is_proposed_elsewhere_in_yaml(text: str) -> None:
    """Other keys, lists and comments are not rule text."""
    assert None is proposed("a.yaml", text)


@pytest.mark.parametrize("unit", ["-  ", "- a: - b", '"a', "a b ", "  : ", "where: ", "- a\n", "aaaa"])
def test_time_to_find_the_place_grows_with_the_text(unit: str) -> None:
    """A text that repeats one word, on one line or on many, takes time in proportion to its size."""

    def complete(size: int) -> None:
        proposed("a.yaml", "rules:\n" + (unit * size)[:size] + CURSOR)

    assert LINEAR > growth(lambda: complete(16_000), lambda: complete(64_000))
