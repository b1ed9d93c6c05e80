"""Defines a rule as written, before its condition is parsed.

In: nothing. Out: the types that `.rules` and YAML files have in common.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TypeAlias

from dsl.files.field import Field
from dsl.judge.ruleset import Kind
from dsl.judge.span import Span
from dsl.judge.verdict import Verdict
from dsl.problems import Spot
from dsl.syntax.source import SourceText


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftException:
    """An exception as written; `expires` is the last day on which it applies."""

    where: SourceText
    owner: str | None
    reason: str | None
    expires: date | None
    spot: Spot


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftTest:
    """A test in a rule file: the spans of one trace, whether its window hit `max_duration`, and the verdict."""

    name: str
    spans: tuple[Span, ...]
    hit_max_duration: bool
    expect: Verdict
    spot: Spot


ListValue: TypeAlias = str | bool | int | float


@dataclass(frozen=True, slots=True)
class ListFile:
    """The file that holds the values of a list; `spot` is where a YAML file names it."""

    path: str
    spot: Spot


@dataclass(frozen=True, slots=True)
class DraftList:
    """A list with a name, and its values or the file that holds them."""

    name: str
    spot: Spot
    content: ListFile | tuple[ListValue, ...]


@dataclass(frozen=True, slots=True)
class DraftSubject:
    """A subject with a name, as written; `text` is None when it has an error."""

    name: str
    spot: Spot
    text: SourceText | None


@dataclass(frozen=True, slots=True)
class DraftSetException:
    """An exception for all rules of the set whose id fits one of the patterns; each pattern is a field of one text."""

    patterns: tuple[Field, ...]
    exception: DraftException


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One rule as written.

    `header_kinds` are the kinds that the title line and the Signal line of a header imply; two of them contradict each
    other. `lacks_tests` is true when the file format allows tests and the rule has none.
    """

    fields: Mapping[str, Field]
    condition: SourceText
    spot: Spot
    header_kinds: tuple[Kind, ...] = ()
    exceptions: tuple[DraftException, ...] = ()
    tests: tuple[DraftTest, ...] = ()
    lacks_tests: bool = False


@dataclass(frozen=True, slots=True)
class DraftFile:
    """Everything that a rule file contains."""

    rules: tuple[Draft, ...] = ()
    lists: tuple[DraftList, ...] = ()
    subjects: tuple[DraftSubject, ...] = ()
    exceptions: tuple[DraftSetException, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a rule nor anything for other files."""
        return not (self.rules or self.lists or self.subjects or self.exceptions)
