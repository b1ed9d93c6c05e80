"""Knows OpenTelemetry's attribute names and the built-in ones, to notice a slip of the pen.

In: a name from a rule. Out: the known name it differs from by one edit, if there is one. `semconv.txt` holds the names
of the semantic conventions 1.36 (package opentelemetry-semantic-conventions 0.66b2), one a line.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from dsl.judge.builtin import BUILTINS

# Names in wide use beside the conventions, each one edit away from one of them.
_WELL_KNOWN = frozenset({"user.role"})
_SHORTEST, _LONGEST = 5, 100


def nearest_name(name: str) -> str | None:
    """The known name one insertion, deletion or replacement away; None when the name is known, or far from all.

    >>> nearest_name("service.nam"), nearest_name("timestamp.hours"), nearest_name("pii.access")
    ('service.name', 'timestamp.hour', None)
    """
    known, by_rest = _names()
    if name in known or not _SHORTEST <= len(name) <= _LONGEST:
        return None
    candidates = {other for rest in (name, *_shortened(name)) for other in by_rest.get(rest, ())}
    return min((other for other in candidates if _is_one_edit(name, other)), default=None)


@cache
def _names() -> tuple[frozenset[str], dict[str, list[str]]]:
    """The known names, and the same by what is left of them when one character is taken out."""
    listed = [*BUILTINS, *Path(__file__).with_name("semconv.txt").read_text(encoding="utf-8").split()]
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
