"""Finds misspelt names of OpenTelemetry attributes and built-ins.

In: a name in a rule. Out: the known name that differs from it by one edit, if there is one. `semconv.txt` lists, one
per line, the names of the semantic conventions 1.36 (package opentelemetry-semantic-conventions 0.66b2), and those that
the conventions for generative AI 0.1.0 (repository open-telemetry/semantic-conventions-genai) added. Names that they
replaced stay, because most instrumentation still reports them; proposals are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from dsl.judge.builtin import BUILTINS

# Widely used names that are not in the conventions but one edit away from a name that is.
_WELL_KNOWN = frozenset({"user.role"})
_SHORTEST, _LONGEST = 5, 100


def nearest_name(name: str) -> str | None:
    """Return the known name that is one edit away; None when the name is known, or close to no known name.

    >>> nearest_name("service.nam"), nearest_name("timestamp.hours"), nearest_name("pii.access")
    ('service.name', 'timestamp.hour', None)
    """
    known, by_rest = _names()
    if name in known or not _SHORTEST <= len(name) <= _LONGEST:
        return None
    candidates = {other for rest in (name, *_shortened(name)) for other in by_rest.get(rest, ())}
    return min((other for other in candidates if _is_one_edit(name, other)), default=None)


@cache
def listed_names() -> tuple[str, ...]:
    """Return the names of the semantic conventions, sorted."""
    return tuple(Path(__file__).with_name("semconv.txt").read_text(encoding="utf-8").split())


@cache
def _names() -> tuple[frozenset[str], dict[str, list[str]]]:
    """Return the known names, and an index of them by each string that is left when one character is removed."""
    listed = [*BUILTINS, *listed_names()]
    by_rest: dict[str, list[str]] = {}
    for name in listed:
        for rest in {name, *_shortened(name)}:
            by_rest.setdefault(rest, []).append(name)
    return _WELL_KNOWN.union(listed), by_rest


def _shortened(name: str) -> Iterator[str]:
    return (name[:index] + name[index + 1 :] for index in range(len(name)))


def _is_one_edit(one: str, other: str) -> bool:
    if len(one) == len(other):
        return sum(left != right for left, right in zip(one, other, strict=True)) == 1
    shorter, longer = sorted((one, other), key=len)
    return len(longer) - len(shorter) == 1 and shorter in _shortened(longer)
