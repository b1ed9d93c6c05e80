"""Compiles the lists and subjects of a rule set into the names that its rules use.

In: the definitions of all files, and list files. Out: `Names` and problems. A subject may be defined by another one:
`big_read: "@read.where(rows > 1000)"`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from lark import Token

from dsl import problems
from dsl.check.check import check_body
from dsl.check.lint import lint_rule
from dsl.files.definitions import list_values
from dsl.files.draft import DraftFile, DraftList, DraftSubject, ListFile, ListValue
from dsl.judge.ruleset import Kind
from dsl.problems import Location, Problem
from dsl.syntax.names import NAMED, Definition, Names
from dsl.syntax.nodes import HasAttribute
from dsl.syntax.parse import lex, parse_subject
from dsl.syntax.printer import name_text, number_text, occurrence_text, quoted_text, subject_text
from dsl.syntax.source import SourceFile, SourceText, source_file
from dsl.syntax.tokens import MAX_BYTES, MAX_NESTING, text_range


def read_names(drafts: Iterable[DraftFile], lists: Mapping[str, SourceFile]) -> tuple[Names, list[Problem]]:
    """Return the names that the files define; `lists` are the list files by path."""
    reported: list[Problem] = []
    first: dict[str, Location] = {}
    definitions: dict[str, Definition] = {}
    subjects: dict[str, DraftSubject] = {}
    drafted: list[DraftList | DraftSubject] = []
    for file in drafts:
        drafted += [*file.lists, *file.subjects]
    for draft in drafted:
        location = draft.spot.location
        if first.setdefault(draft.name, location) is not location:
            reported.append(problems.duplicate_name(draft.spot, draft.name, first[draft.name]))
        elif isinstance(draft, DraftSubject):
            subjects[draft.name] = draft
            definitions[draft.name] = Definition(is_list=False)
        else:
            definitions[draft.name] = _list(draft, lists, reported)
    resolver = _SubjectResolver(subjects, definitions, reported)
    for name in subjects:
        resolver.resolve(name)
    return Names(definitions), reported


def _list(draft: DraftList, files: Mapping[str, SourceFile], reported: list[Problem]) -> Definition:
    values: tuple[ListValue, ...] = ()
    if not isinstance(draft.content, ListFile):
        values = draft.content
    elif (file := files.get(draft.content.path)) is None:
        reported.append(problems.unreadable(draft.content.spot, "it does not exist"))
    elif not (values := list_values(file)):
        reported.append(problems.empty_list(draft.content.spot))
    text = "[" + ", ".join(map(_literal, values)) + "]"
    if not values:
        return Definition(is_list=True)
    if len(text) > MAX_BYTES:
        reported.append(problems.expansion_too_long(draft.spot, len(text.encode()), MAX_BYTES))
        return Definition(is_list=True)
    tokens, token_problems = lex(_whole(text))
    if token_problems:  # a number that is too large
        reported += [problems.wrong_type(draft.spot, draft.name, "a list of numbers below 1.7e308")]
        return Definition(is_list=True)
    shown = ", ".join(name_text(value) if isinstance(value, str) else _literal(value) for value in values)
    return Definition(is_list=True, tokens=tuple(tokens), text=f"[{shown}]")


def _literal(value: ListValue) -> str:
    """Return a value as a literal of the language; a text is quoted, so that none is read as a name."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return quoted_text(value) if isinstance(value, str) else number_text(value)


class _SubjectResolver:
    """Replaces the drafts of subjects by definitions, those that others use first."""

    def __init__(
        self, drafts: Mapping[str, DraftSubject], definitions: dict[str, Definition], reported: list[Problem]
    ) -> None:
        self._drafts = drafts
        self._definitions = definitions
        self._reported = reported
        self._resolved: set[str] = set()
        self._path: list[str] = []

    def resolve(self, name: str) -> None:
        """Define a subject and those that its text names."""
        if name in self._resolved:
            return
        self._resolved.add(name)
        self._path.append(name)
        draft = self._drafts[name]
        if draft.text is not None:
            self._definitions[name] = self._definition(draft.text)
        self._path.pop()

    def _is_circular(self, token: Token, source: SourceText) -> bool:
        """Report a name whose definition leads back to itself, or through too many others."""
        spot = source.spot(text_range(token))
        if token[1:] in self._path:
            circle = self._path[self._path.index(token[1:]) :]
            self._reported.append(problems.circular_name(spot, [*circle, circle[0]]))
            return True
        if len(self._path) > MAX_NESTING:
            self._reported.append(problems.too_deep(spot, MAX_NESTING))
            return True
        return False

    def _definition(self, source: SourceText) -> Definition:
        named = _named(source)
        if any(self._is_circular(token, source) for token in named):
            return Definition(is_list=False)
        for token in named:
            if token[1:] in self._drafts:
                self.resolve(token[1:])
        subject, subject_problems = parse_subject(source, Names(self._definitions))
        if subject is not None:
            subject_problems += check_body(subject, Kind.PATTERN, source)
            # That a single subject applies to every trace it breaks says nothing about the rules that use it.
            subject_problems += lint_rule(subject, None, source)
        self._reported += subject_problems
        if subject is None or problems.has_errors(subject_problems):
            return Definition(is_list=False)
        needs_group = isinstance(subject, HasAttribute)
        text = subject_text(subject) if needs_group else occurrence_text(subject)
        tokens, _ = lex(_whole(text))
        warnings = frozenset(problem.message for problem in subject_problems)
        return Definition(is_list=False, tokens=tuple(tokens), text=text, needs_group=needs_group, warnings=warnings)


def used_names(sources: Iterable[SourceText], names: Names) -> tuple[str, ...]:
    """Return what the names in the texts stand for, such as `@risky = [send_email]`, sorted."""
    used = sorted({token[1:] for source in sources for token in _named(source)} & names.definitions.keys())
    return tuple(f"@{name} = {names.definitions[name].text}" for name in used)


def without_repeated(reported: Iterable[Problem], source: SourceText, names: Names) -> Iterator[Problem]:
    """Yield the problems of a text, without the warnings that were already reported where a name is defined."""
    used = [(token, names.definitions.get(token[1:])) for token in _named(source)]
    known = {
        (source.spot(text_range(token)).location, message)
        for token, definition in used
        for message in (definition.warnings if definition else ())
    }
    yield from (problem for problem in reported if (problem.location, problem.message) not in known)


def _named(source: SourceText) -> list[Token]:
    """Return the names in a text."""
    return [token for token in lex(source)[0] if token.type == NAMED] if "@" in source.text else []


def _whole(text: str) -> SourceText:
    return SourceText(file=source_file("", text), text=text, line=1)
