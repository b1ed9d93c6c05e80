"""Groups signals by their dedup uid for display.

In: digests of signals, in the order in which they are read. Out: which of them to show: of each group the finding that
came first, how many other findings the group has, and all amendments, because a finding that was repaired must not just
be counted. Signals without a dedup are always shown.

At most `KEPT` groups are remembered; the one that began first is forgotten, and counted anew if another of its signals
comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush

from topics.signals.digest import Digest
from topics.signals.finding import Dedup
from topics.times import rfc3339_clamped

KEPT = 1000
"""The number of groups that are remembered."""

GRACE_MS = 300_000
"""How long after its period a group is counted: windows that began in the period close after it."""


@dataclass(slots=True)
class Group:
    """A group of signals: the one that is shown, and the number of other findings, without their amendments.

    `is_over`: its period has ended, and what came until then was counted. What comes later is counted when the group is
    forgotten, or when the signals end.
    """

    shown: Digest
    more: int = 0
    is_over: bool = False

    def add(self, signal: Digest) -> bool:
        """Add a signal; return whether it is to be shown, because it amends a finding or is the one that is shown."""
        if signal.uid == self.shown.uid:
            self.shown = signal if signal.revision > self.shown.revision else self.shown
            return True
        is_new = signal.revision == 1
        self.more += is_new
        return not is_new

    def take_count(self) -> Iterator[Digest]:
        """Yield the shown signal with the count in place of its message, if there are others; reset the count."""
        if self.more and self.shown.dedup is not None:
            yield replace(self.shown, message=f"and {self.more} more {_with_same(self.shown.dedup)}")
        self.more = 0


class Groups:
    """The groups by dedup uid."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}
        self._ends_ms: list[tuple[int, str]] = []

    def add(self, signal: Digest) -> bool:
        """Add a signal; return whether it is to be shown."""
        if (dedup := signal.dedup) is None:
            return True
        if (group := self._groups.get(dedup.uid)) is not None:
            return group.add(signal)
        self._groups[dedup.uid] = Group(signal)
        heappush(self._ends_ms, (dedup.to_ms + GRACE_MS, dedup.uid))
        return True

    def take_over(self, time_ms: int) -> Iterator[Digest]:
        """Yield the counts of the groups whose period has ended by a time, and of those that are forgotten."""
        while self._ends_ms and self._ends_ms[0][0] <= time_ms:
            _, uid = heappop(self._ends_ms)
            if uid in self._groups and not self._groups[uid].is_over:
                self._groups[uid].is_over = True
                yield from self._groups[uid].take_count()
        while len(self._groups) > KEPT:
            uid, group = next(iter(self._groups.items()))
            del self._groups[uid]
            yield from group.take_count()
            self._ends_ms = [each for each in self._ends_ms if each[1] != uid]
            heapify(self._ends_ms)

    def take_all(self) -> Iterator[Digest]:
        """Yield the counts of all groups."""
        for group in self._groups.values():
            yield from group.take_count()


def grouped(signals: Iterable[Digest]) -> Iterator[Digest]:
    """Yield the signals to show and, when the period of a group or the signals end, the count of those left out."""
    groups = Groups()
    latest_ms = 0
    for signal in signals:
        latest_ms = max(latest_ms, signal.time_ms)
        if groups.add(signal):
            yield signal
        yield from groups.take_over(latest_ms)
    yield from groups.take_all()


def size_text(signal: Digest, signals: Iterable[Digest]) -> str | None:
    """Return how many findings among the signals are in the signal's group; None if it has none."""
    if (dedup := signal.dedup) is None:
        return None
    findings = {each.uid for each in signals if each.dedup is not None and each.dedup.uid == dedup.uid}
    return f"{len(findings)} {_with_same(dedup)}"


def since_text(signal: Digest) -> str:
    """Return since when the signal's group is counted; "" if it has none."""
    return "" if signal.dedup is None else f"since {rfc3339_clamped(signal.dedup.from_ms)}"


def _with_same(dedup: Dedup) -> str:
    period = f"from {rfc3339_clamped(dedup.from_ms)} to {rfc3339_clamped(dedup.to_ms)}"
    return f"with the same {', '.join(dedup.by)} {period}"
