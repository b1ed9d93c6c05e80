"""Proposes what can follow at the cursor.

In: a file, the place of the cursor, and the names of the set. Out: the column where the word at the cursor starts, and
proposals for this word: keywords that the parser would accept, names of spans and attributes, and `@` names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from dsl.check.semconv import listed_names
from dsl.editor.place import HEADER, Place, place_at
from dsl.editor.vocabulary import Vocabulary
from dsl.files.fields import HEADER_KEYS
from dsl.judge.builtin import CLOSED_SETS
from dsl.syntax.continuation import Continuation, continuation, keywords
from dsl.syntax.printer import name_text
from dsl.syntax.source import SourceFile

_NAMES = frozenset({"NAME", "STRING"})


class ProposalKind(Enum):
    """What a proposal is."""

    KEYWORD = "keyword"
    SUBJECT = "subject"
    ATTRIBUTE = "attribute"
    VALUE = "value"
    LIST = "list"
    NAMED_SUBJECT = "named subject"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposal: the label that the editor shows, and the text that it inserts."""

    label: str
    kind: ProposalKind
    text: str


@dataclass(frozen=True, slots=True)
class Proposals:
    """What can replace the text from the column `start` to the cursor."""

    start: int
    items: tuple[Proposal, ...]


def propose(file: SourceFile, line: int, column: int, words: Vocabulary) -> Proposals | None:
    """Return what can be written at a place; None outside rule texts."""
    if (place := place_at(file, line, column)) is None:
        return None
    if place.form == HEADER:
        items = [Proposal(key, ProposalKind.KEYWORD, f"{key}: ") for key in HEADER_KEYS]
        return Proposals(column - len(place.word), tuple(items))
    proposals = _proposals(place, words)
    name, dot, _ = place.word.rpartition(".")
    if dot and (behind := continuation(place.before + name, place.form)) and "_WHERE" in behind.accepted:
        proposals = (Proposal(f"{name}.where", ProposalKind.KEYWORD, f"{name}.where("), *proposals)
    return Proposals(column - len(place.word), proposals)


def _proposals(place: Place, words: Vocabulary) -> tuple[Proposal, ...]:
    found = continuation(place.before, place.form)
    if found is None:
        return ()
    if place.word.startswith("@"):
        return tuple(_named(found, words))
    proposals = [Proposal(word, ProposalKind.KEYWORD, word) for word in keywords(found)]
    proposals += _values(found)
    if "HAS" in found.accepted or not found.accepted:
        proposals += [Proposal(name, ProposalKind.SUBJECT, _subject(name)) for name in words.subjects]
    if "DOLLAR" not in found.accepted and (found.accepted & _NAMES or not found.accepted):
        proposals += _attributes(words)
    proposals += _named(found, words) if "NAMED" in found.accepted else ()
    # A name can be known as a subject and as an attribute.
    return tuple({proposal.label: proposal for proposal in reversed(proposals)}.values())[::-1]


def _attributes(words: Vocabulary) -> Iterator[Proposal]:
    for name in dict.fromkeys((*words.attributes, *listed_names())):
        yield Proposal(name, ProposalKind.ATTRIBUTE, name_text(name))


def _subject(name: str) -> str:
    """Return how a subject is written; a quoted name alone is not a subject."""
    written = name_text(name)
    return written if written == name else f"trace.has({written})"


def _named(found: Continuation, words: Vocabulary) -> Iterator[Proposal]:
    """Yield lists after an operator, subjects where a subject may stand, and both where the grammar does not tell."""
    is_value, is_subject = "DOLLAR" in found.accepted, "HAS" in found.accepted
    if is_value or not is_subject:
        yield from _at(words.lists, ProposalKind.LIST)
    if is_subject or not is_value:
        yield from _at(words.named_subjects, ProposalKind.NAMED_SUBJECT)


def _at(names: Iterable[str], kind: ProposalKind) -> Iterator[Proposal]:
    return (Proposal(f"@{name}", kind, f"@{name}") for name in names)


def _values(found: Continuation) -> Iterator[Proposal]:
    """Yield the values of a built-in name that has only a few."""
    if "DOLLAR" in found.accepted and len(found.read) > 1:
        for value in CLOSED_SETS.get(found.read[-2], ()):
            yield Proposal(value, ProposalKind.VALUE, value)
