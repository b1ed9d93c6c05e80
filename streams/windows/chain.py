"""What is remembered of one trace, and for how long. All times are ticks of record time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import msgspec

from streams.windows.facts import AtomFacts
from topics.records.facts import TICK_MS


class WindowSettings(Protocol):
    """The settings that bound a window, in ms."""

    @property
    def gap_ms(self) -> int:
        """A trace is quiet after this long without a record."""

    @property
    def lateness_ms(self) -> int:
        """How long after that a late span still amends the verdict."""

    @property
    def max_duration_ms(self) -> int:
        """A window is cut after this long."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How sessions are cut, in ticks; see `streams.windows.sessions`."""

    gap: int
    lateness: int
    max_duration: int

    @classmethod
    def of_ms(cls, *, gap_ms: int, lateness_ms: int, max_duration_ms: int) -> Bounds:
        """Bounds from milliseconds, rounded down to ticks."""
        return cls(gap_ms // TICK_MS, lateness_ms // TICK_MS, max_duration_ms // TICK_MS)

    @classmethod
    def of(cls, settings: WindowSettings) -> Self:
        """The bounds that are set."""
        return cls(settings.gap_ms // TICK_MS, settings.lateness_ms // TICK_MS, settings.max_duration_ms // TICK_MS)


class Window(msgspec.Struct, array_like=True, gc=False):
    """One session: first and last arrival in ticks; span count and root are informative."""

    first: int
    last: int
    span_count: int = 0
    root_seen: bool = False


class SourceRange(msgspec.Struct, array_like=True, gc=False):
    """Which records of one source partition a chain's facts came from; both offsets included."""

    topic: str
    partition: int
    first_offset: int
    last_offset: int


class LastVerdict(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A rule's last verdict on a chain; `revision` is that of its last signal, None before the first one.

    `excepted`: it is not applicable, but only because of an exception. `withheld`: its first signal was not published,
    so no amendment of it is.
    """

    verdict: str
    revision: int | None
    created_ms: int | None
    excepted: bool = False
    withheld: bool = False


class Chain(msgspec.Struct, array_like=True, gc=False):
    """All that is remembered of one trace: its facts, its open window if there is one, what was last said about it.

    `required_offset` is the lowest facts offset that its arrivals came from, at least: with the log from there on it
    can be built again. `due` is the tick at which it is looked at next. `headless`: the trace was already longer than a
    chain may be when this chain began. `input_lost`: input was lost in its time, or the time of some of it is not to be
    believed. `hit_max_duration`: one of its windows reached the longest duration. `last_verdicts` is by rule id and
    fingerprint. `present_since` is the tick since which the trace was known to be there before this chain began, None
    when it was not (`streams.windows.presence`).
    """

    first: int
    last: int
    required_offset: int
    due: int
    headless: bool = False
    input_lost: bool = False
    hit_max_duration: bool = False
    window: Window | None = None
    facts: dict[bytes, AtomFacts] = msgspec.field(default_factory=dict)
    last_verdicts: dict[str, LastVerdict] = msgspec.field(default_factory=dict)
    sources: list[SourceRange] = msgspec.field(default_factory=list)
    present_since: int | None = None

    @property
    def known_from(self) -> int:
        """The tick since which the trace is known to be there, whatever it hit: at its first arrival at the latest."""
        return self.first if self.present_since is None else self.present_since

    def next_due(self, bounds: Bounds) -> int:
        """The tick at which something is to be done if nothing more arrives."""
        end = self.first + bounds.max_duration + bounds.lateness
        if self.window is not None:
            return min(self.window.last + bounds.gap + 1, self.window.first + bounds.max_duration, end)
        return min(self.expires_at(bounds), end)

    def expires_at(self, bounds: Bounds) -> int:
        """The tick from which another arrival of the trace belongs to another chain."""
        return self.last + bounds.gap + bounds.lateness + 1

    def add_source(self, topic: str, partition: int, first_offset: int, last_offset: int) -> None:
        """Widens the range of this source partition."""
        if not self.sources:
            self.sources.append(SourceRange(topic, partition, first_offset, last_offset))
            return
        for source in self.sources:
            if source.topic == topic and source.partition == partition:
                source.first_offset = min(source.first_offset, first_offset)
                source.last_offset = max(source.last_offset, last_offset)
                return
        self.sources.append(SourceRange(topic, partition, first_offset, last_offset))
        self.sources.sort(key=lambda source: (source.topic, source.partition))


class EndedChain(msgspec.Struct, array_like=True, frozen=True):
    """A chain that is gone, and was not simply quiet to its end: it, or a window of it, reached its longest duration.

    A worker that reads the facts log again from the middle of such a trace would take its tail for a trace of its own.
    So arrivals below tick `until` are no concern of it, and a chain that begins below `headless_until` is headless. Its
    arrivals came from facts messages `[first_offset, last_offset]`. By `merged_with` it stands for several of a trace.
    `known_from` is the chain's: a headless chain goes on from there.
    """

    trace_id: bytes
    until: int
    headless_until: int
    first_offset: int
    last_offset: int
    known_from: int | None = None

    def merged_with(self, older: EndedChain | None) -> EndedChain:
        """This one and an earlier one of its trace: where reading begins in the earlier one, neither is of concern."""
        if older is None:
            return self
        return EndedChain(
            self.trace_id,
            self.until,
            self.headless_until,
            min(self.first_offset, older.first_offset),
            max(self.last_offset, older.last_offset),
            self.known_from,
        )
