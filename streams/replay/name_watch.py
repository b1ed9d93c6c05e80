"""Notes which of the names that rules look up occur in what a replay reads.

In: the spans that are decoded for the rules. Out: the names that were seen.
"""

from __future__ import annotations

from collections.abc import Iterable

from dsl import Interest, Span


class NameWatch:
    """Notes which of the names that rules look up occur in the spans that are decoded for them."""

    def __init__(self, interest: Interest) -> None:
        self._names = interest.names | interest.attributes
        self._unseen = set(self._names)

    @property
    def seen(self) -> set[str]:
        """The names seen so far."""
        return set(self._names - self._unseen)

    def note(self, spans: Iterable[Span]) -> None:
        """Note the names of the spans, their events and attributes."""
        unseen = self._unseen
        if not unseen:
            return
        for span in spans:
            unseen.discard(span.name)
            for attributes in (span.attributes, span.resource, span.scope):
                if not unseen.isdisjoint(attributes):
                    unseen.difference_update(attributes)
            for event in span.events:
                unseen.discard(event.name)
                unseen.difference_update(event.attributes)
