"""Spans to test with: everything that does not matter in a test has a default."""

from __future__ import annotations

from dsl import Span


def span(name: str, parent: str = "", start_ns: int | None = 0, end_ns: int | None = None) -> Span:
    """Returns a span whose id is its name."""
    return Span(name, name.encode(), parent.encode(), start_ns, end_ns, identity=name.encode())
