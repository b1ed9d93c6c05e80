"""Tests how structs are made: by keyword, if they have more than four fields."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import msgspec

import dsl
import streams
import topics

MOST = 4
POSITIONAL = {
    "dsl.judge.span.Span",
    "dsl.judge.verdict.Judgement",
    "streams.decode.records.Decoded",
    "streams.windows.chain.Chain",
    "streams.windows.chain.EndedChain",
    "streams.windows.chain.LastVerdict",
    "topics.records.facts.Entry",
    "topics.records.facts.Fact",
}
"""Those that are made for each span, record or window; a comment at each says what keywords would cost."""


def classes() -> Iterator[type]:
    """Yields the classes of the three packages, each where it is defined."""
    for package in (dsl, topics, streams):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                members = vars(importlib.import_module(module.name)).values()
                yield from (one for one in members if inspect.isclass(one) and one.__module__ == module.name)


def field_count(one: type) -> int:
    """Returns the number of fields that a caller gives to a struct or dataclass, 0 for any other class."""
    if issubclass(one, msgspec.Struct):
        return len(one.__struct_fields__)
    return sum(field.init for field in dataclasses.fields(one)) if dataclasses.is_dataclass(one) else 0


def test_long_structs_are_keyword_only() -> None:
    """No struct of more than four fields takes them by position, except those created for each span or window."""
    positional = {
        f"{one.__module__}.{one.__qualname__}"
        for one in classes()
        if field_count(one) > MOST and len(getattr(one, "__match_args__", ())) > 0
    }

    assert positional == POSITIONAL
