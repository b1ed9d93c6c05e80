"""Collects the names that the rules and tests of a set use, for completion.

In: a reviewed rule set. Out: a `Vocabulary`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass

from dsl.compile.review import Review
from dsl.judge.builtin import BUILTINS
from dsl.judge.predicate import EVERY_SPAN
from dsl.judge.span import Span
from dsl.syntax.nodes import Has, Name


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Names of spans and of attributes, and of what the set defines; each sorted."""

    subjects: tuple[str, ...]
    attributes: tuple[str, ...]
    lists: tuple[str, ...]
    named_subjects: tuple[str, ...]


NO_WORDS = Vocabulary((EVERY_SPAN,), tuple(sorted(BUILTINS)), (), ())


def vocabulary_of(review: Review) -> Vocabulary:
    """Return the names that a rule set uses and defines."""
    subjects, attributes = set(NO_WORDS.subjects), set(NO_WORDS.attributes)
    for rule in review.compiled:
        for name, is_subject in _names(rule.body):
            (subjects if is_subject else attributes).add(name)
    for span in (span for file in review.drafts for rule in file.rules for test in rule.tests for span in test.spans):
        subjects.update(_span_names(span))
        attributes.update(span.attributes)
    lists = {each.name for file in review.drafts for each in file.lists}
    named = {each.name for file in review.drafts for each in file.subjects}
    return Vocabulary(*(tuple(sorted(names)) for names in (subjects - {""}, attributes - {""}, lists, named)))


def _span_names(span: Span) -> Iterator[str]:
    yield span.name
    yield from (event.name for event in span.events)


def _names(node: object) -> Iterator[tuple[str, bool]]:
    """Yield each name in a node, and whether it is that of a subject."""
    if isinstance(node, Name):
        yield node.text, False
    elif isinstance(node, tuple):
        yield from _names_of_each(node)
    elif isinstance(node, Has):
        yield node.name.text, True
        yield from _names(node.where)
    elif is_dataclass(node) and not isinstance(node, type):
        yield from _names_of_each(getattr(node, field.name) for field in fields(node))


def _names_of_each(nodes: Iterable[object]) -> Iterator[tuple[str, bool]]:
    for node in nodes:
        yield from _names(node)
