"""A rule as it was written, before its condition is read.

In: nothing. Out: the values in which `.rules` and YAML files are the same.
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
    """An exception as written; `expires` is the last day on which it binds."""

    where: SourceText
    owner: str | None
    reason: str | None
    expires: date | None
    spot: Spot


@dataclass(frozen=True, slots=True)
class DraftTest:
    """A test that stands in a rule file: the spans of one trace, whether it was cut, and the verdict it must get."""

    name: str
    spans: tuple[Span, ...]
    hit_max_duration: bool
    expect: Verdict
    spot: Spot


@dataclass(frozen=True, slots=True)
class Draft:
    """One rule as written.

    `header_kinds` are the kinds that a header chooses by its title and its Signal line; more than one is a
    contradiction. `lacks_tests`: it could have tests and has none.
    """

    fields: Mapping[str, Field]
    condition: SourceText
    spot: Spot
    header_kinds: tuple[Kind, ...] = ()
    exceptions: tuple[DraftException, ...] = ()
    tests: tuple[DraftTest, ...] = ()
    lacks_tests: bool = False
