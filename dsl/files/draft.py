"""Defines a rule as written, before its condition is parsed.

In: nothing. Out: the types that `.rules` and YAML files have in common.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from dsl.files.fields import Field
from dsl.judge.ruleset import Kind
from dsl.judge.span import Span
from dsl.judge.verdict import Verdict
from dsl.problems import Spot
from dsl.syntax.source import SourceText


@dataclass(frozen=True, slots=True)
class DraftException:
    """An exception as written; `expires` is the last day on which it applies."""

    where: SourceText
    owner: str | None
    reason: str | None
    expires: date | None
    spot: Spot


@dataclass(frozen=True, slots=True)
class DraftTest:
    """A test in a rule file: the spans of one trace, whether its window hit `max_duration`, and the verdict."""

    name: str
    spans: tuple[Span, ...]
    hit_max_duration: bool
    expect: Verdict
    spot: Spot


@dataclass(frozen=True, slots=True)
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
